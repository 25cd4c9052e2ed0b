// The endpoints for OpenAI clients, by the official package, against the scripted
// worker (what is said is known) and, for JSON schemas, against the real one.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import OpenAI from "openai";
import { all, ask, Server } from "./server.mjs";

const user = (content) => [{ role: "user", content }];

describe("openai", () => {
  let server;
  let client;
  before(async () => {
    server = await Server.start({ fake: true, args: ["--slots", "1", "--queue", "1", "--api-key", "secret"] });
    client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "secret", maxRetries: 0 });
  });
  after(() => server.stop());

  test("a chat completion, whole", async () => {
    const reply = await client.chat.completions.create({ model: "gpt-x", messages: user("hello there") });
    assert.match(reply.id, /^chatcmpl-/);
    assert.equal(reply.object, "chat.completion");
    assert.equal(reply.model, "gpt-x");
    assert.deepEqual(reply.choices[0].message.content, "hello there");
    assert.equal(reply.choices[0].finish_reason, "stop");
    assert.equal(reply.usage.completion_tokens, "hello there".length + 1);
    assert.equal(reply.usage.total_tokens, reply.usage.prompt_tokens + reply.usage.completion_tokens);
    assert.ok(Math.abs(reply.created - Date.now() / 1000) < 60);
  });

  test("a chat completion, streamed, with usage", async () => {
    const stream = await client.chat.completions.create({ model: "m", messages: user("one two"), stream: true, stream_options: { include_usage: true } });
    const chunks = await all(stream);
    assert.equal(chunks.map((c) => c.choices[0]?.delta.content ?? "").join(""), "one two");
    assert.equal(chunks[0].choices[0].delta.role, "assistant");
    assert.equal(chunks.at(-2).choices[0].finish_reason, "stop");
    assert.equal(chunks.at(-1).usage.completion_tokens, "one two".length + 1);
    assert.equal(new Set(chunks.map((c) => c.id)).size, 1);
  });

  test("the package's streaming helper reads it", async () => {
    const runner = client.chat.completions.stream({ model: "m", messages: user("by the helper") });
    let heard = "";
    runner.on("content", (delta) => (heard += delta));
    const final = await runner.finalChatCompletion();
    assert.equal(heard, "by the helper");
    assert.equal(final.choices[0].message.content, "by the helper");
  });

  test("max_tokens, stop and the system's words", async () => {
    const cut = await client.chat.completions.create({ model: "m", max_completion_tokens: 4, messages: [{ role: "developer", content: "brief" }, ...user("0123456789")] });
    assert.equal(cut.choices[0].message.content, "0123");
    assert.equal(cut.choices[0].finish_reason, "length");
    const stopped = await client.chat.completions.create({ model: "m", stop: "two", messages: user("one two three") });
    assert.equal(stopped.choices[0].message.content, "one ");
    assert.equal(stopped.choices[0].finish_reason, "stop");
  });

  test("a text completion reads its prompt as it stands", async () => {
    const prompt = "<|user|>as it stands<|end|><|assistant|>as it"; // The script's own template, half an answer in.
    const reply = await client.completions.create({ model: "m", prompt, max_tokens: 50 });
    assert.equal(reply.object, "text_completion");
    assert.equal(reply.choices[0].text, " stands");
    const chunks = await all(await client.completions.create({ model: "m", prompt, max_tokens: 50, stream: true }));
    assert.equal(chunks.map((c) => c.choices[0].text).join(""), " stands");
  });

  test("a response, whole and streamed", async () => {
    const reply = await client.responses.create({ model: "m", instructions: "brief", input: "hello there", metadata: { a: "b" } });
    assert.match(reply.id, /^resp_/);
    assert.equal(reply.status, "completed");
    assert.equal(reply.output_text, "hello there");
    assert.equal(reply.usage.output_tokens, "hello there".length + 1);
    assert.deepEqual(reply.metadata, { a: "b" });
    const events = await all(await client.responses.create({ model: "m", input: [{ role: "user", content: "streamed" }], stream: true }));
    assert.equal(events[0].type, "response.created");
    assert.equal(events.filter((e) => e.type === "response.output_text.delta").map((e) => e.delta).join(""), "streamed");
    assert.equal(events.at(-1).type, "response.completed");
    assert.equal(events.at(-1).response.output[0].content[0].text, "streamed");
    assert.deepEqual(events.map((e) => e.sequence_number), events.map((_, i) => i));
    const helper = client.responses.stream({ model: "m", input: "by the helper" });
    assert.equal((await helper.finalResponse()).output_text, "by the helper");
    const cut = await client.responses.create({ model: "m", input: "0123456789", max_output_tokens: 4 });
    assert.equal(cut.status, "incomplete");
    assert.equal(cut.incomplete_details.reason, "max_output_tokens");
  });

  test("models are found by both kinds of clients", async () => {
    const page = await client.models.list();
    assert.equal(page.data[0].object, "model");
    assert.equal((await client.models.retrieve(page.data[0].id)).id, page.data[0].id);
    await assert.rejects(client.models.retrieve("no-such-model"), OpenAI.NotFoundError);
  });

  test("errors have their class, their field and their words", async () => {
    const wrong = await client.chat.completions.create({ model: "m", messages: user("x"), n: 2 }).catch((error) => error);
    assert.ok(wrong instanceof OpenAI.BadRequestError);
    assert.equal(wrong.param, "n");
    assert.match(wrong.message, /only one choice/);
    const long = await client.chat.completions.create({ model: "m", messages: user("x".repeat(5000)) }).catch((error) => error);
    assert.equal(long.code, "context_length_exceeded");
    await assert.rejects(client.embeddings.create({ model: "m", input: "x" }), (error) => error instanceof OpenAI.BadRequestError && /embeddings are not made here/.test(error.message));
    await assert.rejects(new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "other", maxRetries: 0 }).models.list(), OpenAI.AuthenticationError);
    await assert.rejects(client.chat.completions.create({ model: "m", messages: user("!fail") }), OpenAI.InternalServerError);
    const stream = await client.chat.completions.create({ model: "m", messages: user("!fail"), stream: true });
    await assert.rejects(all(stream), /the script asked for a failed step/);
  });

  test("a full line is a 503 with retry-after", async () => {
    const long = { model: "m", messages: user("!repeat 2000 x"), stream: true };
    const running = await client.chat.completions.create(long);
    const waiting = await client.chat.completions.create(long);
    const refused = await client.chat.completions.create(long).catch((error) => error);
    assert.equal(refused.status, 503);
    const wait = Number(refused.headers.get("retry-after"));
    assert.ok(wait >= 1 && wait <= 60);
    running.controller.abort();
    waiting.controller.abort();
    await server.until((health) => health.slots.running === 0 && health.queue.waiting === 0);
  });
});

