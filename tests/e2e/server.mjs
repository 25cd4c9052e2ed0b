// One `pensieve serve` on a free port, with the real worker or the scripted one.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { bin, model } from "./programs.mjs";

export class Server {
  static async start({ args = [], fake = false, modelFile, env = {}, ready = true } = {}) {
    const server = new Server();
    const worker = fake ? ["--worker", bin("pensieve-fake-worker"), "--model", "script"] : ["--model", modelFile ?? (await model())];
    server.child = spawn(bin("pensieve"), ["serve", "--port", "0", "--log-level", "info", ...worker, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...env },
    });
    server.log = "";
    server.child.stderr.on("data", (data) => (server.log += data));
    server.exited = new Promise((resolve) => server.child.on("exit", (code, signal) => resolve({ code, signal })));
    server.url = await new Promise((resolve, reject) => {
      createInterface({ input: server.child.stdout }).on("line", (line) => {
        const match = /^listening on (http:\S+)/.exec(line);
        if (match) resolve(match[1]);
      });
      server.exited.then(() => reject(new Error(`the server ended before it listened:\n${server.log}`)));
    });
    if (ready) await server.until((health) => health.ready);
    return server;
  }

  async health() {
    const reply = await fetch(`${this.url}/health`);
    return { http: reply.status, ...(await reply.json()) };
  }

  // Polls /health until it `matches`; a test's own timeout bounds it.
  async until(matches) {
    for (;;) {
      const health = await this.health();
      if (matches(health)) return health;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  post(body, headers = {}, path = "/v1/messages") {
    return fetch(this.url + path, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: typeof body === "string" || body instanceof Uint8Array ? body : JSON.stringify(body),
    });
  }

  async stop(signal = "SIGTERM") {
    this.child.kill(signal);
    return this.exited;
  }
}

export const ask = (content, more = {}) => ({ model: "claude-test", max_tokens: 64, messages: [{ role: "user", content }], ...more });

// The events of a stream as they arrive: {event, data, at} one by one.
export async function* events(reply) {
  let pending = "";
  const decoder = new TextDecoder();
  for await (const bytes of reply.body) {
    pending += decoder.decode(bytes, { stream: true });
    let end;
    while ((end = pending.indexOf("\n\n")) >= 0) {
      const block = pending.slice(0, end);
      pending = pending.slice(end + 2);
      const event = /^event: (.*)$/m.exec(block)?.[1];
      const data = /^data: (.*)$/m.exec(block)?.[1];
      if (event) yield { event, data: JSON.parse(data), at: performance.now() };
    }
  }
}

export async function all(iterable) {
  const list = [];
  for await (const item of iterable) list.push(item);
  return list;
}

// Whatever the model says, a stream has this form. Used by every test that reads one.
export function checkForm(list) {
  const names = list.map((e) => e.event).filter((name) => name !== "ping");
  const fail = (why) => {
    throw new Error(`${why}: ${names.join(" ")}`);
  };
  if (names[0] !== "message_start") fail("a stream begins with message_start");
  let index = 0;
  let open = false;
  for (const [at, name] of names.entries()) {
    const data = list.filter((e) => e.event !== "ping")[at].data;
    if (data.type !== name) fail(`the event ${name} carries type ${data.type}`);
    if (name === "content_block_start") {
      if (open || data.index !== index) fail("blocks follow one another");
      open = true;
    } else if (name === "content_block_delta") {
      if (!open || data.index !== index) fail("a delta stands inside its block");
    } else if (name === "content_block_stop") {
      if (!open || data.index !== index) fail("a block is stopped once");
      open = false;
      index += 1;
    }
  }
  if (names.at(-1) === "error") return;
  if (open) fail("every block is stopped");
  if (names.at(-2) !== "message_delta" || names.at(-1) !== "message_stop") fail("a stream ends with message_delta and message_stop");
}

export const textOf = (list) => list.filter((e) => e.event === "content_block_delta").map((e) => e.data.delta.text).join("");
