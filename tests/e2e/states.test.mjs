// Models whose state is whole or nothing: a sliding window, recurrent, hybrid. Their turns go on from
// checkpoints in the store, in the same process and in the next one, and say what they would have said cold.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { bin } from "./programs.mjs";
import { Server, ask } from "./server.mjs";
import { Worker } from "./worker.mjs";

const folder = mkdtempSync(join(tmpdir(), "pensieve-states-"));
after(() => rmSync(folder, { recursive: true }));

const words = (number, count) => Array.from({ length: count }, (_, i) => `word${(i * 7 + number * 13) % 101}`).join(" ");
// Every token of the vocabulary stays a candidate: the draw depends on every logit.
const seeded = { temperature: 1.5, top_k: 0, top_p: 1, min_p: 0, seed: 11, max_tokens: 40, hash_logits: true };
const started = (result) => result.reports.find((r) => r.event === "started");
const made = new Map();
const model = (shape) => {
  if (!made.has(shape)) {
    made.set(shape, join(folder, `${shape}.gguf`));
    execFileSync(bin("pensieve-make-model"), [shape, made.get(shape), "--quant", "q8_0"], { stdio: "ignore" });
  }
  return made.get(shape);
};

async function start(t, shape, store) {
  const worker = new Worker(bin("pensieve-worker"), ["--model", model(shape), "--slots", "2", "--context", "2048", "--threads", "2", ...(store ? ["--store", store] : [])]);
  t.after(() => worker.child.kill("SIGKILL"));
  const ready = await worker.ready();
  assert.equal(ready.store_problem, store ? "" : "--store off");
  assert.equal(ready.exact, store !== undefined);
  return worker;
}

// Until everything is stored and every answer read again.
async function settled(worker) {
  for (let before, same = 0; same < 4; ) {
    worker.reports = worker.reports.filter((r) => r.event !== "health");
    worker.send({ cmd: "health" });
    const { arrived, ...now } = await worker.when((r) => r.event === "health");
    same = JSON.stringify(now) === before && now.kv.store_pending === 0 ? same + 1 : 0;
    before = JSON.stringify(now);
    if (same === 4) return now.kv;
    await new Promise((resolve) => setTimeout(resolve, 80));
  }
}

for (const shape of ["tiny-gemma3", "tiny-lfm2", "tiny-mamba2"]) {
  test(`${shape}: the next turn and the next process go on from checkpoints, and answer as cold`, async (t) => {
    const store = join(folder, `store-${shape}`);
    let id = 0;
    // Each cold answer in a process of its own: nothing to reuse.
    const cold = async (prompt) => {
      const worker = await start(t, shape, undefined);
      const answer = await worker.generate({ id: 1, ...prompt, ...seeded });
      assert.equal(started(answer).cached_tokens, 0);
      await worker.stop();
      return answer;
    };
    let worker = await start(t, shape, store);
    assert.equal((await worker.tried()).exact_differs, "");
    let messages = [{ role: "user", content: words(1, 200) }];
    let before = 0; // Tokens of the turns before.
    for (let turn = 1; turn <= 3; ++turn) {
      // The ids: a worker that never said the answers would cut their text another way.
      worker.send({ cmd: "count", id: ++id, messages, wants_tokens: true });
      const { tokens, opening, origin } = await worker.when((r) => r.event === "counted" && r.id === id);
      const prompt = { tokens, ...(opening ? { opening } : {}), ...(origin ? { origin } : {}) };
      const expected = await cold(prompt);
      const same = (result, what, said = 0) => {
        assert.deepEqual(result.tokens, expected.tokens.slice(said), `turn ${turn}, ${what}`);
        assert.deepEqual(result.last.logit_hashes, expected.last.logit_hashes.slice(said), `turn ${turn}, ${what}: logits`);
      };
      const answer = await worker.generate({ id: ++id, ...prompt, ...seeded });
      const { input_tokens, cached_tokens } = started(answer);
      same(answer, "first");
      assert.ok(cached_tokens >= before - 80, `turn ${turn}: ${cached_tokens} of ${before} tokens were there`);
      await settled(worker);
      // The same prompt again, in this process and after kill -9.
      const again = await worker.generate({ id: ++id, ...prompt, ...seeded });
      same(again, "again");
      assert.ok(started(again).cached_tokens >= input_tokens - 80, `again: ${started(again).cached_tokens} of ${input_tokens}`);
      await settled(worker);
      worker.child.kill("SIGKILL");
      await worker.exited;
      worker = await start(t, shape, store);
      const after = await worker.generate({ id: ++id, ...prompt, ...seeded });
      same(after, "after kill -9");
      assert.ok(started(after).cached_tokens >= input_tokens - 80, `after kill -9: ${started(after).cached_tokens} of ${input_tokens}`);
      // Resumed in the middle of its answer.
      const said = expected.tokens.slice(0, 10);
      const rest = await worker.generate({ id: ++id, ...prompt, ...seeded, said, events_to_skip: 1 });
      same(rest, "resumed", 10);
      // Beside another.
      const other = worker.generate({ id: ++id, messages: [{ role: "user", content: words(30 + turn, 90) }], ...seeded });
      const beside = await worker.generate({ id: ++id, ...prompt, ...seeded });
      same(beside, "beside another");
      await other;
      await settled(worker);
      before = input_tokens + expected.last.output_tokens - (expected.last.reason === "end_turn" ? 1 : 0);
      messages = [...messages, { role: "assistant", content: answer.text }, { role: "user", content: words(10 + turn, 60) }];
      if (answer.text.includes("\ufffd") || answer.text.trim() !== answer.text) before = input_tokens; // It does not come back as it was sampled.
    }
    assert.ok(readdirSync(store, { recursive: true }).some((name) => String(name).endsWith(".state")));
    await worker.stop();
    assert.match(execFileSync(bin("pensieve"), ["store", "verify", "--store", store], { encoding: "utf8" }), / 0 damaged/);
  });
}

