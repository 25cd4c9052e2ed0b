#include "api/openai/request.h"

#include <fmt/format.h>

#include <algorithm>
#include <climits>
#include <cmath>
#include <nlohmann/json.hpp>

#include "api/image_rules.h"
#include "api/openai/fields.h"
#include "api/request_json.h"
#include "base/base64.h"
#include "base/utf8.h"
#include "chat/json_schema_grammar.h"

namespace pensieve::openai {
namespace {

constexpr std::size_t kStopsMax = 64;
constexpr const char* kNoParameters = R"({"type":"object","properties":{}})";
constexpr const char* kAnyObject = R"({"type":"object"})";

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

void read_common(Fields& fields, Request& request, const char* max_tokens) {
  Asked& asked = request.asked;
  asked.model = fields.model();
  asked.stream = fields.boolean("stream");
  asked.max_tokens = static_cast<std::int32_t>(std::min<std::int64_t>(fields.integer(max_tokens, 1).value_or(INT32_MAX), INT32_MAX));
  Sampling& sampling = asked.sampling;
  sampling.temperature = fields.number("temperature", 0, 2);
  sampling.top_p = fields.number("top_p", 0, 1);
  if (sampling.top_p && *sampling.top_p <= 0) sampling.top_p = 1e-6f;  // Asks for the best token alone.
  sampling.presence_penalty = fields.number("presence_penalty", -2, 2);
  sampling.frequency_penalty = fields.number("frequency_penalty", -2, 2);
  // Beyond OpenAI's own fields, spelled as other local servers do.
  sampling.min_p = fields.number("min_p", 0, 0.999999);
  sampling.repeat_penalty = fields.number("repeat_penalty", 0.01, 10);
  if (const auto k = fields.integer("top_k", 0)) sampling.top_k = static_cast<std::int32_t>(std::min<std::int64_t>(*k, INT32_MAX));
  if (const auto seed = fields.integer("seed", INT64_MIN)) sampling.seed = static_cast<std::uint64_t>(*seed);
  if (const Json* stop = fields.find("stop")) {
    if (stop->is_string()) asked.stop_sequences.push_back(stop->get<std::string>());
    else if (!stop->is_array() || stop->size() > kStopsMax) fields.fail("stop", fmt::format("must be a string or an array of at most {} strings", kStopsMax));
    else {
      for (const Json& one : *stop) {
        if (!one.is_string()) fields.fail("stop", "must be a string or an array of strings");
        else asked.stop_sequences.push_back(one.get<std::string>());
      }
    }
    std::erase_if(asked.stop_sequences, [](const std::string& one) { return one.empty(); });
  }
  if (const Json* options = fields.find("stream_options"); options != nullptr && options->is_object()) {
    const auto usage = options->find("include_usage");
    request.include_usage = usage != options->end() && *usage == true;
  }
}

void read_effort(const std::string& effort, ThinkingSettings& thinking) {
  if (effort == "none") thinking.kind = ThinkingSettings::Kind::off;
  else if (effort == "minimal") thinking.effort = "low";
  else if (effort == "xhigh") thinking.effort = "max";
  else thinking.effort = effort;
}

// "data:image/png;base64,..." into the images of `prompt`.
Result<std::int32_t> add_image(std::string_view url, Prompt& prompt) {
  const auto bad = [](std::string why) { return Error{ErrorCode::invalid_argument, std::move(why)}; };
  constexpr std::string_view kData = "data:", kBase64 = ";base64";
  if (!url.starts_with(kData)) return bad("images are read from data: URLs (data:image/png;base64,...), not fetched");
  const std::size_t comma = std::min(url.find(','), url.size());
  std::string_view type = url.substr(kData.size(), comma - std::min(comma, kData.size()));
  if (comma == url.size() || !type.ends_with(kBase64)) return bad("must be a data: URL in base64 (data:image/png;base64,...)");
  type.remove_suffix(kBase64.size());
  type = type.substr(0, type.find(';'));
  if (!is_image_type(type)) return bad(fmt::format("must be of the type image/png, image/jpeg or image/gif, not '{}'", utf8_sanitise(type.substr(0, 60))));
  auto bytes = base64_decode(url.substr(comma + 1));
  if (!bytes || bytes->empty()) return bad("must be base64 (RFC 4648, with + and /), and not empty");
  if (Result<void> room = room_for_images(prompt, 1, bytes->size()); !room) return std::move(room).error();
  prompt.images.push_back(*std::move(bytes));
  return static_cast<std::int32_t>(prompt.images.size()) - 1;
}

// Where a part has its image's URL: chat wraps it, responses does not.
std::int32_t read_image(Fields& part, bool wrapped, Prompt& prompt) {
  std::string url;
  if (wrapped) {
    const Json* holder = part.find("image_url");
    if (holder == nullptr || !holder->is_object()) part.fail("image_url", "must be an object");
    else url = holder->value("url", Json()).is_string() ? holder->at("url").get<std::string>() : "";
  } else {
    if (part.find("file_id") != nullptr) part.fail("file_id", "files are not kept here; send the image as a data: URL");
    url = part.text("image_url", true);
  }
  if (part.failed()) return 0;
  const auto image = add_image(url, prompt);
  if (!image) part.fail(wrapped ? "image_url.url" : "image_url", image.error().message);
  return image ? *image : 0;
}

// Where images may stand: with the prompt that takes them, if the model sees.
struct ImagesGo {
  Prompt* to = nullptr;
  bool sees = false;
};

// A string, or an array of parts, as blocks of text, one for what stands together, and of images.
std::vector<Block> read_parts(Fields& fields, const char* field, const Json& content, const ImagesGo& images = {}) {
  std::vector<Block> blocks;
  if (content.is_string()) {
    blocks.emplace_back().content = TextContent{content.get<std::string>()};
    return blocks;
  }
  if (!content.is_array()) fields.fail(field, "must be a string or an array of content parts");
  for (std::size_t i = 0; content.is_array() && i < content.size(); ++i) {
    if (!content[i].is_object()) {
      fields.fail(fmt::format("{}.{}", field, i), "must be an object");
      return {};
    }
    Fields part(content[i], fields.path(fmt::format("{}.{}", field, i)));
    const std::string type = part.text("type", true);
    const bool image = images.to != nullptr && (type == "image_url" || type == "input_image");
    if (image && !images.sees) part.fail("type", fmt::format("'{}': this model cannot see", type));
    if (image) {
      const std::int32_t number = part.failed() ? 0 : read_image(part, type == "image_url", *images.to);
      blocks.emplace_back().content = ImageContent{number};  // Moved as a whole g++ 12 warns of it.
    } else {
      const bool refusal = type == "refusal";
      if (type != "text" && type != "input_text" && type != "output_text" && !refusal) part.fail("type", fmt::format("'{}' is not read here; this server reads text{}", type, images.to != nullptr ? " and images" : ""));
      std::string piece = part.text(refusal ? "refusal" : "text", true);
      TextContent* before = blocks.empty() ? nullptr : std::get_if<TextContent>(&blocks.back().content);
      if (before == nullptr) blocks.emplace_back().content = TextContent{std::move(piece)};
      else before->text += (before->text.empty() || piece.empty() ? "" : "\n\n") + piece;
    }
    if (part.failed()) {
      fields.take_over(part);
      return {};
    }
  }
  return blocks;
}

std::string read_text(Fields& fields, const char* field, const Json& content) {
  const std::vector<Block> blocks = read_parts(fields, field, content);
  return blocks.empty() ? std::string() : std::get<TextContent>(blocks.front().content).text;
}

// What a tool found; its images stand in the text.
void read_result(Fields& fields, const char* field, const Json& content, const ImagesGo& images, ToolResultContent& result) {
  for (const Block& block : read_parts(fields, field, content, images)) {
    if (!result.text.empty()) result.text += "\n\n";
    if (const auto* image = std::get_if<ImageContent>(&block.content)) result.images.push_back({static_cast<std::uint32_t>(result.text.size()), image->image});
    else result.text += std::get<TextContent>(block.content).text;
  }
}

Result<void> check_schema(const std::string& schema, const std::string& place) {
  const auto made = json_schema_grammar(schema, place);
  if (!made) return Error{ErrorCode::invalid_argument, made.error().message};
  return {};
}

// One function tool; chat wraps it in "function", responses does not.
Result<Tool> read_tool(const Json& json, const std::string& place, bool wrapped) {
  if (!json.is_object()) return wrong(place, "must be an object");
  Fields outer(json, place);
  const std::string type = outer.text("type", true);
  if (outer.failed()) return outer.error();
  if (type != "function") return wrong(place + ".type", fmt::format("'{}' tools cannot run here; only function", type));
  const Json* inner = wrapped ? outer.find("function") : &json;
  if (inner == nullptr || !inner->is_object()) return wrong(place + ".function", "must be an object");
  Fields fields(*inner, wrapped ? place + ".function" : place);
  Tool tool;
  tool.name = fields.text("name", true);
  if (tool.name.empty() || tool.name.size() > 128) fields.fail("name", "must have 1 to 128 characters");
  tool.description = fields.text("description");
  tool.strict = fields.boolean("strict");
  const Json* parameters = fields.find("parameters");
  if (parameters != nullptr && !parameters->is_object()) fields.fail("parameters", "must be an object");
  if (fields.failed()) return fields.error();
  tool.input_schema = parameters == nullptr ? kNoParameters : dump(*parameters);
  return tool;
}

Result<void> read_tools(Fields& fields, Prompt& prompt, bool wrapped) {
  const Json* list = fields.find("tools");
  if (list != nullptr && !list->is_array()) return wrong("tools", "must be an array");
  for (std::size_t i = 0; list != nullptr && i < list->size(); ++i) {
    auto tool = read_tool((*list)[i], fmt::format("tools.{}", i), wrapped);
    if (!tool) return std::move(tool).error();
    prompt.tools.push_back(*std::move(tool));
  }
  prompt.tool_choice.one_at_most = !fields.boolean("parallel_tool_calls", true) && !prompt.tools.empty();
  const Json* choice = fields.find("tool_choice");
  if (choice == nullptr) return {};
  ToolChoice& made = prompt.tool_choice;
  if (*choice == "auto") return {};
  if (*choice == "none") made.kind = ToolChoice::Kind::none;
  else if (*choice == "required") made.kind = ToolChoice::Kind::any;
  else if (choice->is_object()) {
    const Json* named = choice;
    if (wrapped) {
      const auto inner = choice->find("function");
      if (inner == choice->end() || !inner->is_object()) return wrong("tool_choice", "must be auto, none, required or a function by name");
      named = &*inner;
    }
    const auto name = named->find("name");
    if (name == named->end() || !name->is_string()) return wrong("tool_choice", "must be auto, none, required or a function by name");
    made.kind = ToolChoice::Kind::tool;
    made.name = name->get<std::string>();
    if (std::ranges::find(prompt.tools, made.name, &Tool::name) == prompt.tools.end()) return wrong("tool_choice", fmt::format("'{}' is none of the tools", made.name));
  } else {
    return wrong("tool_choice", "must be auto, none, required or a function by name");
  }
  if (prompt.tools.empty() && made.kind == ToolChoice::Kind::any) return wrong("tool_choice", "'required' needs tools");
  return {};
}

// {"type": "text" | "json_object" | "json_schema"}. Chat has the schema one level deeper.
Result<void> read_format(const Json* format, const std::string& place, bool wrapped, Prompt& prompt) {
  if (format == nullptr) return {};
  if (!format->is_object()) return wrong(place, "must be an object");
  Fields fields(*format, place);
  const std::string type = fields.text("type", true);
  if (fields.failed()) return fields.error();
  if (type == "text") return {};
  if (type == "json_object") {
    prompt.json_schema = kAnyObject;
    return {};
  }
  if (type != "json_schema") return wrong(place + ".type", "must be text, json_object or json_schema");
  const Json* holder = wrapped ? fields.find("json_schema") : format;
  const std::string at = wrapped ? place + ".json_schema.schema" : place + ".schema";
  if (holder == nullptr || !holder->is_object()) return wrong(place + ".json_schema", "must be an object");
  const auto schema = holder->find("schema");
  if (schema == holder->end() || schema->is_null()) {
    prompt.json_schema = kAnyObject;
    return {};
  }
  prompt.json_schema = dump(*schema);
  return check_schema(prompt.json_schema, at);
}

Result<ToolUseContent> read_call(const Json& json, const std::string& place, bool wrapped) {
  if (!json.is_object()) return wrong(place, "must be an object");
  Fields outer(json, place);
  ToolUseContent call;
  call.id = outer.text(wrapped ? "id" : "call_id", true);
  const Json* inner = wrapped ? outer.find("function") : &json;
  if (outer.failed()) return outer.error();
  if (inner == nullptr || !inner->is_object()) return wrong(place + ".function", "must be an object");
  Fields fields(*inner, wrapped ? place + ".function" : place);
  call.name = fields.text("name", true);
  call.input = fields.text("arguments");
  if (fields.failed()) return fields.error();
  // What a model once said, as text: it may be no JSON. The template wants an object.
  if (const Json input = Json::parse(call.input, nullptr, false); !input.is_object()) call.input = dump(Json{{"arguments", call.input}});
  if (inner->value("arguments", "").empty()) call.input = "{}";
  return call;
}

void add_result(std::vector<Message>& messages, ToolResultContent result, bool after_result) {
  if (!after_result) messages.push_back(Message(Role::user, std::vector<Block>{}));
  messages.back().blocks.push_back(Block{std::move(result)});
}

Result<std::vector<Message>> read_messages(const Json& list, const ImagesGo& images) {
  if (!list.is_array() || list.empty()) return wrong("messages", "must be a non-empty array");
  std::vector<Message> messages;
  bool after_result = false;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string place = fmt::format("messages.{}", i);
    if (!list[i].is_object()) return wrong(place, "must be an object");
    Fields fields(list[i], place);
    const std::string role = fields.text("role", true);
    if (fields.failed()) return fields.error();
    const Json* content = fields.find("content");
    if (role == "tool") {
      ToolResultContent result{fields.text("tool_call_id", true), "", false};
      if (content != nullptr) read_result(fields, "content", *content, images, result);
      if (fields.failed()) return fields.error();
      add_result(messages, std::move(result), after_result);
      after_result = true;
      continue;
    }
    after_result = false;
    if (role == "user") {
      if (content == nullptr) fields.fail("content", "field required");
      else messages.emplace_back(Role::user, read_parts(fields, "content", *content, images));
      if (fields.failed()) return fields.error();
      continue;
    }
    std::string text = content == nullptr ? std::string() : read_text(fields, "content", *content);
    if (role == "assistant") {
      Message message(Role::assistant, std::vector<Block>{});
      if (std::string thought = fields.text("reasoning_content"); !thought.empty()) message.blocks.push_back(Block{ThinkingContent{std::move(thought), ""}});
      if (!text.empty()) message.blocks.push_back(Block{TextContent{std::move(text)}});
      const Json* calls = fields.find("tool_calls");
      if (calls != nullptr && !calls->is_array()) fields.fail("tool_calls", "must be an array");
      if (calls == nullptr && content == nullptr && fields.find("refusal") == nullptr) fields.fail("content", "field required");
      if (fields.failed()) return fields.error();
      for (std::size_t c = 0; calls != nullptr && c < calls->size(); ++c) {
        auto call = read_call((*calls)[c], fmt::format("{}.tool_calls.{}", place, c), true);
        if (!call) return std::move(call).error();
        message.blocks.push_back(Block{*std::move(call)});
      }
      messages.push_back(std::move(message));
      continue;
    }
    if (role != "system" && role != "developer") fields.fail("role", "must be system, developer, user, assistant or tool");
    if (content == nullptr) fields.fail("content", "field required");
    if (fields.failed()) return fields.error();
    messages.emplace_back(Role::system, std::move(text));
  }
  return messages;
}

Result<std::vector<Message>> read_items(const Json& input, const ImagesGo& images) {
  std::vector<Message> messages;
  if (input.is_string()) {
    messages.emplace_back(Role::user, input.get<std::string>());
    return messages;
  }
  if (!input.is_array() || input.empty()) return wrong("input", "must be a string or a non-empty array of items");
  enum class Last { other, call, result };
  Last last = Last::other;
  for (std::size_t i = 0; i < input.size(); ++i) {
    const std::string place = fmt::format("input.{}", i);
    if (!input[i].is_object()) return wrong(place, "must be an object");
    Fields fields(input[i], place);
    std::string type = fields.text("type");
    if (type.empty()) type = "message";
    if (type == "reasoning") continue;  // Its content is sealed or a summary; the template could not render it.
    if (type == "function_call") {
      auto call = read_call(input[i], place, false);
      if (!call) return std::move(call).error();
      // Calls of one turn stand in one message, behind its text.
      const bool joins = !messages.empty() && messages.back().role == Role::assistant;
      if (!joins) messages.push_back(Message(Role::assistant, std::vector<Block>{}));
      messages.back().blocks.push_back(Block{*std::move(call)});
      last = Last::call;
      continue;
    }
    if (type == "function_call_output") {
      const Json* output = fields.find("output");
      ToolResultContent result{fields.text("call_id", true), "", false};
      if (output != nullptr) read_result(fields, "output", *output, images, result);
      if (fields.failed()) return fields.error();
      add_result(messages, std::move(result), last == Last::result);
      last = Last::result;
      continue;
    }
    if (type != "message") return wrong(place + ".type", fmt::format("'{}' items are not read here", type));
    last = Last::other;
    const std::string role = fields.text("role", true);
    const Json* content = fields.find("content");
    if (content == nullptr) fields.fail("content", "field required");
    std::vector<Block> blocks = content == nullptr ? std::vector<Block>() : read_parts(fields, "content", *content, role == "user" ? images : ImagesGo());
    if (role != "user" && role != "system" && role != "developer" && role != "assistant") fields.fail("role", "must be system, developer, user or assistant");
    if (fields.failed()) return fields.error();
    messages.emplace_back(role == "user" ? Role::user : role == "assistant" ? Role::assistant : Role::system, std::move(blocks));
  }
  if (messages.empty()) return wrong("input", "has nothing to answer");
  return messages;
}

}  // namespace

