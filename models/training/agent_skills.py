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

FIELDS = {"name": lambda s: s.name(), "age": lambda s: s.randint(1, 99), "city": lambda s: s.place_name(), "color": lambda s: s.choice(COLORS),
          "job": lambda s: s.choice(JOBS), "pet": lambda s: s.choice(ANIMALS), "food": lambda s: s.choice(FOODS), "day": lambda s: s.choice(DAYS),
          "month": lambda s: s.choice(MONTHS), "count": lambda s: s.number(3), "hobby": lambda s: s.choice(HOBBIES), "price": lambda s: s.number(4),
          "item": lambda s: s.noun(), "code": lambda s: s.code(), "place": lambda s: s.choice(PLACES), "title": lambda s: s.pseudo(True) + " " + s.noun(),
          "active": lambda s: s.chance(.5), "size": lambda s: s.choice(["small", "medium", "large"]), "first_name": lambda s: s.name(),
          "last_name": lambda s: s.pseudo(True), "email": lambda s: f"{s.name().lower()}@{s.noun()}.com", "user_id": lambda s: s.number(5), "path": lambda s: s.path(),
          "score": lambda s: s.randint(0, 100), "done": lambda s: s.chance(.5), "country": lambda s: s.pseudo(True), "note": lambda s: s.words(s.randint(1, 4)),
          "friend": lambda s: s.name(), "level": lambda s: s.randint(1, 12), "version": lambda s: f"{s.randint(0, 9)}.{s.randint(0, 20)}", "weight": lambda s: s.number(3)}


def json_key(s):
    k = s.random()
    if k < .3: return s.noun()
    if k < .5: return s.pseudo(False)
    if k < .7: return s.english()
    if k < .85: return s.english() + "_" + s.choice(["id", "name", "count", "type", s.noun(), s.english()])
    return s.english() + s.choice(["Id", "Name", "Count", s.noun().capitalize(), s.english().capitalize()])


def json_value(s):
    k = s.random()
    if k < .25: return s.pseudo()
    if k < .45: return s.noun()
    if k < .65: return s.number(4)
    if k < .75: return s.code()
    if k < .82: return s.name()
    if k < .9: return s.english()
    if k < .95: return s.chance(.5)
    return s.words(s.randint(2, 3))


def json_fields(s, low=1, high=5):
    """{key: value} of known and of made-up keys."""
    out = {}
    n = s.randint(low, high)
    while len(out) < n:
        if s.chance(.55):
            k = s.choice(list(FIELDS))
            v = FIELDS[k](s)
        else: k, v = json_key(s), json_value(s)
        if k not in out: out[k] = v
    return out


def say(v):
    return str(v).lower() if isinstance(v, bool) else str(v)


def listing(s, values):
    k = s.randrange(5)
    if k == 0: return ", ".join(f"{x} {say(v)}" for x, v in values.items())
    if k == 1: return "; ".join(f"{x}: {say(v)}" for x, v in values.items())
    if k == 2: return ", ".join(f"the {x} is {say(v)}" for x, v in values.items())
    if k == 3: return ", ".join(f"{x}={say(v)}" for x, v in values.items())
    return "\n".join(f"{x}: {say(v)}" for x, v in values.items())


def schema_of(s, values):
    kind = lambda v: "boolean" if isinstance(v, bool) else "integer" if isinstance(v, int) else "string"
    props = {}
    for x, v in values.items():
        if isinstance(v, dict): props[x] = schema_of(s, v)
        elif isinstance(v, list): props[x] = {"type": "array", "items": {"type": kind(v[0])}}
        else:
            props[x] = {"type": kind(v)}
            if isinstance(v, str) and s.chance(.1): props[x] = {"type": "string", "description": s.sentence()}
    out = {"type": "object", "properties": props, "required": list(values)}
    if s.chance(.3): out["additionalProperties"] = False
    return out


