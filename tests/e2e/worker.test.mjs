// The real worker with a real model, by its wire alone: nothing of the server.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { bin, model } from "./programs.mjs";
import { Worker } from "./worker.mjs";

// Longer than one prefill chunk, and different for each number.
const prompt = (number, words) => [
  { role: "user", content: Array.from({ length: words }, (_, i) => `word${(i * 7 + number * 13) % 101}`).join(" ") },
];
const greedy = { temperature: 0, max_tokens: 24 };
// Every token of the vocabulary stays a candidate: the draw depends on every logit.
const seeded = { temperature: 1.5, top_k: 0, top_p: 1, min_p: 0, seed: 11, max_tokens: 24 };

describe("worker", () => {
  let worker;
  before(async () => {
    worker = new Worker(bin("pensieve-worker"), ["--model", await model(), "--slots", "4", "--context", "4096"]);
    await worker.ready();
  });
  after(async () => {
    assert.equal((await worker.stop()).code, 0);
  });

  test("says hello, then that it loads, then that it is ready", () => {
    const events = worker.reports.map((report) => report.event);
    assert.equal(events[0], "hello");
    assert.equal(worker.reports[0].protocol, 2);
    assert.ok(events.indexOf("loading") < events.indexOf("ready"));
    assert.equal(worker.reports.find((r) => r.event === "ready").slots, 4);
  });

  test("answers health at once", async () => {
    worker.send({ cmd: "health" });
    assert.equal((await worker.when((r) => r.event === "health")).state, "ready");
  });

  test("an answer under a JSON schema is JSON of that schema, the same for the same seed", async () => {
    const json_schema = JSON.stringify({
      type: "object",
      properties: { colour: { enum: ["red", "green"] }, count: { type: "integer", minimum: 1, maximum: 9 } },
      required: ["colour", "count"],
    });
    const ask = { cmd: "generate", messages: prompt(2, 10), json_schema, temperature: 1, seed: 5, max_tokens: 200 };
    const said = async (id) => {
      worker.send({ ...ask, id });
      const { reason } = await worker.when((r) => r.id === id && (r.event === "finish" || r.event === "error"));
      assert.equal(reason, "end_turn");
      return worker.reports.filter((r) => r.id === id && r.event === "text").map((r) => r.text).join("");
    };
    const text = await said(110);
    const value = JSON.parse(text);
    assert.ok(["red", "green"].includes(value.colour) && value.count >= 1 && value.count <= 9, text);
    assert.equal(await said(111), text);
    worker.send({ cmd: "count", id: 112, messages: prompt(2, 10), json_schema: '{"$ref":"#/nowhere"}' });
    assert.match((await worker.when((r) => r.id === 112)).message, /json_schema: \$ref '#\/nowhere' leads nowhere/);
  });

  test("counts what generate would read", async () => {
    worker.send({ cmd: "count", id: 100, messages: prompt(1, 50), wants_tokens: true });
    const counted = await worker.when((r) => r.id === 100);
    assert.equal(counted.tokens.length, counted.input_tokens);
    const said = await worker.generate({ id: 101, messages: prompt(1, 50), ...greedy });
    assert.equal(said.last.input_tokens, counted.input_tokens);
    const again = await worker.generate({ id: 102, tokens: counted.tokens, ...greedy });
    assert.deepEqual(again.tokens, said.tokens);
  });

  for (const [kind, sampling] of Object.entries({ greedy, seeded })) test(`a ${kind} answer is the same alone, again, and beside three others`, async () => {
    for (const words of [3, 60, 200, 333]) {
      const base = (kind === "greedy" ? 10000 : 20000) + words * 10;
      const alone = await worker.generate({ id: base, messages: prompt(1, words), ...sampling });
      assert.ok(alone.tokens.length > 1);
      const again = await worker.generate({ id: base + 1, messages: prompt(1, words), ...sampling });
      assert.deepEqual(again.tokens, alone.tokens);
      // Others decode while this one's prompt is read: chunks shrink, decode batches grow.
      const others = [2, 3, 4].map((n) => worker.generate({ id: base + n, messages: prompt(n, 150), temperature: 0, max_tokens: 300 }));
      await Promise.all([2, 3, 4].map((n) => worker.when((r) => r.id === base + n && r.event === "text")));
      const company = await worker.generate({ id: base + 5, messages: prompt(1, words), ...sampling });
      assert.deepEqual(company.tokens, alone.tokens);
      for (const n of [2, 3, 4]) worker.send({ cmd: "cancel", id: base + n });
      await Promise.all(others);
    }
  });

  test("a seed repeats its answer, another seed gives another", async () => {
    const hot = { messages: prompt(5, 20), temperature: 1.5, top_k: 0, top_p: 1, min_p: 0, max_tokens: 40 };
    const first = await worker.generate({ id: 200, seed: 7, ...hot });
    const second = await worker.generate({ id: 201, seed: 7, ...hot });
    const third = await worker.generate({ id: 202, seed: 8, ...hot });
    assert.deepEqual(second.tokens, first.tokens);
    assert.notDeepEqual(third.tokens, first.tokens);
  });

  test("cancel ends a request within a step, and its slot is free", async () => {
    const running = worker.generate({ id: 300, messages: prompt(6, 30), max_tokens: 3000, temperature: 1, seed: 1 });
    await worker.when((r) => r.id === 300 && r.event === "text");
    worker.send({ cmd: "cancel", id: 300 });
    assert.equal((await running).last.reason, "cancelled");
    worker.send({ cmd: "health" });
    await worker.generate({ id: 301, messages: prompt(6, 3), ...greedy });
  });

  test("pause stops only the paused stream, resume goes on with it", async () => {
    const paused = worker.generate({ id: 400, messages: prompt(7, 10), max_tokens: 60, temperature: 1, seed: 3 });
    await worker.when((r) => r.id === 400 && r.event === "text");
    worker.send({ cmd: "pause", id: 400 });
    await worker.generate({ id: 401, messages: prompt(8, 10), ...greedy });
    const before = worker.reports.filter((r) => r.id === 400).length;
    await worker.generate({ id: 402, messages: prompt(8, 10), ...greedy });
    assert.equal(worker.reports.filter((r) => r.id === 400).length, before);
    worker.send({ cmd: "resume", id: 400 });
    const alone = await worker.generate({ id: 403, messages: prompt(7, 10), max_tokens: 60, temperature: 1, seed: 3 });
    assert.deepEqual((await paused).tokens, alone.tokens);
  });

  test("a long prompt does not stop a running stream", async () => {
    // One stream after the other, for a model ends its turn when it likes.
    let over = false;
    const streams = (async () => {
      for (let id = 510; !over; ++id) await worker.generate({ id, messages: prompt(id, 10), max_tokens: 400, temperature: 1.5, seed: id });
    })();
    await worker.when((r) => r.id >= 510 && r.event === "text");
    const long = await worker.generate({ id: 501, messages: prompt(10, 700), ...greedy });
    over = true;
    await streams;
    const begin = long.reports.find((r) => r.event === "started").arrived;
    const chunks = long.reports.filter((r) => r.event === "prefilled");
    const end = chunks.at(-1).arrived;
    const meanwhile = worker.reports.filter((r) => r.id >= 510 && r.id < 600 && r.event === "text" && r.arrived > begin && r.arrived < end);
    assert.ok(chunks.length >= 2, `the prompt was read in ${chunks.length} chunks`);
    assert.ok(meanwhile.length >= chunks.length / 2, `${meanwhile.length} tokens came during ${chunks.length} chunks`);
  });

  test("a bad line is answered and changes nothing", async () => {
    worker.child.stdin.write("{not json\n");
    const refused = await worker.when((r) => r.event === "error" && r.id === 0);
    assert.match(refused.message, /not JSON/);
    worker.send({ cmd: "generate", id: 600, max_tokens: 5, tokens: [99999999] });
    assert.match((await worker.result(600)).last.message, /outside the vocabulary/);
    worker.send({ cmd: "generate", id: 601, max_tokens: 5, messages: prompt(1, 9000) });
    assert.match((await worker.result(601)).last.message, /prompt is too long: \d+ tokens > 4095 maximum/);
    await worker.generate({ id: 602, messages: prompt(6, 3), ...greedy });
  });
});

