// The gate for real: server and a memory-taking helper live in a control group whose limit the test sets.
// Where no group can be made, the levels' bounds are set around what the machine has left now.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { all, ask, events, Server, textOf } from "../e2e/server.mjs";
import { anonymousOf, mb } from "./tree.mjs";

const folder = mkdtempSync(join(tmpdir(), "pensieve-levels-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const MB = 1_000_000;

let groups = 0;
// A group with a limit, in version 2 or 1 of the kernel's interface; null where it may not be made.
function makeGroup(bytes) {
  for (const [root, limit] of [["/sys/fs/cgroup", "memory.max"], ["/sys/fs/cgroup/memory", "memory.limit_in_bytes"]]) {
    const folder = `${root}/pensieve-test-${process.pid}-${groups++}`;
    try {
      mkdirSync(folder);
      if (!existsSync(`${folder}/${limit}`)) throw new Error("no memory controller here");
      writeFileSync(`${folder}/${limit}`, String(bytes));
      return { folder, add: (pid) => writeFileSync(`${folder}/cgroup.procs`, String(pid)), remove: () => rmdirSync(folder) };
    } catch {
      try { rmdirSync(folder); } catch { /* It was not made. */ }
    }
  }
  return null;
}

// Takes memory and holds it: a process for each step, for one that frees may not give back.
class Taker {
  constructor(group) {
    this.group = group;
    this.children = [];
    this.bytes = 0;
  }
  async take(bytes) {
    const child = spawn(process.execPath, ["-e", `
      process.stdin.once("data", () => {
        globalThis.held = [];
        for (let left = ${bytes - this.bytes}; left > 0; left -= 8e6) held.push(Buffer.alloc(Math.min(left, 8e6), 1));
        console.log("held");
      });`], { stdio: ["pipe", "pipe", "inherit"] });
    this.children.push(child);
    this.bytes = bytes;
    const held = new Promise((resolve) => child.stdout.once("data", resolve));
    this.group?.add(child.pid);
    child.stdin.write("go\n");
    await held;
  }
  release() {
    this.children.forEach((child) => child.kill("SIGKILL"));
    this.bytes = 0;
  }
}

test("every level is entered and left, and does what it says", { timeout: 120_000 }, async () => {
  const group = makeGroup(2400 * MB);
  const taker = new Taker(group);
  const left = group ? 2000 * MB : Number(/MemAvailable:\s+(\d+)/.exec(readFileSync("/proc/meminfo", "utf8"))[1]) * 1024 - 250 * MB;
  const bound = (taken) => Math.round(left - taken * MB); // Below it once so much is taken.
  const bounds = [300, 600, 900, 1200].map(bound);
  const args = ["--memory", "700M", "--context", "2048", "--slots", "1", "--queue", "8", "--memory-levels", bounds.join(",")];
  const server = await Server.start({ args, env: { PENSIEVE_STORE: join(folder, "levels") }, ready: false });
  // The server goes into the group first, so that its worker is born there; a worker born before it is replaced.
  if (group) {
    group.add(server.child.pid);
    const before = await server.signalWorker();
    await server.until((h) => h.ready && h.worker.pid !== before);
  }
  const level = async (name, more = () => true) => server.until((h) => h.memory.status === name && more(h));
  try {
    await level("safe", (h) => h.ready && h.memory.in_control_group === Boolean(group));
    const reply = await server.post(ask("hello"));
    assert.equal(reply.status, 200);
    assert.equal(reply.headers.get("x-memory-status"), "safe");
    assert.ok(Number(reply.headers.get("x-available-memory-gb")) > 0);
    const session = ask(`Keep this in mind: ${"word ".repeat(400)}`, { temperature: 0, max_tokens: 10 });
    const begun = await (await server.post(session)).json();
    assert.deepEqual((await server.health()).memory.actions, []);

    await taker.take(700 * MB);
    await level("caution");
    assert.equal((await server.post(ask("hello"))).status, 200);

    await taker.take(1000 * MB);
    const warning = await level("warning");
    assert.equal(warning.queue.max, 2, "the line is a quarter of --queue 8");
    assert.equal((await server.post(ask("hello"))).status, 200);
    const long = await server.post(ask("word ".repeat(1200)));
    assert.equal(long.status, 529);
    assert.match((await long.json()).error.message, /no long prompts/);

    await taker.take(1300 * MB);
    const critical = await level("critical");
    assert.equal(critical.memory.accepting_requests, false);
    assert.equal(critical.ready, true, "the worker stays");
    assert.ok(critical.memory.actions.includes("nothing new is begun"));
    await level("critical", (h) => h.memory.kv_given_back_bytes > 0.9 * h.model.kv_bytes); // The only slot is idle.
    const refused = await server.post(ask("hello"));
    assert.equal(refused.status, 529);
    assert.equal(refused.headers.get("x-memory-status"), "critical");
    const wait = Number(refused.headers.get("retry-after"));
    assert.ok(wait >= 1 && wait <= 60);

    await taker.take(1600 * MB);
    const emergency = await level("emergency", (h) => h.worker.state === "parked" && h.worker.pid === null);
    assert.equal(emergency.http, 503);
    assert.match(emergency.problem, /ran out of memory/);
    assert.equal((await server.post(ask("hello"))).status, 529);

    taker.release();
    await level("safe", (h) => h.ready);
    assert.equal((await server.post(ask("and back"))).status, 200);
    const again = await (await server.post(session)).json();
    assert.ok(again.usage.cache_read_input_tokens > 256, `the session was parked on disk: ${JSON.stringify(again.usage)}`);
    assert.equal(again.content[0].text, begun.content[0].text);
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    for (const line of ['changes_total{to="caution"} ', 'changes_total{to="emergency"} 1', 'refused_total{level="warning"} 1', 'refused_total{level="critical"} 1', 'refused_total{level="emergency"} 1']) {
      assert.ok(metrics.includes(line), `${line} in ${metrics.match(/.*memory_(level_ch|ref).*/g).join("\n")}`);
    }
    const changes = server.log.match(/memory: \w+ -> \w+/g);
    for (const step of ["safe -> caution", "caution -> warning", "warning -> critical", "critical -> emergency"]) assert.ok(changes.includes(`memory: ${step}`), changes.join());
  } finally {
    taker.release();
    await server.stop("SIGKILL");
    await new Promise((resolve) => setTimeout(resolve, 300));
    group?.remove();
  }
});

// The bounds are such that the machine is at that level whatever it has.
test("caution: what an idle slot holds goes to disk, its memory goes back when it is cold, and all of it comes again", { timeout: 60_000 }, async () => {
  const server = await Server.start({ args: ["--context", "4096", "--slots", "2", "--memory-levels", "100000G,3M,2M,1M"], env: { PENSIEVE_STORE: join(folder, "caution") } });
  const body = ask(`Keep this in mind: ${"word ".repeat(900)}`, { temperature: 0, max_tokens: 20 });
  const first = await (await server.post(body)).json();
  const warm = anonymousOf((await server.health()).worker.pid);
  const { worker, memory, model } = await server.until((h) => h.kv.store.blocks > 2 && h.kv.store.pending === 0);
  assert.equal(memory.status, "caution");
  const given = (await server.until((h) => h.memory.kv_given_back_bytes > 0.9 * model.kv_bytes)).memory.kv_given_back_bytes;
  const cold = anonymousOf(worker.pid);
  console.log(`# caution: worker ${mb(warm)} warm, ${mb(cold)} cold; ${mb(given)} of ${mb(model.kv_bytes)} given back`);
  assert.ok(warm - cold > 0.1 * model.kv_bytes, "memory that the slot used went back");
  const second = await (await server.post(body)).json();
  assert.equal(second.content[0].text, first.content[0].text);
  assert.ok(second.usage.cache_read_input_tokens > 0.9 * (second.usage.cache_read_input_tokens + second.usage.input_tokens));
  const back = await server.until((h) => h.memory.kv_given_back_bytes < given);
  assert.equal(back.worker.pid, worker.pid);
  await server.stop();
});

test("a stream that runs when the emergency begins goes on when it is over", { timeout: 60_000 }, async () => {
  const group = makeGroup(1000 * MB);
  const taker = new Taker(group);
  const left = group ? 900 * MB : Number(/MemAvailable:\s+(\d+)/.exec(readFileSync("/proc/meminfo", "utf8"))[1]) * 1024 - 100 * MB;
  const bounds = [250, 300, 350, 400].map((taken) => left - taken * MB);
  const server = await Server.start({ fake: true, env: { PENSIEVE_FAKE_STEP_US: "20000" }, args: ["--memory-levels", bounds.join(",")] });
  group?.add(server.child.pid);
  try {
    await server.until((h) => h.memory.status === "safe");
    const running = events(await server.post(ask("!repeat 200 x", { stream: true, max_tokens: 3000 })));
    while ((await running.next()).value.event !== "content_block_delta");
    await taker.take(600 * MB);
    const rest = all(running);
    const { worker } = await server.until((h) => h.worker.state === "parked");
    assert.equal(worker.recent_deaths, 0, "it was no death");
    taker.release();
    const list = await rest;
    assert.equal(list.at(-1).event, "message_stop");
    assert.equal(textOf(list).length, 199, "one token was read before, none is lost or said twice");
    assert.equal((await server.post(ask("and on"))).status, 200);
  } finally {
    taker.release();
    await server.stop("SIGKILL");
    await new Promise((resolve) => setTimeout(resolve, 300));
    group?.remove();
  }
});

// Readers of a large file in a group that has room for a part of it: they wait for pages again and again.
test("when tasks wait for memory the system says so, and the gate looks at once", { timeout: 60_000 }, async (t) => {
  const group = makeGroup(24 * MB);
  if (!group) return t.skip("no control group of memory may be made here");
  const file = join(folder, "large");
  writeFileSync(file, Buffer.alloc(160 * MB, 1));
  execFileSync("sh", ["-c", `sync ${file}; dd if=${file} iflag=nocache count=0 2>/dev/null`]); // Its pages are to be the readers' own.
  const waited = () => Number(/^some .*total=(\d+)/m.exec(readFileSync("/proc/pressure/memory", "utf8"))[1]); // Microseconds.
  const server = await Server.start({ fake: true });
  const readers = [];
  try {
    if (!/memory: the system gives no alarms/.test(server.log)) {
      for (let i = 0; i < 4; ++i) readers.push(spawn("sh", ["-c", `echo 0 > ${group.folder}/cgroup.procs; while :; do cat ${file} > /dev/null; done`], { stdio: "ignore", detached: true }));
      const before = waited(), until = performance.now() + 20_000;
      let health = await server.health();
      while (health.memory.alarms === 0 && performance.now() < until) {
        await new Promise((resolve) => setTimeout(resolve, 50));
        health = await server.health();
      }
      const ms = (waited() - before) / 1000;
      console.log(`# ${health.memory.alarms} alarms, tasks waited ${ms.toFixed(0)} ms; ${/memory: tasks wait for it.*/.exec(server.log)?.[0]}`);
      if (health.memory.alarms === 0 && ms < 2000) return t.skip(`nobody waited for memory (${ms} ms in 20 s)`);
      assert.ok(health.memory.alarms > 0, `${ms} ms of waiting, and no alarm`);
      assert.match(server.log, /memory: tasks wait for it \(\/.*, some \d+ \d+\)/);
      assert.match(await (await fetch(`${server.url}/metrics`)).text(), /pensieve_memory_alarms_total [1-9]/);
    } else t.skip("the system gives no alarms");
  } finally {
    readers.forEach((child) => { try { process.kill(-child.pid, "SIGKILL"); } catch { /* It has ended. */ } });
    await server.stop("SIGKILL");
    await new Promise((resolve) => setTimeout(resolve, 300));
    group.remove();
  }
});
