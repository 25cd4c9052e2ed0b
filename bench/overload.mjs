// Overload in open loop: requests come at 1, 2 and 10 times what the server can do, whether it answers or not. Of those that
// are accepted: how well was the time to the first token predicted (x-predicted-ttft)? Of those that are sent away (529) and
// obey retry-after: how many are answered then?
//
// In lasting overload of F times, no more than 1 in F requests can be answered, whatever is promised. So of those that
// were sent away a share of --obey / F comes back as told (by default all that there is room for), the others go away for good.
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { filler, start, stop } from "./servers.mjs";

const { values: options } = parseArgs({
  options: {
    model: { type: "string" },
    factors: { type: "string", default: "1,2,10" },
    seconds: { type: "string" }, // Of each factor; else as long as it takes to answer --accepted.
    accepted: { type: "string", default: "120" },
    slots: { type: "string", default: "2" },
    queue: { type: "string", default: "8" },
    context: { type: "string", default: "4096" },
    obey: { type: "string", default: "0.9" },
    seed: { type: "string", default: "1" },
    out: { type: "string" },
    parts: { type: "string" }, // File for what each forecast was made of, and what came of each part: a JSON object a line.
  },
});
let seconds = Number(options.seconds ?? 45);

// mulberry32: the same arrivals and sizes in every run.
let state = Number(options.seed);
function random() {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}
let count = 0;
// Prompts of 50 to 400 words, each unlike the others from its first word on; answers of 16 to 48 tokens.
function request() {
  const number = ++count;
  const words = 50 + Math.floor(random() * 350);
  const content = filler(number, words);
  return JSON.stringify({ model: "bench", max_tokens: 16 + Math.floor(random() * 32), stream: true, temperature: 0, messages: [{ role: "user", content }] });
}

// {status, predicted, ttft, retryAfter, complete}
async function send(url, body) {
  const begun = performance.now();
  const reply = await fetch(`${url}/v1/messages`, { method: "POST", headers: { "content-type": "application/json" }, body });
  const result = { status: reply.status, predicted: Number(reply.headers.get("x-predicted-ttft") ?? NaN), retryAfter: Number(reply.headers.get("retry-after") ?? NaN), complete: false };
  const decoder = new TextDecoder();
  let text = "";
  for await (const bytes of reply.body) {
    text += decoder.decode(bytes, { stream: true });
    if (result.ttft === undefined && text.includes("content_block_delta")) result.ttft = (performance.now() - begun) / 1000;
  }
  result.complete = reply.status === 200 && text.includes("message_stop");
  return result;
}

const wait = (s) => new Promise((resolve) => setTimeout(resolve, s * 1000));

// Requests a second when there is always one waiting.
async function capacity(url) {
  const until = performance.now() + 1000 * Math.max(10, seconds / 3);
  let done = 0;
  const begun = performance.now();
  await Promise.all(Array.from({ length: Number(options.slots) + 1 }, async () => {
    while (performance.now() < until) {
      const { complete } = await send(url, request());
      done += complete ? 1 : 0;
    }
  }));
  return done / ((performance.now() - begun) / 1000);
}

async function round(url, factor, rate) {
  const results = [];
  const obeying = Math.min(1, Number(options.obey) / factor);
  const one = async () => {
    const body = request();
    const obeys = random() < obeying;
    const first = await send(url, body);
    results.push(first);
    if (first.status !== 529 || !obeys) return;
    await wait(first.retryAfter);
    first.again = await send(url, body);
  };
  const open = [];
  const until = performance.now() + seconds * 1000;
  while (performance.now() < until) {
    open.push(one());
    await wait(-Math.log(1 - random()) / (factor * rate));
  }
  await Promise.all(open);
  return results;
}

const share = (list, holds) => (list.length === 0 ? NaN : list.filter(holds).length / list.length);
const percent = (value) => (Number.isNaN(value) ? "-" : `${(100 * value).toFixed(0)} %`);
const at = (list, part) => [...list].sort((a, b) => a - b)[Math.min(list.length - 1, Math.floor(list.length * part))];

