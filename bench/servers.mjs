// The two servers that every benchmark runs side by side, of the same engine build,
// and the memory of a whole process tree. used by all of them.
import { execFileSync, spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export const root = join(dirname(fileURLToPath(import.meta.url)), "..");

const freePort = () =>
  new Promise((resolve) => {
    const probe = createServer().listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });

// The private engine runtime brings its own loader; a packaged one is on the PATH.
const engine = join(root, "build/engine/root/usr");
const isPrivate = (name) => existsSync(join(engine, "bin", name));
export const hasEngineTool = (name) => isPrivate(name) || process.env.PATH.split(":").some((folder) => existsSync(join(folder, name)));

export function engineTool(name, model) {
  const lib = join(engine, "lib/x86_64-linux-gnu");
  if (!isPrivate(name)) return { command: name, args: [], env: {} };
  return {
    command: join(lib, "ld-linux-x86-64.so.2"),
    args: ["--library-path", `${lib}:${join(lib, "llama")}`, join(engine, "bin", name)],
    // Started through a loader, it looks for its plug-ins in the wrong place.
    env: { GGML_BACKEND_PATH: enginesOwnPlugin(model) },
  };
}

// The plug-in for this processor that the engine itself chooses, as our worker logs it.
let plugin;
function enginesOwnPlugin(model) {
  if (plugin) return plugin;
  const log = execFileSync("sh", ["-c", `"${join(root, "build/release/bin/pensieve-worker")}" --model "${model}" --log-level trace </dev/null 2>&1 >/dev/null`], { encoding: "utf8" });
  plugin = /loaded CPU backend from (\S+)/.exec(log)?.[1];
  if (!plugin) throw new Error("the worker's log does not name the plug-in it loaded");
  return plugin;
}

// `name`: "pensieve" or "llama-server". Resolves when it is ready. `onLog`: is given each line of our debug log.
export async function start(name, model, args, onLog) {
  const port = await freePort();
  const tool = engineTool("llama-server", model);
  const child = name === "pensieve"
    ? spawn(join(root, "build/release/bin/pensieve"), ["serve", "--model", model, "--port", String(port), "--log-level", onLog ? "debug" : "error", ...args], { stdio: ["ignore", "ignore", onLog ? "pipe" : "ignore"] })
    : spawn(tool.command, [...tool.args, "-m", model, "--host", "127.0.0.1", "--port", String(port), ...args], { stdio: "ignore", env: { ...process.env, ...tool.env } });
  if (onLog) createInterface({ input: child.stderr }).on("line", onLog);
  const server = { name, child, url: `http://127.0.0.1:${port}`, ended: false };
  server.exited = new Promise((resolve) => child.on("exit", () => resolve((server.ended = true))));
  await untilReady(server);
  return server;
}

// As start(), for programs of many servers: one that throws, or is told to end, takes its servers with it.
const held = new Set();
export async function startHeld(...of) {
  if (!process.listeners("exit").includes(endHeld)) {
    process.on("exit", endHeld);
    for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));
  }
  const server = await start(...of);
  held.add(server.child);
  server.child.on("exit", () => held.delete(server.child));
  return server;
}
const endHeld = () => held.forEach((child) => child.kill("SIGTERM"));

export async function untilReady(server) {
  for (;;) {
    if (server.ended) throw new Error(`${server.name} ended before it was ready`);
    const reply = await fetch(`${server.url}/health`).catch(() => undefined);
    await reply?.body?.cancel();
    if (reply?.status === 200) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

// Of the stand-ins' vocabulary; for each number others, from the first one on, so that no cache has them.
export const filler = (number, count) => Array.from({ length: Math.round(count) }, (_, i) => `w${(i * 7919 + number * 104729) % 9973}`).join(" ");

// A streamed request to either; any other answer than a stream is an error.
export async function ask(server, body, signal) {
  const reply = await fetch(`${server.url}/v1/messages`, {
    method: "POST",
    signal,
    headers: { "content-type": "application/json", "anthropic-version": "2023-06-01" },
    body: JSON.stringify({ model: "bench", stream: true, ...body }),
  });
  if (reply.status !== 200) throw new Error(`${server.name}: ${reply.status} ${await reply.text()}`);
  return reply;
}

// The events of a streamed reply as they arrive: [milliseconds, event].
export async function* events(reply) {
  const decoder = new TextDecoder();
  let pending = "";
  for await (const bytes of reply.body) {
    const now = performance.now();
    pending += decoder.decode(bytes, { stream: true });
    for (let end; (end = pending.indexOf("\n\n")) >= 0; pending = pending.slice(end + 2)) {
      const data = /^data: (.*)$/m.exec(pending.slice(0, end))?.[1];
      if (data) yield [now, JSON.parse(data)];
    }
  }
}

export async function stop(server, signal = "SIGTERM") {
  server.child.kill(signal);
  await server.exited;
}


function tree(pid) {
  const children = existsSync(`/proc/${pid}/task`)
    ? readdirSync(`/proc/${pid}/task`).flatMap((task) => {
        try {
          return readFileSync(`/proc/${pid}/task/${task}/children`, "utf8").trim().split(" ").filter(Boolean).map(Number);
        } catch {
          return [];
        }
      })
    : [];
  return [pid, ...children.flatMap(tree)];
}

export function pssBytes(pid) {
  let kib = 0;
  for (const process of tree(pid)) {
    try {
      kib += Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${process}/smaps_rollup`, "utf8"))[1]);
    } catch {
      // It ended meanwhile.
    }
  }
  return kib * 1024;
}

export const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];
