// How much later the first token comes when the request wakes the server (--idle-timeout) than from a running worker:
// the same request each time but for its words, the store off, the weights in the page cache; and what is resident asleep.
//
//   node bench/wake.mjs --model build/bench/phi3-mini-4k.gguf --rounds 10
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { ask, events, filler, median, pssBytes, start, stop } from "./servers.mjs";

const { values: options } = parseArgs({
  options: {
    model: { type: "string" },
    rounds: { type: "string", default: "10" },
    words: { type: "string", default: "20" }, // Of each prompt.
    out: { type: "string" },
  },
});
const server = await start("pensieve", options.model, ["--idle-timeout", "1", "--store", "off"]);
const state = async () => (await (await fetch(`${server.url}/health`)).json()).worker.state;

let number = 0;
async function firstToken() {
  const begun = performance.now();
  const reply = await ask(server, { max_tokens: 1, messages: [{ role: "user", content: filler(++number, Number(options.words)) }] });
  let first;
  for await (const [now, event] of events(reply)) if (event.type === "content_block_delta") first ??= now - begun;
  return first;
}

try {
  await firstToken();
  const running = [], woken = [], asleep = [];
  for (let round = 0; round < Number(options.rounds); ++round) {
    running.push(await firstToken());
    while ((await state()) !== "asleep") await new Promise((resolve) => setTimeout(resolve, 50));
    asleep.push(pssBytes(server.child.pid));
    woken.push(await firstToken());
  }
  const later = woken.map((ms, round) => ms - running[round]);
  const text = (list) => `${median(list).toFixed(0)} (${Math.min(...list).toFixed(0)}-${Math.max(...list).toFixed(0)})`;
  console.log(`first token, ms: running ${text(running)}, woken ${text(woken)}, later by ${text(later)}; asleep ${text(asleep.map((bytes) => bytes / 1e6))} MB`);
  if (options.out) writeFileSync(options.out, JSON.stringify({ model: options.model, running_ms: running, woken_ms: woken, later_ms: later, asleep_bytes: asleep }, null, 1) + "\n");
} finally {
  await stop(server);
}