const parts = [];
const onLog = (line) => {
  const found = /forecast (\{.*\})$/.exec(line);
  if (found) parts.push(JSON.parse(found[1]));
};
const server = await start("pensieve", options.model, ["--slots", options.slots, "--queue", options.queue, "--context", options.context, "--store", "off"], options.parts ? onLog : undefined);
const report = { model: options.model, slots: Number(options.slots), queue: Number(options.queue), rounds: [] };
try {
  let rate = await capacity(server.url); // Warm: pages in, and the pace is measured.
  for (let before = 0; rate > 1.05 * before; ) [before, rate] = [rate, Math.max(rate, await capacity(server.url))];
  report.capacity = rate;
  if (options.seconds === undefined) seconds = Math.max(45, Number(options.accepted) / rate);
  report.seconds = seconds;
  console.log(`capacity ${rate.toFixed(2)} requests/s, ${options.slots} slots, a line of ${options.queue}, ${seconds.toFixed(0)} s for each factor`);
  for (const factor of options.factors.split(",").map(Number)) {
    const before = parts.length;
    const results = await round(server.url, factor, rate);
    const accepted = [...results, ...results.map((r) => r.again).filter(Boolean)].filter((r) => r.complete && r.predicted > 0 && r.ttft !== undefined);
    const refused = results.filter((r) => r.status === 529);
    const obeyed = refused.filter((r) => r.again);
    const ratios = accepted.map((r) => r.ttft / r.predicted);
    const row = {
      factor, sent: results.length, accepted: accepted.length, refused: refused.length, other: results.filter((r) => r.status !== 529 && !r.complete).length,
      within: share(ratios, (r) => r >= 0.8 && r <= 1.2), no_later: share(ratios, (r) => r <= 1.2), ratio_p50: at(ratios, 0.5), ratio_p5: at(ratios, 0.05), ratio_p95: at(ratios, 0.95),
      within_or_100ms: share(accepted, (r) => Math.abs(r.ttft - r.predicted) <= Math.max(0.1, 0.2 * r.predicted)),
      ttft_p50: at(accepted.map((r) => r.ttft), 0.5), ttft_p95: at(accepted.map((r) => r.ttft), 0.95),
      obeyed: obeyed.length, obeyed_answered: share(obeyed, (r) => r.again.complete), retry_after_p50: at(refused.map((r) => r.retryAfter), 0.5), retry_after_max: Math.max(...refused.map((r) => r.retryAfter)),
    };
    report.rounds.push(row);
    console.log(`${factor}x: ${row.sent} sent, ${row.accepted} answered (those that came again among them), ${row.refused} sent away, ${row.other} ended otherwise; first token p50 ${row.ttft_p50?.toFixed(2)} s, p95 ${row.ttft_p95?.toFixed(2)} s\n` +
      `  of predicted: within 20 % ${percent(row.within)}, within 20 % or 0.1 s ${percent(row.within_or_100ms)}, no later than 20 % ${percent(row.no_later)}; ratio p5 ${row.ratio_p5?.toFixed(2)}, p50 ${row.ratio_p50?.toFixed(2)}, p95 ${row.ratio_p95?.toFixed(2)}\n` +
      `  retry-after p50 ${row.retry_after_p50} s, at most ${row.retry_after_max} s; ${row.obeyed} obeyed it, answered ${percent(row.obeyed_answered)}`);
    if (options.parts) {
      const of = (list, key) => at(list.map((p) => Math.abs(p[`${key}_came`] - p[`${key}_predicted`])), 0.5) ?? NaN;
      const missed = parts.slice(before).filter((p) => Math.abs(p.came - p.predicted) > 0.2 * p.predicted);
      for (const [what, list] of [["all", parts.slice(before)], ["those beyond 20 %", missed]]) {
        console.log(`  ${what}: ${list.length}; off by, median: until its slot ${(1000 * of(list, "slot")).toFixed(0)} ms, from there ${(1000 * of(list, "first")).toFixed(0)} ms; first token p50 ${(at(list.map((p) => p.came), 0.5) ?? NaN).toFixed(2)} s`);
      }
      parts.slice(before).forEach((p) => (p.factor = factor));
      writeFileSync(options.parts, parts.map((p) => JSON.stringify(p) + "\n").join(""));
    }
    await wait(6); // Promises that nobody came for are forgotten.
  }
} finally {
  await stop(server);
}
if (options.out) writeFileSync(options.out, JSON.stringify(report, null, 1) + "\n");
