// The plan against real loads: the worker's peak, with its context full, is never above the plan and the plan not far above it.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { bin, model } from "../e2e/programs.mjs";
import { Server } from "../e2e/server.mjs";
import { Worker } from "../e2e/worker.mjs";
import { mb, Sampler } from "./tree.mjs";

export function standIn(shape) {
  const path = join(bin(".."), `standin-${shape}.gguf`);
  if (!existsSync(path)) execFileSync(bin("pensieve-make-model"), [shape, path], { stdio: "ignore" });
  return path;
}
const planOf = (path, ...args) => JSON.parse(execFileSync(bin("pensieve"), ["plan", path, "--json", ...args], { encoding: "utf8" }));
const line = (budget, name) => budget.lines.find((l) => l.name === name).bytes;

// A name of pensieve-make-model's shapes: the tiny ones in each run; more by PENSIEVE_PLAN_SHAPES=gemma-3-1b,qwen3-4b (docs/memory.md has figures).
const more = (process.env.PENSIEVE_PLAN_SHAPES ?? "").split(",").filter(Boolean).flatMap((shape) => [[shape, "f16", 2048], ...(/^granite/.test(shape) ? [] : [[shape, "q8_0", 2048]])]); // The engine ends over q8_0 with many experts (below).
const cases = [["demo", "f16", 4096], ["demo", "q8_0", 1024], ["tiny", "f16", 2048], ["tiny-gemma3", "f16", 2048], ["tiny-lfm2", "f16", 2048], ["tiny-granitemoe", "f16", 2048], ["tiny-mamba2", "f16", 2048], ...more];
for (const [name, kv, context] of cases) test(`${name}, ${kv}, 2 slots of ${context} tokens: predicted and measured`, { timeout: 900_000 }, async () => {
  const path = name === "demo" ? await model() : standIn(name);
  const { budget } = planOf(path, "--slots", "2", "--context", String(context), "--kv-type", kv);
  assert.equal(budget.kv_type, kv);
  assert.equal(budget.context_tokens, context);
  const predicted = budget.total_bytes - line(budget, "requests") - line(budget, "server") - line(budget, "KV export");
  const worker = new Worker(bin("pensieve-worker"), ["--model", path, "--slots", "2", "--context", String(context), "--kv-type", kv, "--data-max", String(budget.worker_data_bytes_max)]);
  const { kv_bytes } = await worker.ready();
  assert.equal(kv_bytes, line(budget, "KV cache"), "the engine allocates the KV cache that was planned");
  const sampler = new Sampler(worker.child.pid);
  const tokens = Array.from({ length: context - 8 }, (_, i) => 300 + ((i * 7) % 3000));
  const answers = await Promise.all([1, 2].map((id) => worker.generate({ id, tokens, max_tokens: 4, temperature: 0 })));
  for (const answer of answers) assert.equal(answer.last.event, "finish", JSON.stringify(answer.last));
  const { peak } = sampler.stop();
  await worker.stop();
  console.log(`# ${name} ${kv} ${context}: predicted ${mb(predicted)}, measured ${mb(peak)}, ratio ${(predicted / peak).toFixed(3)}`);
  assert.ok(peak <= predicted, `measured ${mb(peak)} above the predicted ${mb(predicted)}`);
  assert.ok(predicted - peak <= Math.max(0.05 * peak, 32e6), `predicted ${mb(predicted)}, measured only ${mb(peak)}`);
});

// The context is filled by one input, in one step where the model needs it so; slots cost nothing.
for (const [name, context] of [["tiny-bert", 2048], ["tiny-qwen3-embedding", 2048], ["minilm-l6", 512]]) test(`${name}, embeddings of inputs of ${context} tokens: predicted and measured`, { timeout: 900_000 }, async () => {
  const path = standIn(name);
  const { budget } = planOf(path, "--slots", "4", "--context", String(context));
  assert.equal(budget.context_tokens, context);
  const one = planOf(path, "--slots", "1", "--context", String(context)).budget;
  for (const name of ["KV cache", "compute buffers", "engine work area", "KV export"]) assert.equal(line(budget, name), line(one, name));
  const predicted = budget.total_bytes - line(budget, "requests") - line(budget, "server");
  const worker = new Worker(bin("pensieve-worker"), ["--model", path, "--slots", "4", "--context", String(context), "--data-max", String(budget.worker_data_bytes_max)]);
  const ready = await worker.ready();
  assert.ok(ready.vector_size > 0);
  assert.equal(ready.kv_bytes, line(budget, "KV cache"), "the engine allocates the KV cache that was planned");
  const sampler = new Sampler(worker.child.pid);
  const inputs = [context, 5, context].map((tokens) => Array.from({ length: tokens }, (_, i) => 300 + ((i * 7) % 3000)));
  worker.send({ cmd: "embed", id: 1, inputs });
  assert.equal((await worker.result(1)).last.event, "finish");
  const { peak } = sampler.stop();
  await worker.stop();
  console.log(`# ${name} embeddings ${context}: predicted ${mb(predicted)}, measured ${mb(peak)}, ratio ${(predicted / peak).toFixed(3)}`);
  assert.ok(peak <= predicted, `measured ${mb(peak)} above the predicted ${mb(predicted)}`);
  assert.ok(predicted - peak <= Math.max(0.05 * peak, 32e6), `predicted ${mb(predicted)}, measured only ${mb(peak)}`);
});

test("a plan is made within a second", () => {
  const begun = performance.now();
  planOf(standIn("tiny"));
  assert.ok(performance.now() - begun < 1000);
});

// The engine's graph of this one passes its own bound with q8_0, and it ends its process.
test("a KV type over which the engine ends is one that the model cannot have", async () => {
  const path = standIn("tiny-deepmoe");
  assert.equal(planOf(path, "--context", "1024").budget.kv_type, "f16");
  assert.throws(() => planOf(path, "--context", "1024", "--kv-type", "q8_0"), ({ stdout }) => /--kv-type q8_0: this model cannot have it/.test(stdout));
  const server = await Server.start({ modelFile: path, args: ["--context", "1024"] });
  assert.equal((await server.health()).plan.kv_type, "f16");
  await server.stop();
});

test("what does not fit is refused with the sum and the change that would fit, and that change does", async () => {
  const server = new Promise((resolve) => Server.start({ args: ["--memory", "60M"] }).then(resolve, resolve));
  const refused = await server;
  assert.match(String(refused), /the least that it needs:[\s\S]*weights[\s\S]*sum[\s\S]*--memory \d+M would do/);
  const enough = /--memory (\d+M) would do/.exec(String(refused))[1];
  const running = await Server.start({ args: ["--memory", enough] });
  const health = await running.health();
  assert.ok(health.memory.budget_bytes <= Number(enough.slice(0, -1)) * 2 ** 20);
  assert.equal(health.plan.total_bytes, health.memory.budget_bytes);
  await running.stop();
});

for (const [flag, value] of [["--memory", "lots"], ["--memory", "0%"], ["--memory", "101%"], ["--memory", "-1G"], ["--kv-type", "q4"], ["--memory-levels", "1G,2G,3G,4G"]]) {
  test(`${flag} ${value} is refused and named`, async () => {
    await assert.rejects(Server.start({ args: [flag, value] }), new RegExp(`${flag}: '${value.replace("%", "%")}'`));
  });
}
