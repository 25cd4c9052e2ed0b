// The Messages API against the scripted worker: what is said is known byte for byte.
import assert from "node:assert/strict";
import { connect } from "node:net";
import { after, before, describe, test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import { all, ask, checkForm, events, Server, textOf } from "./server.mjs";

describe("messages", () => {
  let server;
  let client;
  before(async () => {
    server = await Server.start({ fake: true, args: ["--slots", "2", "--queue", "2"] });
    client = new Anthropic({ baseURL: server.url, apiKey: "dummy", maxRetries: 0 });
  });
  after(async () => {
    assert.equal((await server.stop()).code, 0);
  });

  test("a whole reply has the API's shape", async () => {
    const reply = await server.post(ask("hello there"));
    assert.equal(reply.status, 200);
    assert.match(reply.headers.get("request-id"), /^req_/);
    const message = await reply.json();
    assert.match(message.id, /^msg_/);
    assert.equal(message.type, "message");
    assert.equal(message.role, "assistant");
    assert.equal(message.model, "claude-test");
    assert.deepEqual(message.content.map(({ type, text }) => ({ type, text })), [{ type: "text", text: "hello there" }]);
    assert.equal(message.stop_reason, "end_turn");
    assert.equal(message.stop_sequence, null);
    assert.ok(message.usage.input_tokens > 0);
    assert.equal(message.usage.output_tokens, "hello there".length + 1);
  });

  test("a stream has the API's events in order, and the same text", async () => {
    const reply = await server.post(ask("hello there", { stream: true }));
    assert.match(reply.headers.get("content-type"), /^text\/event-stream/);
    const list = await all(events(reply));
    checkForm(list);
    assert.equal(textOf(list), "hello there");
    const start = list.find((e) => e.event === "message_start").data.message;
    assert.equal(start.stop_reason, null);
    assert.deepEqual(start.content, []);
    assert.ok(start.usage.input_tokens > 0);
    const delta = list.find((e) => e.event === "message_delta").data;
    assert.equal(delta.delta.stop_reason, "end_turn");
    assert.equal(delta.usage.output_tokens, "hello there".length + 1);
  });

  test("the official SDK reads both", async () => {
    const whole = await client.messages.create(ask("by the SDK"));
    assert.equal(whole.content[0].text, "by the SDK");
    const stream = client.messages.stream(ask("streamed by the SDK"));
    let heard = "";
    stream.on("text", (text) => (heard += text));
    const final = await stream.finalMessage();
    assert.equal(heard, "streamed by the SDK");
    assert.equal(final.content[0].text, "streamed by the SDK");
    assert.equal(final.stop_reason, "end_turn");
  });

  test("system, blocks and turns are rendered", async () => {
    const { input_tokens: plain } = await client.messages.countTokens({ model: "m", messages: [{ role: "user", content: "hi" }] });
    const { input_tokens: system } = await client.messages.countTokens({ model: "m", system: "abc", messages: [{ role: "user", content: "hi" }] });
    assert.equal(system, plain + "abc".length + 2); // The fake's template: <|system|> text <|end|>.
    const message = await client.messages.create({
      model: "m",
      max_tokens: 20,
      system: [{ type: "text", text: "be brief", cache_control: { type: "ephemeral" } }],
      messages: [
        { role: "user", content: [{ type: "text", text: "one" }] },
        { role: "assistant", content: "one" },
        { role: "user", content: [{ type: "text", text: "two" }] },
      ],
    });
    assert.equal(message.content[0].text, "two");
  });

  test("count_tokens equals the usage of the same prompt", async () => {
    const body = ask("count me, please");
    const { max_tokens: _, ...counted } = body;
    const { input_tokens } = await client.messages.countTokens(counted);
    for (const [i, mark] of [[0, undefined], [1, undefined], [2, { type: "ephemeral" }]]) {
      const messages = [{ role: "user", content: [{ type: "text", text: body.messages[0].content, cache_control: mark }] }];
      const { usage } = await client.messages.create({ ...body, messages });
      assert.equal(usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens, input_tokens, "three parts of one prompt");
      if (i > 0) assert.ok(usage.cache_read_input_tokens > 0, "asked before");
      if (mark) assert.equal(usage.input_tokens, 0, "all of it is kept");
      else assert.equal(usage.cache_creation_input_tokens, 0);
    }
  });

  test("max_tokens and stop sequences end an answer, each with its reason", async () => {
    const short = await client.messages.create(ask("0123456789", { max_tokens: 4 }));
    assert.equal(short.content[0].text, "0123");
    assert.equal(short.stop_reason, "max_tokens");
    const stopped = await client.messages.create(ask("one two three", { stop_sequences: ["xx", "two"] }));
    assert.equal(stopped.content[0].text, "one ");
    assert.equal(stopped.stop_reason, "stop_sequence");
    assert.equal(stopped.stop_sequence, "two");
  });

  test("a character is never split, broken bytes become U+FFFD", async () => {
    const list = await all(events(await server.post(ask("!bytes 61e29883f09f988062ff7a", { stream: true }))));
    checkForm(list);
    assert.equal(textOf(list), "a\u2603\u{1F600}b\uFFFDz");
    assert.ok(list.filter((e) => e.event === "content_block_delta").length >= 5);
  });

  test("an overlong prompt gets the wording that makes agents compact", async () => {
    const reply = await server.post(ask("x".repeat(5000)));
    assert.equal(reply.status, 400);
    const body = await reply.json();
    assert.equal(body.type, "error");
    assert.equal(body.error.type, "invalid_request_error");
    assert.match(body.error.message, /^prompt is too long: \d+ tokens > \d+ maximum$/);
    assert.equal(body.request_id, reply.headers.get("request-id"));
  });

  test("max_tokens beyond the room is clamped, not refused", async () => {
    const message = await client.messages.create(ask("fine", { max_tokens: 20000 }));
    assert.equal(message.content[0].text, "fine");
  });

  test("a failed step is an honest error, and the next request works", async () => {
    const reply = await server.post(ask("!fail"));
    assert.equal(reply.status, 500);
    assert.equal((await reply.json()).error.type, "api_error");
    const list = await all(events(await server.post(ask("!fail", { stream: true }))));
    assert.equal(list.at(-1).event, "error");
    assert.equal((await client.messages.create(ask("and on"))).content[0].text, "and on");
  });

  test("models are listed under the loaded model's name", async () => {
    const page = await client.models.list();
    assert.equal(page.data.length >= 1, true);
    const one = await client.models.retrieve(page.data[0].id);
    assert.equal(one.type, "model");
    assert.equal(one.capabilities.structured_outputs.supported, true);
    assert.equal(one.capabilities.thinking.supported, true); // The scripted worker's template knows it.
    assert.equal(one.capabilities.image_input.supported, false);
    assert.equal((await server.health()).model.tool_syntax, "hermes");
    await assert.rejects(client.models.retrieve("no-such-model"), Anthropic.NotFoundError);
  });

  test("25 counts at once", async () => {
    const counts = await Promise.all(Array.from({ length: 25 }, (_, i) => client.messages.countTokens({ model: "m", messages: [{ role: "user", content: "x".repeat(i + 1) }] })));
    counts.forEach(({ input_tokens }, i) => assert.equal(input_tokens, counts[0].input_tokens + i));
  });

  test("metrics are Prometheus text with the documented names", async () => {
    const text = await (await fetch(`${server.url}/metrics`)).text();
    // The golden list; docs/metrics.md explains each.
    assert.deepEqual([...text.matchAll(/^# TYPE (\S+ \S+)$/gm)].map((match) => match[1]).sort(), [
      "llm_output_tokens_total counter",
      "llm_prompt_tokens_total counter",
      "llm_requests_running gauge",
      "llm_requests_total counter",
      "llm_requests_waiting gauge",
      "llm_time_between_tokens_seconds histogram",
      "llm_time_to_first_token_seconds histogram",
      "pensieve_answers_recognised gauge",
      "pensieve_kv_given_back_bytes gauge",
      "pensieve_kv_reused_tokens gauge",
      "pensieve_memory_alarms_total counter",
      "pensieve_memory_available_bytes gauge",
      "pensieve_memory_budget_bytes gauge",
      "pensieve_memory_bytes gauge",
      "pensieve_memory_committed_bytes gauge",
      "pensieve_memory_level gauge",
      "pensieve_memory_level_changes_total counter",
      "pensieve_memory_pss_bytes gauge",
      "pensieve_memory_refused_total counter",
      "pensieve_requests_normalised_total counter",
      "pensieve_requests_resumed_total counter",
      "pensieve_store_blocks_set_aside gauge",
      "pensieve_store_bytes gauge",
      "pensieve_time_to_first_token_ratio histogram",
      "pensieve_token_to_socket_seconds histogram",
      "pensieve_worker_restarts_total counter",
    ]);
  });
});

describe("the waiting line", () => {
  let server;
  before(async () => {
    server = await Server.start({ fake: true, args: ["--slots", "1", "--queue", "1"], env: { PENSIEVE_FAKE_STEP_US: "5000" } });
  });
  after(() => server.stop());

  test("is bounded: beyond it 529 with retry-after, and the place is held for the whole stream", async () => {
    const long = ask("!repeat 300 x", { stream: true, max_tokens: 400 });
    const first = await server.post(long);
    const running = events(first);
    while ((await running.next()).value.event !== "content_block_delta");
    const second = await server.post(long); // Waits: its headers are there, its tokens are not.
    assert.equal(second.status, 200);
    const third = await server.post(long);
    assert.equal(third.status, 529);
    assert.equal((await third.json()).error.type, "overloaded_error");
    const wait = Number(third.headers.get("retry-after"));
    assert.ok(wait >= 1 && wait <= 60, `retry-after ${wait}`);
    assert.equal((await server.health()).slots.running, 1);
    await all(running);
    assert.equal(textOf(await all(events(second))), "x".repeat(300));
  });

  test("the first token is predicted, and who comes back as told has a place", { timeout: 60_000 }, async () => {
    const words = (n, more = "") => ask(`!repeat ${n} x${more}`, { stream: true, max_tokens: n });
    for (;;) { // Until the pace was measured, and said.
      const reply = await server.post(words(40));
      await all(events(reply));
      if (reply.headers.get("x-predicted-ttft")) break;
    }
    const first = events(await server.post(words(400)));
    while ((await first.next()).value.event !== "content_block_delta");
    const begun = performance.now();
    const second = await server.post(words(100));
    const predicted = Number(second.headers.get("x-predicted-ttft"));
    const heard = all(events(second));
    const third = await server.post(words(20, "yz"));
    assert.equal(third.status, 529);
    const wait = Number(third.headers.get("retry-after"));
    // Others want every place that there is, meanwhile.
    let rude = true, taken = 0;
    const crowd = (async () => {
      for (let n = 0; rude; n += 1) {
        const reply = await server.post(words(30, `, says ${n}`));
        taken += reply.status === 200 ? 1 : 0;
        await reply.body.cancel();
        await new Promise((resolve) => setTimeout(resolve, 30));
      }
    })();
    await new Promise((resolve) => setTimeout(resolve, wait * 1000));
    const again = await server.post(words(20, "yz"));
    assert.equal(again.status, 200, `told to come back after ${wait} s; ${taken} others got in meanwhile`);
    rude = false;
    await Promise.all([crowd, all(events(again)), all(first)]);
    const list = await heard;
    const took = (list.find((e) => e.event === "content_block_delta").at - begun) / 1000;
    assert.ok(took > predicted * 0.6 && took < predicted * 1.6, `predicted ${predicted} s, it took ${took.toFixed(3)} s`);
    await server.until((health) => health.slots.running === 0);
  });

  test("a client that leaves frees its slot", async () => {
    const abort = new AbortController();
    const reply = await fetch(`${server.url}/v1/messages`, {
      method: "POST",
      signal: abort.signal,
      headers: { "content-type": "application/json" },
      body: JSON.stringify(ask("!repeat 3000 x", { stream: true, max_tokens: 3500 })),
    });
    const running = events(reply);
    while ((await running.next()).value.event !== "content_block_delta");
    const left = performance.now();
    abort.abort();
    await server.until((health) => health.slots.running === 0);
    assert.ok(performance.now() - left < 2000, "3,000 tokens of 5 ms would have taken 15 s");
  });
});

test("streaming is true: tokens arrive while the model is still at work", async () => {
  const server = await Server.start({ fake: true, env: { PENSIEVE_FAKE_STEP_US: "10000" } });
  const list = await all(events(await server.post(ask("!repeat 50 x", { stream: true, max_tokens: 60 }))));
  const deltas = list.filter((e) => e.event === "content_block_delta");
  assert.equal(deltas.length, 50);
  const spread = deltas.at(-1).at - deltas[0].at;
  assert.ok(spread > 400, `50 tokens of 10 ms arrived within ${spread} ms`);
  const gaps = deltas.slice(1).map((e, i) => e.at - deltas[i].at).sort((a, b) => a - b);
  assert.ok(gaps[24] > 5 && gaps[24] < 20, `the median gap is ${gaps[24]} ms`);
  await server.stop();
});

// Sanitizers keep freed memory for a while, and come without the real worker.
const sanitized = process.env.PENSIEVE_SANITIZED ? "not under sanitizers" : false;
test("a reader that stops reading stalls only itself", { skip: sanitized }, async () => {
  const server = await Server.start({ fake: true, args: ["--slots", "2", "--context", "2000000"] });
  const { hostname, port } = new URL(server.url);
  const body = JSON.stringify(ask("!repeat 1000000 x", { stream: true, max_tokens: 1000000 }));
  const stalled = connect(Number(port), hostname);
  stalled.pause(); // Never reads.
  stalled.on("error", () => {});
  stalled.write(`POST /v1/messages HTTP/1.1\r\nhost: ${hostname}:${port}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
  await server.until((health) => health.slots.running === 1);
  const memory = (await server.health()).memory.tree_pss_bytes;
  const reply = await server.post(ask("meanwhile"));
  assert.equal((await reply.json()).content[0].text, "meanwhile");
  await new Promise((resolve) => setTimeout(resolve, 1500));
  const grown = (await server.health()).memory.tree_pss_bytes - memory;
  assert.ok(grown < 64 << 20, `memory grew by ${grown >> 20} MB`);
  assert.equal((await server.health()).slots.running, 1, "the stalled stream still holds its slot: it was paused, not finished");
  stalled.destroy();
  await server.until((health) => health.slots.running === 0);
  await server.stop();
});

test("a request that kills every worker gets an honest error, and the worker is back by itself", async () => {
  const server = await Server.start({ fake: true });
  const list = await all(events(await server.post(ask("!abort", { stream: true }))));
  assert.equal(list.at(-1).event, "error");
  assert.equal(list.at(-1).data.error.type, "api_error");
  const health = await server.until((h) => h.ready);
  assert.equal(health.worker.restarts, 2, "it was tried once more");
  assert.equal((await (await server.post(ask("back"))).json()).content[0].text, "back");
  const killed = await server.signalWorker();
  await server.until((h) => h.ready && h.worker.pid !== killed);
  assert.equal((await (await server.post(ask("again"))).json()).content[0].text, "again");
  await server.stop();
});

test("a worker that never comes up is explained", { skip: sanitized }, async () => {
  const server = await Server.start({ modelFile: "/nonexistent/model.gguf", ready: false });
  const health = await server.until((h) => h.worker.state === "failed");
  assert.equal(health.http, 503);
  assert.match(JSON.stringify(health), /model\.gguf.*No such file/);
  const reply = await server.post(ask("hi"));
  assert.ok(reply.status >= 500);
  assert.match((await reply.json()).error.message, /No such file/);
  await server.stop();
});

test("SIGTERM lets running streams finish within --grace", async () => {
  const server = await Server.start({ fake: true, args: ["--grace", "20"], env: { PENSIEVE_FAKE_STEP_US: "5000" } });
  const running = events(await server.post(ask("!repeat 100 x", { stream: true, max_tokens: 200 })));
  while ((await running.next()).value.event !== "content_block_delta");
  const ended = server.stop();
  const rest = await all(running);
  assert.equal(rest.at(-1).event, "message_stop");
  assert.equal((await ended).code, 0);
});
