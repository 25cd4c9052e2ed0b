// kill -9 on the model process at random moments, under 1 to --slots streams: every stream must end as it does
// undisturbed, and how long did the longest pause in it last? Each conversation is known from before (its prompt lies
// in the store), as an agent's is. Once in ten the next worker is killed, too, while it resumes.
//
//   node bench/kill.mjs --model models/pensieve-demo.gguf --cycles 2000
//   node bench/kill.mjs --model build/bench/phi3-mini-4k.gguf --tokens-of-prompt 2000 --cycles 40 --tokens 24
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ask, events, filler, root, start, stop } from "./servers.mjs";

const { values: options } = parseArgs({
  options: {
    model: { type: "string" },
    cycles: { type: "string", default: "2000" },
    "tokens-of-prompt": { type: "string", default: "200" },
    tokens: { type: "string", default: "64" }, // Of each answer.
    slots: { type: "string", default: "2" },
    seed: { type: "string", default: "1" },
    minutes: { type: "string", default: "120" }, // No cycle begins after that.
    out: { type: "string" },
  },
});
const slots = Number(options.slots);
const wanted = Number(options["tokens-of-prompt"]);
let state = Number(options.seed);
const random = () => ((state = (state * 1103515245 + 12345) % 2147483648) / 2147483648);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const folder = mkdtempSync(join(tmpdir(), "pensieve-kill-"));
const context = Math.ceil((wanted + 2 * Number(options.tokens) + 256) / 256) * 256;
const server = await start("pensieve", options.model, ["--slots", String(slots), "--context", String(context), "--store", folder, "--deaths-max", "1000000"]);
const health = async () => (await fetch(`${server.url}/health`)).json();
const count = async (content) => (await (await fetch(`${server.url}/v1/messages/count_tokens`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ model: "bench", messages: [{ role: "user", content }] }) })).json()).input_tokens;

// {text, longest, began, spread}: the text whole, the longest pause between two events that say something, in ms.
async function stream(body) {
  let text = "", last, longest = 0, first;
  for await (const [now, event] of events(await ask(server, body))) {
    if (event.type === "error") throw new Error(JSON.stringify(event));
    if (event.type === "message_delta") text += `<${event.delta.stop_reason}>`;
    if (event.type !== "content_block_delta") continue;
    text += event.delta.text;
    if (last) longest = Math.max(longest, now - last);
    first ??= now;
    last = now;
  }
  return { text, longest, first, last };
}

try {
  let words = wanted / 2;
  words = (words * wanted) / (await count(filler(0, words)));
  const bodies = Array.from({ length: slots }, (_, number) => ({
    max_tokens: Number(options.tokens), temperature: 1.3, top_k: 0, top_p: 1, min_p: 0, seed: number + 11, messages: [{ role: "user", content: filler(number, words) }],
  }));
  const alone = [];
  for (const body of bodies) {
    await stream(body);
    const begun = performance.now();
    alone.push({ ...(await stream(body)), took: performance.now() - begun });
  }
  for (let pending = 1; pending > 0; await sleep(100)) pending = (await health()).kv.store.pending;
  const planned = (await health()).memory;

  const pauses = [];
  let deaths = 0, cycle = 0, wrong = 0;
  const end = Date.now() + Number(options.minutes) * 60_000;
  for (; cycle < Number(options.cycles) && Date.now() < end; ++cycle) {
    const number = 1 + Math.floor(random() * slots);
    const chosen = Array.from({ length: number }, (_, i) => (i + cycle) % slots);
    const running = Promise.all(chosen.map((i) => stream(bodies[i])));
    let over = false;
    running.finally(() => (over = true)).catch(() => {});
    const kills = random() < 0.1 ? 2 : 1;
    for (let kill = 0; kill < kills && !over; ++kill) {
      await sleep(random() * Math.max(...chosen.map((i) => alone[i].took)));
      const { worker } = await health();
      if (!(worker.pid > 0)) continue;
      try {
        process.kill(worker.pid, "SIGKILL");
        ++deaths;
      } catch {
        // It went by itself, or is not there yet.
      }
    }
    const results = await running;
    results.forEach((result, i) => {
      if (result.text !== alone[chosen[i]].text) {
        ++wrong;
        console.log(`cycle ${cycle}, stream ${chosen[i]} of ${number}: it said\n${result.text}\nand undisturbed\n${alone[chosen[i]].text}`);
      }
    });
    if (kills === 1) pauses.push(Math.max(...results.map((result) => result.longest)));
    if (process.stderr.isTTY || cycle % 100 === 0) process.stderr.write(`\r${cycle + 1} of ${options.cycles} cycles `);
  }
  process.stderr.write("\r");
  pauses.sort((a, b) => a - b);
  const at = (share) => pauses[Math.min(pauses.length - 1, Math.floor(pauses.length * share))];
  const { worker, memory, kv } = await health();
  const figures = {
    model: options.model, cycles: cycle, prompt_tokens: await count(bodies[0].messages[0].content), deaths, resumed: worker.requests_resumed, wrong,
    pause_ms: { median: at(0.5), p90: at(0.9), p99: at(0.99), longest: at(1) }, set_aside: kv.store.blocks_set_aside,
    within_plan_at_end: memory.anonymous_bytes <= planned.budget_bytes,
  };
  await stop(server);
  const verify = spawnSync(join(root, "build/release/bin/pensieve"), ["store", "verify", "--store", folder], { encoding: "utf8" });
  figures.store = verify.stdout.trim().split("\n").at(-1);
  console.log(`${figures.cycles} cycles, ${deaths} deaths, ${figures.resumed} streams resumed, ${wrong} not as undisturbed; prompts of ${figures.prompt_tokens} tokens, 1 to ${slots} streams`);
  console.log(`longest pause in a stream, one kill: median ${at(0.5).toFixed(0)} ms, p90 ${at(0.9).toFixed(0)}, p99 ${at(0.99).toFixed(0)}, longest ${at(1).toFixed(0)}`);
  console.log(`blocks set aside ${figures.set_aside}; ${figures.store}; memory at the end within the plan: ${figures.within_plan_at_end}`);
  if (options.out) writeFileSync(options.out, JSON.stringify(figures, null, 1) + "\n");
  if (wrong > 0 || verify.status !== 0) process.exitCode = 1;
} finally {
  if (!server.ended) server.child.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
}
