"""The questions and answers about Pensieve in qa/*.txt, and the many ways to ask them.

An entry is one or more lines of questions, one line `A: ...`, and a blank line.
    Q: a question as it is. The last Q: of an entry with four or more is kept for
       the held-out split; no other wording may come out the same in training.
    T: topics ("the port | port number"), asked about in TOPIC's ways
    H: what somebody wants to do ("change the port | ..."), in HOW's ways
    Y: what Pensieve may or may not do ("run on a Mac | ..."), in YES_NO's ways
    E: names of errors, S: symptoms as whole clauses, F: flags
The names in the answers are checked against the programs by check_answers.py.
"""

import re
from pathlib import Path

from chat import assistant, user

LEADS = ["", "", "", "", "", "", "", "", "Hi, ", "Hello, ", "Hey, ", "Please tell me: ", "Quick question: ", "I wonder: ", "Question: ", "Sorry, ", "Hi! ", "One more question: ",
         "And ", "Also, ", "Ok, ", "So, ", "Well, ", "Another question: ", "Now, ", "By the way, ", "Hm, ", "Excuse me, ", "Pensieve, "]
TAILS = ["", "", "", "", "", "", " Thanks.", " Please help.", " Thank you!", " Please.", " I am new here.", " Just curious."]

TOPIC = """What is X? | What is X? | What's X? | Explain X. | Tell me about X. | Can you explain X? | What do you know about X? | X? | X? | X | What does X mean? | What is X for?
    | I want to know about X. | Describe X. | Info about X? | Help with X. | Please explain X to me. | What about X? | I do not understand X. | Say something about X. | Give me details on X.
    | How about X? | I have a question about X. | What is meant by X? | Tell me more about X. | I need information about X. | Could you tell me about X? | Details of X please. | And X?
    | What is X again? | Do you know X? | Where do I find X? | Which is X? | What are X? | What is the deal with X? | Can you tell me what X is? | Do you know what X is?
    | I am asking about X. | Please describe X. | What exactly is X? | Show me X. | Give me X. | I would like to know X. | Tell me X. | How does X work? | What is the meaning of X?
    | What is the use of X? | Why X? | Is there X? | I read about X, what is it? | What can you say about X?"""
HOW = """How do I X? | How do I X? | How can I X? | How can I X? | How to X? | How would I X? | What do I do to X? | What must I do to X? | I want to X. | I would like to X. | I need to X.
    | Can I X? | Can I X? | Is it possible to X? | Is there a way to X? | Tell me how to X. | Show me how to X. | Explain how to X. | What is the way to X? | Help me X. | X? | X
    | Please help me to X. | What is the best way to X? | How should I X? | I am trying to X. | I'm trying to X, how? | How does one X? | Where can I X? | What do I need to X?
    | What is needed to X? | Which command do I need to X? | I do not know how to X. | Steps to X? | We want to X. | How do you X? | Could you tell me how to X? | Do you know how to X?
    | May I X? | Am I able to X? | What are the steps to X? | Any way to X? | How do we X? | What is the command to X? | What do I have to do to X? | How could I X? | I'd like to X.
    | Let me X. | My boss wants me to X. | What should I type to X? | Which flag do I need to X? | What if I want to X? | What is the easiest way to X? | Do I have to do something to X?
    | Where do I X? | How do people X? | Can you help me to X? | What do I set to X? | Which setting do I need to X? | I have to X."""
YES_NO = """Does P X? | Does P X? | Can P X? | Can P X? | Will P X? | Is P able to X? | Could P X? | I want to know if P can X. | Does P really X? | Would P X? | Tell me if P can X.
    | Is it true that P can X? | Can I make P X? | Should P X? | Am I right that P can X? | Do I understand that P can X? | P can X? | Does this version of P X? | Has P learnt to X? | Can I expect P to X?
    | I hope that P can X. | Do you know if P can X? | Is there a way that P can X?"""
ERROR = """What does X mean? | What does X mean? | I get X. | I get X. | I got X. | Why do I get X? | Why X? | X | X? | How do I fix X? | What is X? | I keep getting X. | What can I do about X?
    | My client shows X. | X, what now? | What causes X? | The server answers X. | It says X. | Help, X! | Explain X. | Suddenly X. | My request fails with X. | What should I do when I get X?
    | What to do about X? | Getting X all the time. | Why does it say X? | Claude Code shows X. | How do I solve X? | How do I get rid of X? | There is X in my log. | My program gets X.
    | When does X come? | What is the reason for X? | X, why? | What is wrong if I see X? | I see X, what does it mean? | The SDK throws X. | Where does X come from?"""
