#include "api/anthropic/messages_request.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "api/anthropic/sealed_thinking.h"
#include "api/anthropic/typed_tools.h"
#include "api/image_rules.h"
#include "api/request_json.h"
#include "base/base64.h"
#include "base/utf8.h"
#include "core/webp.h"

namespace pensieve::anthropic {
namespace {

using Json = nlohmann::ordered_json;  // Schemas and inputs keep the order of their keys.

constexpr std::size_t kStopSequencesMax = 64;
constexpr std::size_t kUrlBytesMax = 2048;
constexpr const char* kNotReadYet = "...";  // So that its message is not empty.
constexpr std::string_view kBillingMark = "x-anthropic-billing-header:";

Error wrong(std::string_view field, std::string_view expected) {
  return {ErrorCode::invalid_argument, fmt::format("{}: {}", field, expected)};
}

std::string shown(const Json& value) {
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text.size() <= 40 ? text : utf8_sanitise(text.substr(0, 40)) + "...";
}

const Json* find(const Json& object, const char* field) {
  const auto found = object.find(field);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string string_or(const Json& object, const char* field, const std::string& otherwise = {}) {
  const Json* value = find(object, field);
  return value != nullptr && value->is_string() ? value->get<std::string>() : otherwise;
}

// Reads messages, blocks and tools; keeps count of what it changed.
class PromptReader {
 public:
  PromptReader(const Json& body, bool client_rules, const ReadSources& sources, bool sees, MessagesRequest& request)
      : body_(body), client_rules_(client_rules), sources_(sources), sees_(sees), request_(request) {}

  Result<void> read() {
    if (auto done = read_system(); !done) return done;
    if (auto done = read_messages(); !done) return done;
    if (auto done = read_tools(); !done) return done;
    if (auto done = read_tool_choice(); !done) return done;
    if (auto done = read_thinking(); !done) return done;
    if (auto done = read_output(); !done) return done;
    if (const Json* mark = find(body_, "cache_control"); mark != nullptr) {
      note_cache_control(*mark);
      std::vector<Block>& blocks = request_.prompt.messages.back().blocks;
      if (!blocks.empty()) blocks.back().cache_mark = true;
    }
    return {};
  }

 private:
  void count(const char* what) { ++request_.normalised[what]; }

  void note_cache_control(const Json& mark) {
    request_.keep_seconds = std::max(request_.keep_seconds, mark.is_object() && string_or(mark, "ttl") == "1h" ? 3600 : 300);
  }

  Result<void> read_system() {
    const Json* system = find(body_, "system");
    if (system == nullptr) return {};
    auto blocks = read_content(*system, "system", Role::system);
    if (!blocks) return std::move(blocks).error();
    if (!blocks->empty()) request_.prompt.messages.emplace_back(Role::system, *std::move(blocks));
    return {};
  }

  Result<void> read_messages() {
    std::vector<Message>& messages = request_.prompt.messages;
    const Json* list = find(body_, "messages");
    if (list == nullptr) return wrong("messages", "field required");
    if (!list->is_array()) return wrong("messages", "must be an array");
    if (list->empty()) return wrong("messages", "must have at least one message");
    bool any = false;
    for (std::size_t i = 0; i < list->size(); ++i) {
      const Json& message = (*list)[i];
      const std::string at = fmt::format("messages.{}", i);
      if (!message.is_object()) return wrong(at, "must be an object");
      const Json* name = find(message, "role");
      if (name == nullptr || !name->is_string()) return wrong(at + ".role", "must be 'user', 'assistant' or 'system'");
      const std::string& role_name = name->get_ref<const std::string&>();
      Role role = Role::user;
      if (role_name == "assistant") role = Role::assistant;
      else if (role_name == "system") role = Role::system;
      else if (role_name != "user") return wrong(at + ".role", fmt::format("must be 'user', 'assistant' or 'system', not {}", shown(*name)));
      const Json* content = find(message, "content");
      if (content == nullptr) return wrong(at + ".content", "field required");
      auto blocks = read_content(*content, at + ".content", role);
      if (!blocks) return std::move(blocks).error();
      if (blocks->empty()) {
        if (role == Role::user && (content->empty() || content->is_string())) return wrong(at + ".content", "must not be empty");
        if (role != Role::assistant) continue;  // Nothing in it that could be shown.
      }
      if (role == Role::system) count("system_inside");
      // The system field and a first message of that role are not the same turn.
      if (any && messages.back().role == role) {
        count("merged_turn");
        std::ranges::move(*blocks, std::back_inserter(messages.back().blocks));
      } else {
        messages.emplace_back(role, *std::move(blocks));
      }
      any = true;
    }
    if (!any || messages.back().role == Role::system) {
      const bool asked = std::ranges::any_of(messages, [](const Message& message) { return message.role == Role::user; });
      if (!any || !asked) return wrong("messages", "nothing in them can be shown to the model");
    }
    const Message& last = messages.back();
    if (last.role == Role::assistant) {
      const bool calls = std::ranges::any_of(last.blocks, [](const Block& block) { return std::holds_alternative<ToolUseContent>(block.content); });
      if (calls) return wrong(fmt::format("messages.{}", list->size() - 1), "the last message has tool_use blocks; their tool_result blocks must follow in a user message");
    }
    return {};
  }

  // A string, or blocks. Blocks without anything to show are left out.
  Result<std::vector<Block>> read_content(const Json& content, const std::string& field, Role role) {
    std::vector<Block> blocks;
    if (content.is_string()) {
      if (!content.get_ref<const std::string&>().empty()) blocks.push_back({TextContent{content.get<std::string>()}});
      return blocks;
    }
    if (!content.is_array()) return wrong(field, "must be a string or an array of content blocks");
    for (std::size_t i = 0; i < content.size(); ++i) {
      const Json& block = content[i];
      const std::string at = fmt::format("{}.{}", field, i);
      if (!block.is_object()) return wrong(at, "must be an object");
      const Json* type = find(block, "type");
      if (type == nullptr || !type->is_string()) return wrong(at + ".type", "must be a string");
      auto made = read_block(block, type->get_ref<const std::string&>(), at, role);
      if (!made) return std::move(made).error();
      const Json* mark = find(block, "cache_control");
      if (mark != nullptr) note_cache_control(*mark);
      if (*made) {
        (*made)->cache_mark = mark != nullptr;
        blocks.push_back(*std::move(*made));
        for (const std::int32_t page : std::exchange(pages_, {})) blocks.push_back({ImageContent{page}, mark != nullptr});
      } else if (mark != nullptr && !blocks.empty()) {
        blocks.back().cache_mark = true;
      }
    }
    return blocks;
  }

  Result<std::optional<Block>> read_block(const Json& block, const std::string& type, const std::string& at, Role role) {
    if (type == "text") return text_block(block, at);
    if (role == Role::system) {
      if (type == "image" || type == "document") return wrong(at + ".type", fmt::format("'{}' cannot stand in a system message; only text can", type));
      return unknown_block(block);
    }
    if (type == "thinking") return thinking_block(block, at, role);
    if (type == "redacted_thinking") return std::optional<Block>();
    if (type == "tool_use") {
      if (role != Role::assistant) return wrong(at + ".type", "'tool_use' stands in messages of the assistant only");
      const std::string id = string_or(block, "id");
      const std::string name = string_or(block, "name");
      if (id.empty()) return wrong(at + ".id", "must be a non-empty string");
      if (name.empty()) return wrong(at + ".name", "must be a non-empty string");
      const Json* input = find(block, "input");
      if (input != nullptr && !input->is_object()) return wrong(at + ".input", "must be an object");
      return std::optional(Block{ToolUseContent{id, name, input == nullptr ? "{}" : dump(*input)}});
    }
    if (type == "tool_result") {
      if (role != Role::user) return wrong(at + ".type", "'tool_result' stands in messages of the user only");
      return tool_result_block(block, at);
    }
    if (type == "image") {
      auto image = image_of(block, at);
      if (!image) return std::move(image).error();
      return std::optional(Block{ImageContent{*image}});
    }
    if (type == "document" || type == "search_result") return document_block(block, type, at);
    return unknown_block(block);
  }

  // Its number among the prompt's images. What is inside the file is the worker's to look at.
  Result<std::int32_t> image_of(const Json& block, const std::string& at) {
    const auto rejected = [](std::string_view field, std::string_view why) { return wrong(field, fmt::format("{} (capability_rejected: image_block)", why)); };
    if (!sees_) return rejected(at + ".type", "'image': this model cannot see");
    const Json* source = find(block, "source");
    if (source == nullptr || !source->is_object()) return wrong(at + ".source", "must be an object");
    const std::string kind = string_or(*source, "type");
    if (kind == "url") {
      auto bytes = image_by_url(*source, at);
      if (!bytes) return rejected(at + ".source.url", bytes.error().message);
      return add_image(*std::move(bytes), at);
    }
    if (kind != "base64") return rejected(at + ".source.type", fmt::format("'{}': images of the types base64 and url can be read", kind));
    const std::string media_type = string_or(*source, "media_type");
    if (!is_image_type(media_type) && media_type != "image/webp") {
      return rejected(at + ".source.media_type", fmt::format("must be 'image/png', 'image/jpeg', 'image/gif' or 'image/webp', not {}", shown(Json(media_type))));
    }
    if (const auto read = sources_.find(at); read != sources_.end()) {
      if (!read->second) return rejected(at + ".source", read->second.error().message);
      return add_image(picture_of(*read->second), at);
    }
    const Json* data = find(*source, "data");
    auto bytes = data != nullptr && data->is_string() ? base64_decode(data->get_ref<const std::string&>()) : std::nullopt;
    if (!bytes || bytes->empty()) return wrong(at + ".source.data", "must be base64 (RFC 4648, with + and /), and not empty");
    // What it is is what it says itself.
    if (!is_webp(*bytes)) return add_image(*std::move(bytes), at);
    request_.unread.push_back({at, UnreadSource::Kind::webp, *std::move(bytes)});
    return add_image("", at);
  }

  static std::string picture_of(const Document& document) { return document.pictures.empty() ? std::string() : document.pictures.front(); }

  Result<std::int32_t> add_image(std::string bytes, const std::string& at) {
    if (const Result<void> room = room_for_images(request_.prompt, 1, bytes.size()); !room) return wrong(at, room.error().message);
    std::vector<std::string>& images = request_.prompt.images;
    images.push_back(std::move(bytes));
    return static_cast<std::int32_t>(images.size()) - 1;
  }

  // Empty as long as it was not fetched.
  Result<std::string> image_by_url(const Json& source, const std::string& at) {
    if (const auto read = sources_.find(at); read != sources_.end()) {
      if (!read->second) return read->second.error();
      return picture_of(*read->second);
    }
    auto url = url_of(source);
    if (!url) return std::move(url).error();
    request_.unread.push_back({at, UnreadSource::Kind::image_url, *std::move(url)});
    return std::string();
  }

  Result<std::optional<Block>> text_block(const Json& block, const std::string& at) {
    const Json* text = find(block, "text");
    if (text == nullptr || !text->is_string()) return wrong(at + ".text", "must be a string");
    const std::string& words = text->get_ref<const std::string&>();
    if (client_rules_ && words.starts_with(kBillingMark)) {
      count("billing_line");
      return std::optional<Block>();
    }
    if (words.empty()) return std::optional<Block>();
    return std::optional(Block{TextContent{words}});
  }

  Result<std::optional<Block>> thinking_block(const Json& block, const std::string& at, Role role) {
    if (role != Role::assistant) return wrong(at + ".type", "'thinking' stands in messages of the assistant only");
    const Json* words = find(block, "thinking");
    if (words == nullptr || !words->is_string()) return wrong(at + ".thinking", "must be a string");
    std::string signature = string_or(block, "signature");
    std::string thinking = words->get<std::string>();
    if (auto sealed = open_sealed_thinking(signature)) {
      thinking = *std::move(sealed);
      signature.clear();
    }
    if (thinking.empty()) return std::optional<Block>();
    return std::optional(Block{ThinkingContent{std::move(thinking), std::move(signature)}});
  }

  Result<std::optional<Block>> tool_result_block(const Json& block, const std::string& at) {
    ToolResultContent result;
    result.tool_use_id = string_or(block, "tool_use_id");
    if (result.tool_use_id.empty()) return wrong(at + ".tool_use_id", "must be a non-empty string");
    if (const Json* is_error = find(block, "is_error")) {
      if (!is_error->is_boolean()) return wrong(at + ".is_error", "must be true or false");
      result.is_error = is_error->get<bool>();
    }
    const Json* content = find(block, "content");
    if (content == nullptr) return std::optional(Block{std::move(result)});
    if (content->is_string()) {
      result.text = content->get<std::string>();
      return std::optional(Block{std::move(result)});
    }
    if (!content->is_array()) return wrong(at + ".content", "must be a string or an array of content blocks");
    for (std::size_t i = 0; i < content->size(); ++i) {
      const Json& piece = (*content)[i];
      const std::string piece_at = fmt::format("{}.content.{}", at, i);
      if (!piece.is_object()) return wrong(piece_at, "must be an object");
      const std::string type = string_or(piece, "type");
      if (type == "tool_reference") {
        result.tool_references.push_back(string_or(piece, "tool_name", string_or(piece, "name")));
        continue;
      }
      std::string text;
      if (type == "image" && sees_) {
        auto image = image_of(piece, piece_at);
        // What a tool found may be of any kind: the session goes on without it.
        if (!image) {
          count("unseen_block");
          text = fmt::format("[an image that could not be read: {}]", image.error().message);
        } else {
          if (!result.text.empty()) result.text += "\n\n";
          result.images.push_back({static_cast<std::uint32_t>(result.text.size()), *image});
          continue;
        }
      } else if (type == "image" || type == "browser_state") {
        count("unseen_block");
        text = "[an image, which this model cannot see]";
      } else {
        auto read = type == "document" || type == "search_result" ? document_block(piece, type, piece_at, true)
                    : type == "text"                             ? text_block(piece, piece_at)
                                                                 : unknown_block(piece);
        if (!read) return std::move(read).error();
        if (*read) text = std::get<TextContent>((*read)->content).text;
      }
      const bool first = result.text.empty() && result.images.empty();
      if (!text.empty()) result.text += (first ? "" : "\n\n") + text;
      for (const std::int32_t page : std::exchange(pages_, {})) {
        if (!result.text.empty()) result.text += "\n\n";
        result.images.push_back({static_cast<std::uint32_t>(result.text.size()), page});
      }
    }
    return std::optional(Block{std::move(result)});
  }

  // Titles and the like stand before the text.
  Result<std::optional<Block>> document_block(const Json& block, const std::string& type, const std::string& at, bool in_result = false) {
    const bool search = type == "search_result";
    std::vector<std::string> parts = {string_or(block, "title"), string_or(block, search ? "source" : "context")};
    const Json* source = search ? &block : find(block, "source");
    if (source == nullptr || !source->is_object()) return wrong(at + ".source", "must be an object");
    const std::string kind = search ? "content" : string_or(*source, "type");
    if (kind == "text") {
      const Json* data = find(*source, "data");
      if (data == nullptr || !data->is_string()) return wrong(at + ".source.data", "must be a string");
      parts.push_back(data->get<std::string>());
    } else if (kind == "content") {
      const Json* content = find(*source, "content");
      const std::string content_at = at + (search ? ".content" : ".source.content");
      if (content == nullptr) return wrong(content_at, "field required");
      auto blocks = read_content(*content, content_at, Role::user);
      if (!blocks) return std::move(blocks).error();
      for (const Block& inner : *blocks) {
        if (const auto* image = std::get_if<ImageContent>(&inner.content)) pages_.push_back(image->image);
      }
      parts.push_back(Message(Role::user, *std::move(blocks)).text());
    } else if (kind == "base64" || kind == "url") {
      auto text = kind == "url" ? text_by_url(*source, at) : text_of_base64(*source, at);
      // What a tool found may be of any kind: the session goes on without it.
      if (!text && in_result) {
        count("unseen_block");
        text = fmt::format("[a document that could not be read: {}]", text.error().message);
      }
      if (!text) return Error{text.error().code, text.error().message + " (capability_rejected: document_block)"};
      parts.push_back(*std::move(text));
    } else {
      return wrong(at + ".source.type", fmt::format("'{}': documents of the types text, content, base64 and url can be read (capability_rejected: document_block)", kind));
    }
    std::erase(parts, "");
    if (parts.empty() && !pages_.empty()) parts.emplace_back("[a document, as pictures]");
    if (parts.empty()) return std::optional<Block>();
    return std::optional(Block{TextContent{fmt::format("{}", fmt::join(parts, "\n\n"))}});
  }

  Result<std::string> text_of_base64(const Json& source, const std::string& at) {
    const std::string media_type = string_or(source, "media_type", "application/pdf");
    if (media_type != "application/pdf" && media_type != "text/plain") {
      return wrong(at + ".source.media_type", fmt::format("must be 'application/pdf' or 'text/plain', not {}", shown(Json(media_type))));
    }
    if (const auto read = sources_.find(at); read != sources_.end()) return read_before(read->second, at + ".source");
    const Json* data = find(source, "data");
    auto bytes = data != nullptr && data->is_string() ? base64_decode(data->get_ref<const std::string&>()) : std::nullopt;
    if (!bytes || bytes->empty()) return wrong(at + ".source.data", "must be base64 (RFC 4648, with + and /), and not empty");
    if (media_type == "text/plain") {
      if (!utf8_valid(*bytes)) return wrong(at + ".source.data", "must be UTF-8 text");
      return *std::move(bytes);
    }
    request_.unread.push_back({at, UnreadSource::Kind::pdf, *std::move(bytes)});
    return std::string(kNotReadYet);
  }

  Result<std::string> text_by_url(const Json& source, const std::string& at) {
    if (const auto read = sources_.find(at); read != sources_.end()) return read_before(read->second, at + ".source.url");
    auto url = url_of(source);
    if (!url) return wrong(at + ".source.url", url.error().message);
    request_.unread.push_back({at, UnreadSource::Kind::url, *std::move(url)});
    return std::string(kNotReadYet);
  }

  static Result<std::string> url_of(const Json& source) {
    std::string url = string_or(source, "url");
    if (url.empty() || url.size() > kUrlBytesMax) return Error{ErrorCode::invalid_argument, fmt::format("must be a URL of at most {} bytes", kUrlBytesMax)};
    return url;
  }

  Result<std::string> read_before(const Result<Document>& document, const std::string& field) {
    if (!document) return wrong(field, document.error().message);
    if (const Result<void> room = room_for_images(request_.prompt, document->pictures.size(), document->bytes()); !room) {
      if (document->text.empty()) return wrong(field, fmt::format("as pictures it {}", room.error().message));
      return document->text;  // Which must do.
    }
    std::vector<std::string>& images = request_.prompt.images;
    for (const std::string& picture : document->pictures) {
      pages_.push_back(static_cast<std::int32_t>(images.size()));
      images.push_back(picture);
    }
    return document->text;
  }

  // Blocks of tools that ran elsewhere, and those of later releases: their text, if they have one.
  Result<std::optional<Block>> unknown_block(const Json& block) {
    count("unknown_block");
    std::string text = string_or(block, "text", string_or(block, "content"));
    if (text.empty()) return std::optional<Block>();
    return std::optional(Block{TextContent{std::move(text)}});
  }

  Result<void> read_tools() {
    const Json* list = find(body_, "tools");
    if (list == nullptr) return {};
    if (!list->is_array()) return wrong("tools", "must be an array");
    std::set<std::string> names;
    for (std::size_t i = 0; i < list->size(); ++i) {
      const Json& tool = (*list)[i];
      const std::string at = fmt::format("tools.{}", i);
      if (!tool.is_object()) return wrong(at, "must be an object");
      const std::string type = string_or(tool, "type", "custom");
      Tool made;
      if (type == "custom") {
        made.name = string_or(tool, "name");
        const bool good = !made.name.empty() && made.name.size() <= 128 &&
                          std::ranges::all_of(made.name, [](unsigned char c) { return std::isalnum(c) != 0 || c == '_' || c == '-'; });
        if (!good) return wrong(at + ".name", "must have 1 to 128 letters, digits, '_' or '-'");
        const Json* schema = find(tool, "input_schema");
        if (schema == nullptr || !schema->is_object()) return wrong(at + ".input_schema", "must be an object (JSON Schema)");
        made.description = string_or(tool, "description");
        made.input_schema = dump(*schema);
      } else if (const TypedTool* known = find_typed_tool(type)) {
        made = {string_or(tool, "name", known->name), known->description, known->input_schema, false, false};
      } else {
        // Runs on servers elsewhere, or is not known here: the model must not be told of it.
        count("dropped_tool");
        dropped_tools_.insert(string_or(tool, "name", type));
        continue;
      }
      for (const auto& [field, flag] : {std::pair{"strict", &made.strict}, std::pair{"defer_loading", &made.deferred}}) {
        const Json* value = find(tool, field);
        if (value == nullptr) continue;
        if (!value->is_boolean()) return wrong(at + "." + field, "must be true or false");
        *flag = value->get<bool>();
      }
      if (const Json* mark = find(tool, "cache_control")) {
        note_cache_control(*mark);
        made.cache_mark = true;
      }
      if (!names.insert(made.name).second) return wrong(at + ".name", fmt::format("'{}' stands twice; names of tools must be unique", made.name));
      request_.prompt.tools.push_back(std::move(made));
    }
    return {};
  }

  Result<void> read_tool_choice() {
    const Json* choice = find(body_, "tool_choice");
    if (choice == nullptr) return {};
    if (!choice->is_object()) return wrong("tool_choice", "must be an object");
    ToolChoice& made = request_.prompt.tool_choice;
    const std::string type = string_or(*choice, "type");
    if (type == "any") made.kind = ToolChoice::Kind::any;
    else if (type == "tool") made.kind = ToolChoice::Kind::tool;
    else if (type == "none") made.kind = ToolChoice::Kind::none;
    else if (type != "auto") return wrong("tool_choice.type", "must be 'auto', 'any', 'tool' or 'none'");
    if (const Json* alone = find(*choice, "disable_parallel_tool_use")) {
      if (!alone->is_boolean()) return wrong("tool_choice.disable_parallel_tool_use", "must be true or false");
      made.one_at_most = alone->get<bool>();
    }
    if (made.kind == ToolChoice::Kind::tool) {
      made.name = string_or(*choice, "name");
      if (made.name.empty()) return wrong("tool_choice.name", "field required");
      if (dropped_tools_.contains(made.name)) made = {};
      else if (std::ranges::find(request_.prompt.tools, made.name, &Tool::name) == request_.prompt.tools.end()) {
        return wrong("tool_choice.name", fmt::format("'{}' is none of the tools", made.name));
      }
    } else if (made.kind == ToolChoice::Kind::any && request_.prompt.tools.empty()) {
      if (dropped_tools_.empty()) return wrong("tool_choice", "'any' needs tools");
      made = {};
    }
    return {};
  }

  Result<void> read_thinking() {
    ThinkingSettings& made = request_.prompt.thinking;
    if (const Json* thinking = find(body_, "thinking")) {
      if (!thinking->is_object()) return wrong("thinking", "must be an object");
      const std::string type = string_or(*thinking, "type");
      if (type.empty()) return wrong("thinking.type", "must be 'enabled', 'adaptive' or 'disabled'");
      if (type == "enabled") made.kind = ThinkingSettings::Kind::on;
      else if (type == "disabled") made.kind = ThinkingSettings::Kind::off;
      else made.kind = ThinkingSettings::Kind::adaptive;
      if (const Json* budget = find(*thinking, "budget_tokens")) {
        if (!budget->is_number_integer() || *budget < 1) return wrong("thinking.budget_tokens", fmt::format("must be an integer of at least 1, not {}", shown(*budget)));
        made.budget_tokens = *budget > INT32_MAX ? INT32_MAX : budget->get<std::int32_t>();
      }
      request_.thinking_omitted = string_or(*thinking, "display") == "omitted";
    }
    if (const Json* output = find(body_, "output_config")) {
      if (!output->is_object()) return wrong("output_config", "must be an object");
      if (const Json* effort = find(*output, "effort")) {
        if (!effort->is_string()) return wrong("output_config.effort", "must be a string");
        made.effort = effort->get<std::string>();
      }
    }
    return {};
  }

  Result<void> read_output() {
    const Json* output = find(body_, "output_config");
    const Json* format = output == nullptr ? nullptr : find(*output, "format");
    std::string at = "output_config.format";
    if (format == nullptr) {
      format = find(body_, "output_format");
      at = "output_format";
    }
    if (format == nullptr) return {};
    if (!format->is_object()) return wrong(at, "must be an object");
    if (const std::string type = string_or(*format, "type"); type != "json_schema") return wrong(at + ".type", fmt::format("must be 'json_schema', not '{}'", type));
    const Json* schema = find(*format, "schema");
    if (schema == nullptr || !schema->is_object()) return wrong(at + ".schema", "must be an object (JSON Schema)");
    request_.prompt.json_schema = dump(*schema);
    return {};
  }

  const Json& body_;
  const bool client_rules_;
  const ReadSources& sources_;
  const bool sees_;
  MessagesRequest& request_;
  std::set<std::string> dropped_tools_;
  std::vector<std::int32_t> pages_;  // Of the document just read: images that follow its text.
};

Result<std::optional<float>> number_in(const Json& body, const char* field, double low, double high) {
  const Json* value = find(body, field);
  if (value == nullptr) return std::optional<float>();
  const double number = value->is_number() ? value->get<double>() : std::nan("");
  if (!(number >= low && number <= high)) return wrong(field, fmt::format("must be a number from {} to {}, not {}", low, high, shown(*value)));
  return std::optional(static_cast<float>(number));
}

Result<std::optional<std::int64_t>> integer_from(const Json& body, const char* field, std::int64_t low) {
  const Json* value = find(body, field);
  if (value == nullptr) return std::optional<std::int64_t>();
  const bool fits = value->is_number_integer() && !(value->is_number_unsigned() && value->get<std::uint64_t>() > INT64_MAX);
  if (!fits || value->get<std::int64_t>() < low) return wrong(field, fmt::format("must be an integer of at least {}, not {}", low, shown(*value)));
  return std::optional(value->get<std::int64_t>());
}

Result<Sampling> read_sampling(const Json& body) {
  Sampling sampling;
  struct Field {
    const char* name;
    std::optional<float>* value;
    double low, high;
  };
  const Field fields[] = {
      {"temperature", &sampling.temperature, 0, 2},           {"top_p", &sampling.top_p, 0, 1},
      {"min_p", &sampling.min_p, 0, 1},                       {"repeat_penalty", &sampling.repeat_penalty, 0.1, 10},
      {"presence_penalty", &sampling.presence_penalty, -2, 2}, {"frequency_penalty", &sampling.frequency_penalty, -2, 2},
  };
  for (const Field& field : fields) {
    auto number = number_in(body, field.name, field.low, field.high);
    if (!number) return std::move(number).error();
    *field.value = *number;
  }
  auto top_k = integer_from(body, "top_k", 0);
  if (!top_k) return std::move(top_k).error();
  if (*top_k) sampling.top_k = static_cast<std::int32_t>(std::min<std::int64_t>(**top_k, INT32_MAX));
  auto seed = integer_from(body, "seed", 0);
  if (!seed) return std::move(seed).error();
  if (*seed) sampling.seed = static_cast<std::uint64_t>(**seed);
  return sampling;
}

Result<std::vector<std::string>> read_stop_sequences(const Json& body) {
  std::vector<std::string> stops;
  const Json* list = find(body, "stop_sequences");
  if (list == nullptr) return stops;
  if (!list->is_array()) return wrong("stop_sequences", "must be an array of strings");
  if (list->size() > kStopSequencesMax) return wrong("stop_sequences", fmt::format("has {} entries; at most {} are allowed", list->size(), kStopSequencesMax));
  for (std::size_t i = 0; i < list->size(); ++i) {
    const Json& stop = (*list)[i];
    if (!stop.is_string() || stop.get_ref<const std::string&>().empty()) return wrong(fmt::format("stop_sequences.{}", i), "must be a non-empty string");
    stops.push_back(stop.get<std::string>());
  }
  return stops;
}

// What would be answered wrongly if it were ignored.
Result<void> refuse_what_runs_elsewhere(const Json& body) {
  for (const char* field : {"mcp_servers", "container"}) {
    const Json* value = find(body, field);
    if (value != nullptr && !value->empty()) return wrong(field, "is not possible here: this server runs no tools of its own");
  }
  return {};
}

}  // namespace

Result<MessagesRequest> parse_messages_request(std::string_view text, Endpoint endpoint, bool client_rules, const ReadSources& sources, bool sees) {
  const Result<Json> parsed = parse_request_json(text);
  if (!parsed) return parsed.error();
  const Json& body = *parsed;

  MessagesRequest request;
  if (const Json* thread = find(body, "thread"); thread != nullptr && thread->is_object()) {
    request.threaded = true;
    return request;
  }
  const Json* model = find(body, "model");
  if (model == nullptr) return wrong("model", "field required");
  if (!model->is_string() || model->get_ref<const std::string&>().empty()) return wrong("model", "must be a non-empty string");
  request.model = model->get<std::string>();
  if (request.model.size() > 256) return wrong("model", "must have at most 256 characters");

  if (endpoint == Endpoint::messages) {
    auto max_tokens = integer_from(body, "max_tokens", 0);
    if (!max_tokens) return std::move(max_tokens).error();
    if (!*max_tokens) return wrong("max_tokens", "field required");
    request.max_tokens = static_cast<std::int32_t>(std::min<std::int64_t>(**max_tokens, INT32_MAX));
    if (const Json* stream = find(body, "stream")) {
      if (!stream->is_boolean()) return wrong("stream", "must be true or false");
      request.stream = stream->get<bool>();
    }
  }
  if (const Json* diagnostics = find(body, "diagnostics"); diagnostics != nullptr && diagnostics->is_object()) {
    request.diagnose = true;
    if (const Json* previous = find(*diagnostics, "previous_message_id"); previous != nullptr && previous->is_string()) request.previous_message_id = previous->get<std::string>();
  }
  if (Result<void> possible = refuse_what_runs_elsewhere(body); !possible) return std::move(possible).error();
  if (Result<void> done = PromptReader(body, client_rules, sources, sees, request).read(); !done) return std::move(done).error();
  auto sampling = read_sampling(body);
  if (!sampling) return std::move(sampling).error();
  request.sampling = *sampling;
  auto stops = read_stop_sequences(body);
  if (!stops) return std::move(stops).error();
  request.stop_sequences = *std::move(stops);
  return request;
}

}  // namespace pensieve::anthropic
