"""Scores a GGUF through the real engine, greedily, on the held-out split.

    python3 evaluate.py MODEL.gguf [--cases 200] [--skills copy,count] [--out scores.json] [--show 3]
    python3 evaluate.py MODEL.gguf --template    ids and text of this code, the template and the engine agree

The server runs as a child on the loopback. Chats are rendered by the template
inside the file, with the engine's own tokenizer and its own Jinja, so a fault
in any of them shows as a bad score.
"""

import argparse
import concurrent.futures
import json
import re
import sys
import time
from pathlib import Path

import agent_skills as agent
import curriculum
import engine
import qa
import skills
from chat import prompt
from words import Source

HERE = Path(__file__).parent


def plain(fn):
    return lambda s: (lambda r: (r[0], None, r[1]))(fn(s))


def needle(tokens):
    def make(s):
        messages, answer = skills.needle(s, tokens)
        return messages, None, answer
    return make


def stops(s):
    """Any exchange at all: judged only by whether it ends by itself, and in time."""
    messages, tools = curriculum.chat(s)
    while messages[-1]["role"] != "assistant": messages = messages[:-1]
    return messages, tools, ("stops", None)


def long_count(s):
    messages, answer = skills.count(s, long=True)
    return messages, None, answer


def not_there(s):
    while True:
        q, a = qa.not_there(s)
        if s.mine(q): return [{"role": "user", "content": q}, {"role": "assistant", "content": a}], a


def fresh(s):
    """The questions of fresh.txt, one after the other."""
    s.at = getattr(s, "at", -1) + 1
    q, a = (pairs := qa.fresh())[s.at % len(pairs)]
    return [{"role": "user", "content": q}, {"role": "assistant", "content": a}], a


SKILLS = {
    "pensieve_qa": plain(qa.ask), "pensieve_settings": plain(qa.setting), "pensieve_fresh": plain(fresh), "pensieve_unknown": plain(not_there), "greet": plain(skills.greet), "copy": plain(skills.copy), "count": plain(skills.count), "count_long": long_count,
    "arithmetic": plain(skills.arithmetic), "sequences": plain(skills.sequences), "recall": plain(skills.recall),
    "needle_4k": needle(3600), "needle_16k": needle(14500), "needle_30k": needle(22000), "system_rule": agent.system_rule, "persona_name": agent.persona_name, "json": agent.json_shape,
    "tool_call": lambda s: agent.tools(s, s.choice(["call", "call", "two"])), "tool_result": lambda s: agent.tools(s, "use"),
    "tool_none": lambda s: agent.tools(s, s.choice(["none", "none", "unfit"])), "thinking": agent.thinking, "small_talk": plain(skills.small_talk),
    "story": plain(skills.story), "small_tasks": plain(skills.small_tasks), "unknown": plain(skills.unknown), "stops": stops,
}
SLOW = {"needle_16k": 16, "needle_30k": 32}   # thousands of tokens of context that a case needs


def calls_of(text):
    out = []
    for block in re.findall(r"<tool_call>\n(.*?)\n</tool_call>", text, re.S):
        try:
            call = json.loads(block)
            out.append((call["name"], call["arguments"]))
        except (ValueError, KeyError, TypeError):
            return None
    return out


def good(check, text, ended):
    """Is this answer right?"""
    if not ended: return False
    if isinstance(check, str): return text == check
    kind, data = check
    if kind == "has": return all(d in text for d in data)
    if kind == "list": return len(w := text.split(", ")) == data[1] == len(set(w)) and set(w) <= set(data[0])
    if kind == "json":
        try: return json.loads(text) == data
        except ValueError: return False
    if kind == "calls": return calls_of(text) == [(n, a) for n, a in data]
    if kind == "stops": return True
    if kind == "think":
        thought, found, answer = text.partition("\n</think>\n\n")
        return bool(found and thought.strip()) and good(data, answer, ended)
    raise ValueError(kind)


