// How long until the first token when the prompt was seen before: in the same process,
// after other conversations took the slots, after a restart of the server, after
// kill -9 of the process that computes. Pensieve beside llama-server of the same
// engine build, interleaved, two slots each, greedy.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ask, events, filler, median, start, stop, untilReady } from "./servers.mjs";

const { values: options } = parseArgs({
  options: {
    model: { type: "string" },
    tokens: { type: "string", default: "4000" },  // Of the prompt, about.
    context: { type: "string", default: "6144" }, // Of one slot.
    rounds: { type: "string", default: "3" },
    "no-peer-restart": { type: "boolean", default: false }, // llama-server computes it all anew after a restart; with big shapes that takes long.
    only: { type: "string", default: "both" },               // pensieve, llama-server or both.
    out: { type: "string" },
  },
});
const rounds = Number(options.rounds);
if (!["pensieve", "llama-server", "both"].includes(options.only)) throw new Error("--only pensieve, llama-server or both");

let words = Math.round(Number(options.tokens) / 5);

async function firstToken(server, content) {
  const begun = performance.now();
  let at, cached;
  for await (const [now, event] of events(await ask(server, { max_tokens: 2, temperature: 0, messages: [{ role: "user", content }] }))) {
    if (event.type === "content_block_delta") at ??= now;
    cached = event.usage?.cache_read_input_tokens ?? event.message?.usage.cache_read_input_tokens ?? cached;
  }
  if (process.env.PENSIEVE_BENCH_VERBOSE) console.error(`${server.name}: ${cached} tokens were there, ${(((at ?? performance.now()) - begun) / 1000).toFixed(3)} s`);
  return ((at ?? performance.now()) - begun) / 1000;
}

const settle = () => new Promise((resolve) => setTimeout(resolve, 1500)); // What is stored behind the answer gets there.
const folder = mkdtempSync(join(tmpdir(), "pensieve-bench-"));
const args = {
  pensieve: ["--slots", "2", "--context", options.context, "--store", folder],
  "llama-server": ["-c", String(2 * Number(options.context)), "--parallel", "2"],
};
const boot = (name) => start(name, options.model, args[name]);

async function round(name, number) {
  let server = await boot(name);
  const content = filler(number, words);
  const figures = {};
  await firstToken(server, "hello"); // Pages in.
  figures.cold = await firstToken(server, content);
  await settle();
  figures.warm = await firstToken(server, content);
  for (let other = 1; other <= 4; ++other) await firstToken(server, filler(number + 1000 * other, Math.round(words / 8)));
  await settle();
  figures["after 4 others"] = await firstToken(server, content);
  await settle();
  await stop(server);
  if (name !== "pensieve" && options["no-peer-restart"]) return figures;
  server = await boot(name);
  await firstToken(server, "hello");
  figures["after a restart"] = await firstToken(server, content);
  if (name === "pensieve") {
    await settle();
    const { worker } = await (await fetch(`${server.url}/health`)).json();
    process.kill(worker.pid, "SIGKILL");
    await untilReady(server);
    figures["after kill -9"] = await firstToken(server, content);
  }
  await stop(server);
  return figures;
}

const servers = options.only === "both" ? ["pensieve", "llama-server"] : [options.only];
const results = Object.fromEntries(servers.map((name) => [name, []]));
try {
  // How many tokens a word is, the model tells.
  const probe = await boot("pensieve");
  const counted = await (await fetch(`${probe.url}/v1/messages/count_tokens`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ model: "m", messages: [{ role: "user", content: filler(1, 400) }] }) })).json();
  words = Math.round((Number(options.tokens) * 400) / counted.input_tokens);
  await stop(probe);
  for (let i = 0; i < rounds; ++i) {
    for (const name of i % 2 === 0 ? servers : servers.toReversed()) {
      process.stderr.write(`\rround ${i + 1}/${rounds}: ${name}    `);
      results[name].push(await round(name, i + 1));
    }
  }
  process.stderr.write("\r");
} finally {
  rmSync(folder, { recursive: true });
}

console.log(`time to first token, seconds, median of ${rounds} (least to most); prompt of about ${options.tokens} tokens`);
for (const [name, list] of Object.entries(results)) {
  const cold = median(list.map((f) => f.cold));
  for (const state of Object.keys(list[0])) {
    const values = list.map((f) => f[state]);
    console.log(`${name.padEnd(13)} ${state.padEnd(16)} ${median(values).toFixed(3).padStart(8)}  (${Math.min(...values).toFixed(3)}-${Math.max(...values).toFixed(3)})  ${((100 * median(values)) / cold).toFixed(1).padStart(5)} % of cold`);
  }
}
if (options.out) writeFileSync(options.out, JSON.stringify({ model: options.model, tokens: Number(options.tokens), results }, null, 1) + "\n");
