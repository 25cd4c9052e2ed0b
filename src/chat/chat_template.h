// From messages to the text a model reads: the Jinja template that the model's
// file carries, run by minja, or a built-in one by name.
//
//   Owns     the parsed template.
//   Threads  one at a time; the worker keeps it on its wire thread.
//   Errors   invalid_argument: the template does not parse, or refuses these
//            messages (its own words are passed on).
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "core/request.h"
#include "engine/engine.h"

namespace pensieve {

class ChatTemplate {
 public:
  // `choice`: empty for the model's own (a model without one gets chatml), the
  // name of a built-in (chatml, phi3, llama3, plain), or Jinja source.
  static Result<ChatTemplate> make(std::string_view choice, const std::string& from_model, const Vocabulary& vocabulary);

  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  // The prompt up to where the assistant speaks. A system message between turns
  // is rendered in place; a template that refuses it gets it folded into the
  // user message beside it.
  Result<std::string> render(const std::vector<Message>& messages) const;

  const std::string& name() const;  // "model", a built-in's name, or "custom".

 private:
  struct Parsed;
  explicit ChatTemplate(std::unique_ptr<Parsed> parsed);
  std::unique_ptr<Parsed> parsed_;
};

}  // namespace pensieve