Result<Request> parse_chat(std::string_view text, bool sees) {
  const Result<Json> body = parse_request_json(text);
  if (!body) return body.error();
  Request request;
  Fields fields(*body, "");
  // The newer name wins.
  read_common(fields, request, fields.find("max_completion_tokens") != nullptr ? "max_completion_tokens" : "max_tokens");
  fields.only("n", 1, "only one choice is made here");
  fields.only("logprobs", false, "log probabilities are not reported here");
  fields.only("logit_bias", Json::object(), "is not applied here");
  fields.only("functions", Json::array(), "is the old way; use tools");
  fields.only("audio", Json::object(), "this server speaks text only");
  Prompt& prompt = request.asked.prompt;
  read_effort(fields.text("reasoning_effort"), prompt.thinking);
  if (fields.failed()) return fields.error();
  if (Result<void> tools = read_tools(fields, prompt, true); !tools) return std::move(tools).error();
  if (Result<void> format = read_format(fields.find("response_format"), "response_format", true, prompt); !format) return std::move(format).error();
  if (fields.failed()) return fields.error();
  const Json* list = fields.find("messages");
  auto messages = read_messages(list == nullptr ? Json() : *list, {&prompt, sees});
  if (!messages) return std::move(messages).error();
  prompt.messages = *std::move(messages);
  return request;
}