def json_shape(s):
    while True:
        k = s.randrange(8)
        only = s.choice(["", "", "", " Reply with JSON only.", " Answer only with JSON.", " JSON only, please.", " No other text.", " Just the JSON."])
        if k <= 2:
            a = json_fields(s)
            given, names = listing(s, a), ", ".join(a)
            q = s.choice([f"Make a JSON object with the keys {names}. {given}.", f"Write this as JSON: {given}.", f"Turn this into a JSON object with keys {names}: {given}",
                          f"Give me JSON with {names} for: {given}.", f"Convert to JSON: {given}", f"Extract {names} as JSON from this text: {given}.",
                          f"As JSON: {given}", f"{given}\nWrite that as a JSON object.", f"I need a JSON object: {given}", f"to json: {given}",
                          f"Put this into JSON, please: {given}", f"Format as JSON: {given}", f"JSON for {given}"])
        elif k == 3:
            items = [s.noun() if s.chance(.6) else s.pseudo() for _ in range(s.randint(1, 8))]
            key = s.choice(["items", "words", "list", "things", "values", json_key(s), json_key(s)])
            bare = s.chance(.5)
            q = s.choice([f"Make a JSON array of these words: {', '.join(items)}.", f"Write these words as a JSON array: {', '.join(items)}", f"JSON array of {', '.join(items)}",
                          f"Give me a JSON list with {', '.join(items)}."]) if bare else \
                s.choice([f"Write a JSON object with the key {key} that holds a list of: {', '.join(items)}.", f"Make a JSON object whose key \"{key}\" is an array of these words: {', '.join(items)}.",
                          f"JSON object with an array {key}: {', '.join(items)}"])
            a = items if bare else {key: items}
        elif k == 4:
            x = s.randint(0, 50) if s.chance(.7) else s.randint(0, 900)
            y = x + s.randint(1, 12)
            key = s.choice(["numbers", "values", "list", json_key(s)])
            bare = s.chance(.5)
            q = s.choice([f"Write the numbers from {x} to {y} as a JSON array.", f"Give me a JSON array with the numbers {x} to {y}."]) if bare else \
                f"Write a JSON object with the key {key} that holds the numbers from {x} to {y}."
            a = list(range(x, y + 1)) if bare else {key: list(range(x, y + 1))}
        elif k == 5:
            inner, outer, key = json_fields(s, 1, 3), json_fields(s, 1, 2), json_key(s)
            if key in outer: continue
            a = {**outer, key: inner}
            q = s.choice([f"Make a JSON object with {listing(s, outer)} and an object {key} with {listing(s, inner)}.",
                          f"Write JSON: {listing(s, outer)}, and inside {key}: {listing(s, inner)}."])
        elif k == 6:
            key, rows = s.choice(list(FIELDS)), s.randint(2, 4)
            other = json_key(s)
            if key == other: continue
            a = [{key: FIELDS[key](s), other: json_value(s)} for _ in range(rows)]
            q = s.choice(["Make a JSON array of objects with the keys ", "Write as a JSON list of objects with "]) + f"{key} and {other}: " + "; ".join(f"{say(x[key])}, {say(x[other])}" for x in a) + "."
        else:
            a = json_fields(s, 1, 4)
            if s.chance(.15): a[json_key(s)] = json_fields(s, 1, 2)
            if s.chance(.15): a[json_key(s)] = [s.noun() for _ in range(s.randint(1, 4))]
            flat = {x: v for x, v in a.items() if not isinstance(v, (dict, list))}
            given = ", ".join(f"{x} is {say(v)}" for x, v in flat.items()) if s.chance(.5) else listing(s, flat)
            for x, v in a.items():
                if isinstance(v, dict): given += f", and {x} has {listing(s, v)}"
                if isinstance(v, list): given += f", and {x} holds {', '.join(v)}"
            q = f"{s.choice(['Answer with JSON that follows this schema', 'Use this JSON schema', 'Reply with JSON for this schema', 'JSON schema', 'Follow this schema'])}: {json.dumps(schema_of(s, a))}\n{given}."
        q += only
        if s.mine(q): break
    return [user(q), assistant(json.dumps(a, ensure_ascii=False))], None, ("json", a)


