// count_tokens of an agent's prompt (50 kB: system, 12 tools) over HTTP, while the engine rests and while it decodes:
// it must not wait for the engine. Each prompt is new ("first": another system prompt), then goes on by a turn ("next").
//
//   usage   node bench/count.mjs [--model FILE] [--rounds N]
import { join } from "node:path";
import { parseArgs } from "node:util";
import { median, root, start, stop } from "./servers.mjs";

const { values } = parseArgs({ options: { model: { type: "string" }, rounds: { type: "string", default: "25" } } });
const rounds = Number(values.rounds);
const server = await start("pensieve", values.model ?? join(root, "models/pensieve-demo.gguf"), ["--slots", "2", "--context", "4096", "--store", "off"]);
const post = (path, bytes, more = {}) => fetch(server.url + path, { method: "POST", headers: { "content-type": "application/json" }, body: bytes, ...more });

let state = 1n;
const roll = (below) => {
  state = (state * 6364136223846793005n + 1442695040888963407n) & 0xffffffffffffffffn;
  return Number((state >> 33n) % BigInt(below));
};
const letters = (count) => Array.from({ length: count }, (_, i) => (i % 2 ? "eaoiu"[roll(5)] : "tnshrdlcmwfgypbvk"[roll(17)])).join("");
const words = Array.from({ length: 4000 }, (_, i) => letters(2 + roll(3) + Math.min(i >> 3, 3) + roll(4)));
// As bench/edge.cpp: the r-th word 1/r as often as the first.
const prose = (bytes) => {
  let text = "";
  while (text.length < bytes) text += words[Math.floor(words.length ** (roll(1e6) / 1e6)) - 1] + [" ", " ", " ", " ", " ", " ", " ", ", ", ".\n", " "][roll(10)];
  return text.slice(0, bytes);
};
const tools = Array.from({ length: 12 }, (_, i) => ({ name: `Tool${i}`, description: prose(1700), input_schema: { type: "object", properties: Object.fromEntries([0, 1, 2, 3].map((p) => [`field_${p}`, { type: "string", description: prose(160) }])), required: ["field_0"] } }));

async function measure() {
  const times = { first: [], next: [] };
  for (let i = 0; i < rounds; i++) {
    const body = { model: "m", tools, system: prose(7000), messages: [{ role: "user", content: "Please fix the bug." }, { role: "system", content: prose(9000) }] };
    for (const kind of ["first", "next"]) {
      const bytes = JSON.stringify(body);
      const begun = performance.now();
      const reply = await post("/v1/messages/count_tokens", bytes);
      if (reply.status !== 200) throw new Error(`${reply.status} ${await reply.text()}`);
      const { input_tokens: tokens } = await reply.json();
      times[kind].push(performance.now() - begun);
      measure.size = `${bytes.length} bytes, ${tokens} tokens`;
      body.messages.push({ role: "assistant", content: prose(100) }, { role: "user", content: prose(100) });
    }
  }
  return times;
}
const row = (list) => `${median(list).toFixed(2)} (${Math.min(...list).toFixed(2)}-${Math.max(...list).toFixed(2)})`;

await measure(); // Warm: the client, too.
const idle = await measure();
// Two streams, for as long as this measures.
const over = new AbortController();
const story = JSON.stringify({ model: "m", max_tokens: 2000, temperature: 1.5, stream: true, messages: [{ role: "user", content: "Tell me a long story." }] });
const streams = [1, 2].map(async () => {
  while (!over.signal.aborted) await post("/v1/messages", story, { signal: over.signal }).then((reply) => reply.text()).catch(() => {});
});
while ((await (await fetch(`${server.url}/health`)).json()).slots.running < 2);
const busy = await measure();
over.abort();
await Promise.all(streams);
console.log(`count_tokens, ${measure.size}, ${rounds} rounds, ms from request to reply, median (least-most)`);
console.log(`  engine at rest    first ${row(idle.first)}   next ${row(idle.next)}`);
console.log(`  two streams       first ${row(busy.first)}   next ${row(busy.next)}`);
await stop(server);
