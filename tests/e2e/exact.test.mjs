// The same request gives the same tokens from the same logits, bit for bit, in six conditions:
// cold, warm (it lies in its slot), beside others, from the disk, after kill -9 in the midst of its answer, after a
// restart. Hashes of all logits are compared, so what differs in the last bit of one of them is seen although the same
// token was drawn.
//
//   PENSIEVE_EXACT_PROMPTS   how many (40)
//   PENSIEVE_EXACT_MODEL     another model; PENSIEVE_EXACT_WORDS: of the longest prompt (300)
//   PENSIEVE_EXACT_TOKENS    of each answer (16)
//   PENSIEVE_KERNELS         which kernels of ours may be used (src/platform/instruction_sets.h)
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { bin, model } from "./programs.mjs";
import { Worker } from "./worker.mjs";

const prompts = Number(process.env.PENSIEVE_EXACT_PROMPTS ?? 40);
const longest = Number(process.env.PENSIEVE_EXACT_WORDS ?? 300);
const answer_tokens = Number(process.env.PENSIEVE_EXACT_TOKENS ?? 16);
const folder = mkdtempSync(join(tmpdir(), "pensieve-exact-"));
after(() => rmSync(folder, { recursive: true }));

async function start(store) {
  const worker = new Worker(bin("pensieve-worker"), ["--model", process.env.PENSIEVE_EXACT_MODEL ?? (await model()), "--slots", "2", "--context", "4096", ...(store ? ["--store", store] : [])]);
  await worker.ready();
  return worker;
}

// Every second one is drawn, from the whole vocabulary: the draw depends on every logit. Lengths from a few tokens to many blocks.
const words = (number, count) => Array.from({ length: count }, (_, i) => `word${(i * 7 + number * 13) % 101}`).join(" ");
const requests = Array.from({ length: prompts }, (_, number) => ({
  messages: [{ role: "user", content: `${number} ${words(number, 8 + Math.round((longest - 8) * ((number * 37) % prompts) / prompts))}` }],
  max_tokens: answer_tokens,
  hash_logits: true,
  ...(number % 2 === 0 ? { temperature: 0 } : { temperature: 1.5, top_k: 0, top_p: 1, min_p: 0, seed: number }),
}));

let id = 0;
const cachedOf = (result) => result.reports.find((r) => r.event === "started").cached_tokens;
const run = (worker, request) => worker.generate({ id: ++id, ...request });

async function settled(worker) {
  for (let quiet = 0; quiet < 3; ) {
    worker.reports = worker.reports.filter((r) => r.event !== "health");
    worker.send({ cmd: "health" });
    const steps = worker.steps;
    const { kv, steps: now } = await worker.when((r) => r.event === "health");
    quiet = kv.store_pending === 0 && now === steps ? quiet + 1 : 0;
    worker.steps = now;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const allowed = process.env.PENSIEVE_KERNELS;
const has = (flag) => existsSync("/proc/cpuinfo") && readFileSync("/proc/cpuinfo", "utf8").includes(` ${flag} `);
const skip = !allowed ? "all are allowed" : allowed !== "none" && !has(allowed) ? `this processor has no ${allowed}` : false;
test(`kernels of ours are used up to '${allowed}'`, { skip }, async () => {
  const worker = await start();
  assert.ok(worker.log.includes(allowed === "none" ? "kernels: the engine's own" : `kernels: attention ${allowed} 2, products ${allowed} 2, rows alone`), worker.log);
  await worker.stop();
});

test(`${prompts} prompts in six conditions: the same tokens, the same logits`, { timeout: 6e6 }, async (t) => {
  const expected = [];
  let reused = 0;
  const same = (number, result, what, said = 0) => {
    assert.equal(result.last.event, "finish", `${what}: ${JSON.stringify(result.last)}`);
    assert.deepEqual(result.tokens, expected[number].tokens.slice(said), `prompt ${number}, ${what}: tokens`);
    assert.deepEqual(result.last.logit_hashes, expected[number].hashes.slice(said), `prompt ${number}, ${what}: logits`);
    reused += cachedOf(result);
  };

  // What is computed sooner than it would be read is computed; how much that is depends on machine and model. Held to here for the usual run.
  const readBack = (what) => {
    t.diagnostic(`${what}: ${reused} of ${wanted} tokens`);
    if (!process.env.PENSIEVE_EXACT_MODEL && !process.env.PENSIEVE_EXACT_PROMPTS) assert.ok(reused >= 0.9 * wanted, `${what}: ${reused} of ${wanted} tokens`);
  };

  // Cold: in a process that reuses nothing but the marks that all prompts begin with.
  const cold = await start();
  for (const request of requests) {
    const result = await run(cold, request);
    assert.equal(result.last.event, "finish");
    assert.ok(cachedOf(result) < 16, `${cachedOf(result)} tokens were not computed`);
    assert.equal(result.last.logit_hashes.length, result.tokens.length);
    expected.push({ tokens: result.tokens, hashes: result.last.logit_hashes, input_tokens: result.last.input_tokens });
  }
  await cold.stop();
  assert.ok(new Set(expected.flatMap((e) => e.hashes)).size > prompts * 2, "hashes tell logits apart");

  const store = join(folder, "store");
  let worker = await start(store);
  let wanted = 0;
  for (const [number, request] of requests.entries()) {
    same(number, await run(worker, request), "first, with a store");
    reused = 0;
    same(number, await run(worker, request), "warm");
    assert.ok(reused >= expected[number].input_tokens - 8, `warm: ${reused} of ${expected[number].input_tokens} tokens were there`);
  }
  for (let number = 0; number + 1 < prompts; number += 2) {
    const pair = await Promise.all([run(worker, requests[number]), run(worker, requests[number + 1])]);
    pair.forEach((result, i) => same(number + i, result, "beside another"));
  }
  await settled(worker);
  reused = 0;
  for (const [number, request] of requests.entries()) {
    same(number, await run(worker, request), "from the disk");
    wanted += Math.max(0, expected[number].input_tokens - 8 - 24); // The shortest tails are not stored; what is computed sooner than read is computed.
  }
  readBack("from the disk");
  await settled(worker);

  // Killed when some of the answer was said; the next one is given that.
  for (const [number, request] of requests.entries()) {
    const at = 1 + (number * 5) % Math.max(1, answer_tokens - 2);
    const mine = ++id;
    worker.send({ cmd: "generate", id: mine, ...request });
    const saidBy = () => worker.reports.filter((r) => r.id === mine).flatMap((r) => r.tokens ?? []);
    await worker.when((r) => r.id === mine && (r.event === "finish" || saidBy().length >= at));
    worker.child.kill("SIGKILL");
    await worker.exited;
    const said = saidBy().slice(0, at);
    worker = await start(store);
    if (said.length < expected[number].tokens.length) same(number, await run(worker, { ...request, said, events_to_skip: 1 }), `resumed after ${said.length} tokens`, said.length);
  }

  await worker.stop();
  worker = await start(store);
  reused = 0;
  for (const [number, request] of requests.entries()) same(number, await run(worker, request), "after a restart");
  readBack("after a restart");
  await worker.stop();
  t.diagnostic(`${prompts} prompts of ${Math.min(...expected.map((e) => e.input_tokens))} to ${Math.max(...expected.map((e) => e.input_tokens))} tokens, ${expected.reduce((sum, e) => sum + e.hashes.length, 0)} logits each way`);
});
