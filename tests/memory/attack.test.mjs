// The ceiling under attack, and flatness: real worker, real model. PENSIEVE_ATTACK_SECONDS, _CLIENTS and PENSIEVE_FLAT_REQUESTS make them longer.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { ask, Server } from "../e2e/server.mjs";
import { shots, words } from "./shots.mjs";
import { anonymousOf, mb, Sampler } from "./tree.mjs";

const seconds = Number(process.env.PENSIEVE_ATTACK_SECONDS ?? 20);
const clients = Number(process.env.PENSIEVE_ATTACK_CLIENTS ?? 100);
const flat = Number(process.env.PENSIEVE_FLAT_REQUESTS ?? 300);

test("the ceiling holds under attack, and every request ends in a way that is named", { timeout: (seconds + 120) * 1000 }, async () => {
  const server = await Server.start({ args: ["--memory", "300M", "--max-body", "8M", "--context", "2048", "--slots", "2", "--queue", "16"] });
  const { plan, worker } = await server.health();
  const sampler = new Sampler(server.child.pid, 25);
  const ends = new Map();
  const until = performance.now() + seconds * 1000;
  await Promise.all(Array.from({ length: clients }, async (_, i) => {
    for (let n = i; performance.now() < until; n += 1) {
      const end = await shots[n % shots.length](server.url);
      ends.set(end, (ends.get(end) ?? 0) + 1);
      if (end === "529") await new Promise((resolve) => setTimeout(resolve, 200)); // Ruder than it is told to be.
    }
  }));
  const { peak, samples } = sampler.stop();
  console.log(`# ${clients} clients, ${seconds} s: ${[...ends].map(([end, n]) => `${n} ${end}`).join(", ")}`);
  console.log(`# peak ${mb(peak)} of ${mb(plan.ceiling_bytes)} (planned ${mb(plan.total_bytes)}), ${samples} samples`);
  const named = ["complete", "529", "too long", "413", "cancelled"];
  assert.deepEqual([...ends.keys()].filter((end) => !named.includes(end)), []);
  for (const end of named) assert.ok(ends.get(end) > 0, `some end as ${end}`);
  assert.ok(peak <= plan.ceiling_bytes, `peak ${mb(peak)} above the ceiling ${mb(plan.ceiling_bytes)}`);
  const after = await server.until((h) => h.slots.running === 0 && h.queue.waiting === 0);
  assert.equal(after.worker.pid, worker.pid, "the same worker all along");
  assert.equal(after.memory.reserved_bytes, 0, "every reservation was given back, once");
  assert.equal((await server.post(ask("still there?"))).status, 200);
  await server.stop();
});

// Least squares, with the 95 % interval of the slope.
function regression(points) {
  const n = points.length;
  const mx = points.reduce((s, [x]) => s + x, 0) / n;
  const mean = points.reduce((s, [, y]) => s + y, 0) / n;
  const sxx = points.reduce((s, [x]) => s + (x - mx) ** 2, 0);
  const slope = points.reduce((s, [x, y]) => s + (x - mx) * (y - mean), 0) / sxx;
  const residual = points.reduce((s, [x, y]) => s + (y - mean - slope * (x - mx)) ** 2, 0) / (n - 2);
  return { slope, half: 1.96 * Math.sqrt(residual / sxx), mean };
}

const kSlopeMax = 256;

// PENSIEVE_FLAT_ARGS adds flags. With the store on, names of blocks and sampled answers are remembered: up to 16,384 and 4,096 of
// them, some 3 MB and 1 MB; here the store is so small that its names are bounded from the start.
const folder = mkdtempSync(join(tmpdir(), "pensieve-flat-"));
after(() => rmSync(folder, { recursive: true, force: true }));
for (const [name, flags] of [["without a store", ["--store", "off"]], ["with a store", ["--store", folder, "--store-size", "8M"]]]) test(`memory is flat over many requests, ${name}`, { timeout: 600_000 }, async () => {
  const server = await Server.start({ args: ["--context", "1024", "--slots", "2", ...flags, ...(process.env.PENSIEVE_FLAT_ARGS ?? "").split(" ").filter(Boolean)] });
  const { worker } = await server.health();
  // An answer and a name to remember for each, and the allocator's slack until both are bounded.
  const slopeMax = name === "with a store" ? 4 * kSlopeMax : kSlopeMax;
  const pids = [server.child.pid, worker.pid];
  const points = { server: [], worker: [] };
  const post = async (i) => {
    const reply = await server.post(ask(`${i} ${words(10 + (i % 40))}`, { max_tokens: 8, stream: i % 2 === 0 }));
    assert.equal(reply.status, 200);
    await reply.text();
  };
  // Texts whose tokens are remembered (worker/token_memory.h): as many as it ever keeps, from the start.
  for (let i = 0; i < 20; ++i) {
    const text = Array.from({ length: 15_000 }, (_, j) => `x${i * 15_000 + j}`).join(" ");
    assert.equal((await server.post(ask(text), {}, "/v1/messages/count_tokens")).status, 200);
  }
  const warm = Math.ceil(flat / 4);
  for (let i = 0; i < warm + flat; i += 2) {
    await Promise.all([post(i), post(i + 1)]);
    if (i >= warm && i % 10 === 0) pids.forEach((pid, at) => points[at === 0 ? "server" : "worker"].push([i, anonymousOf(pid)]));
  }
  for (const [process, list] of Object.entries(points)) {
    const { slope, half, mean } = regression(list);
    console.log(`# ${process}, ${flat} requests after ${warm}: ${slope.toFixed(0)} bytes a request, 95 % interval ${(slope - half).toFixed(0)} to ${(slope + half).toFixed(0)}, mean ${mb(mean)}`);
    assert.ok(slope - half < slopeMax, `the ${process} grows by ${slope.toFixed(0)} ± ${half.toFixed(0)} bytes a request`);
  }
  const { worker: same, kv } = await server.health();
  assert.equal(same.restarts, 0);
  if (name === "with a store") assert.ok(kv.store.blocks_written > 0, "there was something to remember");
  await server.stop();
});