SYMPTOM = """X. | X. | X, what can I do? | X, why? | Why? X. | Help, X! | What if X? | X. What now? | My problem: X. | What do I do when X? | What can I do if X? | I think X. | X. Help!
    | What happens when X? | Problem: X | Sometimes X. | It seems that X. | Why is it that X? | What does it mean when X? | X, how do I fix it? | What should I do, X? | How come X?
    | X and I do not know why. | X, any idea? | What is the reason that X? | Since today X. | What is wrong? X. | I have the problem that X. | X!"""
FLAG = """What does X do? | What does X do? | What is X? | What is X for? | X? | X | Explain X. | Tell me about X. | What does the flag X mean? | When do I need X? | How do I use X? | Why X?
    | What is the meaning of X? | What is the flag X? | What happens with X? | Describe X. | What can I do with X? | Which value does X take? | Is there a flag X? | What is the default of X?
    | What does the option X do? | Do I need X? | What should I give as X? | I do not understand X. | What is the option X? | What does X set? | What does X change? | Example for X?
    | How does X work? | What is the effect of X? | What comes after X? | Should I use X?"""
WAYS_OF = {kind: [w.strip() for w in text.split("|")] for kind, text in
           {"T": TOPIC, "H": HOW, "Y": YES_NO, "E": ERROR, "S": SYMPTOM, "F": FLAG}.items()}
SUBJECTS = ["Pensieve", "Pensieve", "the server", "this server", "it", "it", "this program", "your server"]


def entries(folder=Path(__file__).parent / "qa"):
    """[(questions, answer, {kind: phrases})] of all files, in a fixed order."""
    out = []
    for file in sorted(folder.glob("*.txt")):
        questions, phrases = [], {}
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            kind, _, rest = line.partition(": ")
            if kind == "Q":
                questions.append(rest.strip())
            elif kind in WAYS_OF:
                phrases.setdefault(kind, []).extend(x.strip() for x in rest.split(" | "))
            elif kind == "A":
                if not questions:
                    raise ValueError(f"{file.name}:{number}: an answer without a question")
                out.append((questions, rest.strip().replace("\\n", "\n"), phrases))
                questions, phrases = [], {}
            elif line.strip() and not line.startswith("#"):
                raise ValueError(f"{file.name}:{number}: not a line of an entry: {line[:40]}")
    return out


ENTRIES = entries()


def split_questions(questions, split):
    if len(questions) < 4:
        return questions
    return questions[-1:] if split == "eval" else questions[:-1]


def bare(question):
    """A question without case and marks, to tell wordings apart."""
    return re.sub(r"[^a-z0-9_/]+", " ", question.lower()).strip()


HELD = {bare(q) for questions, _, _ in ENTRIES if len(questions) >= 4 for q in questions[-1:]}


