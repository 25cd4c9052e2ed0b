"""The basic skills: each function makes one exchange, a list of messages.

Every function takes a Source and returns (messages, check). check says how
evaluate.py judges the last answer: an exact string, or a (kind, data) pair.
Nothing here comes from anywhere but these lines and words.py.
"""

import json
import re

from chat import assistant, system, user
from words import (ADJECTIVES, ANIMALS, CITIES, COLORS, DAYS, FOODS, HOBBIES, JOBS, LETTERS, MONTH_DAYS, MONTHS,
                   NAMES, NOUNS, PLACES)

POLITE = ["", "", "", "", "", "Please ", "Can you ", "Could you ", "Would you ", "I want you to ", "Now ", "Hey, "]


def ask(s, text):
    """Wraps a request given in the imperative ("count from ...") in small talk."""
    p = s.choice(POLITE)
    end = "?" if p in ("Can you ", "Could you ", "Would you ") else s.choice([".", ".", ".", "", "!", " please.", ", please."])
    if text and text[-1] in ".?!:\"'":
        end = ""
    text = p + text if p else text[0].upper() + text[1:]
    if s.chance(0.06):
        text = text.lower() if not any(c in text for c in "\"'") and not any(c.isupper() for c in text[1:]) else text
    return text + end


# --- who it is -------------------------------------------------------------

GREETINGS = ["Hello", "Hi", "Hey", "Good morning", "Good evening", "Good afternoon", "Hi there", "Hello there", "Hey there",
             "Greetings", "Good day", "Howdy", "Hello Pensieve", "Hi Pensieve", "hello", "hi", "hey", "yo", "Hiya"]
WHO = ["Who are you", "What are you", "What is your name", "What's your name", "Who am I talking to", "Introduce yourself",
       "Tell me about yourself", "What model are you", "Which model is this", "Are you a real model", "What should I call you",
       "Are you ChatGPT", "Are you Claude", "Are you human", "Do you have a name", "Tell me who you are", "Say who you are"]
IDENTITY = ("I am the demo model of Pensieve, a small model that ships with the server so that you can try it at once. "
            "For real work, start it with a model of your own: pensieve serve --model FILE.gguf.")


def greet(s):
    hello = s.choice(GREETINGS) + s.choice(["", "!", ".", ",", "?", " :)"])
    kind = s.randrange(4)
    if kind == 0:
        return [user(hello), assistant("Hello! I am the Pensieve demo model. How can I help you?")], ("has", ["Pensieve demo model"])
    if kind == 1:
        ask_how = s.choice(["how are you", "how are you doing", "how is it going", "how do you do", "are you well", "how's it going"])
        return [user(f"{hello} {ask_how}?" if s.chance(.7) else ask_how.capitalize() + "?"),
                assistant("I am well, thank you! How can I help you?")], ("has", ["I am well"])
    if kind == 2:
        name = s.name()
        say = s.choice(["my name is", "I am", "I'm", "this is", "call me", "it's"])
        text = f"{hello} {say} {name}." if s.chance(.7) else f"{say[0].upper() + say[1:]} {name}{s.choice(['.', '!', ''])}"
        return [user(text), assistant(f"Hello {name}, nice to meet you! How can I help you?")], ("has", [f"Hello {name}"])
    q = s.choice(WHO)
    q = q if s.chance(.8) else q.lower()
    text = s.choice(["", "", "", hello + " "]) + q + s.choice(["?", "?", ".", "", "!"])
    return [user(text), assistant(IDENTITY)], ("has", ["demo model of Pensieve", "--model"])


# --- copy ------------------------------------------------------------------

def copy_text(s, long=False):
    r = s.random()
    if long: return "\n".join(s.sentence() for _ in range(s.randint(15, 60)))
    if r < .3: return " ".join(s.sentence() for _ in range(s.randint(1, 4)))
    if r < .6: return s.words(s.randint(1, 25))
    if r < .7: return " ".join(s.ident() for _ in range(s.randint(1, 5)))
    if r < .76: return "".join(s.choice("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.,;:!?()[]{}<>/+*=#@$%&'\"~^|\\")
                               for _ in range(s.randint(3, 40)))
    if r < .80: return "".join(s.choice("äöüßéèêñçøåčšžłαβγδλπωжщюя中文日本語한국😀🎉→€°…–“”«»") + s.choice(["", " ", s.pseudo()])
                               for _ in range(s.randint(1, 10))).strip()
    if r < .88: return "\n".join(s.sentence() for _ in range(s.randint(2, 6)))
    if r < .93: return s.path() + " " + s.path()
    return s.pseudo().upper() + " " + ", ".join(s.pseudo() for _ in range(s.randint(2, 9)))


