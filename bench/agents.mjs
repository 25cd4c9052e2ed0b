// The session of several agents at once: conversations over one long common prompt, a result of a tool in every turn,
// two of them in flight at any time over two slots, and one restart of the server in the middle. Pensieve beside
// llama-server at its best flags, of the same engine build, one whole pass each, with the same requests; each
// conversation goes on from its server's own answers, as a client would.
//
// What counts is how many tokens of prompts were computed, beside the ideal: every distinct token once, whatever the
// number of conversations, slots and restarts. The ideal of a pass is what its own usage says: the common prompt once,
// and of each turn what its prompt has more than the one before it and the answer to that, which was sampled. So
//   ideal = common + sum over conversations of (last prompt - common - answers before it, but for their last tokens)
// (the last token of an answer is sampled and not computed). An answer that its server reads back as more or fewer
// tokens than it sampled moves its ideal by as many. The common prompt is counted with a word and the end of a turn
// behind it, some 10 tokens too many, which makes the ideal too small by as many for each conversation but one.
//
// States fit llama-server's cache or not by their bytes a token: 16 KiB with the small shapes, 384 with Phi-3's. With
// --scale 0.25 give a quarter of --cache-ram too.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { events, filler, median, pssBytes, startHeld, stop } from "./servers.mjs";

const { values: options } = parseArgs({
  options: {
    model: { type: "string" },
    conversations: { type: "string", default: "6" },
    turns: { type: "string", default: "12" },
    common: { type: "string", default: "12000" },       // Tokens of the system prompt that all share.
    "result-min": { type: "string", default: "200" },   // Tokens of a tool's result: log-uniform from here ...
    "result-max": { type: "string", default: "4000" },  // ... to here.
    scale: { type: "string", default: "1" },            // Of those three.
    tokens: { type: "string", default: "24" },          // Of each answer.
    context: { type: "string", default: "0" },          // Of one slot; 0: what the longest conversation needs.
    seed: { type: "string", default: "1" },
    rounds: { type: "string", default: "1" },           // Passes of each server.
    "give-up": { type: "string", default: "0" },        // llama-server's pass ends unfinished when it took so many times as long as Pensieve's; 0: never.
    only: { type: "string", default: "both" },          // pensieve, llama-server or both.
    args: { type: "string", default: "" },              // More flags for Pensieve, such as "--store-size 64G".
    "cache-ram": { type: "string", default: "8192" },   // MiB of llama-server's prompt cache.
    "peer-args": { type: "string", default: "" },       // More flags for llama-server; they win over those below.
    "no-peer-saves": { type: "boolean", default: false }, // At the restart llama-server's slots are not saved to files and put back.
    folder: { type: "string", default: tmpdir() },      // Where the store and those files lie meanwhile.
    calls: { type: "boolean", default: false },         // A call that nobody sampled is put behind each answer (see below); else answers go back as they came, results as text.
    verbose: { type: "boolean", default: false },       // A line for each turn that computed more than the ideal.
    out: { type: "string" },
  },
});
if (!["pensieve", "llama-server", "both"].includes(options.only)) throw new Error("--only pensieve, llama-server or both");
const count = Object.fromEntries(["conversations", "turns", "tokens", "rounds", "seed", "scale"].map((name) => [name, Number(options[name])]));
const common = Number(options.common) * count.scale;
const flags = (text) => text.split(" ").filter(Boolean);

// --- What is asked: the same for both, whatever they answer.

// Small, seeded, good enough to shuffle with (mulberry32).
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let x = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}
const draw = random(count.seed);
const shuffled = (list) => list.map((value) => [draw(), value]).sort(([a], [b]) => a - b).map(([, value]) => value);

// Tokens of each result. Each turn's lies in another part of the distribution, in an order of each conversation's own,
// so that all come out about equally long: independent ones would leave the context of small shapes now and then.
const results = Array.from({ length: count.conversations }, () =>
  shuffled(Array.from({ length: count.turns - 1 }, (_, i) => (i + draw()) / (count.turns - 1))).map((u) =>
    Math.round(count.scale * Number(options["result-min"]) * (Number(options["result-max"]) / Number(options["result-min"])) ** u)),
);

