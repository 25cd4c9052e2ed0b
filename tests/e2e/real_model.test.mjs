// The whole path with the real worker and a real model, through the official SDK.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import { all, ask, checkForm, events, Server, textOf } from "./server.mjs";

describe("real model", () => {
  let server;
  let client;
  before(async () => {
    server = await Server.start({ args: ["--slots", "2", "--context", "4096"] });
    client = new Anthropic({ baseURL: server.url, apiKey: "dummy", maxRetries: 0 });
  });
  after(async () => {
    assert.equal((await server.stop("SIGINT")).code, 0);
  });

  test("streamed and whole answers are the same, greedily", async () => {
    const body = ask("Hello! Who are you?", { temperature: 0, max_tokens: 40 });
    const whole = await client.messages.create(body);
    const list = await all(events(await server.post({ ...body, stream: true })));
    checkForm(list);
    assert.equal(textOf(list), whole.content[0].text);
    assert.equal(list.find((e) => e.event === "message_delta").data.usage.output_tokens, whole.usage.output_tokens);
  });

  test("the first event is there before the last token was sampled", async () => {
    const stream = client.messages.stream(ask("Count from 1 to 200.", { max_tokens: 300, temperature: 0 }));
    const arrivals = [];
    for await (const event of stream) if (event.type === "content_block_delta") arrivals.push(performance.now());
    assert.ok(arrivals.length > 5);
    assert.ok(arrivals.at(-1) - arrivals[0] > 5, "tokens are spread over time");
  });

  test("four requests at once share two slots and one worker", async () => {
    const answers = await Promise.all([1, 2, 3, 4].map((n) => client.messages.create(ask(`Say the number ${n}.`, { max_tokens: 20, temperature: 0 }))));
    for (const answer of answers) assert.ok(answer.usage.output_tokens > 0);
    const again = await client.messages.create(ask("Say the number 3.", { max_tokens: 20, temperature: 0 }));
    assert.equal(again.content[0]?.text, answers[2].content[0]?.text);
    assert.equal((await server.health()).worker.restarts, 0);
  });

  test("health tells engine, model and memory of the whole tree", async () => {
    const health = await server.health();
    assert.equal(health.http, 200);
    assert.match(health.engine_version, /\d/);
    assert.ok(health.memory.tree_pss_bytes > 1 << 20);
    assert.equal(health.slots.total, 2);
  });
});
