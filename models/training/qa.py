"""The questions and answers about Pensieve in qa/*.txt.

A file holds entries: one or more lines `Q: ...`, then one line `A: ...`, then
a blank line. The first wordings are trained on; the last `Q:` of an entry that
has four or more is kept for the held-out split, and so are some of the
light variations that ask() makes.
"""

import re
from pathlib import Path

from chat import assistant, user

LEADS = ["", "", "", "", "", "", "Hi, ", "Hello, ", "Hey, ", "Please tell me: ", "Quick question: ", "I wonder: ", "Question: ", "Sorry, ", "Hi! ", "One more question: "]
TAILS = ["", "", "", "", "", " Thanks.", " Please help.", " Thank you!", " Please."]


def entries(folder=Path(__file__).parent / "qa"):
    """[(questions, answer)] of all files, in a fixed order."""
    out = []
    for file in sorted(folder.glob("*.txt")):
        questions = []
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            if line.startswith("Q: "):
                questions.append(line[3:].strip())
            elif line.startswith("A: "):
                if not questions:
                    raise ValueError(f"{file.name}:{number}: an answer without a question")
                out.append((questions, line[3:].strip().replace("\\n", "\n")))
                questions = []
            elif line.strip() and not line.startswith("#"):
                raise ValueError(f"{file.name}:{number}: neither Q:, A:, # nor blank")
    return out


ENTRIES = entries()


def split_questions(questions, split):
    if len(questions) < 4:
        return questions
    return questions[-1:] if split == "eval" else questions[:-1]


# The same question put another way: beginnings that may stand for each other.
WAYS = [
    ("How do I ", ["How can I ", "How would I ", "How to ", "Tell me how to ", "Explain how to ", "Show me how to ", "What is the way to ", "I want to know how to ", "What must I do to "]),
    ("How can I ", ["How do I ", "How could I ", "How to ", "Tell me how to ", "I would like to know how to "]),
    ("What is ", ["What's ", "Tell me about ", "Explain ", "Tell me what is ", "Can you explain ", "Do you know what is ", "What exactly is "]),
    ("What are ", ["Tell me about ", "Explain ", "Do you know what are ", "Tell me what are "]),
    ("Which ", ["What ", "Tell me which ", "Do you know which "]),
    ("Can I ", ["Is it possible to ", "May I ", "Could I ", "Am I able to ", "Is there a way to "]),
    ("Does Pensieve ", ["Does this server ", "Does it ", "Does the server ", "Will Pensieve "]),
    ("Is Pensieve ", ["Is this server ", "Is it ", "Is the server "]),
    ("I get ", ["Why do I get ", "I keep getting ", "I see ", "What can I do about ", "My client shows ", "Suddenly I get "]),
    ("Why is ", ["Tell me why is ", "What is the reason that ", "How come "]),
    ("List the ", ["Show the ", "Give me the ", "Name the ", "What are the ", "Tell me the "]),
    ("Do I need ", ["Must I have ", "Is there a need for ", "Do I really need ", "Should I have "]),
    ("Where do I ", ["Where can I ", "In which place do I ", "Where should I "]),
]


def vary(s, q):
    """Light changes: another beginning, case, end mark, a word before or after."""
    if s.chance(.3):
        for begin, others in WAYS:
            if q.startswith(begin):
                q = s.choice(others) + q[len(begin):]
                break
        m = re.fullmatch(r"What does (.+) do\?", q)
        if m and s.chance(.5): q = s.choice(["What is {} for?", "Explain {}.", "What is the purpose of {}?", "Tell me about {}.", "What happens with {}?"]).format(m[1])
    if s.chance(.12): q = q[0].lower() + q[1:]
    if s.chance(.12): q = q.lower()
    if s.chance(.2): q = q.rstrip("?.")
    lead = s.choice(LEADS)
    if lead and lead.endswith(", ") and q.split()[0] not in ("I", "Pensieve", "Claude", "ANTHROPIC_BASE_URL"):
        q = q[0].lower() + q[1:] if q[1:2].islower() or q[1:2] == " " else q
    return lead + q + (s.choice(TAILS) if q[-1:] in "?." else "")


