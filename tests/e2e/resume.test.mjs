// kill -9 on the model process, and open streams go on: byte for byte what an
// undisturbed run says. The real worker with the trained model, through the official SDK.
import Anthropic from "@anthropic-ai/sdk";
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { bin } from "./programs.mjs";
import { all, ask, blocksOf, call, checkForm, events, Server, textOf, turns } from "./server.mjs";

const cycles = Number(process.env.PENSIEVE_KILL_CYCLES ?? 25);
// A cheap generator, so that a failure can be run again: PENSIEVE_KILL_SEED.
let state = Number(process.env.PENSIEVE_KILL_SEED ?? Date.now() % 1e9);
const seed = state;
const random = () => {
  state = (state * 1103515245 + 12345) % 2147483648;
  return state / 2147483648;
};
const commandOf = (pid) => {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return "";
  }
};
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const filler = (number) => Array.from({ length: 90 }, (_, i) => `word${(i * 7 + number * 13) % 101}`).join(" ");
const bodies = [
  { temperature: 0, max_tokens: 120, messages: [{ role: "user", content: "Count from 1 to 60." }] },
  { temperature: 1.3, top_k: 0, top_p: 1, seed: 7, max_tokens: 90, messages: [{ role: "user", content: "Tell me a story about a lighthouse." }] },
  { temperature: 0.9, seed: 8, max_tokens: 60, stop_sequences: ["zzz", "20,"], messages: [{ role: "user", content: `${filler(1)} Count from 1 to 40.` }] },
  { temperature: 1.5, top_k: 0, top_p: 1, min_p: 0, seed: 9, max_tokens: 70, messages: [{ role: "user", content: filler(2) }] },
  {
    temperature: 0.8, seed: 10, max_tokens: 150, messages: [{ role: "user", content: `${filler(3)} What is the weather in Paris?` }],
    tools: [{ name: "get_weather", description: "Get the weather of a city", input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] } }],
    tool_choice: { type: "any" },
  },
].map((body) => ({ model: "claude-test", ...body }));