Result<Request> parse_completion(std::string_view text, bool) {
  const Result<Json> body = parse_request_json(text);
  if (!body) return body.error();
  Request request;
  Fields fields(*body, "");
  read_common(fields, request, "max_tokens");
  if (fields.find("max_tokens") == nullptr) request.asked.max_tokens = 16;  // As documented there.
  fields.only("n", 1, "only one choice is made here");
  fields.only("best_of", 1, "only one choice is made here");
  fields.only("echo", false, "is not done here");
  fields.only("logprobs", 0, "log probabilities are not reported here");
  fields.only("logit_bias", Json::object(), "is not applied here");
  fields.only("suffix", "", "is not supported: the model continues a text, it does not fill one in");
  if (fields.failed()) return fields.error();
  const Json* prompt = fields.find("prompt");
  if (prompt != nullptr && prompt->is_array() && prompt->size() == 1 && !prompt->front().is_number()) prompt = &prompt->front();
  if (prompt == nullptr) return wrong("prompt", "field required");
  Prompt& made = request.asked.prompt;
  if (prompt->is_string()) {
    made.text = prompt->get<std::string>();
    if (made.text.empty()) return wrong("prompt", "must not be empty");
    return request;
  }
  if (!prompt->is_array() || prompt->empty()) return wrong("prompt", "must be one string or one array of token ids");
  for (const Json& token : *prompt) {
    if (!token.is_number_integer() || token.get<std::int64_t>() < 0 || token.get<std::int64_t>() > INT32_MAX) return wrong("prompt", "must be one string or one array of token ids");
    made.tokens.push_back(token.get<TokenId>());
  }
  return request;
}

