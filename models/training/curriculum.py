"""The mix: which chats are made, how often, and how they become rows of tokens.

    python3 curriculum.py show 20         prints twenty chats
    python3 curriculum.py text 20000 F    writes the tokenizer's training text
"""

import sys

import agent_skills as agent
import qa
import skills
from chat import assistant, render, system, user
from words import Source

# Weight of each exchange; the harder skills and the Q&A have the most.
EXCHANGES = [
    (40, qa.ask), (7, qa.setting), (3, skills.greet), (14, skills.copy), (9, skills.count), (14, skills.arithmetic), (9, skills.sequences),
    (10, skills.recall), (4, skills.small_talk), (3, skills.story), (6, skills.small_tasks), (5, skills.unknown),
]
CHATS = [(15, agent.system_rule), (2, agent.persona_name), (16, agent.json_shape), (27, agent.tools), (11, agent.thinking), (2, agent.thinking_tool)]
# At the very start copying is learnt before all else: whoever can copy learns tools and JSON quickly.
EARLY = [(6, lambda s: (skills.copy(s)[0], None)), (2, lambda s: agent.json_shape(s)[:2]), (2, lambda s: agent.tools(s, "call")[:2]), (1, lambda s: (skills.small_tasks(s)[0], None))]


def weighted(s, table):
    return s.choices([f for _, f in table], [w for w, _ in table])[0]


def agent_prompt(s):
    """A long system prompt of the kind coding agents send. Nothing in it changes an answer."""
    topics = ["tone", "tools", "files", "tasks", "commits", "environment", "memory", "style", "safety", "output", "context", "notes"]
    out = [s.choice(PERSONA_LONG)]
    for topic in s.sample(topics, s.randint(2, 7)):
        out.append("\n" + s.choice(["# ", "## "]) + topic.capitalize())
        for _ in range(s.randint(1, 7)):
            out.append(s.choice(["- ", "- ", "", " - "]) + s.choice([
                f"Use the {s.noun()} tool when the user asks about a {s.noun()}.", f"Never change {s.path()} without asking first.",
                f"Prefer a {s.noun()} over a {s.noun()} if both are there.", f"IMPORTANT: keep the {s.noun()} {s.choice(skills.ADJECTIVES)}.",
                f"You can read files such as `{s.path()}`.", f"When the {s.noun()} is ready, tell the user about the {s.noun()}.",
                f"Working directory: /home/{s.name().lower()}/{s.noun()}", f"Today's date is 2026-{s.randint(1,12):02d}-{s.randint(1,28):02d}.",
                s.sentence(), s.sentence()]))
    return "\n".join(out)


PERSONA_LONG = ["You are an interactive agent that helps users with software tasks.", "You are a coding assistant in a terminal.",
                "You are Claude Code, a command line tool for coding.", "You are an agent. Use the tools that you have to help the user.",
                "You are an assistant for software engineers."]


def reminder(s):
    return f"<system-reminder>\n{' '.join(s.sentence() for _ in range(s.randint(1, 5)))}\n</system-reminder>\n"


def exchanges(s, n):
    messages = []
    for _ in range(n):
        messages += weighted(s, EXCHANGES)(s)[0]
    return messages


def chat(s):
    """One chat of ordinary length: (messages, tools)."""
    if s.early and s.chance(.6): return weighted(s, EARLY)(s)
    r = s.random()
    if r < .42:
        messages, tools, _ = weighted(s, CHATS)(s)
        if s.chance(.2): messages = messages + weighted(s, EXCHANGES)(s)[0] if not tools and not messages[0]["role"] == "system" else messages
        return messages, tools
    if r < .78: messages, tools = exchanges(s, 1), None
    elif r < .93: messages, tools = exchanges(s, s.randint(2, 6)), None
    elif r < .97: return skills.needle(s, s.choice([200, 400, 800, 1400]))[0], None
    else: return agent_like(s)
    if s.chance(.25): messages = [system(s.choice(agent.PERSONAS))] + messages
    return messages, tools


def agent_like(s, size=1):
    """What an agent sends: tools, a long system prompt, reminders, system turns in the middle."""
    messages, tools, _ = agent.tools(s) if s.chance(.7) else (exchanges(s, 1), None, None)
    if messages[0]["role"] == "system": messages = messages[1:]
    first = messages[0]["content"]
    if s.chance(.4): messages[0] = user(reminder(s) + first)
    if s.chance(.3): messages.insert(1, system("\n".join(s.sentence() for _ in range(s.randint(1, 6 * size)))))
    prompt = "\n".join(agent_prompt(s) for _ in range(size))
    if s.chance(.2): prompt = agent.PERSONAS[0] + "\n" + prompt
    return [system(prompt)] + messages, tools


