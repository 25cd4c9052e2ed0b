#include "chat/chat_template.h"

#include <gtest/gtest.h>

#include "engine/fake_engine.h"

namespace pensieve {
namespace {

const std::vector<Message> kTalk = {{Role::system, "S"}, {Role::user, "U"}, {Role::assistant, "A"}, {Role::user, "V"}};

std::string rendered(std::string_view choice, const std::string& from_model, const std::vector<Message>& messages) {
  const FakeEngine engine({});
  const auto made = ChatTemplate::make(choice, from_model, engine.vocabulary());
  if (!made) return "error: " + made.error().message;
  const auto text = made->render(messages);
  return text ? *text : "error: " + text.error().message;
}

TEST(ChatTemplate, TheModelsOwnIsUsed) {
  EXPECT_EQ(rendered("", "{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}", kTalk), "[system:S][user:U][assistant:A][user:V]");
}

TEST(ChatTemplate, AModelWithoutOneGetsChatml) {
  EXPECT_EQ(rendered("", "", {{Role::user, "U"}}), "<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n");
}

TEST(ChatTemplate, BuiltinsAreKnownByName) {
  EXPECT_EQ(rendered("phi3", "", {{Role::user, "U"}}), "<|user|>\nU<|end|>\n<|assistant|>\n");
  EXPECT_EQ(rendered("plain", "", {{Role::user, "U"}}), "user: U\nassistant:");
}

TEST(ChatTemplate, ASystemMessageBetweenTurnsStaysInPlace) {
  const std::vector<Message> talk = {{Role::user, "U"}, {Role::system, "S"}, {Role::user, "V"}};
  EXPECT_EQ(rendered("plain", "", talk), "user: U\nsystem: S\nuser: V\nassistant:");
}

TEST(ChatTemplate, AStrictTemplateGetsItFoldedIntoItsNeighbour) {
  const std::string strict =
      "{% for m in messages %}{% if m.role == 'system' and not loop.first %}{{ raise_exception('system must come first') }}{% endif %}"
      "[{{ m.role }}:{{ m.content }}]{% endfor %}";
  EXPECT_EQ(rendered("", strict, {{Role::user, "U"}, {Role::system, "S"}, {Role::assistant, "A"}, {Role::user, "V"}}),
            "[user:U\n\nS][assistant:A][user:V]");
}

TEST(ChatTemplate, ErrorsSayWhatIsWrong) {
  EXPECT_NE(rendered("", "{% for %}", kTalk).find("does not parse"), std::string::npos);
  EXPECT_NE(rendered("nonsense", "", kTalk).find("--chat-template: 'nonsense'"), std::string::npos);
  EXPECT_NE(rendered("", "{{ raise_exception('never') }}", kTalk).find("never"), std::string::npos);
}

}  // namespace
}  // namespace pensieve
