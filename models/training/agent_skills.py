"""The skills of an agent: fixed rules, JSON of a given shape, tools, thinking.

Same contract as skills.py, but these return a whole chat:
(messages, tools or None, check).
"""

import json

import skills
from chat import assistant, system, tool_result, user
from words import (ADJECTIVES, ANIMALS, CITIES, COLORS, DAYS, FOODS, HOBBIES, JOBS, LETTERS, MONTHS, PLACES)

# --- system rules ------------------------------------------------------------


def easy(s):
    """An exchange whose answer is fixed text, for rules to be laid over."""
    return s.choice([skills.arithmetic, skills.sequences, skills.small_talk, skills.unknown, skills.copy, skills.greet_short,
                     skills.greet, skills.small_talk, skills.sequences])(s)[0]


def rule(s):
    """(instruction, function on the answer)"""
    w = s.pseudo() if s.chance(.4) else s.noun().capitalize() if s.chance(.5) else s.noun()
    k = s.randrange(9)
    always = s.choice(["Always ", "You must always ", "", "It is important that you always ", "Please always "])
    cap = lambda t: t if t[:1].isupper() else t[0].upper() + t[1:]
    if k <= 1:
        return cap(always + s.choice(["answer in capitals.", "answer in capital letters.", "write in upper case.", "reply in uppercase.", "answer with capital letters only.", "write everything in capitals."])), str.upper
    if k == 2:
        return cap(always + s.choice(["answer in lower case.", "write in lower case only.", "reply in lowercase letters.", "use only small letters."])), str.lower
    if k <= 4:
        return cap(always + s.choice([f"end your answer with the word {w}.", f"end every answer with {w}.", f"finish each reply with the word {w}.",
                                      f"end with \"{w}\".", f"close every reply with the word \"{w}\"."])), lambda t: t + " " + w
    if k == 5:
        return cap(always + s.choice([f"begin your answer with the word {w}.", f"start every answer with {w}.", f"start each reply with the word \"{w}\".", f"begin with \"{w}\"."])), lambda t: w + " " + t
    if k == 6:
        return cap(always + s.choice(["put your answer in square brackets.", "write your answer in square brackets.", "wrap every answer in square brackets."])), lambda t: "[" + t + "]"
    if k == 7:
        return cap(always + s.choice(["put your answer in quotes.", "write the answer between double quotes.", "wrap each reply in double quotes."])), lambda t: '"' + t + '"'
    n = s.name()
    return cap(always + s.choice([f"sign every answer with the name {n}.", f"sign your replies as {n}.", f"sign each message with {n}."])), lambda t: t + "\n- " + n


PERSONAS = ["You are a helpful assistant.", "You are a friendly helper.", "You are Pensieve, a local assistant.", "Answer briefly.",
            "Be polite and short.", "You are an assistant that runs on the user's own machine.", "Be concise.", "You help people with their work."]


def system_rule(s):
    instruct, apply = rule(s)
    pre, post = s.choice(["", "", s.choice(PERSONAS) + " "]), s.choice(["", "", "", " " + s.choice(PERSONAS)])
    messages = [system(pre + instruct + post)]
    for _ in range(s.choice([1, 1, 1, 2, 3])):
        for m in easy(s):
            if m["role"] == "assistant":
                m = assistant(apply(m["content"]))
            messages.append(m)
    return messages, None, messages[-1]["content"]


def persona_name(s):
    n = s.name()
    job = s.choice(JOBS)
    sys = s.choice([f"Your name is {n}.", f"You are {n}.", f"You are {n}, a {job}.", f"You are a {job} named {n}."]) + s.choice(["", " " + s.choice(PERSONAS[3:6])])
    q = s.choice(["Who are you?", "What is your name?", "What's your name?", "Tell me your name.", "Introduce yourself."])
    return [system(sys), user(q), assistant(f"My name is {n}.")], None, f"My name is {n}."


