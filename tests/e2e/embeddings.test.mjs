// Embeddings: by the official client, against the scripted embedder, and against stand-ins of random weights through
// the real engine, held to what llama-server of the same engine makes of them.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import OpenAI from "openai";
import { hasEngineTool, start } from "../../bench/servers.mjs";
import { bin } from "./programs.mjs";
import { ask, Server } from "./server.mjs";

const scripted = (options = {}) => Server.start({ fake: true, ...options, env: { PENSIEVE_FAKE_EMBEDS: "1", ...options.env } });
const clientOf = (server) => new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
const embed = (server, body) => server.post({ model: "m", ...body }, {}, "/v1/embeddings");
const vectors = async (server, body) => {
  const reply = await embed(server, body);
  assert.equal(reply.status, 200, await reply.clone().text());
  return (await reply.json()).data.map((one) => one.embedding);
};
const length = (vector) => Math.sqrt(vector.reduce((sum, x) => sum + x * x, 0));
const texts = (count, words = 5) => Array.from({ length: count }, (_, i) => Array.from({ length: words }, (_, w) => "abcdefghijklmnop"[(i * 7 + w * 3) % 16] + "abcdefgh"[(i + w) % 8] + "ee").join(" "));

describe("embeddings, scripted", () => {
  let server;
  let client;
  before(async () => {
    server = await scripted({ args: ["--context", "64", "--slots", "2"] });
    client = clientOf(server);
  });
  after(() => server.stop());

  test("one text, several, ids and lists of ids", async () => {
    const one = await client.embeddings.create({ model: "any-name", input: "abc" });
    assert.equal(one.object, "list");
    assert.equal(one.model, "any-name");
    assert.deepEqual([one.data.length, one.data[0].object, one.data[0].index, one.data[0].embedding.length], [1, "embedding", 0, 8]);
    assert.ok(Math.abs(length(one.data[0].embedding) - 1) < 1e-6);
    assert.deepEqual(one.usage, { prompt_tokens: 4, total_tokens: 4 }); // The begin token among them.
    const several = await client.embeddings.create({ model: "m", input: ["x", "abc", "y"] });
    assert.deepEqual(several.data.map((d) => d.index), [0, 1, 2]);
    assert.deepEqual(several.data[1].embedding, one.data[0].embedding);
    const ids = [260, 97, 98, 99];
    const [alone] = await vectors(server, { input: ids, encoding_format: "base64" });
    assert.deepEqual(await vectors(server, { input: [[1], ids], encoding_format: "base64" }).then((v) => v[1]), alone);
    assert.deepEqual(await vectors(server, { input: "abc", encoding_format: "base64" }), [alone]);
  });

  test("base64 is the same numbers; fewer dimensions are of length 1", async () => {
    const [plain] = await vectors(server, { input: "abc", encoding_format: "float" });
    const [packed] = await vectors(server, { input: "abc", encoding_format: "base64" });
    const bytes = Buffer.from(packed, "base64");
    assert.deepEqual(plain.map(Math.fround), Array.from({ length: 8 }, (_, i) => bytes.readFloatLE(4 * i)));
    const [short] = await vectors(server, { input: "abc", dimensions: 3 });
    assert.equal(short.length, 3);
    const scale = length(plain.slice(0, 3));
    short.forEach((x, i) => assert.ok(Math.abs(x - plain[i] / scale) < 1e-6));
    assert.deepEqual(await vectors(server, { input: "abc", dimensions: 8 }), [plain]);
  });

  // [what, body, what the message must say, param, code]
  const bad = [
    ["no JSON", "{", /not valid JSON/, null, null],
    ["no model", { model: undefined, input: "a" }, /^model: field required/, "model", null],
    ["no input", {}, /^input: field required/, "input", null],
    ["an empty text", { input: "" }, /^input: must not be empty/, "input", null],
    ["an empty list", { input: [] }, /^input: must not be empty/, "input", null],
    ["an empty text among others", { input: ["a", ""] }, /^input\.1: must not be empty/, "input.1", null],
    ["an empty list of ids", { input: [[1], []] }, /^input\.1: must not be empty/, "input.1", null],
    ["a number", { input: 3 }, /^input: must be a string/, "input", null],
    ["mixed", { input: ["a", [1]] }, /^input\.1: .*do not go together/, "input.1", null],
    ["ids that are none", { input: [1, -1] }, /^input: must be an array of token ids/, "input", null],
    ["ids outside the vocabulary", { input: [1, 4000] }, /^input\.0: 4000 is outside the vocabulary of 261 tokens/, "input.0", null],
    ["a text that is too long", { input: ["a", "x".repeat(64)] }, /^input\.1: is too long: 65 tokens > 64 maximum/, "input.1", "context_length_exceeded"],
    ["too many inputs", { input: Array(2049).fill("a") }, /^input: has 2049 inputs; at most 2048/, "input", null],
    ["an unknown encoding", { input: "a", encoding_format: "int8" }, /^encoding_format: must be float or base64/, "encoding_format", null],
    ["no dimensions", { input: "a", dimensions: 0 }, /^dimensions: must be an integer of at least 1/, "dimensions", null],
    ["more dimensions than there are", { input: "a", dimensions: 9 }, /^dimensions: this model's vectors have 8 numbers/, "dimensions", null],
  ];
  for (const [what, body, says, param, code] of bad) test(`bad input: ${what}`, async () => {
    const reply = await server.post(typeof body === "string" ? body : { model: "m", ...body }, {}, "/v1/embeddings");
    assert.equal(reply.status, 400);
    const { error } = await reply.json();
    assert.equal(error.type, "invalid_request_error");
    assert.match(error.message, says);
    assert.deepEqual([error.param, error.code], [param, code]);
  });

  test("the whole room of an input can be used", async () => {
    assert.equal((await vectors(server, { input: "x".repeat(63) }))[0].length, 8);
  });

  test("what would generate is refused in words", async () => {
    const says = /this model makes embeddings, it does not generate/;
    for (const [path, body] of [["/v1/messages", ask("hi")], ["/v1/messages", ask("hi", { stream: true })], ["/v1/messages/count_tokens", { model: "m", messages: ask("hi").messages }],
      ["/v1/chat/completions", { model: "m", messages: ask("hi").messages }], ["/v1/completions", { model: "m", prompt: "hi" }], ["/v1/responses", { model: "m", input: "hi" }]]) {
      const reply = await server.post(body, {}, path);
      assert.equal(reply.status, 400, path);
      const { error } = await reply.json();
      assert.equal(error.type, "invalid_request_error");
      assert.match(error.message, says, path);
    }
  });

  test("health and the list of models say what it is", async () => {
    const health = await server.health();
    assert.equal(health.model.kind, "embedding");
    assert.equal(health.model.vector_size, 8);
    assert.equal(health.model.pooling, "last");
    assert.equal(health.kv.store.folder, null);
    assert.match(health.kv.store.problem, /an embedding model: no KV state is kept/);
    const [entry] = (await client.models.list()).data;
    assert.deepEqual(entry.capabilities.embeddings, { supported: true, dimensions: 8 });
    assert.equal(entry.capabilities.structured_outputs.supported, false);
    assert.equal(entry.max_input_tokens, 64);
  });

  test("a step that fails, and a vector without length, are a 500 and disturb nobody", async () => {
    const others = Promise.all(texts(8, 3).map((input) => vectors(server, { input })));
    await assert.rejects(client.embeddings.create({ model: "m", input: ["a", "!fail"] }), (error) => error instanceof OpenAI.InternalServerError && /the script asked for a failed step/.test(error.message));
    await assert.rejects(client.embeddings.create({ model: "m", input: "!zero" }), (error) => error instanceof OpenAI.InternalServerError && /input\.0: .*no length/.test(error.message));
    assert.equal((await others).length, 8);
  });
});

describe("embeddings, when workers die", () => {
  test("killed in the midst: what was made is not made again, and the answer is the same", async () => {
    const server = await scripted({ args: ["--context", "64"], env: { PENSIEVE_FAKE_STEP_US: "20000" } });
    const input = texts(60, 2); // 1.2 s of steps.
    const expected = await vectors(server, { input });
    const answer = vectors(server, { input });
    for (let kill = 0; kill < 2; ++kill) {
      await new Promise((resolve) => setTimeout(resolve, 300));
      await server.signalWorker();
    }
    assert.deepEqual(await answer, expected);
    const health = await server.until((h) => h.ready);
    assert.equal(health.worker.restarts, 2);
    assert.ok(health.worker.requests_resumed >= 1);
    await server.stop();
  });

  test("an input that kills each worker is told so, and the server goes on", async () => {
    const server = await scripted({ args: ["--context", "64"] });
    const refused = await embed(server, { input: ["a", "!abort"] });
    assert.equal(refused.status, 500);
    assert.match((await refused.json()).error.message, /running at two deaths/);
    assert.equal((await vectors(server, { input: "a" })).length, 1);
    await server.stop();
  });

  test("one that hangs is seen by the watchdog", { timeout: 60_000 }, async () => {
    const server = await scripted({ args: ["--context", "64", "--stall-timeout", "1"] });
    const refused = await embed(server, { input: "!hang" });
    assert.equal(refused.status, 500);
    assert.match((await refused.json()).error.message, /hung/);
    await server.stop();
  });

  test("a client that leaves frees its place; a full line is a 503", async () => {
    const server = await scripted({ args: ["--context", "64", "--slots", "1", "--queue", "1"], env: { PENSIEVE_FAKE_STEP_US: "20000" } });
    const leave = new AbortController();
    const long = (signal) => fetch(`${server.url}/v1/embeddings`, { method: "POST", signal, headers: { "content-type": "application/json" }, body: JSON.stringify({ model: "m", input: texts(500, 2) }) });
    const gone = [long(leave.signal).catch(() => "left")];
    await server.until((h) => h.slots.running === 1);
    gone.push(long(leave.signal).catch(() => "left"));
    await server.until((h) => h.queue.waiting === 1);
    const refused = await embed(server, { input: "a" });
    assert.equal(refused.status, 503);
    assert.ok(Number(refused.headers.get("retry-after")) >= 1);
    leave.abort();
    assert.deepEqual(await Promise.all(gone), ["left", "left"]);
    await server.until((h) => h.slots.running === 0 && h.queue.waiting === 0);
    assert.equal((await vectors(server, { input: "a" })).length, 1);
    await server.stop();
  });
});

// Not quantised: nothing is repacked then, and the two servers multiply the same numbers.
const standIns = [
  { shape: "tiny-bert", size: 128, pooling: "mean", context: 2048, long: 900 },
  { shape: "tiny-qwen3-embedding", size: 256, pooling: "last", context: 2048, long: 1500 }, // Three steps.
];

for (const { shape, size, pooling, context, long } of standIns) describe(`embeddings of ${shape}`, { timeout: 300_000 }, () => {
  let folder;
  let model;
  let server;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "pensieve-embeddings-"));
    model = join(folder, `${shape}.gguf`);
    execFileSync(bin("pensieve-make-model"), [shape, model, "--quant", "f16"], { stdio: "ignore" });
    server = await Server.start({ modelFile: model, args: ["--context", String(context), "--slots", "4"] });
  });
  after(async () => {
    await server.stop();
    rmSync(folder, { recursive: true });
  });

  test("it is what its file says", async () => {
    const { model: about, kv, plan } = await server.health();
    assert.deepEqual([about.kind, about.vector_size, about.pooling, about.context_tokens], ["embedding", size, pooling, context]);
    assert.equal(kv.store.folder, null);
    assert.match(plan.lines.find((l) => l.name === "KV cache").note, /one input of \d+ tokens at a time/);
  });

  test("another text, another vector; each of length 1", async () => {
    const made = await vectors(server, { input: texts(6) });
    for (const vector of made) assert.ok(Math.abs(length(vector) - 1) < 1e-5 && vector.length === size);
    assert.equal(new Set(made.map(String)).size, 6);
  });

  test("bit for bit the same alone and in company", async () => {
    const input = [...texts(3, 4), texts(1, 200)[0]];
    const alone = [];
    for (const one of input) alone.push((await vectors(server, { input: one, encoding_format: "base64" }))[0]);
    const crowd = texts(40, 7);
    const [, , together, again] = await Promise.all([vectors(server, { input: crowd }), vectors(server, { input: crowd.slice(3) }), vectors(server, { input, encoding_format: "base64" }), vectors(server, { input, encoding_format: "base64" })]);
    assert.deepEqual(together, alone);
    assert.deepEqual(again, alone);
  });

  test("hundreds of inputs come in order", async () => {
    const input = texts(300, 3);
    const client = clientOf(server);
    const reply = await client.embeddings.create({ model: "m", input });
    assert.deepEqual(reply.data.map((d) => d.index), input.map((_, i) => i));
    const [last] = await vectors(server, { input: input[299] });
    assert.deepEqual(reply.data[299].embedding, last.map(Math.fround));
  });

  test("killed in the midst, the answer is the same", async () => {
    const input = texts(150, 15);
    const expected = await vectors(server, { input, encoding_format: "base64" });
    const { restarts } = (await server.health()).worker;
    const answer = vectors(server, { input, encoding_format: "base64" });
    await server.until((h) => h.slots.running === 1);
    await new Promise((resolve) => setTimeout(resolve, 30));
    await server.signalWorker();
    assert.deepEqual(await answer, expected);
    assert.equal((await server.until((h) => h.ready)).worker.restarts, restarts + 1);
  });

  test("an input beyond its room is refused, one that fills it is not", async () => {
    const token = 300;
    assert.equal((await vectors(server, { input: Array(context).fill(token) }))[0].length, size);
    const reply = await embed(server, { input: Array(context + 1).fill(token) });
    assert.equal(reply.status, 400);
    assert.equal((await reply.json()).error.code, "context_length_exceeded");
  });

  test("the vectors of the engine's own server", { skip: hasEngineTool("llama-server") ? false : "the engine's package brings no llama-server" }, async () => {
    const theirs = await start("llama-server", model, ["--embeddings", "-c", String(context), "-b", String(context), "-ub", String(context), "--parallel", "1", "--no-repack"]);
    try {
      const ids = Array.from({ length: 12 }, (_, i) => 300 + 17 * i);
      for (const input of [...texts(4), texts(1, long / 5)[0], ids, Array.from({ length: long }, (_, i) => 300 + ((i * 7) % 3000))]) {
        const asked = await fetch(`${theirs.url}/v1/embeddings`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ model: "m", input }) });
        const reply = await asked.json();
        assert.equal(asked.status, 200, JSON.stringify(reply));
        const ours = await (await embed(server, { input })).json();
        assert.equal(ours.usage.prompt_tokens, reply.usage.prompt_tokens);
        const apart = Math.max(...ours.data[0].embedding.map((x, i) => Math.abs(x - reply.data[0].embedding[i])));
        assert.equal(reply.data[0].embedding.length, size);
        assert.ok(apart < 1e-5, `${apart} apart at ${ours.usage.prompt_tokens} tokens`);
      }
    } finally {
      theirs.child.kill("SIGKILL");
    }
  });
});

test("a model that generates says how to get embeddings", async () => {
  const server = await Server.start({ fake: true });
  const reply = await embed(server, { input: "a" });
  assert.equal(reply.status, 400);
  const { error } = await reply.json();
  assert.equal(error.type, "invalid_request_error");
  assert.match(error.message, /embeddings are not made here: the loaded model generates text \(pensieve serve --model EMBEDDING_MODEL --port ANOTHER makes them\)/);
  assert.equal((await server.health()).model.kind, "generating");
  await server.stop();
});
