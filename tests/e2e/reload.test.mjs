// `pensieve reload --model`: another model in a server that runs. What runs ends in the old one, what comes meanwhile
// waits for the new one; a model that cannot be loaded changes nothing.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { bin } from "./programs.mjs";
import { all, ask, checkForm, events, Server, textOf } from "./server.mjs";

describe("another model", () => {
  const folder = mkdtempSync(join(tmpdir(), "pensieve-reload-"));
  const env = { XDG_DATA_HOME: folder };
  const other = join(folder, "other.gguf");
  let server;
  before(async () => {
    execFileSync(bin("pensieve-make-model"), ["tiny-qwen3", other, "--quant", "q8_0"], { stdio: "ignore" });
    const first = join(folder, "first.gguf");  // Of random weights: it does not end its turn before it must.
    execFileSync(bin("pensieve-make-model"), ["tiny", first, "--quant", "q8_0"], { stdio: "ignore" });
    server = await Server.start({ modelFile: first, args: ["--slots", "2", "--context", "2048"], env });
  });
  after(async () => {
    await server.stop();
    rmSync(folder, { recursive: true });
  });
  const reload = (model) => new Promise((resolve) => {
    const child = spawn(bin("pensieve"), ["reload", "--url", server.url, "--model", model], { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...env } });
    let said = "";
    for (const out of [child.stdout, child.stderr]) out.on("data", (data) => (said += data));
    child.on("close", (code) => resolve({ code, said }));
  });
  const body = (content, more) => ask(content, { temperature: 1, seed: 3, max_tokens: 1500, stream: true, ...more });
  const stream = async (content, more) => {
    const list = await all(events(await server.post(body(content, more))));
    checkForm(list);
    return list;
  };

  test("streams that run end in the old model, what comes meanwhile is answered by the new one", async () => {
    const question = "Tell me about the store and what it keeps, please.";
    const before = await server.health();
    const undisturbed = textOf(await stream(question));
    const running = server.post(body(question));
    const list = all(events(await running));
    const changed = reload(other);
    const draining = await server.until((health) => health.worker.state === "reloading" || health.worker.pid !== before.worker.pid);
    assert.equal(draining.worker.pid, before.worker.pid, "the old one goes on first");
    const late = stream("And this one?", { max_tokens: 12 });
    assert.equal(textOf(await list), undisturbed, "it ended as if nothing had happened");
    const { code, said } = await changed;
    assert.equal(code, 0, said);
    assert.match(said, /^worker \d+ replaced by \d+, of Tiny stand-in \(qwen3\)$/m);
    const answer = await late;
    const direct = await stream("And this one?", { max_tokens: 12 });
    assert.equal(textOf(answer), textOf(direct), "the new model's answer");
    const now = await server.health();
    assert.equal(now.model.architecture, "qwen3");
    assert.notDeepEqual(now.plan, before.plan);
    assert.equal(now.worker.change_problem, null);
    assert.ok(!readdirSync(join(folder, "pensieve")).some((name) => name.startsWith("reload-")));
  });

  test("a model that is planned but does not come up is given up, and the one before is loaded again", async () => {
    const mad = join(folder, "mad.gguf");
    const bytes = readFileSync(other);
    const at = bytes.indexOf("{% for ");
    assert.ok(at > 0, "its template loops");
    bytes.write("{% fxr ", at);
    writeFileSync(mad, bytes);
    const { worker, model, plan } = await server.health();
    const { code, said } = await reload(mad);
    assert.equal(code, 1, said);
    assert.match(said, /template/);
    const now = await server.until((health) => health.ready);
    assert.notEqual(now.worker.pid, worker.pid);
    assert.deepEqual([now.model, now.plan], [model, plan]);
    assert.match(now.worker.change_problem, /template/);
    assert.equal((await server.post(ask("still there?", { max_tokens: 3 }))).status, 200);
  });

  test("what waits for another model waits as long as a stream runs in the old one", { timeout: 180_000 }, async () => {
    const once = join(folder, "once");
    const scripted = await Server.start({
      fake: true, args: ["--slots", "2", "--queue", "8", "--load-timeout", "5"],
      env: { ...env, PENSIEVE_FAKE_STEP_US: "5000", PENSIEVE_FAKE_FAULTS: "never-ready", PENSIEVE_FAKE_FAULTS_ONCE: once },
    });
    const change = (wait) => new Promise((resolve) => {
      const child = spawn(bin("pensieve"), ["reload", "--url", scripted.url, "--model", other, "--wait", String(wait)], { stdio: "ignore", env: { ...process.env, ...env } });
      child.on("close", resolve);
    });
    const whole = async (content) => {
      const reply = await scripted.post(ask(content));
      return { status: reply.status, said: await reply.json() };
    };
    const heard = async (content) => {
      const list = await all(events(await scripted.post(ask(content, { stream: true }))));
      checkForm(list);
      return list;
    };
    const begin = async (steps) => {
      const stream = events(await scripted.post(ask(`!repeat ${steps} x`, { stream: true, max_tokens: 4000 })));
      await stream.next();  // It has its slot.
      return all(stream);
    };
    try {
      const { worker } = await scripted.health();
      const long = begin(2400);  // 12 s: a ping comes after 10.
      const changed = change(8);
      await scripted.until((health) => health.worker.state === "reloading");
      const late = [heard("late"), heard("in line"), whole("whole")];
      assert.equal(textOf(await long).length, 2400);
      const [stream, queued, answer] = await Promise.all(late);
      assert.deepEqual([textOf(stream), textOf(queued)], ["late", "in line"]);
      assert.ok(stream.some(({ event }) => event === "ping"), "a client must hear that its request lives");
      assert.equal(answer.status, 200, JSON.stringify(answer.said));
      assert.equal(await changed, 0, "the command waits as long");
      assert.notEqual((await scripted.health()).worker.pid, worker.pid);

      const short = begin(300);
      writeFileSync(once, "");
      void change(20);
      await scripted.until((health) => health.worker.state === "reloading");
      const refused = await whole("never");
      await short;
      assert.equal(refused.status, 503, "that one does not come up");
      assert.match(refused.said.error.message, /still loading/);
    } finally {
      await scripted.stop("SIGKILL");
    }
  });

  test("what is no model, or is not there, changes nothing", async () => {
    const broken = join(folder, "broken.gguf");
    writeFileSync(broken, "no model");
    const { worker, model, plan } = await server.health();
    for (const [path, why] of [[broken, /cannot be told|could not be loaded/], [join(folder, "nowhere.gguf"), /nowhere/]]) {
      const { code, said } = await reload(path);
      assert.equal(code, 1, said);
      assert.match(said, why);
      const now = await server.health();
      assert.ok(now.ready);
      assert.equal(now.worker.pid, worker.pid);
      assert.deepEqual([now.model, now.plan], [model, plan]);
    }
    assert.equal((await server.post(ask("still there?", { max_tokens: 3 }))).status, 200);
  });
});
