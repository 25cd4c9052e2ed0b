// One `pensieve serve` on a free port, with the real worker or the scripted one.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { bin, endedWithTheTests, model } from "./programs.mjs";

export class Server {
  static async start({ args = [], fake = false, modelFile, env = {}, ready = true } = {}) {
    const server = new Server();
    const worker = fake ? ["--worker", bin("pensieve-fake-worker"), "--model", "script"] : ["--model", modelFile ?? (await model())];
    server.child = endedWithTheTests(spawn(bin("pensieve"), ["serve", "--port", "0", "--log-level", "info", ...worker, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, PENSIEVE_STORE: "off", ...env }, // The user's own store stays out of it.
    }));
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

  // Sends a signal to the worker of this moment. One that dies between the look and the
  // signal is no failure of a test: the next one gets it. Returns the pid it went to.
  async signalWorker(signal = "SIGKILL") {
    for (;;) {
      const { worker } = await this.until((health) => health.worker.pid !== null || health.worker.state === "failed");
      if (worker.pid === null) throw new Error(`no worker is left to get ${signal}`);
      try {
        process.kill(worker.pid, signal);
        return worker.pid;
      } catch (error) {
        if (error.code !== "ESRCH") throw error;
      }
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
  const heard = list.filter((e) => e.event !== "ping");
  const names = heard.map((e) => e.event);
  const fail = (why) => {
    throw new Error(`${why}: ${names.join(" ")}`);
  };
  if (names[0] !== "message_start") fail("a stream begins with message_start");
  const started = heard[0].data.message;
  if (started.content.length !== 0 || started.stop_reason !== null || typeof started.usage.input_tokens !== "number") fail("message_start carries an empty message and its usage");
  let index = 0;
  let open = null; // The block that is open, with what its deltas said.
  let calls = 0;
  for (const { event: name, data } of heard) {
    if (data.type !== name) fail(`the event ${name} carries type ${data.type}`);
    if (name === "content_block_start") {
      if (open || data.index !== index) fail("blocks follow one another");
      open = { ...data.content_block, said: "" };
      if (open.type === "text" && open.text !== "") fail("a text block begins empty");
      if (open.type === "thinking" && (open.thinking !== "" || open.signature !== "")) fail("a thinking block begins with an empty thinking and signature");
      if (open.type === "tool_use") {
        calls += 1;
        if (!/^toolu_[0-9a-f]{24}$/.test(open.id) || !/^[A-Za-z0-9_-]{1,128}$/.test(open.name) || JSON.stringify(open.input) !== "{}") fail("a tool_use block begins with id, name and an empty input");
      } else if (open.type !== "text" && open.type !== "thinking") fail(`a block of type ${open.type}`);
    } else if (name === "content_block_delta") {
      if (!open || data.index !== index) fail("a delta stands inside its block");
      const kinds = { text: ["text_delta"], thinking: ["thinking_delta", "signature_delta"], tool_use: ["input_json_delta"] }[open.type];
      if (!kinds.includes(data.delta.type)) fail(`a ${data.delta.type} in a ${open.type} block`);
      const said = data.delta.text ?? data.delta.thinking ?? data.delta.partial_json ?? data.delta.signature;
      if (typeof said !== "string") fail("a delta says something");
      open.said += said;
    } else if (name === "content_block_stop") {
      if (!open || data.index !== index) fail("a block is stopped once");
      if (open.type === "tool_use") {
        const input = JSON.parse(open.said); // Throws when it is no JSON.
        if (typeof input !== "object" || input === null || Array.isArray(input)) fail("the input of a call is an object");
      }
      open = null;
      index += 1;
    }
  }
  if (names.at(-1) === "error") return;
  if (names.at(-2) !== "message_delta" || names.at(-1) !== "message_stop") fail("a stream ends with message_delta and message_stop");
  const { delta, usage } = heard.at(-2).data;
  if (typeof usage.output_tokens !== "number" || typeof usage.input_tokens !== "number") fail("message_delta carries the usage");
  const cut = ["max_tokens", "model_context_window_exceeded"].includes(delta.stop_reason);
  if (open && !(open.type === "tool_use" && cut)) fail("every block is stopped, but for a call that was cut off");
  if (delta.stop_reason === "tool_use" && calls === 0) fail("stop_reason tool_use without a call");
  if (delta.stop_reason === "end_turn" && calls > 0) fail("a call, and stop_reason end_turn");
  if ((delta.stop_reason === "stop_sequence") !== (typeof delta.stop_sequence === "string")) fail("stop_sequence is named exactly when it stopped");
}

export const textOf = (list) => list.filter((e) => e.event === "content_block_delta" && e.data.delta.type === "text_delta").map((e) => e.data.delta.text).join("");
export const stopOf = (list) => list.find((e) => e.event === "message_delta")?.data.delta.stop_reason;

// The blocks of a stream, as the SDK would put them together.
export function blocksOf(list) {
  const blocks = [];
  for (const { event, data } of list) {
    if (event === "content_block_start") blocks.push({ ...data.content_block, json: "" });
    if (event !== "content_block_delta") continue;
    const block = blocks[data.index];
    const { type, ...rest } = data.delta;
    if (type === "input_json_delta") block.json += rest.partial_json;
    else for (const [key, value] of Object.entries(rest)) block[key] += value;
  }
  return blocks.map(({ json, ...block }) => (block.type === "tool_use" ? { ...block, input: JSON.parse(json || "{}") } : block));
}

// What the scripted worker answers with, turn by turn (src/engine/fake_engine.h).
export const turns = (...answers) => `!turns ${JSON.stringify(answers)}`;
export const call = (name, args) => `<tool_call>\n${JSON.stringify({ name, arguments: args })}\n</tool_call>`;