// Two clients, so that two conversations are in flight at any time. Each has every other conversation; a turn of each in
// turn, in an order that is drawn anew for each turn, but none twice in a row.
const clients = [0, 1].map((client) => {
  const own = Array.from({ length: count.conversations }, (_, i) => i).filter((i) => i % 2 === client);
  const order = [];
  for (let turn = 0; turn < count.turns; ++turn) {
    const next = shuffled(own);
    if (next.length > 1 && order.at(-1)?.conversation === next[0]) next.push(next.shift());
    order.push(...next.map((conversation) => ({ conversation, turn })));
  }
  return order;
});
const half = Math.floor(count.turns / 2); // The restart comes after so many turns of each.

const tools = !options.calls ? undefined : ["read_file", "run"].map((name) => ({ name, description: `Tool ${name}`, input_schema: { type: "object", properties: { what: { type: "string" } } } }));
let wordsPerToken; // Of the filler, as the model counts it.
const text = (number, tokens) => filler(number, tokens * wordsPerToken);
const opening = (conversation) => [{ role: "user", content: filler(100 + conversation, 40) }];

// --- The two servers.

// llama-server at its best flags for this, which were tried (computed over ideal, demo model, 6 conversations of 4 turns,
// --scale 0.05, nothing saved at the restart): its defaults 3.27, -kvu 3.27, -sps 0.9 2.65, -sps 0 -kvu 2.38, -sps 0 2.25.
// -sps 0: by default a conversation gets the slot whose tokens are most like its own, and all are alike by the common
// prompt; unless that is less than half of what the slot holds, the rest there is dropped and not put in the cache. With 0 the slot
// that was used last but one is taken, and what it holds always goes to the cache. --cache-idle-slots is its default and
// works with -kvu only. --cache-reuse moves cells to other positions (other results than computing them, which Pensieve
// does not do) and has nothing to find here: behind the first difference all is new. Its prompt cache is lost at a
// restart; what its slots hold can be saved by who stops it, so that is done, and its time counts.
const peerFlags = (context, saves) => [
  "-c", String(2 * context), "--parallel", "2", "--cache-ram", options["cache-ram"], "-sps", "0",
  ...(saves ? ["--slot-save-path", saves] : []),
  ...flags(options["peer-args"]),
];

// As fetch, but it waits for minutes: llama-server sends no byte, no head either, while it reads a prompt.
const post = (server, path, body) =>
  new Promise((resolve, reject) => {
    const sent = request(server.url + path, { method: "POST", agent: false, headers: { "content-type": "application/json", "anthropic-version": "2023-06-01" } }, (body) => resolve({ status: body.statusCode, body }));
    sent.on("error", reject).end(JSON.stringify(body));
  });

async function asked(server, path, body) {
  const reply = await post(server, path, body);
  if (reply.status === 200) return reply;
  throw new Error(`${server.name} ${path}: ${reply.status} ${(await reply.body.toArray()).join("")}`);
}
const json = async (server, path, body) => JSON.parse((await (await asked(server, path, body)).body.toArray()).join(""));
const counted = async (server, body) => (await json(server, "/v1/messages/count_tokens", { model: "bench", ...body })).input_tokens;

// One turn, streamed. What was computed is what the server says was not in its cache.
async function answered(server, body) {
  const begun = performance.now();
  const usage = {};
  let said = "", first;
  for await (const [now, event] of events(await asked(server, "/v1/messages", { model: "bench", stream: true, temperature: 0, ...body }))) {
    if (event.type === "error") throw new Error(`${server.name}: ${JSON.stringify(event)}`);
    if (event.type === "content_block_delta") {
      first ??= now;
      said += event.delta.text ?? "";
    }
    Object.assign(usage, event.message?.usage, event.usage);
  }
  const ended = performance.now();
  const cached = usage.cache_read_input_tokens ?? 0;
  if (usage.input_tokens === undefined) throw new Error(`${server.name}: an answer without usage.input_tokens`);
  const computed = usage.input_tokens + (usage.cache_creation_input_tokens ?? 0);
  return { said, computed, prompt: computed + cached, sampled: usage.output_tokens, first: ((first ?? ended) - begun) / 1000, seconds: (ended - begun) / 1000 };
}

const begin = (name, args) => startHeld(name, options.model, args);

const progress = (line) => process.stderr.isTTY && process.stderr.write(`\r${line.padEnd(78)}`);