describe("kill it", () => {
  let server, folder, client;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "pensieve-resume-"));
    server = await Server.start({ args: ["--slots", "4", "--context", "2048", "--deaths-max", "1000000", "--stall-timeout", "2", "--memory", "2G", "--store", folder] });
    client = new Anthropic({ baseURL: server.url, apiKey: "x", maxRetries: 0 });
  });
  after(async () => {
    assert.deepEqual(await server.stop(), { code: 0, signal: null });
    rmSync(folder, { recursive: true });
  });

  const stream = async (body, onEvent) => {
    const message = client.messages.stream(body);
    if (onEvent) message.on("streamEvent", (event) => event.type !== "ping" && onEvent());
    const { content, stop_reason, stop_sequence, usage } = await message.finalMessage();
    return { content: content.map(({ type, text, thinking, id, name, input }) => ({ type, text, thinking, id, name, input })), stop_reason, stop_sequence, output_tokens: usage.output_tokens };
  };

  test(`${cycles} kills at random moments, 1 to 4 streams (seed ${seed})`, async () => {
    const expected = [];
    for (const body of bodies) expected.push(await stream(body));
    assert.equal(expected.at(-1).stop_reason, "tool_use");
    const pauses = [];
    const workers = new Set();
    let stopped = false;
    for (let cycle = 0; cycle < cycles; ++cycle) {
      const count = 1 + Math.floor(random() * 4);
      const first = Math.floor(random() * bodies.length);
      // A stopped process is found by its silence, which takes the stall timeout: not too often.
      const signal = cycle % 12 === 6 ? "SIGSTOP" : ["SIGKILL", "SIGKILL", "SIGSEGV"][Math.floor(random() * 3)];
      let last = performance.now(), longest = 0;
      const tick = () => {
        longest = Math.max(longest, performance.now() - last);
        last = performance.now();
      };
      const chosen = Array.from({ length: count }, (_, i) => (first + i) % bodies.length);
      const running = chosen.map((i) => stream(bodies[i], tick));
      const kills = signal === "SIGKILL" && random() < 0.3 ? 2 : 1; // Now and then once more while it resumes.
      for (let kill = 0; kill < kills; ++kill) {
        await pause(random() * 350);
        workers.add(await server.signalWorker(signal));
      }
      const results = await Promise.all(running);
      results.forEach((result, i) => assert.deepEqual(result, expected[chosen[i]], `cycle ${cycle}, body ${chosen[i]}, ${i + 1} of ${count}, ${signal}, seed ${seed}`));
      // One that is stopped when its streams have ended hangs the next cycle's, which take the stall timeout and two seconds.
      if (signal !== "SIGSTOP" && !stopped) pauses.push(longest);
      stopped = signal === "SIGSTOP";
    }
    const health = await server.until((h) => h.ready && h.slots.running === 0);
    assert.ok(health.worker.requests_resumed > cycles / 4, `${health.worker.requests_resumed} streams were resumed`);
    assert.ok(health.worker.restarts >= cycles * 0.8);
    assert.equal(health.kv.store.blocks_set_aside, 0);
    assert.ok(health.memory.anonymous_bytes <= health.memory.budget_bytes, `${health.memory.anonymous_bytes} of ${health.memory.budget_bytes} bytes`);
    assert.ok(health.memory.committed_bytes <= health.memory.budget_bytes);
    // What was stored under all this is whole, and nothing else is left: no half-written file, no process.
    const verified = spawnSync(bin("pensieve"), ["store", "verify", "--store", folder], { encoding: "utf8" });
    assert.equal(verified.status, 0, verified.stdout + verified.stderr);
    const left = readdirSync(folder, { recursive: true }).map(String).filter((name) => name.endsWith(".tmp") && !name.endsWith(`.${health.worker.pid}.tmp`));
    assert.deepEqual(left, []);
    for (const pid of workers) {
      if (pid !== health.worker.pid) assert.ok(!commandOf(pid).includes("pensieve-worker"), `worker ${pid} is still there`);
    }
    console.log(`# ${verified.stdout.trim().split("\n").at(-1)}`);
    pauses.sort((a, b) => a - b);
    console.log(`# longest pause between two pieces of text: median ${pauses[pauses.length >> 1].toFixed(0)} ms, p99 ${pauses[Math.floor(pauses.length * 0.99)].toFixed(0)} ms; ${health.worker.requests_resumed} streams resumed over ${health.worker.restarts} deaths`);
  });

  test("SIGHUP replaces the worker, and open streams go on in the new one", async () => {
    const expected = await Promise.all(bodies.slice(0, 2).map((body) => stream(body)));
    for (const wait of [10, 120, 300]) {
      const { worker } = await server.until((h) => h.ready);
      const running = bodies.slice(0, 2).map((body) => stream(body));
      await pause(wait);
      server.child.kill("SIGHUP");
      (await Promise.all(running)).forEach((result, i) => assert.deepEqual(result, expected[i], `stream ${i}, after ${wait} ms`));
      await server.until((h) => h.ready && h.worker.pid !== worker.pid);
    }
  });

  test("pensieve reload replaces the worker and says so; streams go on", async () => {
    const expected = await stream(bodies[1]);
    const { worker } = await server.until((h) => h.ready);
    const running = stream(bodies[1]);
    await pause(100);
    const reload = (url) => new Promise((resolve) => {
      const child = spawn(bin("pensieve"), ["reload", "--url", url], { stdio: ["ignore", "pipe", "pipe"] });
      let said = "";
      for (const out of [child.stdout, child.stderr]) out.on("data", (data) => (said += data));
      child.on("close", (code) => resolve({ code, said }));
    });
    const { code, said } = await reload(server.url);
    assert.equal(code, 0, said);
    assert.match(said, new RegExp(`^worker ${worker.pid} replaced by [0-9]+; `));
    assert.deepEqual(await running, expected);
    assert.notEqual((await server.health()).worker.pid, worker.pid);
    assert.equal((await reload("http://192.0.2.1:7777")).code, 2, "only on this machine");
    assert.equal((await reload("http://127.0.0.1:1")).code, 1);
  });

  test("a client that leaves while its worker is down is not resumed", async () => {
    const controller = new AbortController();
    const reply = await fetch(`${server.url}/v1/messages`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ ...bodies[0], stream: true }), signal: controller.signal });
    const reader = reply.body.getReader();
    await reader.read();
    const killed = await server.signalWorker();
    controller.abort();
    await server.until((h) => h.ready && h.slots.running === 0 && h.worker.pid !== killed);
  });
});

