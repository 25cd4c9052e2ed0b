// Tools, thinking and what agents do with them, against the scripted worker: the model's raw words are known.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import AnthropicOld from "@anthropic-ai/sdk-0";
import { all, ask, blocksOf, call, checkForm, events, Server, stopOf, textOf, turns } from "./server.mjs";

const schema = (properties, required = Object.keys(properties)) => ({ type: "object", properties, required });
const weather = { name: "get_weather", description: "The weather of a city", input_schema: schema({ city: { type: "string" } }) };
const add = { name: "add", description: "Adds two numbers", input_schema: schema({ a: { type: "integer" }, b: { type: "integer" } }) };

async function stream(server, body) {
  const reply = await server.post({ ...body, stream: true });
  assert.equal(reply.status, 200, await (reply.ok ? "" : reply.text()));
  const list = await all(events(reply));
  checkForm(list);
  return list;
}

describe("an agent's requests", () => {
  let server;
  before(async () => {
    server = await Server.start({ fake: true, args: ["--slots", "2", "--context", "65536"] });
  });
  after(async () => {
    assert.equal((await server.stop()).code, 0);
  });

  test("a call is a tool_use block, streamed and whole", async () => {
    const body = ask(turns(`I look.\n${call("get_weather", { city: "Oslo" })}`), { tools: [weather], max_tokens: 500 });
    const list = await stream(server, body);
    assert.equal(stopOf(list), "tool_use");
    const [text, used] = blocksOf(list);
    assert.equal(text.text, "I look.");
    assert.equal(used.name, "get_weather");
    assert.deepEqual(used.input, { city: "Oslo" });
    const whole = await (await server.post(body)).json();
    assert.equal(whole.stop_reason, "tool_use");
    assert.deepEqual(whole.content.map((block) => block.type), ["text", "tool_use"]);
    assert.deepEqual(whole.content[1].input, { city: "Oslo" });
    assert.deepEqual(whole.content[1].caller, { type: "direct" });
  });

  test("several calls in one turn; one where only one is allowed", async () => {
    const said = turns(call("get_weather", { city: "Oslo" }) + "\n" + call("add", { a: 1, b: 2 }));
    const both = blocksOf(await stream(server, ask(said, { tools: [weather, add], max_tokens: 500 })));
    assert.deepEqual(both.map((block) => block.name), ["get_weather", "add"]);
    assert.notEqual(both[0].id, both[1].id);
    const one = await stream(server, ask(said, { tools: [weather, add], max_tokens: 500, tool_choice: { type: "auto", disable_parallel_tool_use: true } }));
    assert.deepEqual(blocksOf(one).map((block) => block.name), ["get_weather"]);
    assert.equal(stopOf(one), "tool_use");
  });

  test("a malformed call, one cut off, and one without tools are text with an honest stop", async () => {
    for (const said of ['<tool_call>\n{"name": "get_weather", "arguments": {"city": ', "<tool_call>\nget_weather\n</tool_call>", '<tool_call>{"name": "get_weather", "arguments": [1]}</tool_call>']) {
      const list = await stream(server, ask(turns(said), { tools: [weather], max_tokens: 500 }));
      assert.equal(textOf(list), said);
      assert.equal(stopOf(list), "end_turn");
    }
    const whole = call("get_weather", { city: "Oslo" });
    const cut = await stream(server, ask(turns(whole), { tools: [weather], max_tokens: 30 }));
    assert.equal(textOf(cut), whole.slice(0, 30));
    assert.equal(stopOf(cut), "max_tokens");
    for (const more of [{}, { tools: [weather], tool_choice: { type: "none" } }]) assert.equal(textOf(await stream(server, ask(turns(whole), { ...more, max_tokens: 500 }))), whole);
  });

  test("a call that must be made is begun for the model", async () => {
    // The script holds the whole turn; its beginning stands in the prompt already and is not said again.
    const whole = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>';
    const named = blocksOf(await stream(server, ask(turns(whole), { tools: [weather, add], tool_choice: { type: "tool", name: "get_weather" }, max_tokens: 500 })));
    assert.deepEqual(named.map(({ name, input }) => ({ name, input })), [{ name: "get_weather", input: { city: "Oslo" } }]);
    const any = blocksOf(await stream(server, ask(turns('<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'), { tools: [weather, add], tool_choice: { type: "any" }, max_tokens: 500 })));
    assert.deepEqual(any.map(({ name, input }) => ({ name, input })), [{ name: "add", input: { a: 1, b: 2 } }]);
  });

  test("an input that a grammar holds streams while it is sampled; one cut off is never closed", async () => {
    const whole = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo in winter"}}\n</tool_call>'; // Its head stands in the prompt.
    const body = ask(turns(whole), { tools: [weather], tool_choice: { type: "tool", name: "get_weather" }, max_tokens: 500 });
    const list = await stream(server, body);
    const pieces = list.filter(({ data }) => data.delta?.type === "input_json_delta");
    assert.ok(pieces.length > 10, `${pieces.length} pieces`); // The fake's tokens are bytes.
    assert.deepEqual(blocksOf(list)[0].input, { city: "Oslo in winter" });
    assert.equal(stopOf(list), "tool_use");
    const cut = await stream(server, { ...body, max_tokens: 12 });
    assert.equal(stopOf(cut), "max_tokens");
    assert.equal(cut.filter(({ event }) => event === "content_block_start").length, 1);
    assert.equal(cut.filter(({ event }) => event === "content_block_stop").length, 0);
    assert.deepEqual((await (await server.post({ ...body, max_tokens: 12 })).json()).content.filter((block) => block.type === "tool_use"), []);
  });

  test("what a grammar cannot say is checked after: a strict call, a schema's answer", async () => {
    const picky = { name: "pick", strict: true, description: "", input_schema: schema({ days: { type: "array", items: { type: "integer" }, uniqueItems: true } }) };
    const good = blocksOf(await stream(server, ask(turns(call("pick", { days: [1, 2] })), { tools: [picky], max_tokens: 500 })));
    assert.deepEqual(good.map((block) => block.input), [{ days: [1, 2] }]);
    const list = await stream(server, ask(turns(call("pick", { days: [1, 1] })), { tools: [picky], max_tokens: 500 }));
    assert.match(textOf(list), /<tool_call>/);
    assert.equal(stopOf(list), "end_turn");
    assert.deepEqual(list.find(({ event }) => event === "message_delta").data.delta.stop_details, { type: "schema_violation", explanation: "a call of pick: days: items 0 and 1 are equal" });
    const format = { type: "json_schema", schema: { ...schema({ a: { type: "integer" } }), not: { properties: { a: { const: 3 } } } } };
    const reply = async (said) => (await server.post(ask(turns(said), { output_config: { format }, max_tokens: 500 }))).json();
    assert.equal((await reply('{"a":2}')).stop_details, null);
    assert.deepEqual((await reply('{"a":3}')).stop_details, { type: "schema_violation", explanation: "the answer: the value: matches what it must not" });
    assert.equal((await reply('{"a":3}')).content[0].text, '{"a":3}');
  });

  test("thinking is split off, shown or sealed, and comes back into the prompt", async () => {
    const said = turns("<think>I count.\n</think>\n\nFive.", "again");
    const thinking = { type: "enabled", budget_tokens: 1024 };
    const shown = blocksOf(await stream(server, ask(said, { thinking, max_tokens: 500 })));
    assert.deepEqual(shown.map((block) => block.thinking ?? block.text), ["I count.", "Five."]);
    const sealed = blocksOf(await stream(server, ask(said, { thinking: { ...thinking, display: "omitted" }, max_tokens: 500 })));
    assert.equal(sealed[0].thinking, "");
    assert.match(sealed[0].signature, /^pensieve1\./);
    const next = async (block) =>
      (await (await server.post({ model: "m", messages: [{ role: "user", content: said }, { role: "assistant", content: [block, { type: "text", text: "Five." }] }, { role: "user", content: "and?" }] }, {}, "/v1/messages/count_tokens")).json()).input_tokens;
    assert.equal(await next(sealed[0]), await next(shown[0]));
    // What comes back as it was said is the ids that were sampled, white space and all.
    assert.equal(await next({ type: "thinking", thinking: "", signature: "" }), (await next(shown[0])) - "<think>I count.\n</think>\n\n".length);
    const whole = await (await server.post(ask(said, { thinking, max_tokens: 500 }))).json();
    assert.deepEqual(whole.content.map((block) => block.type), ["thinking", "text"]);
    assert.equal(whole.usage.output_tokens_details.thinking_tokens > 0, true);
  });

  test("thinking that reaches its budget is ended, and the answer goes on", async () => {
    // What is put in takes the place of ten of the script's bytes.
    const said = turns("<think>I count on.__________Five.");
    const thinking = { type: "enabled", budget_tokens: 11 };
    const body = ask(said, { thinking, max_tokens: 500 });
    const list = await stream(server, body);
    assert.deepEqual(blocksOf(list).map((block) => block.thinking ?? block.text), ["I count on.", "_Five."]);
    assert.equal(stopOf(list), "end_turn");
    const { usage } = list.find(({ event }) => event === "message_delta").data;
    assert.equal(usage.output_tokens, "I count on.\n</think>_Five.".length + 1); // The fake's tokens are bytes; one ends the turn.
    assert.ok(usage.output_tokens_details.thinking_tokens >= 11);
    const whole = await (await server.post(body)).json();
    assert.deepEqual(whole.content.map((block) => block.thinking ?? block.text), ["I count on.", "_Five."]);
    const free = blocksOf(await stream(server, ask(said, { thinking: { ...thinking, budget_tokens: 1024 }, max_tokens: 500 })));
    assert.deepEqual(free.map((block) => block.thinking), ["I count on.__________Five."]);
  });

  test("a stop sequence counts in the text, not in thinking or calls", async () => {
    const said = turns(`<think>stop here</think>go${call("get_weather", { city: "stop" })}`);
    const list = await stream(server, ask(said, { tools: [weather], thinking: { type: "enabled", budget_tokens: 1024 }, stop_sequences: ["stop"], max_tokens: 500 }));
    assert.equal(stopOf(list), "tool_use");
    const text = await stream(server, ask(turns(`go stop ${call("add", {})}`), { tools: [add], stop_sequences: ["stop"], max_tokens: 500 }));
    assert.equal(textOf(text), "go ");
    assert.equal(stopOf(text), "stop_sequence");
  });

  test("prefill: the answer goes on where the client began it", async () => {
    const reply = await (await server.post({ model: "m", max_tokens: 50, messages: [{ role: "user", content: "abcdef" }, { role: "assistant", content: "abc" }] })).json();
    assert.equal(reply.content[0].text, "def"); // The script says its whole text; three of its bytes are there.
  });

  test("max_tokens 0 reads the prompt and says nothing", async () => {
    const list = await stream(server, ask("warm", { max_tokens: 0 }));
    assert.deepEqual(blocksOf(list), []);
    assert.equal(stopOf(list), "max_tokens");
    const whole = await (await server.post(ask("warm", { max_tokens: 0 }))).json();
    assert.deepEqual(whole.content, []);
    assert.equal(whole.usage.output_tokens, 0);
    assert.ok(whole.usage.input_tokens > 0);
  });

  test("count_tokens counts tools, and 25 of them at once do not wait for the engine", async () => {
    const client = new Anthropic({ baseURL: server.url, apiKey: "dummy", maxRetries: 0 });
    const plain = await client.messages.countTokens({ model: "m", messages: [{ role: "user", content: "hi" }] });
    const many = Array.from({ length: 25 }, (_, i) => ({ ...weather, name: `tool_${i}` }));
    const counts = await Promise.all(many.map((_, i) => client.messages.countTokens({ model: "m", messages: [{ role: "user", content: "hi" }], tools: many.slice(0, i + 1) })));
    counts.forEach(({ input_tokens }, i) => assert.ok(input_tokens > (i === 0 ? plain : counts[i - 1]).input_tokens));
  });

  test("both dialects and either credential header", async () => {
    const guarded = await Server.start({ fake: true, args: ["--api-key", "k"] });
    for (const version of ["2023-06-01", "2026-10-21"]) {
      for (const credential of [{ "x-api-key": "k" }, { authorization: "Bearer k" }]) {
        const reply = await guarded.post(ask("hi", { temperature: 0.5 }), { "anthropic-version": version, "anthropic-beta": "never-heard-of-2031", ...credential }, "/v1/messages?beta=true");
        assert.equal(reply.status, 200, version);
      }
    }
    assert.equal((await guarded.post(ask("hi"), { "anthropic-version": "2026-10-21" })).status, 401);
    await guarded.stop();
  });

  test("diagnostics say why a prompt was not in the cache", async () => {
    const own = await Server.start({ fake: true, args: ["--slots", "1", "--context", "65536"] });
    const client = new Anthropic({ baseURL: own.url, apiKey: "k", maxRetries: 0 });
    const filler = "some words that fill a prompt, so that it is worth its place in the cache. ".repeat(6);
    const body = (previous, more = {}) => ({ model: "m", max_tokens: 50, system: `Be brief. ${filler}`, tools: [weather], messages: [{ role: "user", content: `${filler} one` }], diagnostics: { previous_message_id: previous }, ...more });
    const first = await client.messages.create(body(null));
    assert.equal(first.diagnostics, null, "the first turn");
    const turn = [...body(null).messages, { role: "assistant", content: first.content }, { role: "user", content: "two" }];
    const second = await client.messages.create(body(first.id, { messages: turn }));
    assert.equal(second.diagnostics, null, "it was there");
    assert.ok(second.usage.cache_read_input_tokens > 400);
    const reason = async (previous, more) => {
      const streamed = await client.messages.stream(body(previous, more)).finalMessage();
      const whole = await client.messages.create(body(previous, more));
      assert.equal(streamed.diagnostics?.cache_miss_reason.type, whole.diagnostics?.cache_miss_reason.type);
      return { ...streamed.diagnostics.cache_miss_reason, reused: streamed.usage.cache_read_input_tokens };
    };
    const before = Object.values(second.usage).filter((n) => typeof n === "number").reduce((sum, n) => sum + n) - second.usage.output_tokens;
    const system = await reason(second.id, { messages: turn, system: `Be kind. ${filler}` });
    assert.equal(system.type, "system_changed");
    assert.equal(system.cache_missed_input_tokens, before - system.reused);
    assert.equal((await reason(second.id, { messages: turn, tools: [weather, add] })).type, "tools_changed");
    assert.equal((await reason(second.id, { messages: [{ role: "user", content: `${filler} other` }, ...turn.slice(1)] })).type, "messages_changed");
    assert.deepEqual((await client.messages.create(body("msg_nobody", { messages: turn }))).diagnostics, { cache_miss_reason: { type: "previous_message_not_found" } });
    // Another conversation takes the only slot, and there is no store.
    await client.messages.create({ model: "m", max_tokens: 50, messages: [{ role: "user", content: `something else ${filler}` }] });
    assert.deepEqual((await client.messages.create(body(second.id, { messages: turn }))).diagnostics, { cache_miss_reason: { type: "unavailable" } });
    await own.stop();
  });

  test("what clients send and local models cannot have is dropped or told", async () => {
    const search = await (await server.post(ask("find it", { tools: [{ type: "web_search_20250305", name: "web_search" }], tool_choice: { type: "tool", name: "web_search" } }))).json();
    assert.equal(search.content[0].text, "find it");
    for (const extra of [{ service_tier: "auto" }, { speed: "fast" }, { safeguards: {} }, { context_management: { edits: [{ type: "clear_thinking_20251015", keep: "all" }] } }, { metadata: { user_id: "u" } }, { diagnostics: {} }, { container: null }]) {
      assert.equal((await server.post(ask("x", extra))).status, 200, JSON.stringify(extra));
    }
    const thread = await server.post(ask("x", { thread: { type: "create" } }));
    assert.equal(thread.status, 400);
    assert.equal((await thread.json()).error.details.error_code, "thread_unsupported_request");
    const image = await server.post(ask([{ type: "image", source: { type: "base64", media_type: "image/png", data: "" } }]));
    assert.equal(image.status, 400);
    assert.match((await image.json()).error.message, /capability_rejected: image_block/);
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    assert.match(metrics, /pensieve_requests_normalised_total\{what="dropped_tool"\} [1-9]/);
  });

  test("--client-rules off keeps the billing line", async () => {
    const system = [{ type: "text", text: "x-anthropic-billing-header: cc_version=2.1.330.abc;" }, { type: "text", text: "Rules." }];
    const off = await Server.start({ fake: true, args: ["--client-rules", "off"] });
    const count = async (on, body) => (await (await on.post({ model: "m", messages: [{ role: "user", content: "hi" }], ...body }, {}, "/v1/messages/count_tokens")).json()).input_tokens;
    assert.equal(await count(server, { system }), await count(server, { system: "Rules." }));
    assert.equal(await count(off, { system }), (await count(server, { system: "Rules." })) + system[0].text.length + 2);
    await off.stop();
  });
});

