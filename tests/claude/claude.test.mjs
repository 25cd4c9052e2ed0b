// Claude Code itself against Pensieve. Its prompt is far beyond the small demo model,
// so the model's words are scripted here; what the demo model does is shown at the end.
// Needs `npm ci` in this folder (some 750 MB): make e2e.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { bin } from "../e2e/programs.mjs";
import { call, Server, turns } from "../e2e/server.mjs";
import { Claude, program } from "./claude.mjs";
import { Recorder, redacted } from "./recorder.mjs";

const scripted = (context = 300000, env = {}) => Server.start({ fake: true, args: ["--context", String(context)], env });

for (const version of ["pinned", "newest"]) {
  describe(`Claude Code, ${version}`, () => {
    test("a plain question", async () => {
      const server = await scripted();
      const claude = new Claude(version, server.url);
      const { code, out, err } = await claude.run(["-p", `Say it. ${turns("Hello from the script.")}`]);
      assert.equal(code, 0, err);
      assert.equal(out, "Hello from the script.");
      claude.remove();
      await server.stop();
    });

    test("reads a file, edits it, runs a command; goes on in a new process; prefixes hold", async () => {
      const server = await scripted();
      const recorder = await Recorder.start(server.url);
      const claude = new Claude(version, recorder.url);
      const file = join(claude.work, "a.py");
      writeFileSync(file, "answer = 41\n");
      const first = await claude.run(["--allowedTools", "Read,Edit,Bash,ToolSearch", "-p", `Fix it. ${turns(
        "I read it.\n" + call("Read", { file_path: file }),
        call("ToolSearch", { query: "select:WebFetch,NotebookEdit", max_results: 2 }),
        call("Edit", { file_path: file, old_string: "41", new_string: "42" }) + "\n" + call("Bash", { command: "cat none.txt", description: "fails" }),
        call("Bash", { command: "cat a.py > out.txt; grep -c 42 a.py", description: "counts" }),
        "It says 42.")}`]);
      assert.equal(first.code, 0, first.err);
      assert.equal(first.out, "It says 42.");
      assert.equal(readFileSync(file, "utf8"), "answer = 42\n");
      assert.equal(readFileSync(join(claude.work, "out.txt"), "utf8"), "answer = 42\n");
      const second = await claude.run(["--continue", "-p", `And now? ${turns(call("Read", { file_path: join(claude.work, "none.py") }), "Done.")}`]);
      assert.equal(second.code, 0, second.err);
      assert.equal(second.out, "Done.");

      const bodies = recorder.messages();
      assert.equal(bodies.length, 7);
      const recording = join(claude.folder, "session.jsonl");
      writeFileSync(recording, bodies.map((body) => JSON.stringify(body)).join("\n") + "\n");
      execFileSync(join(bin(".."), "tests", "replay_test"), { env: { ...process.env, PENSIEVE_REPLAY: recording }, stdio: "pipe" });
      if (process.env.PENSIEVE_RECORD) writeFileSync(process.env.PENSIEVE_RECORD, bodies.map((body) => JSON.stringify(redacted(body))).join("\n") + "\n");
      recorder.stop();
      claude.remove();
      await server.stop();
    });

    test("thinking comes back sealed, and the answer after it", async () => {
      const server = await scripted();
      const recorder = await Recorder.start(server.url);
      const claude = new Claude(version, recorder.url);
      const { code, out, err } = await claude.run(["-p", `Think. ${turns("<think>\nI look first.\n</think>\n\n" + call("Bash", { command: "echo hi", description: "says hi" }), "<think>\nNow I know.\n</think>\n\nIt said hi.")}`, "--allowedTools", "Bash"]);
      assert.equal(code, 0, err);
      assert.equal(out, "It said hi.");
      const thought = recorder.messages()[1].messages.flatMap((message) => (Array.isArray(message.content) ? message.content : [])).find((block) => block.type === "thinking");
      assert.match(thought.signature, /^pensieve1\./);
      recorder.stop();
      claude.remove();
      await server.stop();
    });

    test("a context that overflows makes it compact and go on", async () => {
      const server = await scripted(90000);
      const recorder = await Recorder.start(server.url);
      const claude = new Claude(version, recorder.url);
      const log = join(claude.work, "log.txt");
      writeFileSync(log, Array.from({ length: 300 }, (_, i) => `line ${i} ${"x".repeat(40)}`).join("\n"));
      const { out } = await claude.run(["--allowedTools", "Read", "-p", `Look. ${turns(
        call("Read", { file_path: log }), call("Read", { file_path: log, offset: 1, limit: 290 }), call("Read", { file_path: log, offset: 2, limit: 280 }), call("Read", { file_path: log, offset: 3, limit: 270 }),
        "Seen it all.", "Seen it all.", "Seen it all.")}`]);
      assert.ok(out.length > 0, "it ended with an answer");
      const overflowing = recorder.messages();
      assert.ok(overflowing.some((body, i) => i > 0 && body.messages.length < overflowing[i - 1].messages.length), "a later request is shorter: it has compacted");
      recorder.stop();
      claude.remove();
      await server.stop();
    });

    test("a worker that is killed in the middle of an answer does not end the session", async () => {
      const server = await scripted(300000, { PENSIEVE_FAKE_STEP_US: "4000" });
      const claude = new Claude(version, server.url);
      const running = claude.run(["-p", `Say it. ${turns("word ".repeat(400), "word ".repeat(3))}`]);
      await server.until((health) => health.slots.running === 1);
      await new Promise((resolve) => setTimeout(resolve, 2500));
      await server.signalWorker();
      const { code, out, err } = await running;
      assert.equal(code, 0, err);
      assert.match(out, /word word/);
      claude.remove();
      await server.stop();
    });
  });
}