# --- tools ---------------------------------------------------------------------

S, I = "string", "integer"


def bank(s):
    """Tools: name, description, {parameter: (type, note)}, request maker, result maker, answer maker."""
    city, name, n = s.place_name(), s.name(), s.number(3)
    noun = s.noun() if s.chance(.75) else s.pseudo(False)
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


VERBS = """open close start stop count paint delete check move rename order book fetch scan print lock measure get set list create update remove add find
    search send read write show load save copy run build test clean sort merge split convert upload download share pause resume cancel approve assign tag
    archive restore publish track watch mark clear reset sync import export validate format compress encrypt""".split()


def param_value(s):
    """(type, value) of one argument."""
    k = s.random()
    if k < .22: return S, s.pseudo()
    if k < .42: return S, s.noun()
    if k < .55: return S, s.code()
    if k < .62: return S, s.path()
    if k < .68: return S, s.name()
    if k < .74: return S, s.english()
    if k < .94: return I, s.number(4)
    return "boolean", s.chance(.5)


def made_up_tool(s):
    """A tool whose name the model has never seen; the request says what it does, and names the arguments."""
    verb, noun = s.choice(VERBS), s.noun() if s.chance(.6) else s.pseudo(False) if s.chance(.5) else s.english()
    style = s.randrange(7)
    name = {0: f"{verb}_{noun}", 1: f"{verb}_{noun}", 2: f"{verb}{noun.capitalize()}", 3: f"{verb.capitalize()}{noun.capitalize()}", 4: f"{noun}_{verb}",
            5: f"mcp__{s.pseudo(False)}__{verb}_{noun}", 6: f"{verb}-{noun}"}[style]
    params = {}
    n = s.choice([0, 1, 1, 1, 1, 2, 2, 2, 3])
    while len(params) < n:
        key = s.choice(["name", "id", "target", "label", "value", "path", "query", "limit", "text", json_key(s), json_key(s), json_key(s)])
        if key not in params: params[key] = param_value(s)
    args = {k: v for k, (_, v) in params.items()}
    about = s.choice([f"{verb.capitalize()} the {noun}", f"{verb.capitalize()}s a {noun}", f"Use this to {verb} a {noun}", f"{verb.capitalize()} {noun}"])

    def request():
        please = s.choice(["Please ", "", "", "I want you to ", "Can you ", "Now ", "Could you please ", "I need you to "])
        the = s.choice(["the", "the", "the", "a", "this"])
        if n == 1 and s.chance(.35):
            q = f"{verb} {the} {noun} {say(next(iter(args.values())))}"
        elif n: q = f"{verb} {the} {noun} " + s.choice(["with ", "with the ", "using ", "with "]) + s.choice([" and ", ", ", ", "]).join(
            s.choice([f"{k} {say(v)}", f"{k} {say(v)}", f"{k}={say(v)}", f"{k} set to {say(v)}"]) for k, v in args.items())
        else: q = f"{verb} {the} {noun}"
        q = please + q if please else q[0].upper() + q[1:]
        return q + ("?" if please.startswith(("Can", "Could")) else s.choice([".", ".", ""])), args

    r = s.pseudo()
    return (name, about, {k: (t, f"The {k} of the {noun}") for k, (t, _) in params.items()}, request,
            lambda: (lambda out: (out, s.choice([f"I did it: {verb} the {noun}."]) if out in ("ok", "done", '{"status": "ok"}') else f"The tool {name} said: {out}"))(
                s.choice(["ok", "done", json.dumps({"status": "ok"}), r, s.sentence(), json.dumps({json_key(s): json_value(s)})])))


