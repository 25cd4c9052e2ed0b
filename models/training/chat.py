"""Chats as training text: the same rendering as template.jinja, in Python.

A message is a dict in the OpenAI shape: role, content, and for the assistant
optionally reasoning_content and tool_calls. render() returns pieces of
(text, learn); learn is true for what the assistant itself writes, up to and
including its <|end|>. evaluate.py --template proves that this, the Jinja
template and the engine's own rendering give the same token ids.
"""

import json

# Order matters: a control token's id is its place here, after <unk>.
CONTROL = ["<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
MARKERS = ["<tools>", "</tools>", "<tool_call>", "</tool_call>",
           "<tool_response>", "</tool_response>", "<think>", "</think>"]


def user(text):
    return {"role": "user", "content": text}


def system(text):
    return {"role": "system", "content": text}


def assistant(text, think=None, calls=None):
    message = {"role": "assistant", "content": text}
    if think:
        message["reasoning_content"] = think
    if calls:
        message["tool_calls"] = [{"type": "function", "function": {"name": n, "arguments": a}}
                                 for n, a in calls]
    return message


def tool_result(text):
    return {"role": "tool", "content": text}


def render(messages, tools=None, compact=False):
    """Pieces of (text, learn). compact: JSON without spaces, as some clients send tools."""
    def dump(value):
        return json.dumps(value, ensure_ascii=False,
                          separators=(",", ":") if compact else (", ", ": "))

    out = []
    first_is_system = bool(messages) and messages[0]["role"] == "system"
    if tools or first_is_system:
        text = "<|system|>\n"
        if tools:
            text += "<tools>\n" + "".join(dump(t) + "\n" for t in tools) + "</tools>\n"
        if first_is_system:
            text += messages[0]["content"]
        out.append((text + "<|end|>\n", False))
    for i, m in enumerate(messages):
        role = m["role"]
        if role == "system":
            if i > 0:
                out.append(("<|system|>\n" + m["content"] + "<|end|>\n", False))
        elif role == "user":
            out.append(("<|user|>\n" + m["content"] + "<|end|>\n", False))
        elif role == "assistant":
            out.append(("<|assistant|>\n", False))
            text = ""
            if m.get("reasoning_content"):
                # The generation prompt opens the thinking, so <think> is not learnt.
                out.append(("<think>\n", False))
                text = m["reasoning_content"] + "\n</think>\n\n"
            text += m["content"] or ""
            for k, call in enumerate(m.get("tool_calls") or []):
                if m["content"] or k:
                    text += "\n"
                f = call["function"]
                text += ('<tool_call>\n{"name": "' + f["name"] + '", "arguments": '
                         + json.dumps(f["arguments"], ensure_ascii=False) + "}\n</tool_call>")
            out.append((text + "<|end|>", True))
            out.append(("\n", False))
        elif role == "tool":
            before = i > 0 and messages[i - 1]["role"] == "tool"
            after = i + 1 < len(messages) and messages[i + 1]["role"] == "tool"
            out.append((("\n" if before else "<|user|>\n") + "<tool_response>\n" + m["content"]
                        + "\n</tool_response>" + ("" if after else "<|end|>\n"), False))
    return out


def prompt(messages, tools=None, thinking=False):
    """The text to complete: the chat so far and the opened assistant turn."""
    text = "".join(t for t, _ in render(messages, tools))
    return text + "<|assistant|>\n" + ("<think>\n" if thinking else "")