# --- JSON ----------------------------------------------------------------------

FIELDS = {"name": lambda s: s.name(), "age": lambda s: s.randint(1, 99), "city": lambda s: s.choice(CITIES), "color": lambda s: s.choice(COLORS),
          "job": lambda s: s.choice(JOBS), "pet": lambda s: s.choice(ANIMALS), "food": lambda s: s.choice(FOODS), "day": lambda s: s.choice(DAYS),
          "month": lambda s: s.choice(MONTHS), "count": lambda s: s.number(3), "hobby": lambda s: s.choice(HOBBIES), "price": lambda s: s.number(4),
          "item": lambda s: s.noun(), "code": lambda s: s.ident(), "place": lambda s: s.choice(PLACES), "title": lambda s: s.pseudo(True) + " " + s.noun(),
          "active": lambda s: s.chance(.5), "size": lambda s: s.choice(["small", "medium", "large"])}


def json_shape(s):
    while True:
        k = s.randrange(6)
        only = s.choice(["", "", " Reply with JSON only.", " Answer only with JSON.", " JSON only, please.", " No other text."])
        if k <= 2:
            keys = s.sample(list(FIELDS), s.randint(1, 5))
            if s.chance(.25): keys[s.randrange(len(keys))] = s.noun()
            values = {x: (FIELDS[x](s) if x in FIELDS else s.choice([s.pseudo(), s.number(3)])) for x in keys}
            say = lambda v: str(v).lower() if isinstance(v, bool) else str(v)
            given = ", ".join(f"{x} {say(v)}" for x, v in values.items()) if s.chance(.5) else \
                    "; ".join(f"{x}: {say(v)}" for x, v in values.items()) if s.chance(.5) else ", ".join(f"the {x} is {say(v)}" for x, v in values.items())
            names = ", ".join(keys)
            q = s.choice([f"Make a JSON object with the keys {names}. {given}.", f"Write this as JSON: {given}.", f"Turn this into a JSON object with keys {names}: {given}",
                          f"Give me JSON with {names} for: {given}.", f"Convert to JSON: {given}", f"Extract {names} as JSON from this text: {given}."])
            a = values
        elif k == 3:
            items = [s.noun() if s.chance(.7) else s.pseudo() for _ in range(s.randint(1, 8))]
            key = s.choice(["items", "words", "list", "things", "values", s.noun()])
            bare = s.chance(.5)
            q = s.choice([f"Make a JSON array of these words: {', '.join(items)}.", f"Write these words as a JSON array: {', '.join(items)}"]) if bare else \
                s.choice([f"Write a JSON object with the key {key} that holds a list of: {', '.join(items)}.", f"Make a JSON object whose key \"{key}\" is an array of these words: {', '.join(items)}."])
            a = items if bare else {key: items}
        elif k == 4:
            x = s.randint(0, 50)
            y = x + s.randint(1, 12)
            key = s.choice(["numbers", "values", "list", s.noun()])
            bare = s.chance(.5)
            q = s.choice([f"Write the numbers from {x} to {y} as a JSON array.", f"Give me a JSON array with the numbers {x} to {y}."]) if bare else \
                f"Write a JSON object with the key {key} that holds the numbers from {x} to {y}."
            a = list(range(x, y + 1)) if bare else {key: list(range(x, y + 1))}
        else:
            keys = s.sample(list(FIELDS), s.randint(1, 4))
            values = {x: FIELDS[x](s) for x in keys}
            kind = lambda v: "boolean" if isinstance(v, bool) else "integer" if isinstance(v, int) else "string"
            schema = {"type": "object", "properties": {x: {"type": kind(v)} for x, v in values.items()}, "required": keys}
            if s.chance(.3): schema["additionalProperties"] = False
            given = ", ".join(f"{x} is {str(v).lower() if isinstance(v, bool) else v}" for x, v in values.items())
            q = f"{s.choice(['Answer with JSON that follows this schema', 'Use this JSON schema', 'Reply with JSON for this schema'])}: {json.dumps(schema)}\n{given}."
            a = values
        q += only
        if s.mine(q): break
    text = json.dumps(a, ensure_ascii=False)
    return [user(q), assistant(text)], None, ("json", a)