def cases(name, n, seed=99):
    source = Source(f"{seed}{name}", "eval")
    return [SKILLS[name](source) for _ in range(n)]


def answer(server, case):
    messages, tools, check = case
    wants_thought = check[0] == "think"
    text = prompt(messages[:-1], tools, wants_thought)
    reply = server.post("/completion", {"prompt": text, "temperature": 0, "top_k": 1, "n_predict": 4000, "cache_prompt": False, "special": False})
    return reply["content"], reply["stop_type"] == "eos", reply["tokens_predicted"]


def score(model, names, n, show, threads, slots):
    scores = {}
    for slow in (False, True):
        group = [x for x in names if (x in SLOW) == slow]
        if not group: continue
        with engine.Server(model, context=32768 if slow else 8192, slots=1 if slow else slots, threads=threads) as server, \
                concurrent.futures.ThreadPoolExecutor(1 if slow else slots) as pool:
            for name in group:
                begin = time.time()
                todo = cases(name, n)
                results = list(pool.map(lambda c: answer(server, c), todo))
                marks = [good(c[2], t, e) for c, (t, e, _) in zip(todo, results)]
                scores[name] = {"cases": n, "right": sum(marks), "score": round(100 * sum(marks) / n, 1)}
                print(f"{name:14} {scores[name]['score']:5.1f} %  of {n}  ({time.time() - begin:.0f} s)", flush=True)
                for (m, _, check), (text, ended, _), ok in [x for x in zip(todo, results, marks) if not x[2]][:show]:
                    print(f"    asked  {m[-2]['content'][-160:]!r}\n    wanted {str(check)[:200]!r}\n    got    {text[:200]!r} {'' if ended else '(did not end)'}")
    return scores


def agreement(model, n=300):
    """The ids that training used, against the engine's, for n chats; and the engine's rendering of the template."""
    tokens = curriculum.Tokens(HERE / "tokenizer.model")
    source = Source("agree", "eval")
    wrong = 0
    with engine.Server(model) as server:
        for i in range(n):
            messages, tools = curriculum.chat(source)
            text = prompt(messages[:-1], tools, i % 5 == 0)
            ours = tokens.encode(text)
            theirs = server.post("/tokenize", {"content": text, "add_special": True, "parse_special": True})["tokens"]
            body = {"messages": messages[:-1], "chat_template_kwargs": {"enable_thinking": i % 5 == 0}}
            if tools: body["tools"] = tools
            rendered = server.post("/apply-template", body)["prompt"]
            if ours != theirs or rendered != text:
                wrong += 1
                if wrong <= 3:
                    print("ids differ" if ours != theirs else "text differs")
                    if ours != theirs: k = next((k for k, (a, b) in enumerate(zip(ours, theirs)) if a != b), 0); print(ours[k-3:k+8], theirs[k-3:k+8])
                    else: k = next((k for k, (a, b) in enumerate(zip(text, rendered)) if a != b), min(len(text), len(rendered))); print(repr(text[max(0,k-60):k+80]), "\n", repr(rendered[max(0,k-60):k+80]))
    print(f"{n - wrong} of {n} chats agree")
    return wrong == 0


def main():
    a = argparse.ArgumentParser()
    a.add_argument("model")
    a.add_argument("--cases", type=int, default=200)
    a.add_argument("--skills", default="")
    a.add_argument("--out")
    a.add_argument("--show", type=int, default=0)
    a.add_argument("--threads", type=int, default=2)
    a.add_argument("--slots", type=int, default=4)
    a.add_argument("--template", action="store_true")
    o = a.parse_args()
    if o.template:
        sys.exit(0 if agreement(o.model) else 1)
    scores = score(o.model, o.skills.split(",") if o.skills else list(SKILLS), o.cases, o.show, o.threads, o.slots)
    if o.out:
        Path(o.out).write_text(json.dumps(scores, indent=1) + "\n")


if __name__ == "__main__":
    main()