// `pensieve claude ARGS...`: the launcher's own work, with the real program at the end of it.
describe("pensieve claude", () => {
  const launched = () => {
    const claude = new Claude("pinned", "http://127.0.0.1:1");
    const path = join(claude.folder, "path");
    mkdirSync(path);
    symlinkSync(program("pinned"), join(path, "claude"));
    // Nothing of ours in its environment: all of it must come from the launcher.
    claude.env = { PATH: `${path}:${process.env.PATH}`, HOME: claude.env.HOME, DISABLE_AUTOUPDATER: "1", PENSIEVE_STORE: "off", PENSIEVE_BATCHES: join(claude.folder, "batches.sqlite") };
    claude.program = bin("pensieve");
    return claude;
  };
  const ownServer = (...args) => ["claude", "--port", "0", "--worker", bin("pensieve-fake-worker"), "--model", "script", "--context", "300000", "--", ...args];
  const files = (folder) => readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).map((entry) => entry.name);

  test("runs it against a server that runs; its settings are in the child's environment alone", async () => {
    const server = await scripted();
    const recorder = await Recorder.start(server.url);
    const claude = launched();
    mkdirSync(join(claude.env.HOME, ".claude"));
    mkdirSync(join(claude.work, ".claude"));
    writeFileSync(join(claude.env.HOME, ".claude", "settings.json"), JSON.stringify({ permissions: { allow: ["Bash(env:*)"] } }));
    writeFileSync(join(claude.work, ".claude", "settings.json"), JSON.stringify({ permissions: { deny: ["WebFetch"] } }));
    const settings = () => [join(claude.env.HOME, ".claude", "settings.json"), join(claude.work, ".claude", "settings.json")].map((file) => readFileSync(file, "utf8"));
    const before = settings();
    const { code, out, err } = await claude.run(["claude", "--url", recorder.url, "-p", `Say it. ${turns(call("Bash", { command: "env", description: "shows the environment" }), "Said through the launcher.")}`, "--allowedTools", "Bash"]);
    assert.equal(code, 0, err);
    assert.equal(out, "Said through the launcher.");
    assert.deepEqual(settings(), before);
    assert.deepEqual(files(claude.work), ["settings.json"], "nothing was written where it ran");
    // What Claude Code did with it: the server's model in every request, no billing line, and its own children see where it talks to.
    const bodies = recorder.messages();
    const { data } = await (await fetch(`${server.url}/v1/models`)).json();
    assert.deepEqual([...new Set(bodies.map((body) => body.model))], [data[0].id]);
    assert.ok(bodies.every((body) => !JSON.stringify(body.system).includes("x-anthropic-billing-header")));
    const shown = JSON.stringify(bodies.at(-1).messages);
    assert.ok(shown.includes(`CLAUDE_CODE_MAX_CONTEXT_TOKENS=300000`));
    recorder.stop();
    claude.remove();
    await server.stop();
  });

  test("its exit code is Claude Code's", async () => {
    const claude = launched();
    const wrong = await claude.run(ownServer("--no-such-flag"));
    const direct = new Claude("pinned", "http://127.0.0.1:1");
    assert.equal(wrong.code, (await direct.run(["--no-such-flag"])).code);
    assert.notEqual(wrong.code, 0);
    assert.match(wrong.err, /no-such-flag/);
    const version = await claude.run(ownServer("--version"));
    assert.equal(version.code, 0);
    assert.match(version.out, /Claude Code/);
    direct.remove();
    claude.remove();
  });

  test("two at once, each with a server and a port of its own, which end with it", async () => {
    const both = [launched(), launched()];
    const ran = await Promise.all(both.map((claude, i) => claude.run(ownServer("-p", `Say it. ${turns(call("Bash", { command: "echo url=$ANTHROPIC_BASE_URL > url.txt", description: "notes" }), `I am number ${i}.`)}`, "--allowedTools", "Bash"))));
    ran.forEach(({ code, out, err }, i) => {
      assert.equal(code, 0, err);
      assert.equal(out, `I am number ${i}.`);
    });
    const urls = both.map((claude) => /url=(http:\S+)/.exec(readFileSync(join(claude.work, "url.txt"), "utf8"))[1]);
    assert.notEqual(urls[0], urls[1]);
    for (const url of urls) await assert.rejects(fetch(`${url}/health`), "its server is gone");
    both.forEach((claude) => claude.remove());
  });
});

test("the demo model by itself: Claude Code's smallest prompt is answered in words", async () => {
  const server = await Server.start({ args: ["--slots", "1", "--context", "8192"] });
  const claude = new Claude("pinned", server.url);
  const { code, out, err } = await claude.run(["--bare", "-p", "Hello! Who are you?"]);
  console.log(`# the demo model said: ${out}`);
  assert.equal(code, 0, err);
  assert.ok(out.length > 0);
  claude.remove();
  await server.stop();
});