for (const shape of ["tiny-gemma3", "tiny-lfm2", "tiny-mamba2"]) {
  test(`${shape}: what is shared up to a cache_control mark is not computed again, and answers as cold`, async (t) => {
    const store = join(folder, `store-marks-${shape}`);
    const asked = (number) => ({
      messages: [
        { role: "system", content: [{ type: "text", text: words(50, 150), cache: true }] },
        { role: "user", content: [{ type: "text", text: words(number, 90) }] },
      ],
      keep_seconds: 300,
    });
    let id = 100;
    let worker = await start(t, shape, store);
    const cold = await worker.generate({ id: ++id, ...asked(1), ...seeded });
    assert.equal(started(cold).cached_tokens, 0);
    assert.ok(started(cold).kept_tokens > started(cold).input_tokens - 80 && started(cold).kept_tokens < started(cold).input_tokens, "as much as will be found again");
    worker.send({ cmd: "count", id: ++id, messages: asked(1).messages.slice(0, 1).concat({ role: "user", content: "a" }) });
    const { input_tokens: shared } = await worker.when((r) => r.event === "counted" && r.id === id);
    const found = async (number, what) => {
      const fresh = await start(t, shape, undefined);
      const expected = await fresh.generate({ id: 1, ...asked(number), ...seeded });
      await fresh.stop();
      const result = await worker.generate({ id: ++id, ...asked(number), ...seeded });
      const { cached_tokens } = started(result);
      assert.ok(cached_tokens > shared - 100 && cached_tokens < shared, `${what}: ${cached_tokens} of some ${shared}`);
      assert.deepEqual(result.tokens, expected.tokens, what);
      assert.deepEqual(result.last.logit_hashes, expected.last.logit_hashes, `${what}: logits`);
    };
    await found(2, "at once");
    for (const other of [21, 22, 23]) await worker.generate({ id: ++id, messages: [{ role: "user", content: words(other, 90) }], ...seeded });
    await found(3, "after other conversations");
    await settled(worker);
    worker.child.kill("SIGKILL");
    await worker.exited;
    worker = await start(t, shape, store);
    await found(4, "after kill -9");
    await worker.stop();
  });
}

test("through the API: the usage says what a mark kept, and what was read from it", async () => {
  const server = await Server.start({ modelFile: model("tiny-lfm2"), args: ["--slots", "2", "--context", "2048", "--store", join(folder, "store-usage")] });
  const turn = async (number) => {
    const system = [{ type: "text", text: words(60, 150), cache_control: { type: "ephemeral" } }];
    const { usage } = await (await server.post(ask(words(number, 90), { system, temperature: 0, max_tokens: 4 }))).json();
    return [usage.cache_read_input_tokens, usage.cache_creation_input_tokens, usage.input_tokens];
  };
  const [none, made, rest] = await turn(1);
  assert.ok(none === 0 && made > 0 && rest === 8, `${none} ${made} ${rest}: all but the last eight are kept`);
  const [read, more] = await turn(2);
  assert.ok(read > 0 && more > 0 && read + more > made - 40, `${read} ${more} of ${made}`);
  await server.stop();
});

test("through the API: a second turn and a restarted worker read their prompt from a checkpoint", async () => {
  const server = await Server.start({ modelFile: model("tiny-lfm2"), args: ["--slots", "2", "--context", "2048", "--store", join(folder, "store-api")] });
  const health = await server.until((health) => health.kv.exact !== null);
  assert.equal(health.kv.exact, true);
  assert.equal(health.kv.store.problem, null);
  const turn = async (messages) => (await server.post(ask("", { messages, temperature: 0, max_tokens: 24 }))).json();
  const first = [{ role: "user", content: words(1, 150) }];
  const cold = await turn(first);
  assert.equal(cold.usage.cache_read_input_tokens, 0);
  const second = [...first, { role: "assistant", content: cold.content[0].text }, { role: "user", content: "and then?" }];
  await server.until((health) => health.kv.store.pending === 0 && health.kv.store.blocks > 0);
  const warm = await turn(second);
  assert.ok(warm.usage.cache_read_input_tokens > cold.usage.input_tokens - 80, JSON.stringify(warm.usage));
  const { worker, kv } = await server.health();
  process.kill(worker.pid, "SIGKILL");
  await server.until((health) => health.ready && health.worker.pid !== worker.pid);
  const again = await turn(second);
  assert.ok(again.usage.cache_read_input_tokens > cold.usage.input_tokens - 80, JSON.stringify(again.usage));
  assert.deepEqual(again.content, warm.content);
  await server.stop();
});
