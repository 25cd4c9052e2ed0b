// Whatever befalls the worker: it is replaced within a stated time, the server lives on, memory comes back
// to where it was, and the next request is answered rightly. (More of deaths and hangs: watchdog.test.mjs.)
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { bin, model } from "../e2e/programs.mjs";
import { all, ask, events, Server, stopOf, textOf } from "../e2e/server.mjs";
import { Worker } from "../e2e/worker.mjs";
import { mb, treePss } from "./tree.mjs";

const kStall = 1; // s, --stall-timeout of these tests.
const kPatience = 2; // s between SIGTERM and SIGKILL.
const kStart = 8; // s for a worker to end and another to start, on a busy machine.
const kSame = 6e6; // Bytes by which two idle trees of one kind differ.

const folder = mkdtempSync(join(tmpdir(), "pensieve-faults-"));
after(() => rmSync(folder, { recursive: true, force: true }));
const answer = async (server, body) => {
  const reply = await server.post(body);
  assert.equal(reply.status, 200, await reply.clone().text());
  return (await reply.json()).content[0].text;
};
const works = async (server) => assert.equal(await answer(server, ask("on we go")), "on we go");
// Until another worker is ready; how long that took, in seconds.
const replaced = async (server, pid, begun) => {
  const health = await server.until((h) => h.ready && h.worker.pid !== pid);
  return { health, took: (performance.now() - begun) / 1000 };
};

// What a request does to a worker twice, and then it is refused; the other stream goes on through both.
const cases = [
  ["!abort", /aborted/, 0], ["!deaf", /ended/, 0], ["!nonsense", /no report/, 0],
  ["!spin", /hung/, kStall + kPatience], ["!stop", /hung/, kStall + kPatience],
];
for (const [word, why, known] of cases) test(`${word} in a step: replaced, its neighbour goes on, memory comes back`, { timeout: 60_000 }, async () => {
  const server = await Server.start({ fake: true, args: ["--stall-timeout", String(kStall)], env: { PENSIEVE_FAKE_STEP_US: "2000" } });
  await works(server);
  const idle = treePss(server.child.pid);
  const other = all(events(await server.post(ask("!repeat 900 x", { stream: true, max_tokens: 1000 }))));
  const begun = performance.now();
  const list = await all(events(await server.post(ask(word, { stream: true }))));
  const took = (performance.now() - begun) / 1000;
  assert.equal(list.at(-1).event, "error");
  assert.match(list.at(-1).data.error.message, /two deaths of the model process/);
  assert.equal(textOf(await other), "x".repeat(900));
  const health = await server.until((h) => h.ready);
  assert.match(health.worker.last_death, why);
  assert.equal(health.worker.restarts, 2);
  const bound = 2 * (known + kStart);
  assert.ok(took < bound, `two deaths took ${took.toFixed(1)} s of ${bound}`);
  await works(server);
  const back = treePss(server.child.pid);
  console.log(`# ${word}: two deaths and what followed in ${took.toFixed(2)} s; tree ${mb(idle)} before, ${mb(back)} after`);
  assert.ok(back < idle + kSame, `tree ${mb(idle)} before, ${mb(back)} after`);
  await server.stop();
});

for (const [signal, bound] of [["SIGKILL", kStart], ["SIGSTOP", kStall + kPatience + kStart]]) {
  test(`${signal} of the real worker: replaced within ${bound} s, memory within the plan, the same answer`, { timeout: 120_000 }, async () => {
    const server = await Server.start({ args: ["--stall-timeout", String(kStall), "--memory", "400M", "--context", "1024"] });
    const body = ask("Count from 1 to 40.", { temperature: 0, max_tokens: 120 });
    const wanted = await answer(server, body);
    const running = events(await server.post({ ...body, stream: true }));
    let text = "";
    while (text.length < 5) text += textOf([(await running.next()).value]);
    const begun = performance.now();
    const pid = await server.signalWorker(signal);
    text += textOf(await all(running));
    const { health, took } = await replaced(server, pid, begun);
    assert.equal(text, wanted, "the stream goes on where it stopped");
    assert.equal(await answer(server, body), wanted);
    const tree = treePss(server.child.pid);
    console.log(`# ${signal}: another worker after ${took.toFixed(2)} s; tree ${mb(tree)} of ${mb(health.plan.total_bytes)}`);
    assert.ok(took < bound, `${took.toFixed(1)} s of ${bound}`);
    assert.ok(tree <= health.plan.total_bytes);
    await server.stop();
  });
}