// The engine takes sequences whose numbers follow each other in one pass: a free slot between two that decode gets a row
// that is forgotten again (llama_engine.cpp, find_fill).
test("a slot between two that decode keeps what it holds, and they say what they say alone", async () => {
  const start = async () => {
    const worker = new Worker(bin("pensieve-worker"), ["--model", await model(), "--slots", "3", "--context", "2048", "--store", ""]);
    await worker.ready();
    return worker;
  };
  const asks = [
    { id: 1, messages: prompt(1, 40), ...seeded, max_tokens: 400 },
    { id: 2, messages: prompt(2, 40), ...seeded, max_tokens: 8 },
    { id: 3, messages: prompt(3, 40), ...seeded, max_tokens: 60 },
  ];
  const alone = [];
  for (const ask of asks) {
    const worker = await start();
    alone.push((await worker.generate(ask)).tokens);
    await worker.stop();
  }
  const worker = await start();
  const first = worker.generate(asks[0]);
  await worker.when((r) => r.id === 1 && r.event === "text");
  const second = await worker.generate(asks[1]);
  const third = await worker.generate(asks[2]);  // In the third slot: the oldest that is free.
  assert.deepEqual([(await first).tokens, second.tokens, third.tokens], alone);
  const again = await worker.generate({ ...asks[1], id: 4 });
  assert.deepEqual(again.tokens, alone[1]);
  assert.ok(again.last.cached_tokens > 20, `${again.last.cached_tokens} of ${again.last.prompt_tokens} were there`);
  await worker.stop();
});