def as_json(tool, s, anthropic_words=True):
    name, about, params = tool[0], tool[1], tool[2]
    if s.chance(.3): about += "."
    if s.chance(.15): about += " " + " ".join(s.sentence() for _ in range(s.randint(1, 6)))
    props = {k: {"type": t, "description": d} if s.chance(.6) else {"type": t} for k, (t, d) in params.items()}
    if s.chance(.12):   # an argument that nobody needs to give
        extra = json_key(s)
        if extra not in props: props[extra] = {"type": s.choice([S, I, "boolean"]), "description": "Optional"}
    schema = {"type": "object", "properties": props, "required": list(params)}
    if s.chance(.15): schema["additionalProperties"] = False
    if s.chance(.1): schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    return {"type": "function", "function": {"name": name, "description": about, "parameters": schema}}


NO_TOOL = [skills.small_talk, skills.arithmetic, skills.sequences, skills.greet, skills.copy, skills.count, skills.story]
# Requests that a tool of the bank would answer; then the tool is to be called.
CLASH = {"add_numbers": {skills.arithmetic}, "multiply": {skills.arithmetic}}


def offer(s):
    known = bank(s)
    s.shuffle(known)
    offered = known[:s.choice([0, 1, 1, 2, 2, 3, 3, 4, 5, 6])]
    for _ in range(s.choice([0, 1, 1, 2, 3, 4]) if offered else s.randint(1, 4)): offered.append(made_up_tool(s))
    names = set()
    offered = [t for t in offered if not (t[0].lower() in names or names.add(t[0].lower()))]
    if any(t[0] == "Read" for t in offered): offered = [t for t in offered if t[0] != "read_file"]
    s.shuffle(offered)
    return offered


def tools(s, kind=None):
    """One of: call, call and use the result, two calls, none needed, none that fits."""
    kind = kind or s.choice(["call", "call", "call", "use", "use", "use", "none", "none", "unfit", "two"])
    head = [system(s.choice(PERSONAS))] if s.chance(.4) else []
    while True:
        offered = offer(s)
        names = {t[0] for t in offered}
        shown = [as_json(t, s) for t in offered]
        if kind == "none":
            fn = s.choice(NO_TOOL)
            if any(fn in CLASH.get(n, ()) for n in names): continue
            m, check = fn(s)
            return head + m, shown, check
        if kind == "unfit":
            if names & {"web_search", "Bash"}: continue
            others = [t for t in (bank(s) if s.chance(.6) else [made_up_tool(s)])
                      if t[0] not in names and t[0] not in ("Read", "read_file", "Bash", "Grep", "Write", "translate", "add_numbers", "multiply", "web_search")]
            if not others: continue
            q, _ = s.choice(others)[3]()
            if not s.mine(q): continue
            a = "I have no tool for that. I can only use the tools that I was given."
            return head + [user(q), assistant(a)], shown, a
        t = s.choice(offered)
        q, args = t[3]()
        if not s.mine(q): continue
        if kind == "two":
            if len(offered) < 2: continue
            t2 = s.choice([x for x in offered if x is not t])
            q2, args2 = t2[3]()
            calls = [(t[0], args), (t2[0], args2)]
            return head + [user(q + " " + s.choice(["", "And then: ", "Also: ", "After that: "]) + q2), assistant("", calls=calls)], shown, ("calls", calls)
        break
    chat = head + [user(q), assistant("", calls=[(t[0], args)])]
    if kind == "call": return chat, shown, ("calls", [(t[0], args)])
    result, answer = t[4]()
    if s.chance(.06): result, answer = (e := s.choice(["Error: not found", "Error: permission denied", "Error: timeout", f"Error: no such {s.noun()}"])), f"The tool failed: {e}"
    chat += [tool_result(result), assistant(answer)]
    check = answer
    if s.chance(.25):
        more, check = s.choice([skills.small_talk, skills.greet_short])(s)
        chat += more
    elif s.chance(.3):
        t = s.choice(offered)
        q, args = t[3]()
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
