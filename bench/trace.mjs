// An agent's session, turn by turn: a long system prompt, tools, and a result of a tool in every turn.
// Pensieve beside llama-server of the same engine build, interleaved, two slots each, greedy; each server goes on from
// its own answers, as a client would. Then the last request again: in the same process after two other conversations,
// after kill -9 of the process that computes, after a restart. What counts is how many tokens of the
// prompt were computed, and how long the first token took.
//
// With --store-cost: no llama-server; the rate of decoding with the store on beside off.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ask, events, filler, median, startHeld, stop, untilReady } from "./servers.mjs";

const { values: options } = parseArgs({
  options: {
    model: { type: "string" },
    turns: { type: "string", default: "10" },
    system: { type: "string", default: "300" },   // Words of the system prompt.
    context: { type: "string", default: "8192" }, // Of one slot.
    rounds: { type: "string", default: "3" },
    tokens: { type: "string", default: "24" },    // Of each answer.
    "store-cost": { type: "boolean", default: false },
    out: { type: "string" },
  },
});
const turns = Number(options.turns);
const rounds = Number(options.rounds);

const tools = ["read_file", "run"].map((name) => ({ name, description: `Tool ${name}`, input_schema: { type: "object", properties: { what: { type: "string" } } } }));
const result_words = (turn) => [16, 48, 24, 120, 32][turn % 5];

// One request, streamed. What was computed is what the server says was not in its cache.
async function measured(server, body) {
  const begun = performance.now();
  let text = "", first, last;
  const usage = {};
  for await (const [now, event] of events(await ask(server, { temperature: 0, ...body }))) {
    if (event.type === "content_block_delta") {
      first ??= now;
      last = now;
      text += event.delta.text ?? "";
    }
    Object.assign(usage, event.message?.usage, event.usage);
  }
  const cached = usage.cache_read_input_tokens ?? 0;
  const computed = usage.input_tokens + (usage.cache_creation_input_tokens ?? 0);
  return { text, computed, prompt: computed + cached, first: ((first ?? performance.now()) - begun) / 1000, rate: (usage.output_tokens - 1) / ((last - first) / 1000) };
}

const begin = (name, args) => startHeld(name, options.model, args);

const settle = () => new Promise((resolve) => setTimeout(resolve, 2500)); // What is stored behind the answer gets there.
const folder = mkdtempSync(join(tmpdir(), "pensieve-bench-"));

async function session(server, number) {
  const messages = [{ role: "user", content: filler(number, 60) }];
  const body = { max_tokens: Number(options.tokens), system: filler(number + 50, Number(options.system)), tools, messages };
  const all = [];
  for (let turn = 0; turn < turns; ++turn) {
    const answer = await measured(server, body);
    all.push(answer);
    if (turn + 1 === turns) break;
    // The call is the client's own: what a model of random weights says is no call. Its text goes back as it came.
    messages.push({ role: "assistant", content: [{ type: "text", text: answer.text || "." }, { type: "tool_use", id: `toolu_${turn}`, name: tools[turn % 2].name, input: { what: `w${turn}` } }] });
    messages.push({ role: "user", content: [{ type: "tool_result", tool_use_id: `toolu_${turn}`, content: filler(number + 100 + turn, result_words(turn)) }] });
  }
  return { body, all };
}

const args = {
  pensieve: () => ["--slots", "2", "--context", options.context, "--store", folder],
  "llama-server": () => ["-c", String(2 * Number(options.context)), "--parallel", "2"],
};