// --- One pass.

// `limit`: seconds after which no more turns are asked; the pass is unfinished then.
async function pass(name, number, context, folder, limit = Infinity) {
  const saves = name === "llama-server" && !options["no-peer-saves"] ? folder : undefined;
  const args = name === "pensieve" ? ["--slots", "2", "--context", String(context), "--store", folder, ...flags(options.args)] : peerFlags(context, saves);
  let server = await begin(name, args);
  const watched = { peak: 0 };
  const watch = setInterval(() => (watched.peak = Math.max(watched.peak, server.ended ? 0 : pssBytes(server.child.pid))), 1000);
  try {
    await answered(server, { max_tokens: 2, messages: [{ role: "user", content: "hello" }] }); // Pages in.
    const system = text(50, common);
    const shared = await counted(server, { system, tools, messages: [{ role: "user", content: "w1" }] });
    const messages = Array.from({ length: count.conversations }, (_, i) => opening(i));
    const previous = [];
    const turns = [];
    let seen = 0; // Conversations whose beginning somebody was answered.

    const one = async ({ conversation, turn }) => {
      const history = messages[conversation];
      const before = previous[conversation];
      if (before) {
        const result = text(1000 * (conversation + 1) + turn, results[conversation][turn - 1]);
        const said = { type: "text", text: before.said || "." };
        // What a model of random weights says is no call, so with --calls the call is the client's own. Then the turn is not the
        // one that was sampled, and where tokenising its text gives other ids, these are computed: up to --tokens in each turn
        // that no agent whose model calls would pay. Else the answer goes back alone, and the result as the user's text.
        if (!options.calls) {
          history.push({ role: "assistant", content: [said] }, { role: "user", content: result });
        } else {
          history.push({ role: "assistant", content: [said, { type: "tool_use", id: `toolu_${turn}`, name: tools[turn % 2].name, input: { what: `w${turn}` } }] });
          history.push({ role: "user", content: [{ type: "tool_result", tool_use_id: `toolu_${turn}`, content: result }] });
        }
      }
      const answer = await answered(server, { max_tokens: count.tokens, system, tools, messages: history });
      // Both clients begin with the common prompt at the same time; it counts once.
      const fresh = before ? answer.prompt - before.prompt - (before.sampled - 1) : answer.prompt - shared + (seen++ === 0 ? shared : 0);
      previous[conversation] = answer;
      turns.push({ conversation, turn, ...answer, said: undefined, fresh });
      progress(`${name}, pass ${number}: turn ${turns.length} of ${count.conversations * count.turns}, ${((performance.now() - begun) / 1000).toFixed(0)} s`);
    };
    const through = (from, to) =>
      Promise.all(clients.map(async (order) => {
        for (const next of order) if (next.turn >= from && next.turn < to && !late()) await one(next);
      }));

    const begun = performance.now();
    const late = () => performance.now() - begun > 1000 * limit;
    await through(0, half);
    const stopping = performance.now();
    if (saves) for (const slot of [0, 1]) await json(server, `/slots/${slot}?action=save`, { filename: `slot${slot}` });
    await stop(server);
    server = await begin(name, args);
    // A slot that held nothing left no file that could be put back.
    if (saves) for (const slot of [0, 1]) await json(server, `/slots/${slot}?action=restore`, { filename: `slot${slot}` }).catch(() => undefined);
    const restart = (performance.now() - stopping) / 1000;
    await through(half, count.turns);
    const seconds = (performance.now() - begun) / 1000;
    await stop(server);
    const sum = (key) => turns.reduce((total, turn) => total + turn[key], 0);
    progress("");
    console.error(`${name}, pass ${number}: ${turns.length} turns in ${seconds.toFixed(1)} s, computed ${sum("computed")} of an ideal ${sum("fresh")}`);
    return { unfinished: late(), seconds, restart, computed: sum("computed"), ideal: sum("fresh"), prompts: sum("prompt"), sampled: sum("sampled"), peak: watched.peak, turns };
  } finally {
    clearInterval(watch);
  }
}

// --- All of it.