// Both generations of the official SDK drive a loop of real local tools.
for (const [generation, Client] of [["newest", Anthropic], ["last 0.x", AnthropicOld]]) {
  describe(`the ${generation} SDK`, () => {
    let server;
    let client;
    before(async () => {
      server = await Server.start({ fake: true, args: ["--context", "65536"] });
      client = new Client({ baseURL: server.url, apiKey: "dummy", maxRetries: 0 });
    });
    after(() => server.stop());

    test("the tool runner, four turns of real tools, streamed and whole", async () => {
      for (const streamed of [true, false]) {
        const files = new Map([["sum.txt", "1"]]);
        const log = [];
        const tool = (name, properties, run) => ({ type: "custom", name, description: name, input_schema: schema(properties), parse: (input) => input, run: async (input) => (log.push(name), run(input)) });
        const runner = client.beta.messages.toolRunner({
          model: "local",
          max_tokens: 2000,
          stream: streamed,
          messages: [{ role: "user", content: `Do it. ${turns(
            "First.\n" + call("read", { path: "sum.txt" }),
            call("add", { a: 1, b: 41 }) + "\n" + call("read", { path: "none.txt" }),
            call("write", { path: "sum.txt", text: 'forty-"two"\n' }),
            "All done.")}` }],
          tools: [
            tool("read", { path: { type: "string" } }, ({ path }) => files.get(path) ?? Promise.reject(new Error("no such file"))),
            tool("add", { a: { type: "integer" }, b: { type: "integer" } }, ({ a, b }) => String(a + b)),
            tool("write", { path: { type: "string" }, text: { type: "string" } }, ({ path, text }) => (files.set(path, text), "written")),
          ],
        });
        let turnsSeen = 0;
        for await (const message of runner) {
          turnsSeen += 1;
          if (streamed) for await (const _ of message);
        }
        const last = await runner.done();
        assert.equal(turnsSeen, 4);
        assert.deepEqual(log, ["read", "add", "read", "write"]);
        assert.equal(files.get("sum.txt"), 'forty-"two"\n');
        assert.equal(last.content.at(-1).text, "All done.");
        assert.equal(last.stop_reason, "end_turn");
      }
    });

    test("the stream helper tells of text, thinking and inputs", async () => {
      const said = turns(`<think>hm</think>Now.${call("add", { a: 1, b: 2 })}`);
      const stream = client.messages.stream({ model: "m", max_tokens: 500, thinking: { type: "enabled", budget_tokens: 1024 }, tools: [add], messages: [{ role: "user", content: said }] });
      const heard = { text: "", thinking: "", blocks: [] };
      stream.on("text", (text) => (heard.text += text)).on("thinking", (text) => (heard.thinking += text)).on("contentBlock", (block) => heard.blocks.push(block.type));
      const message = await stream.finalMessage();
      assert.deepEqual(heard, { text: "Now.", thinking: "hm", blocks: ["thinking", "text", "tool_use"] });
      assert.deepEqual(message.content.at(-1).input, { a: 1, b: 2 });
      assert.equal(message.stop_reason, "tool_use");
    });

    test("an abort in the middle frees the slot", async () => {
      const slow = await Server.start({ fake: true, args: ["--slots", "1"], env: { PENSIEVE_FAKE_STEP_US: "3000" } });
      const other = new Client({ baseURL: slow.url, apiKey: "dummy", maxRetries: 0 });
      const stream = other.messages.stream(ask("!repeat 1000 x", { max_tokens: 2000 }));
      await new Promise((resolve) => stream.once("text", resolve));
      stream.abort();
      await assert.rejects(stream.done(), Client.APIUserAbortError);
      await slow.until((health) => health.slots.running === 0);
      await slow.stop();
    });

    test("retries against 529 until there is room", async () => {
      const small = await Server.start({ fake: true, args: ["--slots", "1", "--queue", "0"], env: { PENSIEVE_FAKE_STEP_US: "2000" } });
      const long = await small.post(ask("!repeat 300 x", { max_tokens: 400, stream: true }));
      const patient = new Client({ baseURL: small.url, apiKey: "dummy", maxRetries: 5 });
      const [answer] = await Promise.all([patient.messages.create(ask("in the end")), all(events(long))]);
      assert.equal(answer.content[0].text, "in the end");
      await small.stop();
    });
  });
}