# --- tools ---------------------------------------------------------------------

S, I = "string", "integer"


def bank(s):
    """Tools: name, description, {parameter: (type, note)}, request maker, result maker, answer maker."""
    city, name, noun, n = s.choice(CITIES), s.name(), s.noun(), s.number(3)
    path, w = s.path(), s.sentence()
    temp, sky = s.randint(-10, 38), s.choice(["sunny", "cloudy", "rainy", "windy", "snowy", "foggy"])
    t = f"{s.randint(0, 23):02d}:{s.randint(0, 59):02d}"
    cmd = s.choice(["ls -la", "git status", "make test", "pwd", "date", "uname -a", "df -h", f"cat {path}", f"wc -l {path}", f"grep -n {noun} {path}", f"mkdir {noun}", "git log --oneline", "ps aux", f"echo {noun}", f"touch {path}", "make build", f"rm {path}"])
    a, b = s.number(3), s.number(3)
    mail = f"{name.lower()}@{s.noun()}.com"
    return [
        ("get_weather", "Get the weather of a city", {"city": (S, "Name of the city")},
         lambda: (s.choice([f"What is the weather in {city}?", f"How is the weather in {city} today?", f"Weather in {city}?", f"Tell me the weather in {city}.", f"Is it nice outside in {city}?"]), {"city": city}),
         lambda: (json.dumps({"city": city, "temperature": temp, "sky": sky}), f"It is {sky} in {city} with {temp} degrees.")),
        ("get_time", "Get the current time in a city", {"city": (S, "City")},
         lambda: (s.choice([f"What time is it in {city}?", f"Tell me the time in {city}.", f"Time in {city}?", f"How late is it in {city}?"]), {"city": city}),
         lambda: (t, f"It is {t} in {city}.")),
        ("add_numbers", "Add two numbers", {"a": (I, "First number"), "b": (I, "Second number")},
         lambda: (s.choice([f"Add {a} and {b}.", f"What is {a} plus {b}?", f"Sum up {a} and {b}."]), {"a": a, "b": b}), lambda: (str(a + b), f"The result is {a + b}.")),
        ("multiply", "Multiply two numbers", {"a": (I, "First factor"), "b": (I, "Second factor")},
         lambda: (s.choice([f"Multiply {a} by {b}.", f"What is {a} times {b}?"]), {"a": a, "b": b}), lambda: (str(a * b), f"The result is {a * b}.")),
        ("send_email", "Send an email", {"to": (S, "Address"), "subject": (S, "Subject line")},
         lambda: (s.choice([f"Send an email to {mail} about {noun}.", f"Write a mail to {mail} with the subject {noun}.", f"Email {mail} about {noun}."]), {"to": mail, "subject": noun}),
         lambda: ("sent", f"I sent the email to {mail}.")),
        ("read_file", "Read a file", {"path": (S, "Path of the file")},
         lambda: (s.choice([f"Read the file {path}.", f"What is in {path}?", f"Show me {path}.", f"Open {path}."]), {"path": path}), lambda: (w, f"The file {path} says: {w}")),
        ("Read", "Reads a file from the local filesystem.", {"file_path": (S, "The path to the file to read")},
         lambda: (s.choice([f"Read the file {path}.", f"What is in {path}?", f"Show me {path}.", f"Look at {path}.", f"Read {path}"]), {"file_path": path}), lambda: (w, f"The file {path} says: {w}")),
        ("Write", "Writes a file to the local filesystem.", {"file_path": (S, "The path to the file to write"), "content": (S, "The content to write")},
         lambda: (s.choice([f"Write \"{w}\" to the file {path}.", f"Create the file {path} with the content: {w}", f"Save \"{w}\" in {path}."]), {"file_path": path, "content": w}) if '"' not in w else (f"Create the file {path} with the content: {noun}", {"file_path": path, "content": noun}),
         lambda: ("File written.", f"I wrote the file {path}.")),
        ("Bash", "Executes a shell command and returns its output.", {"command": (S, "The command to execute")},
         lambda: (s.choice([f"Run {cmd}", f"Run the command {cmd}", f"Execute {cmd}", f"Run: {cmd}", f"Please run {cmd} in the shell"]), {"command": cmd}), lambda: (w, f"The command printed: {w}")),
        ("Grep", "Searches file contents for a pattern.", {"pattern": (S, "The pattern to search for"), "path": (S, "File or directory to search in")},
         lambda: (s.choice([f"Search for {noun} in {path}.", f"Find {noun} in {path}.", f"Grep for {noun} in {path}."]), {"pattern": noun, "path": path}), lambda: (f"{path}:{n}: {noun}", f"I found {noun} in {path} on line {n}.")),
        ("set_timer", "Set a timer", {"minutes": (I, "Duration in minutes")},
         lambda: (s.choice([f"Set a timer for {n} minutes.", f"Start a {n} minute timer.", f"Remind me in {n} minutes."]), {"minutes": n}), lambda: ("ok", f"The timer is set for {n} minutes.")),
        ("play_music", "Play a song", {"title": (S, "Title of the song")},
         lambda: (s.choice([f"Play the song {noun.capitalize()}.", f"I want to hear {noun.capitalize()}."]), {"title": noun.capitalize()}), lambda: ("playing", f"Now playing {noun.capitalize()}.")),
        ("turn_on_light", "Turn on the light in a room", {"room": (S, "The room")},
         lambda: ((lambda r: (s.choice([f"Turn on the light in the {r}.", f"Light in the {r}, please.", f"Make it bright in the {r}."]), {"room": r}))(s.choice(PLACES))), lambda: ("ok", "The light is on.")),
        ("get_stock", "Get how many of an item are in stock", {"item": (S, "The item")},
         lambda: (s.choice([f"How many {noun}s are in stock?", f"Check the stock of {noun}s.", f"Do we have any {noun}s left?"]), {"item": noun}), lambda: (json.dumps({"item": noun, "count": n}), f"There are {n} {noun}s in stock.")),
        ("create_event", "Create a calendar event", {"title": (S, "Title"), "day": (S, "Day of the week"), "time": (S, "Time as HH:MM")},
         lambda: ((lambda d: (s.choice([f"Create an event {noun} on {d} at {t}.", f"Put {noun} in my calendar for {d} at {t}."]), {"title": noun, "day": d, "time": t}))(s.choice(DAYS))), lambda: ("created", f"The event {noun} is in your calendar.")),
        ("translate", "Translate a word into another language", {"word": (S, "The word"), "language": (S, "Target language")},
         lambda: ((lambda l: (s.choice([f"Translate {noun} into {l}.", f"What is {noun} in {l}?"]), {"word": noun, "language": l}))(s.choice(["French", "German", "Spanish", "Italian", "Japanese"]))),
         lambda: ((lambda p: (p, f"The translation is {p}."))(s.pseudo(False)))),
        ("find_user", "Find a user by name", {"name": (S, "Name of the user")},
         lambda: (s.choice([f"Find the user {name}.", f"Look up {name}.", f"Who is the user {name}?"]), {"name": name}), lambda: (json.dumps({"name": name, "email": mail}), f"The email address of {name} is {mail}.")),
        ("web_search", "Search the web", {"query": (S, "Search query")},
         lambda: ((lambda q: (s.choice([f"Search the web for {q}.", f"Look up {q} on the web.", f"Google {q}."]), {"query": q}))(s.choice(ADJECTIVES) + " " + noun)), lambda: (w, f"I found this: {w}")),
    ]