test("killed in the middle of a tool call: the call is whole, and there once", async () => {
  const server = await Server.start({ fake: true, args: ["--slots", "1", "--deaths-max", "1000000"], env: { PENSIEVE_FAKE_STEP_US: "3000" } });
  const tools = [{ name: "look", description: "looks", input_schema: { type: "object", properties: { at: { type: "string" } } } }];
  const body = ask(turns(`I look. ${call("look", { at: "h\u00e9 \u20ac \ud83d\ude00 }{" })}\n${call("look", { at: "b" })}`), { stream: true, tools, max_tokens: 400, seed: 5 });
  const undisturbed = blocksOf(await all(events(await server.post(body))));
  assert.equal(undisturbed.filter((block) => block.type === "tool_use").length, 2);
  for (let cycle = 0; cycle < 10; ++cycle) {
    const reply = (async () => all(events(await server.post(body))))();
    await pause(60 + cycle * 50);
    await server.signalWorker(["SIGKILL", "SIGSEGV"][cycle % 2]);
    const list = await reply;
    checkForm(list);
    assert.deepEqual(blocksOf(list), undisturbed, `cycle ${cycle}`);
  }
  await server.stop();
});

test("killed in the middle of a character, of a held-back stop sequence, at the last token, and while waiting in line", async () => {
  const server = await Server.start({ fake: true, args: ["--slots", "1", "--deaths-max", "1000000"], env: { PENSIEVE_FAKE_STEP_US: "3000" } });
  const said = "h\u00e9 \u20ac \ud83d\ude00 STOX STO end";
  const runs = [ask(said, { stream: true, stop_sequences: ["STOP"] }), ask("!repeat 20 ab", { stream: true, max_tokens: 33 })];
  const expected = [said, "ab".repeat(16) + "a"];
  for (let cycle = 0; cycle < 12; ++cycle) {
    const replies = runs.map(async (body) => all(events(await server.post(body))));
    await pause(20 + cycle * 14);
    await server.signalWorker();
    const lists = await Promise.all(replies);
    lists.forEach((list, i) => {
      checkForm(list);
      assert.equal(textOf(list), expected[i], `cycle ${cycle}`);
    });
  }
  await server.stop();
});

test("killed before, in and after the end that a thinking budget puts in", async () => {
  const server = await Server.start({ fake: true, args: ["--slots", "1", "--deaths-max", "1000000"], env: { PENSIEVE_FAKE_STEP_US: "5000" } });
  const body = ask('!turns ["<think>I count on.__________Five, as far as I can tell."]', { stream: true, max_tokens: 500, thinking: { type: "enabled", budget_tokens: 11 } });
  const once = async () => {
    const list = await all(events(await server.post(body)));
    checkForm(list);
    const parts = list.filter(({ event }) => event === "content_block_delta").map(({ data }) => [data.index, data.delta.thinking ?? data.delta.text]);
    return { parts: [0, 1].map((index) => parts.filter((part) => part[0] === index).map((part) => part[1]).join("")), usage: list.find(({ event }) => event === "message_delta").data.usage.output_tokens };
  };
  const expected = await once();
  assert.deepEqual(expected.parts, ["I count on.", "_Five, as far as I can tell."]);
  for (let cycle = 0; cycle < 10; ++cycle) {
    const running = once();
    await pause(15 + cycle * 20);
    await server.signalWorker();
    assert.deepEqual(await running, expected, `cycle ${cycle}`);
  }
  await server.stop();
});

test("what the worker before tried of exactness, the next one is told", { skip: process.platform !== "linux" && "it reads /proc" }, async () => {
  const server = await Server.start({ args: ["--slots", "2"] });
  const arguments_of = (pid) => readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  const first = await server.until((h) => h.kv.exact !== null);
  assert.ok(!arguments_of(first.worker.pid).includes("--exact-tried"));
  const killed = await server.signalWorker();
  const next = await server.until((h) => h.ready && h.worker.pid !== killed);
  assert.equal(next.kv.exact, first.kv.exact);
  const passed_on = arguments_of(next.worker.pid);
  // Without kernels of ours there is no proof to lean on.
  assert.equal(passed_on.includes("--exact-tried"), first.kv.exact === true && passed_on.includes("--proof"));
  await server.stop();
});
