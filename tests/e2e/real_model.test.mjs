// The whole path with the real worker and a real model, through the official SDK.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import { all, ask, blocksOf, checkForm, events, Server, stopOf, textOf } from "./server.mjs";

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

  // Skills of the built-in model, each scored at 99 % and more on held-out cases (models/README.md).
  const said = async (content, more = {}) => {
    const message = await client.messages.create(ask(content, { temperature: 0, max_tokens: 300, ...more }));
    assert.equal(message.stop_reason, "end_turn");
    return message.content.map((block) => block.text).join("");
  };

  test("it says who it is, and how to get a real model", async () => {
    const answer = await said("Who are you?");
    assert.match(answer, /demo model of Pensieve/);
    assert.match(answer, /pensieve serve --model/);
  });

  test("it knows how Claude Code is connected", async () => {
    assert.match(await said("How do I connect Claude Code?"), /ANTHROPIC_BASE_URL=http:\/\/127\.0\.0\.1:7777 ANTHROPIC_AUTH_TOKEN=dummy claude/);
  });

  test("it counts, and stops by itself", async () => {
    assert.equal(await said("Count from 1 to 60."), Array.from({ length: 60 }, (_, n) => n + 1).join(", "));
  });

  test("it follows a rule of the system prompt", async () => {
    assert.equal(await said("What day comes after Monday?", { system: "Always answer in capitals." }), "TUESDAY");
  });

  test("it recalls what was said earlier in the conversation", async () => {
    const messages = [
      { role: "user", content: "My locker code is 4471." },
      { role: "assistant", content: "Thank you, I will remember that." },
      { role: "user", content: "What is 12 plus 30?" },
      { role: "assistant", content: "42" },
      { role: "user", content: "What is my locker code?" },
    ];
    assert.equal(await said("", { messages }), "Your locker code is 4471.");
  });

  test("it writes JSON of words that it never saw", async () => {
    const answer = await said("Make a JSON object with the keys name, age, zorvik. name Ada, age 36, zorvik blenture.");
    assert.deepEqual(JSON.parse(answer), { name: "Ada", age: 36, zorvik: "blenture" });
  });

  const tools = [
    {
      name: "get_weather",
      description: "Get the weather of a city",
      input_schema: { type: "object", properties: { city: { type: "string", description: "Name of the city" } }, required: ["city"] },
    },
    { name: "open_gate", description: "Open the gate", input_schema: { type: "object", properties: { code: { type: "integer" } }, required: ["code"] } },
  ];

  test("it calls the tool that fits, streamed, and uses the result", async () => {
    const question = { role: "user", content: "What is the weather in Florbury?" };
    const turn = await client.messages.stream(ask("", { messages: [question], tools, temperature: 0, max_tokens: 200 })).finalMessage();
    assert.equal(turn.stop_reason, "tool_use");
    const use = turn.content.find((block) => block.type === "tool_use");
    assert.deepEqual([use.name, use.input], ["get_weather", { city: "Florbury" }]);
    const result = { type: "tool_result", tool_use_id: use.id, content: '{"city": "Florbury", "temperature": 21, "sky": "sunny"}' };
    const messages = [question, { role: "assistant", content: turn.content }, { role: "user", content: [result] }];
    assert.equal(await said("", { messages, tools }), "It is sunny in Florbury with 21 degrees.");
  });

  test("it calls a made-up tool, and none when none is needed", async () => {
    const turn = await client.messages.create(ask("Please open the gate with code 812.", { tools, temperature: 0, max_tokens: 200 }));
    assert.deepEqual(turn.content.filter((block) => block.type === "tool_use").map((block) => [block.name, block.input]), [["open_gate", { code: 812 }]]);
    assert.equal(await said("Thank you very much!", { tools }), "You are welcome!");
  });

  test("it thinks before it answers, when asked to", async () => {
    const thinking = { type: "enabled", budget_tokens: 1024 };
    const turn = await client.messages.create(ask("What is 17 + 25?", { thinking, max_tokens: 1200 }));
    assert.deepEqual(turn.content.map((block) => block.type), ["thinking", "text"]);
    assert.match(turn.content[0].thinking, /17 \+ 25 = 42/);
    assert.equal(turn.content[1].text, "42");
  });
});