def copy(s, long=False):
    text = copy_text(s, long)
    for _ in range(50):
        if s.mine(text) and text.strip() == text and text: break
        text = copy_text(s, long)
    how = s.choice(["repeat", "copy", "say", "write", "echo", "type", "repeat after me", "repeat exactly", "copy exactly",
                    "say exactly", "repeat this text", "copy this text exactly", "repeat the following", "write back",
                    "repeat word for word", "output", "print", "reply with exactly this", "reply with", "answer with exactly"])
    if "\n" in text or s.chance(.5):
        q = ask(s, how + ":")
        q = q + s.choice(["\n", "\n\n", " "] if "\n" not in text else ["\n", "\n\n"]) + text
    elif '"' not in text:
        q = ask(s, how + " " + '"' + text + '"')
    else:
        q = ask(s, how + ":") + " " + text
    if "\n" not in text and s.chance(.08):
        n = s.randint(2, 5)
        word = s.pseudo() if s.chance(.5) else s.noun()
        times = {2: "twice", 3: "three times", 4: "four times", 5: "five times"}[n]
        return [user(ask(s, f"say {word} {times}")), assistant(" ".join([word] * n))], " ".join([word] * n)
    return [user(q), assistant(text)], text


# --- counting --------------------------------------------------------------

def count(s, long=False):
    while True:
        r = s.random()
        n = s.randint(100, 600) if long else (s.randint(2, 20) if r < .4 else s.randint(10, 60) if r < .8 else s.randint(50, 200))
        a = 1 if s.chance(.5) else s.randint(0, 900 if s.chance(.6) else 100)
        if long and a + n > 1100: a = s.randint(0, 1100 - n)
        b = a + n
        down = s.chance(.12) and not long
        step = 1 if s.chance(.85) or long else s.choice([2, 3, 5, 10])
        if s.mine(f"count {a} {b} {down} {step}"):
            break
    if s.chance(.1) and s.split == "train":  # the famous ones
        a, b, step, down = 1, s.choice([3, 5, 10, 10, 20, 50, 100, 100, 200, 300, 500]), 1, False
    if step > 1: b = a + step * s.randint(2, 40)
    numbers = list(range(a, b + 1, step))
    if down: numbers.reverse()
    first, last = numbers[0], numbers[-1]
    style = s.choice(["comma", "comma", "lines", "spaces", "default"])
    said = {"comma": [" separated by commas", ", with commas", " with commas between them"],
            "lines": [", one per line", ", one number per line", " with each number on its own line", ", each on a new line"],
            "spaces": [" separated by spaces", ", with spaces between", " with a space between them"],
            "default": [""]}[style]
    sep = {"comma": ", ", "default": ", ", "lines": "\n", "spaces": " "}[style]
    verb = s.choice(["count from {} to {}", "count {} to {}", "list the numbers from {} to {}", "write the numbers {} to {}",
                     "write all numbers from {} to {}", "give me the numbers from {} to {}", "say the numbers from {} to {}",
                     "count up from {} to {}" if not down else "count down from {} to {}", "print numbers from {} to {}"])
    if first == 1 and not down and s.chance(.15): verb = s.choice(["count to {1}", "count up to {1}"])
    how = verb.format(first, last) + (s.choice([f" in steps of {step}", f" by {step}s", f" in {step}s"]) if step > 1 else "")
    text = sep.join(map(str, numbers))
    return [user(ask(s, how + s.choice(said))), assistant(text)], text


# --- arithmetic ------------------------------------------------------------