async function round(name, number) {
  let server = await begin(name, args[name]());
  await measured(server, { max_tokens: 2, messages: [{ role: "user", content: "hello" }] }); // Pages in.
  const { body, all } = await session(server, number);
  const figures = {
    "first run, all turns": { computed: all.reduce((sum, a) => sum + a.computed, 0), prompt: all.at(-1).prompt, first: all.reduce((sum, a) => sum + a.first, 0) },
    "first run, last turn": all.at(-1),
  };
  await settle();
  for (const other of [1, 2]) await measured(server, { max_tokens: 2, messages: [{ role: "user", content: filler(number + 5000 * other, 300) }] });
  figures["again, after 2 others"] = await measured(server, body);
  await settle();
  if (name === "pensieve") {
    const { worker } = await (await fetch(`${server.url}/health`)).json();
    process.kill(worker.pid, "SIGKILL");
    await untilReady(server);
  } else {
    await stop(server, "SIGKILL");
    server = await begin(name, args[name]());
  }
  figures["after kill -9"] = await measured(server, body);
  await settle();
  await stop(server);
  server = await begin(name, args[name]());
  figures["after a restart"] = await measured(server, body);
  await stop(server);
  return figures;
}

async function compare() {
  const results = { pensieve: [], "llama-server": [] };
  for (let i = 0; i < rounds; ++i) {
    for (const name of i % 2 === 0 ? ["pensieve", "llama-server"] : ["llama-server", "pensieve"]) {
      process.stderr.write(`\rround ${i + 1}/${rounds}: ${name}    `);
      results[name].push(await round(name, 1 + i));
      if (process.env.PENSIEVE_BENCH_VERBOSE) console.error(`\n${name}: ${JSON.stringify(results[name].at(-1), (key, value) => (key === "text" ? undefined : value))}`);
    }
  }
  process.stderr.write("\r");
  console.log(`a session of ${turns} turns: tokens computed, and seconds to the first token: median of ${rounds} (least to most)`);
  for (const [name, list] of Object.entries(results)) {
    for (const state of Object.keys(list[0])) {
      const computed = list.map((f) => f[state].computed);
      const first = list.map((f) => f[state].first);
      console.log(`${name.padEnd(13)} ${state.padEnd(22)} ${String(median(computed)).padStart(6)} of ${median(list.map((f) => f[state].prompt))}  ${median(first).toFixed(3).padStart(8)} s  (${Math.min(...first).toFixed(3)}-${Math.max(...first).toFixed(3)})`);
    }
  }
  return results;
}

// A prompt of many blocks, marked so that they are stored while its answer is decoded.
async function cost() {
  const servers = [await begin("pensieve", args.pensieve()), await begin("pensieve", ["--slots", "2", "--context", options.context, "--store", "off"])];
  const rates = [[], []];
  const mark = { type: "ephemeral" };
  const one = (server, number) => measured(server, { max_tokens: 128, temperature: 1.2, top_k: 0, top_p: 1, min_p: 0, seed: number, messages: [{ role: "user", content: [{ type: "text", text: filler(number, Number(options.system)), cache_control: mark }] }] });
  try {
    for (const server of servers) await one(server, 9000);
    for (let i = 0; i < rounds; ++i) {
      for (const which of i % 2 === 0 ? [0, 1] : [1, 0]) {
        rates[which].push((await one(servers[which], 10 + i)).rate);
        await settle(); // Nothing of the one is done while the other is measured.
      }
    }
    const { kv } = await (await fetch(`${servers[0].url}/health`)).json();
    const ratios = rates[0].map((rate, i) => rate / rates[1][i]);
    const spread = (list) => `${median(list).toFixed(1)} (${Math.min(...list).toFixed(1)}-${Math.max(...list).toFixed(1)})`;
    console.log(`decode, tokens/s: store on ${spread(rates[0])}, off ${spread(rates[1])}; ratio of pairs, median ${median(ratios).toFixed(3)} (${Math.min(...ratios).toFixed(3)}-${Math.max(...ratios).toFixed(3)}); ${kv.store.blocks_written} blocks written`);
    return { rates, ratios };
  } finally {
    for (const server of servers) await stop(server);
  }
}

try {
  const results = options["store-cost"] ? await cost() : await compare();
  if (options.out) writeFileSync(options.out, JSON.stringify({ ...options, results }, null, 1) + "\n");
} finally {
  rmSync(folder, { recursive: true });
}
