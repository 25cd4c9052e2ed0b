"""The questions and answers about Pensieve in qa/*.txt.

A file holds entries: one or more lines `Q: ...`, then one line `A: ...`, then
a blank line. The first wordings are trained on; the last `Q:` of an entry that
has four or more is kept for the held-out split, and so are some of the
light variations that ask() makes.
"""

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


def ask(s, entry=None):
    questions, answer = entry or s.choice(ENTRIES)
    q = vary(s, s.choice(split_questions(questions, s.split)))
    if s.split == "train" and s.chance(.15):
        q = typo(s, q)
    return [user(q), assistant(answer)], answer
