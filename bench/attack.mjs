// The ceiling under attack, for minutes: many clients with prompts of all sizes, disconnects, slow readers, huge
// bodies and max_tokens beyond any limit; Pensieve, then llama-server of the same engine build under the same load. The memory of
// the whole process tree at every sample against the ceiling, the kernel's own high-water mark of each of its processes, and how each request ended.
import { readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { shots } from "../tests/memory/shots.mjs";
import { Sampler, tree } from "../tests/memory/tree.mjs";
import { start, stop } from "./servers.mjs";

const { values: options } = parseArgs({
  options: {
    model: { type: "string" },
    minutes: { type: "string", default: "10" },
    clients: { type: "string", default: "200" },
    memory: { type: "string", default: "1G" },    // Ours: the ceiling. llama-server knows none.
    context: { type: "string", default: "2048" }, // Of one of two slots.
    servers: { type: "string", default: "pensieve,llama-server" },
    grace: { type: "string", default: "30" },     // Seconds after the last request was sent; who waits then is counted and left.
    out: { type: "string" },
  },
});
const seconds = Number(options.minutes) * 60;
const clients = Number(options.clients);
const grace = Number(options.grace);
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const mb = (bytes) => Math.round(bytes / 1e6);
// Of the kernel, since its start.
const oomKills = () => Number(/^oom_kill (\d+)/m.exec(readFileSync("/proc/vmstat", "utf8"))[1]);

// What the kernel saw at most of each process of the tree that is there now: pages of its files among it, that others may share.
const highWater = (pid) => tree(pid).map((one) => {
  try {
    return 1024 * Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${one}/status`, "utf8"))[1]);
  } catch {
    return 0;
  }
});

const size = (text) => Number.parseInt(text, 10) * ({ K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 }[text.at(-1)] ?? 1);
const ceiling = size(options.memory);
const flags = {
  pensieve: ["--memory", options.memory, "--max-body", "8M", "--context", options.context, "--slots", "2", "--queue", "16", "--store", "off"],
  "llama-server": ["-c", String(2 * Number(options.context)), "--parallel", "2"],
};
// As llama-server says it.
const plain = (end) => (/^(complete|529|too long|413|cancelled)$/.test(end) ? end : /exceed_context_size|exceeds the available context/.test(end) ? "too long, in its own words" : /json.exception.parse_error/.test(end) ? "400, no JSON" : end.replace(/[^\w :]/g, "").slice(0, 60));

async function attack(name) {
  const server = await start(name, options.model, flags[name]);
  const kills = oomKills();
  const sampler = new Sampler(server.child.pid, 100);
  let above = 0;
  const watch = setInterval(() => (above += sampler.last > ceiling ? 1 : 0), 100);
  const ends = {};
  const until = performance.now() + seconds * 1000;
  let waiting = 0, over = false;
  const all = Promise.all(Array.from({ length: clients }, async (_, i) => {
    for (let n = i; performance.now() < until && !server.ended; n += 1) {
      waiting += 1;
      const end = plain(await shots[n % shots.length](server.url));
      waiting -= 1;
      if (over) return;
      ends[end] = (ends[end] ?? 0) + 1;
      if (end !== "complete" && end !== "cancelled") await wait(200);
    }
  }));
  await Promise.race([all, wait((seconds + grace) * 1000)]); // A line without a bound would keep them for ever.
  const left = waiting;
  if (left > 0) ends[`still waiting after ${grace} s`] = left;
  over = true; // What they hear from here on counts no more.
  clearInterval(watch);
  const { peak, samples } = sampler.stop();
  const marks = highWater(server.child.pid);
  // Well afterwards?
  const alive = !server.ended && (await Promise.race([shots[0](server.url), wait(grace * 1000).then(() => `no answer within ${grace} s`)]));
  await wait(1000);
  const after = new Sampler(server.child.pid).stop().last;
  const health = name === "pensieve" && alive ? await (await fetch(`${server.url}/health`)).json() : undefined;
  const figures = { server: name, peak_bytes: peak, after_bytes: after, samples, samples_above: above, high_water_bytes: marks, oom_kills: oomKills() - kills, ended_early: server.ended, answers_after: alive, ends,
    planned_bytes: health?.plan?.total_bytes, restarts: health?.worker?.restarts, reserved_after: health?.memory?.reserved_bytes };
  if (!server.ended) await stop(server, "SIGKILL");
  return figures;
}

const report = { model: options.model, minutes: Number(options.minutes), clients, ceiling_bytes: ceiling, runs: [] };
for (const name of options.servers.split(",")) {
  const run = await attack(name);
  report.runs.push(run);
  console.log(`${name}: peak ${mb(run.peak_bytes)} MB of ${mb(ceiling)}${run.planned_bytes ? ` (planned ${mb(run.planned_bytes)})` : ""}, ${run.samples_above} of ${run.samples} samples above, the kernel's high-water marks ${run.high_water_bytes.map(mb).join(" + ")} MB, after ${mb(run.after_bytes)} MB, ` +
    `${run.oom_kills} OOM kills, ${run.ended_early ? "ended early" : `alive (${run.answers_after})`}${run.restarts === undefined ? "" : `, ${run.restarts} restarts, ${run.reserved_after} bytes reserved after`}`);
  console.log(`  ${Object.entries(run.ends).sort((a, b) => b[1] - a[1]).map(([end, n]) => `${n} ${end}`).join(", ")}`);
  if (options.out) writeFileSync(options.out, JSON.stringify(report, null, 1) + "\n");
}
process.exit(0); // Clients that nobody answered would keep it.