for (const [fault, why] of [["only-health", /hung/], ["garbage", /no report/], ["die-at-start", /exit code 3/]]) {
  test(`${fault}, once: the next worker answers what this one was asked`, { timeout: 60_000 }, async () => {
    const once = join(folder, `once-${fault}`);
    const server = await Server.start({ fake: true, args: ["--stall-timeout", String(kStall)], env: { PENSIEVE_FAKE_FAULTS: fault, PENSIEVE_FAKE_FAULTS_ONCE: once } });
    writeFileSync(once, "");
    const begun = performance.now();
    await server.signalWorker();
    await works(server);
    const took = (performance.now() - begun) / 1000;
    const health = await server.until((h) => h.ready);
    assert.match(health.worker.last_death, why);
    assert.equal(health.worker.restarts, 2, "the one killed, and the faulty one");
    assert.ok(took < kStall + kPatience + 2 * kStart, `it took ${took.toFixed(1)} s`);
    console.log(`# ${fault}: answered after ${took.toFixed(2)} s`);
    await server.stop();
  });
}

const kNoMemory = /could not allocate memory|most likely its memory cap|aborted.*perhaps its memory cap/;

// The system's own limit, from far too small to enough: at every size a clear last word, or the answer.
test("under every RLIMIT_DATA the real worker says why it ends, or answers", { timeout: 120_000 }, async () => {
  const ends = [];
  for (let mb_max = 5; !ends.includes("finish"); mb_max = Math.ceil(mb_max * 1.15)) {
    assert.ok(mb_max < 2000, "a worker that never answers");
    const worker = new Worker(bin("pensieve-worker"), ["--model", await model(), "--context", "1024", "--slots", "2", "--data-max", String(mb_max * 1e6)]);
    worker.send({ cmd: "generate", id: 1, max_tokens: 5, messages: [{ role: "user", content: "word ".repeat(600) }] });
    const last = await worker.when((r) => r.event === "fatal" || r.event === "finish" || r.event === "error");
    ends.push(last.event);
    if (last.event === "fatal") assert.match(last.message, kNoMemory, `at ${mb_max} MB`);
    else assert.equal(last.event, "finish", `at ${mb_max} MB: ${JSON.stringify(last)}`);
    const { code } = await worker.stop();
    assert.equal(code, last.event === "fatal" ? 1 : 0, `at ${mb_max} MB`);
  }
  console.log(`# ${ends.length - 1} sizes too small, each with a last word`);
  assert.ok(ends.length > 5);
});

// Memory runs out at the 1st, 2nd, 3rd ... allocation after a worker was ready, and stays out, until a request gets
// through. Beyond the first the steps grow, so that the sweep ends: PENSIEVE_FAIL_MALLOC_EVERY=1 takes every one, 12:5 the
// 5th, 17th, 29th ... (twelve runs beside each other take every one).
const [every, from] = (process.env.PENSIEVE_FAIL_MALLOC_EVERY ?? "").split(":").map(Number);
const afterwards = (n) => (every ? n + every : Math.max(n + 1, Math.floor(n * 1.5)));
describe("malloc fails", () => {
  const sweep = (name, start, body, wanted) => test(name, { timeout: 600_000 }, async () => {
    const path = join(folder, `malloc-${start.fake ? "fake" : "real"}`);
    const server = await Server.start({ ...start, args: [...start.args, "--deaths-max", "1000000"], env: { LD_PRELOAD: bin("failing_malloc.so"), PENSIEVE_FAIL_MALLOC: path } });
    const right = wanted ?? (await answer(server, body));
    assert.ok(right.length > 0);
    let died = 0, slowest = 0;
    for (let n = from || 1; ; n = afterwards(n)) {
      writeFileSync(path, String(n));
      const { worker } = await server.until((h) => h.ready);
      const begun = performance.now();
      const pid = await server.signalWorker("SIGUSR1");
      assert.equal(await answer(server, body), right, `allocation ${n}`);
      slowest = Math.max(slowest, (performance.now() - begun) / 1000);
      const health = await server.until((h) => h.ready);
      if (health.worker.pid === pid) {
        console.log(`# ${name}: ${died} deaths, through at allocation ${n}; slowest answer ${slowest.toFixed(2)} s`);
        break;
      }
      died += 1;
      assert.match(health.worker.last_death, kNoMemory, `allocation ${n}`);
      assert.match(server.log, /worker: the end: /);
      assert.equal(health.worker.restarts, worker.restarts + 1);
    }
    assert.ok(died > 0, "some allocation failed");
    assert.ok(slowest < kStart, `an answer took ${slowest.toFixed(1)} s`);
    await server.stop();
  });
  sweep("in the scripted worker", { fake: true, args: [] }, ask("on we go"), "on we go");
  sweep("in the real one", { args: ["--context", "512"] }, ask("Count from 1 to 10.", { temperature: 0, max_tokens: 20 }));
});