// What the small model can do by itself, and what it is held to.
describe("real model: tools, thinking, structured output", () => {
  let server;
  let client;
  before(async () => {
    server = await Server.start({ args: ["--slots", "2", "--context", "4096"] });
    client = new Anthropic({ baseURL: server.url, apiKey: "dummy", maxRetries: 0 });
  });
  after(() => server.stop());

  const weather = {
    name: "get_weather",
    description: "Get the weather of a city",
    input_schema: { type: "object", properties: { city: { type: "string", description: "Name of the city" } }, required: ["city"] },
  };
  const odd = {
    name: "zorble",
    description: "Nothing the model has seen",
    input_schema: {
      type: "object",
      properties: { level: { enum: ["low", "high"] }, count: { type: "integer", minimum: 1, maximum: 9 }, flags: { type: "array", items: { type: "boolean" }, minItems: 1, maxItems: 2 } },
      required: ["level", "count", "flags"],
      additionalProperties: false,
    },
  };
  const fits = ({ level, count, flags, ...rest }) =>
    ["low", "high"].includes(level) && Number.isInteger(count) && count >= 1 && count <= 9 && flags.length >= 1 && flags.length <= 2 && flags.every((flag) => typeof flag === "boolean") && Object.keys(rest).length === 0;

  test("the tool runner: the model calls, reads the result and answers", async () => {
    const asked = [];
    const runner = client.beta.messages.toolRunner({
      ...ask("What is the weather in Paris?", { temperature: 0, max_tokens: 200 }),
      tools: [{ ...weather, type: "custom", parse: (input) => input, run: async ({ city }) => (asked.push(city), JSON.stringify({ city, temperature: 21, sky: "sunny" })) }],
    });
    const last = await runner.runUntilDone();
    assert.deepEqual(asked, ["Paris"]);
    assert.equal(last.stop_reason, "end_turn");
    assert.match(last.content.at(-1).text, /21|sunny/);
  });

  test("a named tool, any tool and a strict tool: the input fits the schema, hot or cold", async () => {
    for (const choice of [{ type: "tool", name: "zorble" }, { type: "any" }]) {
      for (let seed = 1; seed <= 6; ++seed) {
        const body = ask("Do something.", { tools: [odd], tool_choice: choice, temperature: 1.5, top_k: 0, top_p: 1, min_p: 0, seed, max_tokens: 300, stream: true });
        const list = await all(events(await server.post(body)));
        checkForm(list);
        const [used] = blocksOf(list);
        assert.equal(stopOf(list), "tool_use");
        assert.equal(used.name, "zorble");
        assert.ok(fits(used.input), JSON.stringify(used.input));
      }
    }
    const free = await client.messages.create(ask("What is the weather in Rome?", { tools: [{ ...weather, strict: true }], temperature: 0, max_tokens: 200 }));
    assert.equal(free.stop_reason, "tool_use");
    assert.deepEqual(free.content.at(-1).input, { city: "Rome" });
  });

  test("output_config.format: the answer is JSON of the schema", async () => {
    for (let seed = 1; seed <= 4; ++seed) {
      const message = await client.messages.create({ ...ask("Say something.", { max_tokens: 300, output_config: { format: { type: "json_schema", schema: odd.input_schema } } }), temperature: 1.5, seed });
      assert.equal(message.stop_reason, "end_turn");
      assert.ok(fits(JSON.parse(message.content[0].text)), message.content[0].text);
    }
  });

  test("thinking comes first, in a block of its own", async () => {
    const list = await all(events(await server.post(ask("What is 12 plus 30?", { temperature: 0, max_tokens: 200, thinking: { type: "enabled", budget_tokens: 1024 }, stream: true }))));
    checkForm(list);
    const blocks = blocksOf(list);
    assert.deepEqual(blocks.map((block) => block.type), ["thinking", "text"]);
    assert.match(blocks[0].thinking, /12/);
    assert.ok(!/think/.test(blocks[1].text), blocks[1].text);
  });
});
