// Deaths and hangs of the worker, by the scripted one: what the clients hear, what /health says, and that it ends well.
import assert from "node:assert/strict";
import { test } from "node:test";
import { all, ask, events, Server, textOf } from "../e2e/server.mjs";

const restarts = async (server, cause) => {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  return Number(new RegExp(`^pensieve_worker_restarts_total\\{cause="${cause}"\\} (\\d+)`, "m").exec(text)[1]);
};
const works = async (server) => assert.equal((await (await server.post(ask("on we go"))).json()).content[0].text, "on we go");

for (const faults of ["", "ignore-sigterm"]) test(`a worker that hangs in a step is replaced (${faults || "as it is"})`, async () => {
  const server = await Server.start({ fake: true, args: ["--stall-timeout", "1"], env: { PENSIEVE_FAKE_FAULTS: faults } });
  const begun = performance.now();
  const list = await all(events(await server.post(ask("!hang", { stream: true }))));
  const took = performance.now() - begun;
  assert.equal(list.at(-1).event, "error");
  assert.match(list.at(-1).data.error.message, /hung/);
  // Twice, for the request is tried once more.
  assert.ok(took > 1800 && took < (faults ? 10000 : 7000), `it took ${took} ms`);
  const health = await server.until((h) => h.ready);
  assert.equal(health.worker.restarts, 2);
  assert.match(health.worker.last_death, /hung/);
  assert.equal(await restarts(server, "stall"), 2);
  await works(server);
  await server.stop();
});

test("a long prompt, an idle worker and a reader that does not read are no hang", async () => {
  const server = await Server.start({ fake: true, args: ["--stall-timeout", "1"], env: { PENSIEVE_FAKE_STEP_US: "300000" } });
  await new Promise((resolve) => setTimeout(resolve, 2500));
  const list = await all(events(await server.post(ask("0123456789", { stream: true }))));
  assert.equal(list.at(-1).event, "message_stop");
  assert.equal((await server.health()).worker.restarts, 0);
  await server.stop();
});

test("a request that ended two workers is refused the third time, the others go on", async () => {
  const server = await Server.start({ fake: true, env: { PENSIEVE_FAKE_STEP_US: "2000" } });
  const other = all(events(await server.post(ask("!repeat 300 x", { stream: true, max_tokens: 400 }))));
  const list = await all(events(await server.post(ask("!abort", { stream: true }))));
  assert.equal(list.at(-1).event, "error");
  assert.match(list.at(-1).data.error.message, /two deaths of the model process/);
  assert.equal(textOf(await other), "x".repeat(300));
  await server.until((h) => h.ready && h.worker.restarts === 2);
  const refused = await server.post(ask("!abort", { stream: true }));
  assert.equal(refused.status, 500);
  assert.equal(refused.headers.get("x-should-retry"), "false");
  assert.match((await refused.json()).error.message, /two deaths of the model process/);
  assert.equal((await server.health()).worker.restarts, 2);
  await works(server);
  await server.stop();
});

test("many deaths degrade, then stop generating, and /health says why", async () => {
  const server = await Server.start({ fake: true, args: ["--deaths-max", "3"] });
  for (let death = 1; death <= 4; ++death) {
    const { worker } = await server.until((h) => h.ready);
    assert.equal(worker.degraded, death > 2, `before death ${death}`);
    const killed = await server.signalWorker();
    await server.until((h) => h.worker.pid !== killed);
  }
  const health = await server.until((h) => h.worker.state === "failed");
  assert.equal(health.http, 503);
  assert.match(health.problem, /signal 9.*death 4 within 60 s/s);
  const reply = await server.post(ask("hi"));
  assert.equal(reply.status, 503);
  assert.match((await reply.json()).error.message, /not started again/);
  await server.stop();
});

for (const [fault, why] of [["garbage", /no report/], ["die-at-start", /exit code 3/]]) test(`a worker with ${fault} at every start is given up after --deaths-max`, async () => {
  const server = await Server.start({ fake: true, ready: false, args: ["--deaths-max", "2"], env: { PENSIEVE_FAKE_FAULTS: fault } });
  const health = await server.until((h) => h.worker.state === "failed");
  assert.match(health.problem, why);
  assert.equal(health.worker.restarts, 2);
  await server.stop();
});
