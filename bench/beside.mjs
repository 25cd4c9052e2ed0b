// What a running stream feels of a long prompt that comes beside it: the time between its tokens before and meanwhile, and
// when the other one's first token comes. Both servers, in turn.
//
//   node bench/beside.mjs --model build/bench/small.gguf
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { ask, events, filler, median, start } from "./servers.mjs";

const { values: options } = parseArgs({
  options: {
    model: { type: "string" },
    words: { type: "string", default: "1000" }, // Of the long prompt; some five tokens each.
    before: { type: "string", default: "60" },  // Tokens of the stream before it comes.
    rounds: { type: "string", default: "4" },
    context: { type: "string", default: "6144" }, // Of each of two slots.
    out: { type: "string" },
  },
});

// Words that differ from the first one on, so that no cache has them.
const words = (seed) => filler(seed, Number(options.words));

async function round(server, seed) {
  const leave = new AbortController();
  const reply = await ask(server, { max_tokens: 3000, temperature: 1.2, top_k: 0, top_p: 1, min_p: 0, seed, messages: [{ role: "user", content: `Request ${seed}: count.` }] }, leave.signal);
  const arrivals = [];
  let begun, first;
  const other = async () => {
    begun = performance.now();
    for await (const [now, event] of events(await ask(server, { max_tokens: 1, temperature: 0, messages: [{ role: "user", content: words(seed) }] }))) {
      if (event.type === "content_block_delta" || event.type === "message_delta") first ??= now;
    }
    leave.abort();
  };
  let running;
  try {
    for await (const [now, event] of events(reply)) {
      if (event.type !== "content_block_delta") continue;
      arrivals.push(now);
      if (arrivals.length === Number(options.before)) running = other();
    }
  } catch (error) {
    if (error.name !== "AbortError") throw error;
  }
  if (!running) throw new Error(`${server.name}: the stream ended after ${arrivals.length} tokens, before the long prompt came`);
  await running;
  const gaps = (from, to) => arrivals.slice(1).map((at, i) => [at, at - arrivals[i]]).filter(([at]) => at > from && at <= to).map(([, gap]) => gap).sort((a, b) => a - b);
  const before = gaps(0, begun), meanwhile = gaps(begun, first);
  if (meanwhile.length === 0) meanwhile.push(first - begun); // Not one token came.
  return { before: median(before), median: median(meanwhile), p95: meanwhile[Math.floor(meanwhile.length * 0.95)], longest: meanwhile.at(-1), tokens: meanwhile.length, ttft: first - begun };
}

const servers = [
  await start("pensieve", options.model, ["--slots", "2", "--context", options.context, "--store", "off"]),
  await start("llama-server", options.model, ["-c", String(2 * Number(options.context)), "--parallel", "2"]),
];
const figures = { pensieve: [], "llama-server": [] };
try {
  for (const server of servers) await round(server, 1);
  for (let i = 0; i < Number(options.rounds); ++i) {
    for (const server of i % 2 === 0 ? servers : [...servers].reverse()) figures[server.name].push(await round(server, 100 + i));
  }
} finally {
  for (const server of servers) server.child.kill("SIGKILL");
}
console.log("ms between two tokens of a stream; of the longest, and of the other's first token, the spread");
for (const [name, list] of Object.entries(figures)) {
  const of = (key) => list.map((f) => f[key]);
  const spread = (key) => `${Math.min(...of(key)).toFixed(0)}-${Math.max(...of(key)).toFixed(0)}`;
  console.log(`${name.padEnd(13)} before ${median(of("before")).toFixed(1)}   meanwhile: median ${median(of("median")).toFixed(1)}, p95 ${median(of("p95")).toFixed(1)}, longest ${median(of("longest")).toFixed(0)} (${spread("longest")}), ` +
    `${median(of("tokens"))} tokens   the other's first token ${(median(of("ttft")) / 1000).toFixed(2)} s (${spread("ttft")} ms)`);
}
if (options.out) writeFileSync(options.out, JSON.stringify({ model: options.model, figures }, null, 1) + "\n");