Result<Request> parse_response(std::string_view text, bool sees) {
  const Result<Json> body = parse_request_json(text);
  if (!body) return body.error();
  Request request;
  Fields fields(*body, "");
  read_common(fields, request, "max_output_tokens");
  fields.only("background", false, "responses are not run in the background here");
  fields.only("previous_response_id", Json(), "responses are not kept here; send the whole input");
  fields.only("conversation", Json(), "conversations are not kept here; send the whole input");
  fields.only("prompt", Json(), "prompt templates are not kept here");
  Prompt& prompt = request.asked.prompt;
  if (const Json* reasoning = fields.find("reasoning"); reasoning != nullptr && reasoning->is_object()) {
    Fields inner(*reasoning, "reasoning");
    read_effort(inner.text("effort"), prompt.thinking);
    if (inner.failed()) return inner.error();
  }
  const std::string instructions = fields.text("instructions");
  if (fields.failed()) return fields.error();
  if (Result<void> tools = read_tools(fields, prompt, false); !tools) return std::move(tools).error();
  if (const Json* format = fields.find("text"); format != nullptr && format->is_object() && format->contains("format")) {
    if (Result<void> read = read_format(&format->at("format"), "text.format", false, prompt); !read) return std::move(read).error();
  }
  if (fields.failed()) return fields.error();
  const Json* input = fields.find("input");
  auto messages = read_items(input == nullptr ? Json() : *input, {&prompt, sees});
  if (!messages) return std::move(messages).error();
  prompt.messages = *std::move(messages);
  if (!instructions.empty()) prompt.messages.insert(prompt.messages.begin(), Message(Role::system, instructions));

  Json echo = Json::object();
  const auto repeat = [&](const char* field, Json standard) {
    const Json* value = fields.find(field);
    if (value != nullptr) standard = *value;
    echo[field] = std::move(standard);
  };
  repeat("instructions", nullptr);
  repeat("max_output_tokens", nullptr);
  repeat("metadata", Json::object());
  repeat("parallel_tool_calls", true);
  repeat("reasoning", {{"effort", nullptr}, {"summary", nullptr}});
  repeat("temperature", nullptr);
  repeat("text", {{"format", {{"type", "text"}}}});
  repeat("tool_choice", "auto");
  repeat("tools", Json::array());
  repeat("top_p", nullptr);
  request.echo = dump(echo);
  return request;
}

}  // namespace pensieve::openai