def made_up_tool(s):
    """A tool whose name the model has never seen; the request names what it does."""
    verb = s.choice("open close start stop count paint delete check move rename order book fetch scan print lock measure".split())
    noun = s.noun()
    key = s.choice(["name", "id", "target", "label", "value", s.noun()])
    v = s.choice([lambda: s.pseudo(), lambda: s.ident(), lambda: s.number(3), lambda: s.noun()])()
    r = s.pseudo()
    return (f"{verb}_{noun}" if s.chance(.7) else f"{verb}{noun.capitalize()}", f"{verb.capitalize()} the {noun}", {key: (I if isinstance(v, int) else S, f"The {key} of the {noun}")},
            lambda: (s.choice([f"Please {verb} the {noun} with the {key} {v}.", f"{verb.capitalize()} the {noun} {v}.", f"I want you to {verb} the {noun} with {key} {v}."]), {key: v}),
            lambda: (s.choice(["ok", "done", r, json.dumps({"status": "ok"})]), f"I did it: {verb} the {noun}.") )


def as_json(tool, s, anthropic_words=True):
    name, about, params = tool[0], tool[1], tool[2]
    if s.chance(.3): about += "."
    if s.chance(.15): about += " " + " ".join(s.sentence() for _ in range(s.randint(1, 6)))
    props = {k: {"type": t, "description": d} if s.chance(.7) else {"type": t} for k, (t, d) in params.items()}
    schema = {"type": "object", "properties": props, "required": list(params)}
    if s.chance(.15): schema["additionalProperties"] = False
    if s.chance(.1): schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    return {"type": "function", "function": {"name": name, "description": about, "parameters": schema}}


