"""Checks that what the demo model was taught about Pensieve is true of the programs beside it.

    python3 check_answers.py PENSIEVE_PROGRAM

Every flag, command, environment variable, endpoint, make target, file, metric,
header and error type that an answer in qa/*.txt names must exist, and every
default that an answer states must be the program's. What may be missing from a
release is named only in an answer that says "if your release has it".
Needs nothing but Python; ctest runs it.
"""

import re
import subprocess
import sys
from pathlib import Path

import qa

ROOT = Path(__file__).parents[2]
HEDGE = "if your release has it"
# Flags of other programs that answers name (Claude Code, curl, the worker).
FOREIGN = {"claude"}


def read(*patterns):
    return "\n".join(f.read_text(encoding="utf-8", errors="replace") for p in patterns for f in sorted(ROOT.glob(p)))


def facts(program):
    """What there is: sets of names, and the defaults of the flags of serve."""
    run = lambda *a: subprocess.run([program, *a], capture_output=True, text=True, timeout=60).stdout
    top, serve = run("--help"), run("serve", "--help")
    commands = set(re.findall(r"^  ([a-z]+)  ", top[top.lower().index("subcommands"):], re.M))
    helps = serve + "".join(run(c, "--help") for c in sorted(commands))
    flags = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", helps + top))
    # Newer versions of CLI11 break long lines.
    entries = [" ".join(e.split()) for e in re.split(r"\n(?=\s+(?:-\w,\s+)?--[a-z])", serve)]
    defaults = {m[1]: m[2] for e in entries if (m := re.match(r"(?:-\w, )?(--[a-z-]+) .*\[(.+)\]$", e))}
    makefile = (ROOT / "Makefile").read_text()
    code = read("src/api/**/*.cpp", "src/api/**/*.h", "src/http/*.cpp", "src/core/*.h", "apps/**/*.cpp", "src/supervisor/*.cpp", "src/admission/*.cpp")
    return {"flags": flags, "commands": commands, "defaults": defaults, "make": set(re.findall(r"^([a-z]+(?: [a-z]+)*):", makefile, re.M)),
            "code": code, "metrics": read("docs/metrics.md"), "docs": read("README.md", "docs/*.md", "CHANGELOG.md")}


def wrong(answer, there):
    """What this answer says that is not so: a list of sentences."""
    out = []
    hedged = HEDGE in answer
    for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]*", answer):
        if flag not in there["flags"] and not hedged: out.append(f"there is no flag {flag}")
    for command in re.findall(r"(?<![Aa] )(?<![\w-])pensieve (?!and\b)([a-z]+)\b", answer):
        if command not in there["commands"] and not hedged: out.append(f"there is no command 'pensieve {command}'")
    for name in re.findall(r"\bPENSIEVE_([A-Z_]+)", answer):
        if "--" + name.lower().replace("_", "-") not in there["flags"] and not answer.count("PENSIEVE_ and"): out.append(f"PENSIEVE_{name} is no flag's variable")
    for path in re.findall(r"(?<![\w.:])/(?:v1/[a-z_/]+|health|metrics)", answer):
        if '"' + path.rstrip("/") not in there["code"] and not hedged: out.append(f"no endpoint {path} in the server's code")
    targets = {t for line in there["make"] for t in line.split()}
    for target in re.findall(r"\bmake (run|build|test|bench|fuzz|tidy|[a-z]+)(?=[ ,.;])", answer):
        if target in ("it", "sense", "in", "of", "your", "a", "the", "sure"): continue
        if target not in targets and not hedged: out.append(f"the Makefile has no target {target}")
    for file in re.findall(r"\b(?:docs|models)/[\w./-]*\w|\b[A-Z]{3,}\.md\b", answer):
        if not (ROOT / file).exists(): out.append(f"there is no {file}")
    for metric in re.findall(r"\b(?:pensieve|llm)_[a-z_]+", answer):
        if metric not in there["metrics"]: out.append(f"docs/metrics.md does not know {metric}")
    for kind in re.findall(r"\b[a-z_]+_error\b|\brequest_too_large\b", answer):
        # The one that Pensieve says it does not use has no place in its code.
        if kind not in there["code"]: out.append(f"no error type {kind} in the server's code")
    begins = re.match(r"(--[a-z-]+) .*?The default is ([^ ;,]+?)[.;,]?(?: |$)", answer)
    stated = {begins[1]: begins[2]} if begins else {}
    if answer.startswith("--host 127.0.0.1, --port"):
        stated = dict(x.split(" ", 1) for x in re.split(r", | and ", answer.rstrip(".")))
    for flag, value in stated.items():
        real = there["defaults"].get(flag, "")
        if real.removesuffix("M") != value.removesuffix(" MB").removesuffix("M"): out.append(f"the default of {flag} is {real or 'not shown'}, not {value}")
    return out


def main():
    there = facts(sys.argv[1])
    assert len(there["flags"]) > 10 and "serve" in there["commands"] and there["defaults"].get("--port"), "the help could not be read"
    # A test that cannot fail is worthless: these must be found wrong.
    for lie in ["Use --no-such-flag.", "Run pensieve dance.", "Set PENSIEVE_NO_SUCH.", "GET /v1/nothing shows it.", "See docs/NOTHING.md.", "GET /metrics has pensieve_nothing_total.",
                "It is a fancy_error.", "--port sets the port. The default is 1234.", "Run make love."]:
        assert wrong(lie, there), f"the check did not find: {lie}"
    bad = 0
    for questions, answer, _ in qa.ENTRIES:
        for sentence in wrong(answer, there):
            bad += 1
            print(f"{questions[0]!r}: {sentence}\n    {answer}")
    seen = {}
    for questions, answer, _ in qa.ENTRIES:
        for q in questions:
            other = seen.setdefault(qa.bare(q), answer)
            if other != answer:
                bad += 1
                print(f"two answers to {q!r}:\n    {other}\n    {answer}")
    taught = {qa.bare(q) for questions, _, _ in qa.ENTRIES for q in qa.split_questions(questions, "train")}
    for q, _ in qa.fresh():   # which also finds an entry that is gone
        if qa.bare(q) in taught:
            bad += 1
            print(f"fresh.txt asks what was trained on: {q!r}")
    print(f"{len(qa.ENTRIES)} answers, {sum(len(q) for q, _, _ in qa.ENTRIES)} written questions, {bad} wrong")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
