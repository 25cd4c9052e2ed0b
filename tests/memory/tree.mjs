// The memory of a process tree, as /proc tells it.
import { readdirSync, readFileSync } from "node:fs";

function rollup(pid, ...fields) {
  try {
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
    return fields.reduce((sum, field) => sum + Number(new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(text)?.[1] ?? 0) * 1024, 0);
  } catch {
    return 0; // It has ended.
  }
}

export const pssOf = (pid) => rollup(pid, "Pss");
// What it allocated, in memory or swapped out. Pages of its files come and go as the system likes.
export const anonymousOf = (pid) => rollup(pid, "Pss_Anon", "SwapPss");

// pid and everything below it.
export function tree(pid) {
  const parents = new Map();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, "utf8");
      parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]));
    } catch {
      // It has ended.
    }
  }
  const pids = [pid];
  for (let at = 0; at < pids.length; ++at) for (const [child, parent] of parents) if (parent === pids[at]) pids.push(child);
  return pids;
}

export const treePss = (pid) => tree(pid).reduce((sum, one) => sum + pssOf(one), 0);

// Samples the tree until stop(): {peak, last, workers: all that were ever seen below it}.
export class Sampler {
  constructor(pid, every = 10, bytesOf = pssOf) {
    this.peak = 0;
    this.samples = 0;
    this.workers = new Set();
    const sample = () => {
      const pids = tree(pid);
      pids.slice(1).forEach((one) => this.workers.add(one));
      this.last = pids.reduce((sum, one) => sum + bytesOf(one), 0);
      this.peak = Math.max(this.peak, this.last);
      this.samples += 1;
    };
    sample();
    this.timer = setInterval(sample, every);
    this.sample = sample;
  }

  stop() {
    this.sample();
    clearInterval(this.timer);
    return this;
  }
}

export const mb = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