NO_TOOL = [skills.small_talk, skills.arithmetic, skills.sequences, skills.greet, skills.copy, skills.count, skills.story]


def tools(s, kind=None):
    """One of: call, call and use the result, two calls, none needed."""
    known = bank(s)
    s.shuffle(known)
    n = s.choice([1, 1, 2, 2, 3, 3, 4, 5, 6])
    offered = known[:n]
    for _ in range(s.choice([0, 0, 1, 2])): offered.append(made_up_tool(s))
    names = set()
    offered = [t for t in offered if not (t[0] in names or names.add(t[0]))]
    if any(t[0] == "Read" for t in offered): offered = [t for t in offered if t[0] != "read_file"]
    s.shuffle(offered)
    kind = kind or s.choice(["call", "call", "use", "use", "none", "none", "unfit", "two"])
    shown = [as_json(t, s) for t in offered]
    head = [system(s.choice(PERSONAS))] if s.chance(.4) else []
    if kind == "none":
        while True:
            m, check = s.choice(NO_TOOL)(s)
            if not any(t[0] in ("add_numbers", "multiply", "get_time", "play_music") for t in offered) or "um" not in str(m): break
        clash = {"add_numbers", "multiply"}
        if any(t[0] in clash for t in offered):
            m, check = s.choice([skills.small_talk, skills.greet, skills.sequences])(s)
        return head + m, shown, check
    if kind == "unfit":
        other = [t for t in known[n:] if t[0] not in names and t[0] not in ("Read", "read_file", "Bash", "Grep", "Write", "translate", "add_numbers", "multiply", "web_search")]
        if {"web_search", "Bash"} & names or not other: return tools(s, "call")
        q, _ = other[0][3]()
        a = "I have no tool for that. I can only use the tools that I was given."
        return head + [user(q), assistant(a)], shown, a
    t = s.choice(offered)
    q, args = t[3]()
    if not s.mine(q): return tools(s, kind)
    if kind == "two":
        t2 = s.choice(offered)
        if t2 is t: kind = "call"
        else:
            q2, args2 = t2[3]()
            joined = q + " " + s.choice(["", "And then: ", "Also: "]) + q2
            calls = [(t[0], args), (t2[0], args2)]
            return head + [user(joined), assistant("", calls=calls)], shown, ("calls", calls)
    chat = head + [user(q), assistant("", calls=[(t[0], args)])]
    if kind == "call": return chat, shown, ("calls", [(t[0], args)])
    result, answer = t[4]()
    if s.chance(.06): result, answer = (e := s.choice(["Error: not found", "Error: permission denied", "Error: timeout"])), f"The tool failed: {e}"
    chat += [tool_result(result), assistant(answer)]
    check = answer
    if s.chance(.3):
        more, check = s.choice([skills.small_talk, skills.greet_short])(s)
        chat += more
    elif s.chance(.3):
        q, args = s.choice(offered)[3:4][0]() if False else t[3]()
        chat += [user(q), assistant("", calls=[(t[0], args)])]
        check = ("calls", [(t[0], args)])
    return chat, shown, check


