// /v1/messages/batches with the official SDK, against the scripted worker; a server
// that is killed in the middle.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import { all, ask, events, Server } from "./server.mjs";

const requests = (texts, more = {}) => texts.map((text, i) => ({ custom_id: `item-${i}`, params: ask(text, { max_tokens: 600, ...more }) }));

describe("batches", () => {
  let folder;
  let server;
  let client;
  const start = async (args = [], env = {}) => {
    server = await Server.start({ fake: true, args: ["--batches", join(folder, "batches.sqlite"), ...args], env });
    client = new Anthropic({ baseURL: server.url, apiKey: "dummy", maxRetries: 0 });
  };
  const ended = async (id) => {
    for (;;) {
      const batch = await client.messages.batches.retrieve(id);
      if (batch.processing_status === "ended") return batch;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  const results = async (id) => Object.fromEntries((await all(await client.messages.batches.results(id))).map((line) => [line.custom_id, line.result]));
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "pensieve-batches-"));
    await start();
  });
  after(async () => {
    await server.stop();
    rmSync(folder, { recursive: true });
  });

  test("created, run, read, listed, deleted", async () => {
    const made = await client.messages.batches.create({ requests: requests(["one", "two", "!fail", "x".repeat(5000)], { stream: true }) });
    assert.match(made.id, /^msgbatch_/);
    assert.equal(made.type, "message_batch");
    assert.equal(made.processing_status, "in_progress");
    assert.equal(made.results_url, null);
    const batch = await ended(made.id);
    assert.deepEqual(batch.request_counts, { processing: 0, succeeded: 2, errored: 2, canceled: 0, expired: 0 });
    assert.ok(Date.parse(batch.expires_at) - Date.parse(batch.created_at) === 24 * 3600 * 1000);
    assert.ok(Date.parse(batch.ended_at) >= Date.parse(batch.created_at));
    const said = await results(made.id);
    assert.equal(said["item-0"].message.content[0].text, "one");
    assert.equal(said["item-1"].message.stop_reason, "end_turn");
    assert.equal(said["item-2"].type, "errored");
    assert.equal(said["item-2"].error.error.type, "api_error");
    assert.match(said["item-3"].error.error.message, /^prompt is too long/);
    const second = await client.messages.batches.create({ requests: requests(["later"]) });
    await ended(second.id);
    const page = await client.messages.batches.list({ limit: 1 });
    assert.equal(page.data[0].id, second.id);
    assert.equal(page.has_more, true);
    assert.deepEqual((await all(client.messages.batches.list({ limit: 1 }))).map((each) => each.id), [second.id, made.id]);
    assert.deepEqual(await client.messages.batches.delete(made.id), { id: made.id, type: "message_batch_deleted" });
    await assert.rejects(client.messages.batches.retrieve(made.id), Anthropic.NotFoundError);
  });

  test("bad input names the field", async () => {
    const refused = async (body) => (await (await server.post(body, {}, "/v1/messages/batches")).json()).error.message;
    assert.equal(await refused({}), "requests: must be a non-empty array");
    assert.equal(await refused({ requests: [{ params: {} }] }), "requests.0.custom_id: must be a string of 1 to 64 bytes");
    assert.equal(await refused({ requests: [{ custom_id: "a" }] }), "requests.0.params: must be an object, the body of a Messages request");
    assert.equal(await refused({ requests: [{ custom_id: "a", params: {} }, { custom_id: "a", params: {} }] }), "requests.1.custom_id: 'a' stands twice");
    assert.match(await refused("[".repeat(100)), /must be a JSON object/);
    assert.equal((await fetch(`${server.url}/v1/messages/batches/msgbatch_none/results`)).status, 404);
    assert.equal((await fetch(`${server.url}/v1/messages/batches?limit=0`)).status, 400);
    assert.equal((await fetch(`${server.url}/v1/messages/batches`, { method: "DELETE" })).status, 405);
    assert.equal((await fetch(`${server.url}/v1/messages/batches/a/b`)).status, 404);
  });

  test("people come first, and a cancel ends what runs", async () => {
    await server.stop();
    await start(["--slots", "1"], { PENSIEVE_FAKE_STEP_US: "3000" });
    const running = events(await server.post(ask("!repeat 150 x", { stream: true, max_tokens: 400 })));
    while ((await running.next()).value.event !== "content_block_delta");
    const made = await client.messages.batches.create({ requests: requests(["!repeat 500 y", "b", "c"]) });
    for await (const event of running) {
      // On a busy machine deltas are read late: the stream may have ended, and the batch not begun.
      if (event.event === "content_block_delta") assert.ok((await server.health()).slots.running <= 1);
      if (event.event === "message_stop") break;
    }
    assert.equal((await client.messages.batches.retrieve(made.id)).request_counts.processing, 3, "nothing of the batch is done before the person's answer");
    await server.until((health) => health.slots.running === 1);
    await assert.rejects(client.messages.batches.delete(made.id), Anthropic.BadRequestError);
    const cancelled = await client.messages.batches.cancel(made.id);
    assert.ok(["canceling", "ended"].includes(cancelled.processing_status));
    assert.ok(cancelled.cancel_initiated_at);
    const left = performance.now();
    const batch = await ended(made.id);
    assert.ok(performance.now() - left < 1200, "what ran was given up, not finished");
    assert.equal(batch.request_counts.canceled, 3);
    assert.equal((await results(made.id))["item-1"].type, "canceled");
  });

  test("what is not done when its time is over expires, also while people keep the server busy", async () => {
    await server.stop();
    await start(["--slots", "1", "--batches-expire", "1"], { PENSIEVE_FAKE_STEP_US: "3000" });
    const person = new AbortController();
    const running = events(await fetch(`${server.url}/v1/messages`, { method: "POST", signal: person.signal, headers: { "content-type": "application/json" }, body: JSON.stringify(ask("!repeat 4000 x", { stream: true, max_tokens: 4000 })) }));
    while ((await running.next()).value.event !== "content_block_delta");
    const made = await client.messages.batches.create({ requests: requests(["a", "b"]) });
    assert.equal(Date.parse(made.expires_at) - Date.parse(made.created_at), 1000);
    const read = (async () => { for await (const { event } of running) if (event === "message_stop") return "answered"; })().catch(() => "left");
    const batch = await ended(made.id);
    assert.equal((await server.health()).slots.running, 1, "the person's answer still runs");
    assert.deepEqual(batch.request_counts, { processing: 0, succeeded: 0, errored: 0, canceled: 0, expired: 2 });
    assert.ok(Date.parse(batch.ended_at) >= Date.parse(batch.expires_at));
    assert.deepEqual(await results(made.id), { "item-0": { type: "expired" }, "item-1": { type: "expired" } });
    person.abort();
    assert.equal(await read, "left");
    await server.until((health) => health.slots.running === 0);

    // Of a batch that was begun, what is done stays done.
    const begun = await client.messages.batches.create({ requests: requests(["first", "!repeat 590 y", "third"]) });
    const half = await ended(begun.id);
    assert.deepEqual(half.request_counts, { processing: 0, succeeded: 2, errored: 0, canceled: 0, expired: 1 });
    assert.equal((await results(begun.id))["item-0"].message.content[0].text, "first");
    await server.stop();
    await start();
  });

  test("survives a server that is killed in the middle", async () => {
    const texts = Array.from({ length: 6 }, (_, i) => `!repeat 60 ${i}`);
    const made = await client.messages.batches.create({ requests: requests(texts) });
    while ((await client.messages.batches.retrieve(made.id)).request_counts.succeeded < 2);
    await server.stop("SIGKILL");
    await start();
    const batch = await ended(made.id);
    assert.equal(batch.request_counts.succeeded, 6);
    const said = await results(made.id);
    texts.forEach((_, i) => assert.equal(said[`item-${i}`].message.content[0].text, String(i).repeat(60)));
  });
});
