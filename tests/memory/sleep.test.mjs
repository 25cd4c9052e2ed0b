// --idle-timeout: the worker is ended, the server alone stays, the next request wakes it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ask, Server } from "../e2e/server.mjs";
import { mb, tree, treePss } from "./tree.mjs";

test("sleeps when idle, uses next to nothing, and wakes by itself", { timeout: 60_000 }, async () => {
  const server = await Server.start({ args: ["--idle-timeout", "1"] });
  assert.equal((await server.post(ask("hello"))).status, 200);
  const asleep = await server.until((h) => h.worker.state === "asleep" && h.worker.pid === null);
  assert.equal(asleep.http, 200, "a server that wakes by itself is well");
  assert.equal(asleep.memory.accepting_requests, true);
  assert.equal(tree(server.child.pid).length, 1, "only the server is there");
  const pss = treePss(server.child.pid);
  console.log(`# asleep: ${mb(pss)}`);
  assert.ok(pss <= 25e6, `${mb(pss)} while asleep`);
  const begun = performance.now();
  const replies = await Promise.all([1, 2, 3].map(() => server.post(ask("wake up"))));
  for (const reply of replies) assert.equal(reply.status, 200);
  console.log(`# three answers, woken, in ${(performance.now() - begun).toFixed(0)} ms`);
  const health = await server.health();
  assert.equal(health.worker.recent_deaths, 0, "sleep is no death");
  assert.equal(health.worker.restarts, 1);
  await server.until((h) => h.worker.state === "asleep");
  assert.equal((await server.stop()).code, 0, "it can be stopped asleep");
});

test("does not sleep while a stream runs", { timeout: 60_000 }, async () => {
  const server = await Server.start({ fake: true, args: ["--idle-timeout", "1"], env: { PENSIEVE_FAKE_STEP_US: "100000" } });
  const reply = await server.post(ask("0123456789012345678901234"));
  assert.equal((await reply.json()).content[0].text.length, 25);
  assert.equal((await server.health()).worker.restarts, 0);
  await server.stop();
});