def long_chat(s, tokens):
    """One chat of about `tokens` tokens: a needle, many turns with facts, a long count, a big agent prompt."""
    r = s.random()
    if r < .5:
        n = int(tokens * s.uniform(.3, .93))
        messages = skills.needle(s, n)[0]
        if s.chance(.5):   # more than one question about the same text
            messages = messages + exchanges(s, s.randint(1, 3))
        return messages, None
    if r < .85:
        told = [f for f in (skills.facts(s) for _ in range(s.randint(2, 6)))]
        seen, facts = set(), []
        for f in told:
            key = f[2].split(" is ")[0]
            if key not in seen: seen.add(key); facts.append(f)
        messages, size = [], 0
        for f in facts: messages += [user(f[0]), assistant("Thank you, I will remember that." if "emember" not in f[0] else "I will remember that.")]
        while size < tokens * .7:
            more = weighted(s, EXCHANGES_LONG)(s)[0]
            messages += more
            size += sum(len(m["content"] or "") for m in more) // 3 + 8 * len(more)
            if s.chance(.15):
                f = s.choice(facts)
                messages += [user(f[1]), assistant(f[2])]
        for f in facts: messages += [user(f[1]), assistant(f[2])]
        return messages, None
    if r < .93:
        return agent_like(s, max(1, tokens // 1200))
    messages, _ = skills.count(s, long=True)
    return messages + (skills.copy(s, long=True)[0]), None


# Recall is left out: its facts would contradict those of long_chat.
EXCHANGES_LONG = [(w, f) for w, f in EXCHANGES if f is not skills.recall and f is not skills.greet]


class Tokens:
    """Chats to token ids, exactly as the engine will see the rendered template."""

    def __init__(self, model_file):
        import re
        import sentencepiece
        from chat import CONTROL
        self.sp = sentencepiece.SentencePieceProcessor(model_file=str(model_file))
        self.control = {t: self.sp.piece_to_id(t) for t in CONTROL}
        self.split = re.compile("(" + "|".join(map(re.escape, CONTROL)) + ")").split

    def encode(self, text):
        out = []
        for part in self.split(text):
            if part in self.control: out.append(self.control[part])
            elif part: out.extend(self.sp.encode(part))
        return out

    def chat(self, messages, tools=None, compact=False):
        """(ids, marks) of a whole chat, closed by <|endoftext|>. Marks: 1 the assistant's own, 0 the rest, 2 never
        learnt: whether there is thinking is the client's choice, so the opening of it must not become a habit."""
        ids, learn = [], []
        for text, wanted in render(messages, tools, compact):
            piece = self.encode(text)
            ids += piece
            learn += [1 if wanted else 2 if text == "<think>\n" else 0] * len(piece)
        return ids + [self.control["<|endoftext|>"]], learn + [0]


def rows(s, tokens, length):
    """Endless rows of `length` + 1 ids with their marks; a row starts with a chat's first token."""
    ids, learn = [], []
    while True:
        messages, tools = long_chat(s, int(s.uniform(.4, 1) * length)) if length > 4096 and s.chance(.7) else chat(s)
        a, b = tokens.chat(messages, tools, s.chance(.12))
        ids += a
        learn += b
        if len(ids) > length:
            yield ids[:length + 1], learn[:length + 1]
            ids, learn = [], []


if __name__ == "__main__":
    if sys.argv[1] == "show":
        s = Source(7)
        for _ in range(int(sys.argv[2])):
            m, t = chat(s)
            print("".join(x if not k else f"\033[32m{x}\033[0m" for x, k in render(m, t)), "-" * 60)
    else:
        s = Source(11)
        with open(sys.argv[3], "w", encoding="utf-8") as out:
            for questions, answer, _ in qa.ENTRIES:
                for _ in range(6): out.write("\n".join(qa.split_questions(questions, "train")) + "\n" + answer + "\n")
            for i in range(int(sys.argv[2])):
                m, t = chat(s)
                for text, _ in render(m, t):
                    out.write(text + "\n")