test("what a worker tried its kernels on spares the next one the trial, and counts for the same model alone", async (t) => {
  const ask = { id: 1, messages: prompt(1, 60), ...seeded, hash_logits: true };
  const run = async (...args) => {
    const worker = new Worker(bin("pensieve-worker"), ["--model", await model(), "--context", "1024", ...args]);
    const { proof } = await worker.ready();
    const { tokens, last } = await worker.generate(ask);
    await worker.stop();
    return { proof, tokens, hashes: last.logit_hashes, log: worker.log };
  };
  const first = await run();
  if (!first.proof) return t.skip("no kernels of ours for this processor");
  assert.doesNotMatch(first.log, /before this one tried/);
  const second = await run("--proof", first.proof);
  assert.match(second.log, /before this one tried/);
  assert.deepEqual([second.proof, second.tokens], [first.proof, first.tokens]);
  // Each kernel is used as the proof has it: our products without our attention round otherwise than neither.
  const [head, products] = /^(.*;)[^;]*(products [^,]+)/.exec(first.proof)?.slice(1) ?? [];
  if (head) assert.notDeepEqual((await run("--proof", head + products)).hashes, (await run("--proof", `${head}neither`)).hashes);
  const other = await run("--proof", first.proof.replace(/;(\d+):/, ";1$1:"));
  assert.doesNotMatch(other.log, /before this one tried/);
  assert.deepEqual([other.proof, other.tokens], [first.proof, first.tokens]);
});

test("a model file that is none is refused with its name and a reason", async () => {
  const { writeFileSync, mkdtempSync, readFileSync, rmSync } = await import("node:fs");
  const { tmpdir } = await import("node:os");
  const { join } = await import("node:path");
  const folder = mkdtempSync(join(tmpdir(), "pensieve-"));
  const whole = readFileSync(await model());
  const flipped = Buffer.from(whole);
  flipped.writeBigUInt64LE(0xffffffffffffffn, 8); // An absurd number of tensors.
  const files = {
    "empty.gguf": Buffer.alloc(0),
    "text.gguf": Buffer.from("this is no model\n".repeat(100)),
    "short.gguf": whole.subarray(0, 1000),
    "half.gguf": whole.subarray(0, whole.length / 2),
    "absurd.gguf": flipped,
  };
  for (const [name, bytes] of Object.entries(files)) {
    const path = join(folder, name);
    writeFileSync(path, bytes);
    const worker = new Worker(bin("pensieve-worker"), ["--model", path]);
    const fatal = await worker.when((r) => r.event === "fatal");
    assert.match(fatal.message, new RegExp(name), name);
    assert.equal((await worker.exited).code, 1, name);
  }
  const worker = new Worker(bin("pensieve-worker"), ["--model", join(folder, "absent.gguf")]);
  assert.match((await worker.when((r) => r.event === "fatal")).message, /absent.gguf.*No such file/);
  rmSync(folder, { recursive: true });
});

// It would hold prompts, and take seconds to write before another worker may start.
test("a worker that crashes leaves no core, whatever the shell allows", async () => {
  const worker = new Worker("sh", ["-c", 'ulimit -c unlimited; exec "$0" "$@"', bin("pensieve-worker"), "--model", await model(), "--context", "512"]);
  await worker.ready();
  const { readFileSync } = await import("node:fs");
  assert.match(readFileSync(`/proc/${worker.child.pid}/limits`, "utf8"), /^Max core file size +0 +unlimited/m);
  await worker.stop();
});