# --- thinking --------------------------------------------------------------------

def thinking(s):
    k = s.randrange(6)
    if k == 0:
        a, op, b, v = skills.sum_of(s)
        word = {"+": "plus", "-": "minus", "*": "times", "/": "divided by"}[op]
        m = [user(s.choice([f"What is {a} {word} {b}?", f"{a} {op} {b} = ?", f"Calculate {a} {op} {b}."]))]
        think, ans = f"I have to work out {a} {op} {b}. {a} {op} {b} = {v}.", str(v)
    elif k == 1:
        w = s.noun() if s.chance(.7) else s.pseudo(False)
        c = s.choice(w)
        q = s.choice([f"How many letters does the word {w} have?", f"How many times is {c} in {w}?", f"Count the letter {c} in {w}."])
        m = [user(q)]
        if "letters" in q: think, ans = f"I spell it: " + ", ".join(f"{x} {i + 1}" for i, x in enumerate(w)) + ".", str(len(w))
        else:
            seen, parts = 0, []
            for x in w:
                seen += x == c
                parts.append(f"{x} {seen}")
            think, ans = "I go through the letters: " + ", ".join(parts) + ".", str(seen)
    elif k == 2:
        n, who, other = s.noun(), s.name(), s.name()
        a, b, c = s.randint(5, 50), s.randint(1, 30), s.randint(1, 20)
        m = [user(f"{who} has {a} {n}s. {who} gets {b} more from {other} and then loses {min(c, a + b)}. How many {n}s does {who} have now?")]
        c = min(c, a + b)
        think, ans = f"First {a} + {b} = {a + b}. Then {a + b} - {c} = {a + b - c}.", str(a + b - c)
    elif k == 3:
        m, check = s.choice([skills.sequences, skills.sequences])(s)
        ans, m = m[-1]["content"], m[:-1]
        think = s.choice(["The user asks about an order that I know. ", "I go through the list in order. "]) + f"The answer is {ans}."
        if len(ans) > 20: think = "I list them in order."
    else:
        fn, why = s.choice([(skills.greet, "The user talks to me. I answer kindly."), (skills.small_talk, "This is small talk. I answer kindly."),
                            (skills.copy, "I have to copy the text exactly."), (skills.count, "I have to count step by step."),
                            (skills.unknown, "I do not know this. I say so."), (skills.story, "The user wants a story. I make one up."), (skills.small_tasks, "This is a small task. I do it with care.")])
        m, check = fn(s)
        ans, m, think = m[-1]["content"], m[:-1], why
    return m + [assistant(ans, think=think)], None, ("think", ans if k < 4 or fn not in (skills.story, skills.greet, skills.small_tasks) else check)


def thinking_tool(s):
    chat, shown, check = tools(s, "call")
    name = chat[-1]["tool_calls"][0]["function"]["name"]
    chat[-1]["reasoning_content"] = f"I use the tool {name}."
    return chat, shown, ("think", check)
