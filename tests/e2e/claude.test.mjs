// `pensieve claude` and `pensieve connect`, with a stub in Claude Code's place that
// says what it was given. The real one is agent.test.mjs's.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { bin } from "./programs.mjs";
import { Server } from "./server.mjs";

// Runs pensieve; its output, whatever the exit code.
function pensieve(args, env = {}) {
  return new Promise((resolve) => {
    execFile(bin("pensieve"), args, { env: { ...process.env, ...env } }, (error, stdout, stderr) => resolve({ code: error ? error.code : 0, stdout, stderr }));
  });
}

describe("pensieve claude", () => {
  let server;
  let home;
  let stub;
  before(async () => {
    server = await Server.start({ fake: true, args: ["--context", "40000"] });
    home = mkdtempSync(join(tmpdir(), "pensieve-claude-"));
    stub = join(home, "claude");
    const script = join(home, "stub.mjs");
    writeFileSync(
      script,
      `if (process.argv[2] === "wait") {
  process.on("SIGTERM", () => process.exit(9));
  console.log("waiting");
  setInterval(() => {}, 1000);
} else {
  const reply = await fetch(process.env.ANTHROPIC_BASE_URL + "/v1/messages", {
    method: "POST",
    headers: { "content-type": "application/json", authorization: "Bearer " + process.env.ANTHROPIC_AUTH_TOKEN },
    body: JSON.stringify({ model: process.env.ANTHROPIC_MODEL, max_tokens: 50, messages: [{ role: "user", content: "from the stub" }] }),
  });
  const text = (await reply.json()).content?.[0].text;
  console.log(JSON.stringify({ args: process.argv.slice(2), env: process.env, text }));
  process.exitCode = 7;
}
`,
    );
    writeFileSync(stub, `#!/bin/sh\nexec "${process.execPath}" "${script}" "$@"\n`);
    chmodSync(stub, 0o755);
  });
  after(async () => {
    await server.stop();
    rmSync(home, { recursive: true });
  });

  const withStub = (extra = {}) => ({ PATH: `${home}:${process.env.PATH}`, ...extra });

  test("finds the server, sets the child's environment, hands on arguments and exit code", async () => {
    const { code, stdout } = await pensieve(["claude", "--url", server.url, "-p", "hi there", "--model", "x"], withStub({ ANTHROPIC_API_KEY: "sk-real", ANTHROPIC_BASE_URL: "http://elsewhere" }));
    assert.equal(code, 7);
    const { args, env, text } = JSON.parse(stdout);
    assert.equal(text, "from the stub");
    assert.deepEqual(args, ["-p", "hi there", "--model", "x"]);
    assert.equal(env.ANTHROPIC_BASE_URL, server.url);
    assert.equal(env.ANTHROPIC_API_KEY, undefined, "a real key is not handed to a local server");
    assert.equal(env.CLAUDE_CODE_MAX_CONTEXT_TOKENS, "40000");
    assert.equal(env.CLAUDE_CODE_MAX_OUTPUT_TOKENS, "10000");
    assert.equal(env.CLAUDE_CODE_ATTRIBUTION_HEADER, "0");
    assert.equal(env.CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC, "1");
    const names = ["ANTHROPIC_MODEL", "CLAUDE_CODE_SUBAGENT_MODEL", ...["OPUS", "SONNET", "HAIKU", "FABLE"].map((tier) => `ANTHROPIC_DEFAULT_${tier}_MODEL`)].map((name) => env[name]);
    assert.equal(new Set(names).size, 1);
    assert.doesNotMatch(names[0], /\//);
    assert.equal((await fetch(`${server.url}/health`)).status, 200, "a server that was found stays");
  });

  test("starts a server of its own where there is none, two at once, and ends it", async () => {
    const one = () => pensieve(["claude", "--port", "0", "--worker", bin("pensieve-fake-worker"), "--model", "script", "--context", "30000", "--", "go"], withStub());
    const both = await Promise.all([one(), one()]);
    const urls = both.map(({ code, stdout, stderr }) => {
      assert.equal(code, 7, stderr);
      const { args, env, text } = JSON.parse(stdout);
      assert.deepEqual(args, ["go"]);
      assert.equal(text, "from the stub");
      return env.ANTHROPIC_BASE_URL;
    });
    assert.notEqual(urls[0], urls[1]);
    for (const url of urls) await assert.rejects(fetch(`${url}/health`), "its server is gone");
  });

  test("hands a signal on", async () => {
    const child = spawn(bin("pensieve"), ["claude", "--url", server.url, "wait"], { env: { ...process.env, ...withStub() }, stdio: ["ignore", "pipe", "ignore"] });
    await new Promise((resolve) => child.stdout.once("data", resolve));
    child.kill("SIGTERM");
    assert.equal(await new Promise((resolve) => child.on("exit", resolve)), 9);
  });

  test("says in words what is missing", { skip: process.env.PENSIEVE_SANITIZED ? "it needs the real worker, which sanitizers come without" : false }, async () => {
    const none = await pensieve(["claude", "--url", server.url, "-p", "x"], { PATH: "/nonexistent" });
    assert.equal(none.code, 127);
    assert.match(none.stderr, /'claude' is not installed.*npm install -g @anthropic-ai\/claude-code/);
    const nobody = await pensieve(["claude", "--url", "http://127.0.0.1:1", "-p", "x"], withStub());
    assert.equal(nobody.code, 1);
    assert.match(nobody.stderr, /no server answers at http:\/\/127\.0\.0\.1:1/);
    const broken = await pensieve(["claude", "--port", "0", "--model", "/nonexistent.gguf", "x"], withStub());
    assert.equal(broken.code, 1);
    assert.match(broken.stderr, /nonexistent\.gguf/);
    const wrong = await pensieve(["claude", "--url", "ftp://x", "x"], withStub());
    assert.match(wrong.stderr, /--url: 'ftp:\/\/x'/);
  });

  test("connect prints shell lines that a shell reads, and snippets", async () => {
    const shell = await pensieve(["connect", "--url", server.url, "--only", "shell", "--api-key", "it's"]);
    assert.equal(shell.code, 0);
    const read = await new Promise((resolve) => execFile("sh", ["-c", `${shell.stdout}\nprintf %s "$ANTHROPIC_BASE_URL $ANTHROPIC_AUTH_TOKEN"`], (_, stdout) => resolve(stdout)));
    assert.equal(read, `${server.url} it's`);
    const all = await pensieve(["connect", "--url", server.url]);
    for (const words of ["from anthropic import", "@anthropic-ai/sdk", "OPENAI_BASE_URL", "language_models", "curl http"]) assert.ok(all.stdout.includes(words), words);
    assert.equal((await pensieve(["connect", "--url", "http://127.0.0.1:1"])).code, 1);
  });

  test("a key is asked for in words", async () => {
    const locked = await Server.start({ fake: true, args: ["--api-key", "secret"] });
    const refused = await pensieve(["claude", "--url", locked.url, "x"], withStub());
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /asks for a key/);
    assert.equal((await pensieve(["claude", "--url", locked.url, "--api-key", "secret", "x"], withStub())).code, 7);
    await locked.stop();
  });
});
