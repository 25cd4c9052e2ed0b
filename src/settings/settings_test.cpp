#include "settings/settings.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

namespace pensieve {
namespace {

Settings::Values environment_values;
const char* lookup(const char* name) {
  const auto found = environment_values.find(name);
  return found == environment_values.end() ? nullptr : found->second.c_str();
}

std::string message_of(const Settings::Values& flags) {
  const auto settings = Settings::resolve(flags, lookup);
  return settings ? "" : settings.error().message;
}

class SettingsTest : public testing::Test {
 protected:
  void SetUp() override { environment_values.clear(); }
  std::string file(const std::string& text) {
    const std::string path = testing::TempDir() + "pensieve_settings.toml";
    std::ofstream(path) << text;
    return path;
  }
};

TEST_F(SettingsTest, FlagBeforeEnvironmentBeforeFileBeforeDefault) {
  const std::string path = file("port = 1\nslots = 5\nqueue = 6\n");
  environment_values = {{"PENSIEVE_PORT", "2"}, {"PENSIEVE_SLOTS", "7"}};
  const auto settings = Settings::resolve({{"port", "3"}, {"config", path}}, lookup);
  ASSERT_TRUE(settings) << settings.error().message;
  EXPECT_EQ(settings->integer("port"), 3);
  EXPECT_EQ(settings->integer("slots"), 7);
  EXPECT_EQ(settings->integer("queue"), 6);
  EXPECT_EQ(settings->integer("grace"), 30);
  EXPECT_EQ(settings->integer("max-body"), 32 << 20);
  const std::string printed = settings->print();
  EXPECT_NE(printed.find("port = 3"), std::string::npos);
  EXPECT_NE(printed.find("# --port"), std::string::npos);
  EXPECT_NE(printed.find("# PENSIEVE_SLOTS"), std::string::npos);
  EXPECT_NE(printed.find(path + ": queue"), std::string::npos);
}

TEST_F(SettingsTest, TheKeyIsNotPrinted) {
  const auto settings = Settings::resolve({{"api-key", "secret"}}, lookup);
  EXPECT_EQ(settings->print().find("secret"), std::string::npos);
}

TEST_F(SettingsTest, ErrorsNameTheSettingItsOriginAndTheValue) {
  EXPECT_EQ(message_of({{"port", "70000"}}), "--port: '70000' is not a whole number from 0 to 65535");
  EXPECT_NE(message_of({{"slots", "many"}}).find("--slots: 'many'"), std::string::npos);
  EXPECT_NE(message_of({{"max-body", "32X"}}).find("--max-body: '32X'"), std::string::npos);
  environment_values = {{"PENSIEVE_QUEUE", "-1"}};
  EXPECT_NE(message_of({}).find("PENSIEVE_QUEUE: '-1'"), std::string::npos);
  environment_values.clear();
  EXPECT_NE(message_of({{"config", "/nonexistent.toml"}}).find("/nonexistent.toml"), std::string::npos);
  EXPECT_NE(message_of({{"config", file("colour = 1\n")}}).find("no setting 'colour'"), std::string::npos);
  EXPECT_NE(message_of({{"config", file("port = [1]\n")}}).find("port must be"), std::string::npos);
  EXPECT_NE(message_of({{"config", file("port = \n")}}).find("line 1"), std::string::npos);
}

TEST_F(SettingsTest, Sizes) {
  EXPECT_EQ(parse_size("4096"), 4096);
  EXPECT_EQ(parse_size("2k"), 2048);
  EXPECT_EQ(parse_size("32M"), 32 << 20);
  EXPECT_EQ(parse_size("1GiB"), 1 << 30);
  EXPECT_EQ(parse_size("1GB"), 1 << 30);
  for (const char* bad : {"", "M", "-1", "1.5G", "1T", "1MX", "99999999999G"}) EXPECT_FALSE(parse_size(bad)) << bad;
}

}  // namespace
}  // namespace pensieve
