// Drives one pensieve-worker by hand over its wire (docs/wire.md).
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { endedWithTheTests } from "./programs.mjs";

export class Worker {
  constructor(program, args, env = {}) {
    this.child = endedWithTheTests(spawn(program, args, { stdio: ["pipe", "pipe", "pipe"], env: { ...process.env, ...env } }));
    this.reports = [];
    this.waiters = [];
    this.log = "";
    this.child.stderr.on("data", (data) => (this.log += data));
    this.exited = new Promise((resolve) => this.child.on("exit", (code, signal) => resolve({ code, signal })));
    this.closed = false;
    createInterface({ input: this.child.stdout }).on("line", (line) => {
      this.reports.push({ ...JSON.parse(line), arrived: performance.now() });
      this.#wake();
    }).on("close", () => { this.closed = true; this.#wake(); });
  }

  #wake() {
    this.waiters = this.waiters.filter((waiter) => !waiter());
  }

  // The first report, from any time, that `matches`. Rejects when the worker's output ends without one.
  when(matches) {
    return new Promise((resolve, reject) => {
      const waiter = () => {
        const found = this.reports.find(matches);
        if (found) resolve(found);
        else if (this.closed) reject(new Error(`the worker's output ended; its log:\n${this.log}`));
        return found !== undefined || this.closed;
      };
      if (!waiter()) this.waiters.push(waiter);
    });
  }

  send(command) {
    this.child.stdin.write(JSON.stringify(command) + "\n");
  }

  ready() {
    return this.when((report) => report.event === "ready");
  }

  // What it says of itself now.
  health() {
    this.reports = this.reports.filter((report) => report.event !== "health");
    this.send({ cmd: "health" });
    return this.when((report) => report.event === "health");
  }

  // Its self-check (docs/kv_store.md) was done: {exact_tried, exact_differs, ...}.
  async tried() {
    for (;;) {
      const { kv } = await this.health();
      if (kv.exact_tried) return kv;
      await new Promise((resolve) => setTimeout(resolve, 60));
    }
  }

  // Sends a generate; resolves with its text, its ids and its last report.
  async generate(command) {
    this.send({ cmd: "generate", max_tokens: 32, ...command });
    return this.result(command.id);
  }

  async result(id) {
    const last = await this.when((r) => r.id === id && (r.event === "finish" || r.event === "error"));
    const mine = this.reports.filter((r) => r.id === id);
    return {
      last,
      text: mine.filter((r) => r.event === "text").map((r) => r.text).join(""),
      tokens: mine.flatMap((r) => r.tokens ?? []),
      reports: mine,
    };
  }

  async stop() {
    this.child.stdin.end();
    return this.exited;
  }
}