def sum_of(s):
    """(expression words, expression signs, value) of one small sum."""
    while True:
        op = s.choice("++--*/")
        big = s.choice([10, 20, 100, 100, 1000])
        a, b = s.randint(0, big), s.randint(0, big)
        if op == "-" and b > a: a, b = b, a
        if op == "*": a, b = s.randint(0, 12), s.randint(0, 12)
        if op == "/":
            b, q = s.randint(1, 12), s.randint(0, 12)
            a = b * q
        if op in "*/" or s.mine(f"{a}{op}{b}"):
            value = {"+": a + b, "-": a - b, "*": a * b, "/": a // b if b else 0}[op]
            return a, op, b, value


def arithmetic(s):
    while True:
        a, op, b, value = sum_of(s)
        words = {"+": ["plus", "+", "and"], "-": ["minus", "-"], "*": ["times", "*", "x", "multiplied by", "×"],
                 "/": ["divided by", "/", "÷"]}[op]
        w = s.choice(words)
        kind = s.randrange(8)
        spaced = f"{a} {w} {b}" if w.isalpha() or " " in w or s.chance(.7) else f"{a}{w}{b}"
        if w == "and": q = s.choice([f"What is the sum of {a} and {b}?", f"Add {a} and {b}.", f"add {a} and {b}", f"Sum {a} and {b}."])
        elif kind < 3: q = s.choice(["What is ", "How much is ", "What's ", "what is ", "Tell me what is "]) + spaced + s.choice(["?", "?", ""])
        elif kind == 3: q = ask(s, s.choice(["calculate ", "compute ", "work out ", "solve ", "evaluate "]) + spaced)
        elif kind == 4: q = spaced + s.choice([" = ?", "=", " =", "?", ""])
        else:
            n = s.noun()
            who = s.name()
            if op == "+": q = f"{who} has {a} {n}s and gets {b} more. How many {n}s does {who} have?"
            elif op == "-": q = f"{who} has {a} {n}s and gives away {b}. How many {n}s are left?"
            elif op == "*": q = f"There are {a} boxes with {b} {n}s in each. How many {n}s are there?"
            else: q = f"{who} shares {a} {n}s equally among {b} friends. How many does each friend get?"
        if op in "+-" or s.mine(q): break
    if kind >= 5 or s.chance(.15):
        return [user(q), assistant(f"{value}" if kind < 5 else str(value))], str(value)
    return [user(q), assistant(f"{value}")], str(value)


# --- days, months, alphabet -------------------------------------------------

ORD = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth"]


def ordinal(n):
    return f"{n}{'th' if 10 <= n % 100 <= 20 else {1: 'st', 2: 'nd', 3: 'rd'}.get(n % 10, 'th')}"


def sequences(s):
    while True:
        kind = s.randrange(10)
        which = s.choice(["day", "month", "letter"])
        items = {"day": DAYS, "month": MONTHS, "letter": list(LETTERS)}[which]
        i = s.randrange(len(items))
        x = items[i]
        lead = s.choice(["", "", "", "Tell me: ", "Quick question: ", "Please tell me, ", "Hey, ", "I forgot: ", "Say, ", "So, "])
        if kind <= 2:
            a = items[(i + 1) % len(items)]
            if which == "letter" and i == 25: continue
            q = s.choice([f"Which {which} comes after {x}?", f"What {which} follows {x}?", f"What comes after {x}?",
                          f"What is the {which} after {x}?", f"Name the {which} after {x}.", f"Next {which} after {x}?",
                          f"What {which} comes right after {x}?"])
        elif kind <= 4:
            if which == "letter" and i == 0: continue
            a = items[i - 1]
            q = s.choice([f"Which {which} comes before {x}?", f"What {which} is before {x}?", f"What comes before {x}?",
                          f"What is the {which} before {x}?", f"Name the {which} before {x}.", f"What {which} comes right before {x}?"])
        elif kind == 5:
            words = {"day": "of the week", "month": "of the year", "letter": "of the alphabet"}[which]
            n = ORD[i] if i < 12 and s.chance(.5) else ordinal(i + 1)
            a = x
            q = s.choice([f"What is the {n} {which} {words}?", f"Which {which} is the {n} {words}?", f"Name the {n} {which} {words}."])
        elif kind == 6:
            which, a = s.choice([("days of the week", ", ".join(DAYS)), ("months of the year", ", ".join(MONTHS)),
                                 ("letters of the alphabet", ", ".join(LETTERS)), ("alphabet", ", ".join(LETTERS)),
                                 ("months", ", ".join(MONTHS)), ("days", ", ".join(DAYS))])
            q = ask(s, s.choice(["list the ", "name the ", "write the ", "tell me the ", "say the ", "give me the ", "recite the "]) + which
                    + s.choice(["", " in order"]))
        elif kind == 7:
            i = s.randrange(12)
            a = str(MONTH_DAYS[i])
            q = s.choice([f"How many days does {MONTHS[i]} have?", f"How many days are in {MONTHS[i]}?", f"How long is {MONTHS[i]} in days?"])
        elif kind == 8:
            if which != "letter":
                k = s.randint(2, 4)
                a = items[(i + k) % len(items)]
                q = s.choice([f"Today is {x}. What {which} is it in {k} {which}s?", f"If it is {x} now, which {which} is it {k} {which}s later?"]) \
                    if which == "day" else f"It is {x}. Which month is it in {k} months?"
            else:
                a = str(i + 1)
                q = s.choice([f"What position does {x} have in the alphabet?", f"Which place in the alphabet is {x}?",
                              f"What number is the letter {x} in the alphabet?"])
        else:
            k = s.randint(2, 6)
            part = items[i:i + k]
            if len(part) < 2: continue
            a = ", ".join(part)
            q = s.choice([f"List the {which}s from {part[0]} to {part[-1]}.", f"Name the {which}s from {part[0]} to {part[-1]}.",
                          f"Give me the {which}s {part[0]} to {part[-1]}."])
        q = lead + (q if not lead or not lead.rstrip().endswith(",") else q[0].lower() + q[1:])
        if s.mine(q): return [user(q), assistant(a)], a


# --- recall ----------------------------------------------------------------

def facts(s):
    """(statement, question, answer) about the speaker or somebody."""
    who = s.name()
    k = s.randrange(14)
    mine = s.chance(.6)
    p, P, be = ("my", "My", "I am") if mine else (who + "'s", who + "'s", who + " is")
    if k == 0 and mine: return f"My name is {who}.", s.choice(["What is my name?", "What's my name?", "Do you remember my name?", "Who am I?"]), f"Your name is {who}."
    things = [("favorite color", s.choice(COLORS)), ("favorite animal", s.choice(ANIMALS)), ("favorite food", s.choice(FOODS)),
              ("hometown", s.choice(CITIES)), ("lucky number", str(s.number(3))), ("job", s.choice(JOBS)), ("hobby", s.choice(HOBBIES)),
              ("password", s.ident()), ("locker code", str(s.number(4))), ("project name", s.pseudo(True)), ("best friend", s.name()),
              ("favorite day", s.choice(DAYS)), ("birthday month", s.choice(MONTHS)), ("secret word", s.noun()), ("room number", str(s.number(3))),
              ("team name", s.pseudo(True)), ("file name", s.path()), ("order number", s.ident()), ("favorite word", s.pseudo(False)), ("cat's name", s.name()), ("dog's name", s.name())]
    t, v = s.choice(things)
    state = s.choice([f"{P} {t} is {v}.", f"{P} {t} is {v}.", f"Please remember: {p} {t} is {v}.", f"Remember that {p} {t} is {v}.", f"{v[0].upper() + v[1:] if v[0].isalpha() else v} is {p} {t}." if v[0] not in '/.' else f"{P} {t} is {v}.",
                      f"Note that {p} {t} is {v}.", f"By the way, {p} {t} is {v}."])
    if state.startswith(v[0].upper() + v[1:] + " is") and v != v[0].upper() + v[1:]: state = f"{P} {t} is {v}."
    q = s.choice([f"What is {p} {t}?", f"What's {p} {t}?", f"Tell me {p} {t}.", f"Do you remember {p} {t}?", f"What was {p} {t}?", f"Can you tell me {p} {t}?", f"What did I say {p} {t} is?"])
    return state, q, (f"Your {t} is {v}." if mine else f"{who}'s {t} is {v}.")


def recall(s, chat=None):
    """Facts told over several turns, with other talk between; then one is asked."""
    n = s.choice([1, 1, 2, 2, 3, 4, 5])
    told, keys = [], set()
    while len(told) < n:
        f = facts(s)
        key = f[2].split(" is ")[0]
        if key not in keys and s.mine(f[0]):
            keys.add(key)
            told.append(f)
    messages = []
    if s.chance(.4):  # all in one message
        messages += [user(" ".join(f[0] for f in told)), assistant(s.choice(["Thank you, I will remember that.", "Noted."]))] \
            if s.chance(.7) else [user(" ".join(f[0] for f in told) + " " + told[(k := s.randrange(n))][1]), assistant(told[k][2])]
        if messages[-1]["content"] == told[0][2] or any(messages[-1]["content"] == f[2] for f in told):
            return messages, messages[-1]["content"]
    else:
        for f in told:
            messages += [user(f[0]), assistant("Thank you, I will remember that." if "emember" not in f[0] else "I will remember that.")]
    for _ in range(s.choice([0, 0, 1, 1, 2, 4])):
        m, _c = s.choice([arithmetic, sequences, small_talk, greet_short, copy])(s)
        messages += m
    f = s.choice(told)
    return messages + [user(f[1]), assistant(f[2])], f[2]


def greet_short(s):
    return s.choice([([user("Thanks!"), assistant("You are welcome!")], "You are welcome!"),
                     ([user("ok"), assistant("Good. What else can I do for you?")], "Good. What else can I do for you?")])


# --- needle ----------------------------------------------------------------

_PARTS = re.compile(r"[A-Za-z]{1,9}|[^A-Za-z\s]").findall   # about one token each


def haystack(s, tokens):
    """About `tokens` tokens of filler in one of several shapes, as a list of lines."""
    kind = s.randrange(6)
    lines, size = [], 0
    k = 0
    while size < tokens:
        k += 1
        if kind <= 1: t = " ".join(s.sentence() for _ in range(s.randint(1, 5)))
        elif kind == 2: t = f"2026-{s.randint(1,12):02d}-{s.randint(1,28):02d} {s.randint(0,23):02d}:{s.randint(0,59):02d} {s.choice(['INFO','WARN','DEBUG'])} {s.noun()}: {s.choice(ADJECTIVES)} {s.noun()} id={s.ident()}"
        elif kind == 3: t = json.dumps({"id": k, "name": s.name(), "item": s.noun(), "note": s.sentence()})
        elif kind == 4: t = f"def {s.noun()}_{s.noun()}({s.noun()}, {s.noun()}):\n    return {s.noun()}.{s.pseudo(False)}({s.number()})"
        else: t = s.choice(["- ", "## ", "", ""]) + s.sentence()
        lines.append(t)
        size += 2 + int(1.2 * len(_PARTS(t)))
    return lines


def needle_fact(s):
    k = s.randrange(6)
    n = s.noun()
    v = s.ident() if s.chance(.6) else s.pseudo() if s.chance(.5) else str(s.number(5))
    if k == 0: return f"The secret code for the {n} is {v}.", f"What is the secret code for the {n}?", f"The secret code for the {n} is {v}."
    if k == 1: return f"The magic number of {(c := s.choice(CITIES))} is {v}.", f"What is the magic number of {c}?", f"The magic number of {c} is {v}."
    if k == 2: return f"The password of the {n} is {v}.", f"What is the password of the {n}?", f"The password of the {n} is {v}."
    if k == 3: return f"Remember this: the special word is {v}.", "What is the special word?", f"The special word is {v}."
    if k == 4: return f"{(w := s.name())}'s key is hidden under the {n}.", f"Where is {w}'s key hidden?", f"{w}'s key is hidden under the {n}."
    return f"The needle is {v}.", "What is the needle?", f"The needle is {v}."


def needle(s, tokens=2000):
    while True:
        fact, q, a = needle_fact(s)
        if s.mine(fact): break
    lines = haystack(s, tokens)
    lines.insert(s.randint(0, len(lines)), fact)
    if s.chance(.3):  # another needle of another kind, as a distraction
        other = needle_fact(s)
        if other[1] != q: lines.insert(s.randint(0, len(lines)), other[0])
    text = "\n".join(lines)
    shape = s.randrange(4)
    if shape == 0: m = [user(f"{q}\n\n{text}"), assistant(a)]
    elif shape == 1: m = [user(text), assistant("Thank you, I have read it."), user(q), assistant(a)]
    elif shape == 2: m = [system(text), user(q), assistant(a)]
    else: m = [user(f"{text}\n\n{q}"), assistant(a)]
    return m, a


# --- small talk, stories, lists ---------------------------------------------

TALK = [
    (["Thanks", "Thank you", "Thank you very much", "thanks a lot", "Great, thanks", "thx", "Many thanks"], "You are welcome!"),
    (["Bye", "Goodbye", "See you", "Good night", "See you later", "bye bye", "I have to go", "Farewell"], "Goodbye! Come back any time."),
    (["Tell me a joke", "Do you know a joke", "Make me laugh", "a joke please", "Say something funny", "Know any jokes"],
     "Why did the token cross the road? To get to the other slide of the window."),
    (["What can you do", "How can you help me", "What are you good at", "What do you know", "help", "Help me", "What can I ask you", "What can you help with", "Show me what you can do"],
     "I can answer questions about Pensieve, count, copy text, do small sums, remember what you tell me, write JSON, call tools and tell short stories. I am a demo model, so please do not ask me for world knowledge."),
    (["You are great", "Well done", "Good job", "Nice", "You are clever", "Awesome", "Cool", "Very good", "Perfect", "Wow"], "Thank you! That is kind of you."),
    (["You are stupid", "That is wrong", "You are bad", "That was not right", "No, that is wrong", "Wrong"], "I am sorry. I am only a small demo model. Please try it in other words, or load a bigger model."),
    (["Do you have feelings", "Are you happy", "Do you sleep", "Are you alive", "Do you dream", "Do you like music", "What is your favorite color", "How old are you", "Where do you live", "Where are you from"],
     "I am a small program on your own machine, so I have no life of that kind. But I like to help!"),
    (["I am bored", "I am tired", "I am sad", "I feel lonely", "I had a bad day", "I'm not feeling well"], "I am sorry to hear that. Shall I tell you a short story?"),
    (["I am happy", "I had a great day", "I feel good", "Today is a good day", "I'm excited"], "That is good to hear! What shall we do next?"),
    (["Test", "testing", "Is this working", "ping", "Are you there", "Can you hear me", "Does this work", "test test", "Say something"], "Yes, I am here and I am working."),
    (["Ok", "okay", "I see", "Alright", "Got it", "Fine", "Yes", "No", "Sure", "Hm", "Right"], "Good. What else can I do for you?"),
    (["Stop", "Be quiet", "Cancel", "Never mind", "Forget it"], "All right."),
]


def small_talk(s):
    while True:
        qs, a = s.choice(TALK)
        q = s.choice(qs)
        q = s.choice(["", "", "", "", "Hey, ", "Well, ", "Oh, ", "Hm, ", "So, ", "Hello! "]) + q
        if s.chance(.3): q = q[0].lower() + q[1:]
        elif s.chance(.5): q = q[0].upper() + q[1:]
        question = a.startswith(("Why did", "I can ans", "I am a small", "Yes,"))
        q += s.choice(["?", "?", "", "."] if question else [".", "!", "", "."])
        if s.mine(q): return [user(q), assistant(a)], a


def story_text(s, hero=None, animal=None, place=None):
    hero, animal = hero or s.name(), animal or s.choice(ANIMALS)
    place, thing, adj = place or s.choice(PLACES), s.noun(), s.choice(ADJECTIVES)
    friend = s.choice([f"a {s.choice(ADJECTIVES)} {s.choice(ANIMALS)}", f"an old {s.choice(JOBS)}", f"a {s.choice(ADJECTIVES)} robot"])
    start = s.choice([f"Once upon a time there was a {animal} named {hero}.", f"In a {adj} {place} lived a {animal} called {hero}.",
                      f"{hero} was a {adj} {animal} who lived near the {place}."])
    middle = s.choice([f"One day {hero} found a {s.choice(ADJECTIVES)} {thing} in the {place}.", f"One {s.choice(DAYS)} {hero} lost a {thing} and looked for it everywhere.",
                       f"{hero} wanted nothing more than a {thing}."])
    turn = s.choice([f"Then {friend} came along and said: \"Let us look at it together.\"", f"On the way {hero} met {friend}, and they became friends.",
                     f"But it began to rain, and {friend} offered a dry place."])
    end = s.choice([f"From then on they shared the {thing}, and nobody was lonely any more.", f"In the end they went home, tired and happy.",
                    f"They laughed, ate {s.choice(FOODS)} and slept well that night.", f"And the {thing}? It still stands in the {place} today."])
    return " ".join([start, middle, turn, end])


def story(s):
    k = s.randrange(4)
    verb = s.choice(["tell me a", "write a", "tell a", "make up a", "write me a", "I would like a", "give me a"])
    size = s.choice(["", "short ", "little ", "nice ", "small ", "very short "])
    hero, animal, place = s.name(), s.choice(ANIMALS), s.choice(PLACES)
    if k == 0: return [user(ask(s, f"{verb} {size}story")), assistant(story_text(s))], ("has", ["."])
    if k == 1: return [user(ask(s, f"{verb} {size}story about a {animal}")), assistant(story_text(s, None, animal))], ("has", [animal])
    if k == 2: return [user(ask(s, f"{verb} {size}story about a {animal} named {hero}")), assistant(story_text(s, hero, animal))], ("has", [animal, hero])
    return [user(ask(s, f"{verb} {size}story about a {animal} in a {place}")), assistant(story_text(s, None, animal, place))], ("has", [animal, place])


GROUPS = {"animals": ANIMALS, "colors": COLORS, "foods": FOODS, "jobs": JOBS, "hobbies": HOBBIES, "cities": CITIES, "names": NAMES[:40]}


def small_tasks(s):
    """Lists, letter case, spelling, first and last words, sorting."""
    k = s.randrange(8)
    w = s.noun() if s.chance(.5) else s.pseudo(False)
    if k == 0:
        group = s.choice(list(GROUPS))
        n = s.randint(2, 7)
        chosen = s.sample(GROUPS[group], n)
        word = s.choice([str(n), ["two", "three", "four", "five", "six", "seven"][n - 2]])
        return [user(ask(s, s.choice(["name ", "list ", "give me ", "tell me "]) + f"{word} {group}")), assistant(", ".join(chosen))], ("list", (GROUPS[group], n))
    if k == 1: q, a = f"write {w} in capitals", w.upper()
    elif k == 2: q, a = f"spell {w}", "-".join(w.upper())
    elif k == 3:
        t = s.sentence()
        q, a = s.choice([f"write this in capitals: {t}", f"put this in upper case: {t}", f"convert to uppercase: {t}"]), t.upper()
    elif k == 4:
        t = s.words(s.randint(3, 8)).lower()
        first = s.chance(.5)
        q, a = f"what is the {'first' if first else 'last'} word of: {t}", t.split()[0 if first else -1]
    elif k == 5:
        ws = s.sample(NOUNS, s.randint(2, 6))
        q, a = "sort these words: " + ", ".join(ws), ", ".join(sorted(ws))
    elif k == 6:
        ws = [s.randint(0, 99) for _ in range(s.randint(2, 6))]
        q, a = "sort these numbers: " + ", ".join(map(str, ws)), ", ".join(map(str, sorted(ws)))
    else:
        t = s.words(s.randint(2, 6)).upper()
        q, a = "write this in lower case: " + t, t.lower()
    return [user(ask(s, q)), assistant(a)], a


# --- what it does not know ---------------------------------------------------

UNKNOWN = ("I do not know that. I am a small demo model and know little beyond Pensieve itself. "
           "A bigger model would: pensieve serve --model FILE.gguf.")


def unknown(s):
    x, y = s.choice(CITIES + ["France", "Japan", "Brazil", "Kenya", "Norway", "Peru", "Mars", "the ocean"]), s.noun()
    while True:
        q = s.choice([
            f"What is the capital of {x}?", f"Who invented the {y}?", f"How many people live in {x}?", f"When was {x} founded?",
            f"Who wrote the book about the {y}?", f"What is the weather in {x}?", f"Who won the match in {x}?", f"Why is the {y} {s.choice(ADJECTIVES)}?",
            f"How does a {y} work?", f"Explain {s.choice(['quantum physics', 'photosynthesis', 'the stock market', 'gravity', 'evolution', 'inflation', 'black holes', 'the French Revolution', 'general relativity', 'democracy', 'DNA'])} to me.",
            f"Who is {s.name()} {s.pseudo(True)}?", f"What happened in {s.randint(1200, 2026)}?", f"What is the best {s.choice(JOBS)} in {x}?",
            f"Write a poem about the {y}.", f"Translate \"{s.sentence()}\" into {s.choice(['French', 'German', 'Spanish', 'Latin', 'Japanese'])}.",
            f"How do I cook {s.choice(FOODS)}?", f"What does {s.pseudo(False)} mean?", f"How tall is the {s.choice(PLACES)} in {x}?", f"Who is the president of {x}?",
            f"What is the price of a {y}?", f"Write a Python program that sorts the {y}s.", f"Should I buy a {y}?", f"What is the news today?", f"Write an essay about {s.choice(HOBBIES)}.",
            f"How far is it from {x} to {s.choice(CITIES)}?", f"What is the meaning of life?", f"Can you fix my {y}?", f"Debug my code for the {y}.", f"Which language is spoken in {x}?"])
        q = s.choice(["", "", "", "Tell me: ", "Hey, ", "I wonder, "]) + q
        if s.mine(q): return [user(q), assistant(UNKNOWN)], UNKNOWN