test("images as data: URLs reach the model as those of the Messages API do", async () => {
  const folder = mkdtempSync(join(tmpdir(), "pensieve-openai-"));
  writeFileSync(join(folder, "mmproj"), "x");
  const server = await Server.start({ fake: true, args: ["--mmproj", join(folder, "mmproj")] });
  const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "dummy", maxRetries: 0 });
  const data = (words) => Buffer.from(words).toString("base64");
  const url = (words) => `data:image/png;base64,${data(words)}`;
  const chat = (words) => client.chat.completions.create({ model: "m", messages: user([{ type: "image_url", image_url: { url: url(words) } }, { type: "text", text: "!see" }]) });
  const seen = (await chat("image one")).choices[0].message.content;
  assert.match(seen, /^12 rows, \d+$/);
  assert.notEqual((await chat("image two")).choices[0].message.content, seen);
  const other = await server.post(ask([{ type: "image", source: { type: "base64", media_type: "image/png", data: data("image one") } }, { type: "text", text: "!see" }]));
  assert.equal((await other.json()).content[0].text, seen);
  const input = [{ role: "user", content: [{ type: "input_image", image_url: url("image one"), detail: "auto" }, { type: "input_text", text: "!see" }] }];
  assert.equal((await client.responses.create({ model: "m", input })).output_text, seen);
  const stream = await client.chat.completions.create({ model: "m", stream: true, messages: user([{ type: "image_url", image_url: { url: url("image one") } }, { type: "text", text: "!see" }]) });
  assert.equal((await all(stream)).map((c) => c.choices[0]?.delta.content ?? "").join(""), seen);
  const refused = async (promise, words) => assert.rejects(promise, (error) => error instanceof OpenAI.BadRequestError && words.test(error.message));
  await refused(chat("image bad"), /image 1 of 1: this image is damaged/);
  await refused(client.chat.completions.create({ model: "m", messages: user([{ type: "image_url", image_url: { url: "https://example.org/x.png" } }]) }), /images are read from data: URLs/);
  await server.stop();
  const blind = await Server.start({ fake: true, args: ["--mmproj", "off"] });
  const asked = new OpenAI({ baseURL: `${blind.url}/v1`, apiKey: "dummy", maxRetries: 0 });
  await refused(asked.responses.create({ model: "m", input }), /'input_image': this model cannot see/);
  await blind.stop();
  rmSync(folder, { recursive: true });
});

test("a JSON schema holds the real model, for chat and responses", async () => {
  const server = await Server.start({});
  const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "dummy", maxRetries: 0 });
  const schema = {
    type: "object",
    properties: { city: { enum: ["Rome", "Oslo"] }, people: { type: "integer", minimum: 1000, maximum: 9999999 } },
    required: ["city", "people"],
    additionalProperties: false,
  };
  const fits = (text) => {
    const value = JSON.parse(text);
    assert.ok(["Rome", "Oslo"].includes(value.city) && value.people >= 1000, text);
  };
  const ask = { model: "m", messages: user("Name a city."), response_format: { type: "json_schema", json_schema: { name: "city", schema, strict: true } } };
  fits((await client.chat.completions.parse(ask)).choices[0].message.content);
  const chunks = await all(await client.chat.completions.create({ ...ask, stream: true, temperature: 1.5, seed: 3 }));
  fits(chunks.map((c) => c.choices[0]?.delta.content ?? "").join(""));
  const response = await client.responses.create({ model: "m", input: "Name a city.", text: { format: { type: "json_schema", name: "city", schema, strict: true } } });
  fits(response.output_text);
  const any = await client.chat.completions.create({ model: "m", messages: user("Anything."), max_tokens: 400, response_format: { type: "json_object" } });
  if (any.choices[0].finish_reason === "stop") assert.equal(typeof JSON.parse(any.choices[0].message.content), "object");
  await assert.rejects(client.chat.completions.create({ ...ask, response_format: { type: "json_schema", json_schema: { name: "x", schema: { $ref: "#/no" } } } }), /response_format.json_schema.schema: \$ref/);
  await server.stop();
});