const folder = mkdtempSync(join(options.folder, "pensieve-bench-"));
const passes = {};
let context = Number(options.context);
try {
  const probe = await begin("pensieve", ["--store", "off", "--context", "4096", "--slots", "1"]);
  const words = 400;
  wordsPerToken = words / ((await counted(probe, { messages: [{ role: "user", content: filler(1, words + 1) }] })) - (await counted(probe, { messages: [{ role: "user", content: "w0" }] })));
  await stop(probe);
  // An answer may be read back as some more tokens than it was sampled as; a call and the marks of turns are some 60.
  const longest = Math.max(...results.map((list) => list.reduce((a, b) => a + b, 0)));
  context ||= 256 * Math.ceil((1.02 * (common + longest) + 400 + count.turns * (2 * count.tokens + 80)) / 256);

  const names = options.only === "both" ? ["pensieve", "llama-server"] : [options.only];
  for (const name of names) passes[name] = [];
  for (let i = 0; i < count.rounds; ++i) {
    for (const name of i % 2 === 0 ? names : [...names].reverse()) {
      const own = join(folder, `${name}-${i}`);
      mkdirSync(own);
      const limit = name === "llama-server" && passes.pensieve?.[i] ? Number(options["give-up"]) * passes.pensieve[i].seconds : 0;
      passes[name].push(await pass(name, i + 1, context, own, limit || undefined));
      rmSync(own, { recursive: true }); // Tens of GB with big shapes.
    }
  }
} finally {
  progress("");
  if (process.stderr.isTTY) process.stderr.write("\r");
  rmSync(folder, { recursive: true });
}

const quantile = (list, q) => [...list].sort((a, b) => a - b)[Math.min(list.length - 1, Math.floor(q * list.length))];
const middle = (name, of) => median(passes[name].map(of));
console.log(`${count.conversations} conversations of ${count.turns} turns over ${Math.round(common)} tokens, results of ${Math.round(count.scale * Number(options["result-min"]))} to ${Math.round(count.scale * Number(options["result-max"]))}, 2 slots of ${context}, a restart after turn ${half}; median of ${count.rounds}`);
const row = (...cells) => console.log(cells.map((cell, i) => (i === 0 ? String(cell).padEnd(13) : String(cell).padStart(13))).join(""));
row("", "computed", "ideal", "ratio", "of prompts", "total", "restart", "turn p50", "p95", "first p50", "p95", "peak PSS");
for (const name of Object.keys(passes)) {
  const all = (key) => passes[name].flatMap((p) => p.turns.map((turn) => turn[key]));
  row(name, middle(name, (p) => p.computed), middle(name, (p) => p.ideal), middle(name, (p) => p.computed / p.ideal).toFixed(3), middle(name, (p) => p.prompts),
    `${passes[name].some((p) => p.unfinished) ? "> " : ""}${middle(name, (p) => p.seconds).toFixed(1)} s`, `${middle(name, (p) => p.restart).toFixed(1)} s`,
    ...["seconds", "first"].flatMap((key) => [0.5, 0.95].map((q) => `${quantile(all(key), q).toFixed(2)} s`)),
    `${(middle(name, (p) => p.peak) / 1e6).toFixed(0)} MB`);
  if (options.verbose) {
    for (const turn of passes[name].flatMap((p) => p.turns)) {
      if (turn.computed !== turn.fresh) console.log(`  ${name} conversation ${turn.conversation} turn ${turn.turn}: computed ${turn.computed}, ideal ${turn.fresh} (${turn.computed > turn.fresh ? "+" : ""}${turn.computed - turn.fresh}) of ${turn.prompt}; ${turn.seconds.toFixed(2)} s`);
    }
  }
}
if (Object.keys(passes).length === 2) {
  const ratios = passes.pensieve.map((p, i) => p.seconds / passes["llama-server"][i].seconds);
  for (const p of passes["llama-server"]) if (p.unfinished) console.log(`llama-server was given up after ${p.turns.length} of ${count.conversations * count.turns} turns: its time below is of those alone`);
  console.log(`total time, Pensieve's over llama-server's: ${median(ratios).toFixed(3)} (${Math.min(...ratios).toFixed(3)}-${Math.max(...ratios).toFixed(3)}): ${(1 / median(ratios)).toFixed(2)} times shorter`);
}
if (options.out) writeFileSync(options.out, JSON.stringify({ ...options, context, results: passes }, null, 1) + "\n");
