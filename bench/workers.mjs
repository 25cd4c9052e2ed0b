// Builds of the worker beside each other, without a server: how fast they decode, alone on the machine or beside programs
// that keep a core busy. In each round every worker is started anew, in another order, and asked twice; idle ones would
// read their answers again meanwhile.
//
//   node bench/workers.mjs --model M.gguf [--busy 4] build/release/bin/pensieve-worker OTHER-WORKER ...
//
// A worker may have variables before it: GOMP_SPINCOUNT=1000,PATH-OF-WORKER.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { median } from "./servers.mjs";

const { values: options, positionals: workers } = parseArgs({
  allowPositionals: true,
  options: {
    model: { type: "string" },
    tokens: { type: "string", default: "100" },
    rounds: { type: "string", default: "6" },
    streams: { type: "string", default: "1" },
    busy: { type: "string", default: "0" }, // Other programs.
  },
});
const tokens = Number(options.tokens);
const streams = Number(options.streams);

async function rates(spec) {
  const parts = spec.split(",");
  const env = { ...process.env, ...Object.fromEntries(parts.slice(0, -1).map((part) => part.split("="))) };
  const child = spawn(parts.at(-1), ["--model", options.model, "--slots", "4", "--context", "2048", "--log-level", "error"], { env, stdio: ["pipe", "pipe", "inherit"] });
  const ended = new Promise((resolve) => child.on("exit", resolve));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  let id = 0;
  const ask = async (count) => {
    for (let i = 0; i < streams; ++i) {
      id += 1;
      child.stdin.write(JSON.stringify({ cmd: "generate", id, max_tokens: count, temperature: 0, messages: [{ role: "user", content: `Request ${id}: count` }] }) + "\n");
    }
    let [first, last, said] = [0, 0, 0];
    for (let open = streams; open > 0;) {
      const { value, done } = await lines.next();
      if (done) throw new Error(`${spec}: the worker ended`);
      const report = JSON.parse(value);
      if (report.event === "error" || report.event === "fatal") throw new Error(`${spec}: ${report.message}`);
      if (report.sampled_us) first ||= performance.now();
      if (report.event !== "finish") continue;
      open -= 1;
      said += report.output_tokens;
      last = performance.now();
    }
    if (said < count * streams * 0.9) throw new Error(`${spec}: only ${said} tokens; use a stand-in model`);
    return ((said - streams) * 1000) / (last - first);
  };
  await ask(16);
  const list = [await ask(tokens), await ask(tokens)];
  child.stdin.end();
  await ended;
  return list;
}

const busy = Array.from({ length: Number(options.busy) }, () => spawn(process.execPath, ["-e", "for (;;);"], { stdio: "ignore" }));
try {
  const all = workers.map(() => []);
  for (let round = 0; round < Number(options.rounds); ++round) {
    for (let i = 0; i < workers.length; ++i) {
      const which = (i + round) % workers.length;
      all[which].push(...(await rates(workers[which])));
    }
    process.stderr.write(`\rround ${round + 1}/${options.rounds} `);
  }
  process.stderr.write("\r");
  workers.forEach((worker, i) => {
    const ratio = median(all[i].map((rate, n) => rate / all[0][n]));
    console.log(`${worker}: ${median(all[i]).toFixed(1)} tokens/s (${Math.min(...all[i]).toFixed(1)}-${Math.max(...all[i]).toFixed(1)}), ${ratio.toFixed(2)} of the first, median`);
  });
} finally {
  for (const program of busy) program.kill("SIGKILL");
}
