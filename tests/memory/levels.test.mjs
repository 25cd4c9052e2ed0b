// The gate for real: server and a memory-taking helper live in a control group whose limit the test sets.
// Where no group can be made, the levels' bounds are set around what the machine has left now.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { all, ask, events, Server, textOf } from "../e2e/server.mjs";

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
  const server = await Server.start({ args: ["--memory", "700M", "--context", "2048", "--slots", "1", "--queue", "8", "--memory-levels", bounds.join(",")], ready: false });
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
    const changes = server.log.match(/memory: \w+ -> \w+/g);
    for (const step of ["safe -> caution", "caution -> warning", "warning -> critical", "critical -> emergency"]) assert.ok(changes.includes(`memory: ${step}`), changes.join());
  } finally {
    taker.release();
    await server.stop("SIGKILL");
    await new Promise((resolve) => setTimeout(resolve, 300));
    group?.remove();
  }
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