def typo(s, q):
    """One slip of the finger in a longer word."""
    words = q.split(" ")
    i = s.randrange(len(words))
    w = words[i]
    if len(w) < 5 or not w.isalpha():
        return q
    k = s.randint(1, len(w) - 2)
    words[i] = s.choice([w[:k] + w[k + 1:], w[:k] + w[k + 1] + w[k] + w[k + 2:], w[:k] + w[k] + w[k:]])
    return " ".join(words)


SETTINGS = [
    # flag, what it sets, smallest, largest, what it says
    ("port", ["the port", "the port number"], 1024, 65535, "The server then listens on port {}."),
    ("slots", ["the slots", "the number of slots", "the parallel requests"], 1, 64, "Then {} requests run at once."),
    ("queue", ["the queue", "the waiting line", "the length of the queue"], 1, 999, "Then {} requests may wait."),
    ("context", ["the context", "the context size", "the context window"], 1024, 262144, "Then one conversation may have {} tokens."),
    ("threads", ["the threads", "the number of threads", "the CPU threads"], 1, 128, "The engine then uses {} threads."),
    ("grace", ["the grace time", "the grace period"], 0, 600, "Running streams may then go on for {} seconds after Ctrl-C."),
    ("gpu-layers", ["the GPU layers", "the number of GPU layers"], 0, 99, "Then {} layers go to the GPU."),
]


def setting(s):
    """A question with a number or a name in it that no list can hold."""
    while True:
        k = s.randrange(10)
        if k < 6:
            flag, names, low, high, then = s.choice(SETTINGS)
            n = s.choice([8192, 16384, 32768, 65536, 131072, 4096, 40960]) if flag == "context" and s.chance(.6) else s.randint(low, high)
            name = s.choice(names)
            q = s.choice([f"How do I set {name} to {n}?", f"How can I change {name} to {n}?", f"Set {name} to {n}.", f"I want {name} to be {n}.", f"I want to set {name} to {n}, how?",
                          f"What does --{flag} {n} do?", f"What is the flag to set {name} to {n}?", f"Change {name} to {n}, how?"])
            a = f"Start it with --{flag} {n}: pensieve serve --{flag} {n}. " + then.format(n)
        elif k == 6:
            m = s.choice([2048, 4096, 8192, 16384, 32768, 65536, 131072])
            n = m + s.randint(1, m)
            q = s.choice([f"What does \"prompt is too long: {n} tokens > {m} maximum\" mean?", f"prompt is too long: {n} tokens > {m} maximum", f"I get: prompt is too long: {n} tokens > {m} maximum",
                          f"Error: prompt is too long: {n} tokens > {m} maximum. What now?"])
            a = f"Your conversation has {n} tokens, but the context is {m}. Raise --context above {n}, or shorten the prompt."
        elif k == 7:
            n = s.randint(1024, 65535)
            if n == 7777: continue
            q = s.choice([f"My server listens on port {n}, how do I connect Claude Code?", f"How do I connect Claude Code to port {n}?", f"Claude Code with port {n}?"])
            a = f"Start it with two variables:\nANTHROPIC_BASE_URL=http://127.0.0.1:{n} ANTHROPIC_AUTH_TOKEN=dummy claude"
        elif k == 8:
            f = s.noun() + s.choice(["", "", "-q4", "-7b", "-instruct", "-mini"]) + ".gguf"
            q = s.choice([f"How do I serve {f}?", f"How do I load the model {f}?", f"How do I start the server with {f}?", f"I have a file {f}, how do I use it?"])
            a = f"Start it with that file: pensieve serve --model {f}"
        else:
            flag = s.noun() + s.choice(["", "", "-" + s.noun()])
            q = s.choice([f"What does --{flag} do?", f"What is the flag --{flag}?", f"Explain --{flag}.", f"What is --{flag}?"])
            a = f"I do not know a flag --{flag}. pensieve help serve shows all flags."
        if s.mine(q):
            return [user(vary(s, q) if s.chance(.5) else q), assistant(a)], a


def ask(s, entry=None):
    questions, answer = entry or s.choice(ENTRIES)
    q = vary(s, s.choice(split_questions(questions, s.split)))
    if s.split == "train" and s.chance(.15):
        q = typo(s, q)
    return [user(q), assistant(answer)], answer