def fresh(file=Path(__file__).parent / "fresh.txt"):
    """[(question, answer)] of the questions that were written after the training."""
    answers = {questions[0]: answer for questions, answer, _ in ENTRIES}
    pairs = [line.split(" | ") for line in file.read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
    return [(q.strip(), answers[first.strip()]) for q, first in pairs]


def phrased(s, phrases):
    """A question made of one of the entry's phrases."""
    kind = s.choices(list(phrases), [len(p) for p in phrases.values()])[0]
    x = s.choice(phrases[kind])
    way = s.choice(WAYS_OF[kind])
    if kind == "Y": way = way.replace("P", s.choice(SUBJECTS), 1)
    if "X" == way[0] and kind != "F": x = x[0].upper() + x[1:] if not x.startswith(("--", "/")) else x
    return way.replace("X", x, 1) if "X" in way else way


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


# Words that may stand for each other in a question. Training only.
SAME = {w: [o for o in group if o != w] for group in [
    ["start", "launch", "run", "boot"], ["change", "set", "adjust", "modify"], ["use", "employ", "work with"], ["show", "display", "print"], ["big", "large"], ["stop", "end", "quit"],
    ["find", "get", "see"], ["need", "require"], ["make", "do"], ["machine", "computer", "laptop"], ["fast", "quick"], ["supported", "possible"], ["error", "problem"],
    ["happens", "occurs"], ["choose", "pick", "select"], ["limit", "restrict"], ["answer", "reply", "response"], ["answers", "replies", "responses"], ["flag", "option", "switch"],
    ["memory", "RAM"], ["connect", "attach"], ["wait", "queue"], ["configure", "set up"], ["request", "call"], ["requests", "calls"], ["several", "multiple", "many"], ["key", "API key"],
    ["build", "compile"], ["delete", "remove"], ["download", "fetch"], ["list", "name"], ["work", "function"], ["settings", "configuration"], ["allow", "permit"], ["increase", "raise"],
    ["Pensieve", "the server", "this server", "it"], ["the server", "Pensieve", "it"], ["command", "call"], ["check", "verify"], ["slow", "sluggish"], ["quickly", "fast"]] for w in group}
SMALL = {"a", "an", "the", "is", "are", "do", "does", "to", "of", "i", "it", "that", "this", "for", "in", "me", "my", "please", "can", "you", "be", "there", "have"}


def reword(s, q):
    """Other words of the same meaning, or small words left out."""
    words = q.split(" ")
    if s.chance(.25):
        for i, w in enumerate(words):
            core = w.rstrip("?.!,")
            if core in SAME and s.chance(.4): words[i] = s.choice(SAME[core]) + w[len(core):]
    if s.chance(.1):
        left = [w for w in words if w.lower() not in SMALL or s.chance(.4)]
        if left: words = left
    elif s.chance(.06) and len(words) > 3:
        del words[s.randrange(len(words))]
    return " ".join(words)


def ways(s, q):
    """Another beginning of the same question."""
    for begin, others in WAYS:
        if q.startswith(begin):
            return s.choice(others) + q[len(begin):]
    m = re.fullmatch(r"What does (.+) do\?", q)
    if m: return s.choice(["What is {} for?", "Explain {}.", "What is the purpose of {}?", "Tell me about {}.", "What happens with {}?"]).format(m[1])
    return q


def vary(s, q):
    """Light changes: case, end mark, a word before or after."""
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
            q, a = not_there(s)
        if s.mine(q):
            return [user(vary(s, q) if s.chance(.5) else q), assistant(a)], a


def not_there(s):
    """Things of Pensieve that do not exist, or that the demo model was not told of."""
    k = s.randrange(6)
    n = s.noun() if s.chance(.5) else s.english() if s.chance(.5) else s.pseudo(False)
    if k <= 1:
        flag = n + s.choice(["", "", "-" + s.noun()])
        return s.choice(FLAGS_ASKED).replace("X", "--" + flag), f"I do not know a flag --{flag}. pensieve serve --help shows all flags."
    if k == 2:
        return s.choice([f"What does pensieve {n} do?", f"pensieve {n}?", f"Explain pensieve {n}.", f"Is there a command pensieve {n}?", f"What is pensieve {n}?"]), \
            f"I do not know a command pensieve {n}. pensieve help lists all commands."
    if k == 3:
        path = s.choice(["/v1/", "/api/", "/"]) + n
        return s.choice([f"What is {path}?", f"What does GET {path} do?", f"Is there an endpoint {path}?", f"Explain {path}.", f"{path}?"]), \
            f"I do not know an endpoint {path}. The README says which endpoints there are."
    if k == 4:
        code = s.choice([c for c in range(401, 600) if c not in (401, 403, 404, 405, 413, 429, 500, 529)])
        return s.choice([f"What does error {code} mean?", f"I get a {code} error.", f"Error {code}?", f"Why do I get {code}?", f"{code}?"]), \
            f"I do not know an error {code} of Pensieve. The message of the error says what is wrong."
    v, m = s.english(), s.noun()
    return s.choice([f"Can Pensieve {v} the {n}?", f"How do I {v} a {n} with Pensieve?", f"Does Pensieve have a {n} {m}?", f"Does Pensieve support {n} {m}s?", f"What does Pensieve do with the {n}?",
                     f"Where is the {n} of the {m} in Pensieve?", f"How does Pensieve {v} its {n}?", f"Which {n} does Pensieve {v}?"]), \
        "I do not know that about Pensieve. The README and pensieve help tell more."


FLAGS_ASKED = [w for w in WAYS_OF["F"] if w.count("X") == 1 and len(w) > 2]


def ask(s, entry=None):
    questions, answer, phrases = entry or s.choice(ENTRIES)
    if s.split == "eval":
        return [user(vary(s, s.choice(split_questions(questions, s.split)))), assistant(answer)], answer
    while True:
        q = phrased(s, phrases) if phrases and s.chance(.5) else s.choice(split_questions(questions, s.split))
        if s.chance(.3): q = ways(s, q)
        q = reword(s, q)
        if bare(q) in HELD or not bare(q): continue
        q = vary(s, q)
        if s.chance(.12): q = typo(s, q)
        return [user(q), assistant(answer)], answer
