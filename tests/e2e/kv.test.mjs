// What was computed once is not computed again, and the answer does not change by
// it: the real worker and a real model, by its wire alone.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { bin, model } from "./programs.mjs";
import { Worker } from "./worker.mjs";

const words = (number, count) => Array.from({ length: count }, (_, i) => `word${(i * 7 + number * 13) % 101}`).join(" ");
const ask = (number, count) => [{ role: "user", content: words(number, count) }];
// Every token of the vocabulary stays a candidate: the draw depends on every logit.
const seeded = { temperature: 1.5, top_k: 0, top_p: 1, min_p: 0, seed: 11, max_tokens: 24 };
const greedy = { temperature: 0, max_tokens: 24 };

const blocksIn = (folder) => readdirSync(folder, { recursive: true }).map(String).filter((name) => name.endsWith(".kv")).map((name) => join(folder, name));

async function start(folder, ...more) {
  const slots = more.includes("--slots") ? [] : ["--slots", "2"];
  const worker = new Worker(bin("pensieve-worker"), ["--model", await model(), ...slots, "--context", "4096", ...(folder ? ["--store", folder] : []), ...more]);
  await worker.ready();
  return worker;
}

const started = (result) => result.reports.find((r) => r.event === "started");

// Until everything is stored, tails of chains included, and every answer read again.
async function settled(worker) {
  let before;
  for (let same = 0; same < 3; ) {
    worker.reports = worker.reports.filter((r) => r.event !== "health");
    worker.send({ cmd: "health" });
    const now = JSON.stringify(await worker.when((r) => r.event === "health"));
    const steady = (text) => text?.replace(/"arrived":[^,}]*/, "");
    same = steady(now) === steady(before) && JSON.parse(now).kv.store_pending === 0 ? same + 1 : 0;
    before = now;
    await new Promise((resolve) => setTimeout(resolve, 60));
  }
  return JSON.parse(before).kv;
}

describe("kv", () => {
  let folder, cold, id = 0;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "pensieve-kv-"));
    cold = await start(null);
  });
  after(async () => {
    await cold.stop();
    rmSync(folder, { recursive: true });
  });
  const next = () => ++id;
  // In a process that has nothing to reuse: another prompt goes through both slots before.
  const coldAnswer = async (messages, sampling) => {
    for (const n of [91, 92]) await cold.generate({ id: next(), messages: ask(n, 9), temperature: 0, max_tokens: 1 });
    const answer = await cold.generate({ id: next(), messages, ...sampling });
    assert.ok(started(answer).cached_tokens < 16, "no more than the marks at the beginning are alike");
    return answer;
  };

  for (const [kind, sampling] of Object.entries({ greedy, seeded })) {
    test(`a ${kind} answer is the same cold, warm, copied, beside another, restored and resumed`, async () => {
      let worker = await start(folder);
      for (const [number, count] of [[1, 40], [2, 130], [3, 300]]) {
        const messages = ask(number, count);
        const expected = await coldAnswer(messages, sampling);
        const total = started(expected).input_tokens;
        const same = (answer, what, cached) => {
          assert.deepEqual(answer.tokens, expected.tokens, `${what}, ${total} tokens`);
          assert.equal(answer.text, expected.text, what);
          assert.ok(started(answer).cached_tokens >= cached, `${what}: ${started(answer).cached_tokens} of ${total} tokens were there`);
        };
        same(await worker.generate({ id: next(), messages, ...sampling }), "first", 0);
        same(await worker.generate({ id: next(), messages, ...sampling }), "warm", total - 8);
        // Two at once: the second copies what lies in the first one's slot.
        const pair = [next(), next()].map((n) => worker.generate({ id: n, messages, ...sampling }));
        for (const answer of await Promise.all(pair)) same(answer, "copied", total - 8);
        // Two others take both slots; then it comes from the store.
        await settled(worker);
        for (const n of [71, 72]) await worker.generate({ id: next(), messages: ask(n + number, 60), temperature: 0, max_tokens: 2 });
        same(await worker.generate({ id: next(), messages, ...sampling }), "restored", total - 8);
        // kill -9, and a new process.
        worker.child.kill("SIGKILL");
        await worker.exited;
        worker = await start(folder);
        same(await worker.generate({ id: next(), messages, ...sampling }), "after kill -9", total - 8);
        // Resumed after any report that a worker might have made before it died.
        const reports = expected.reports.filter((r) => r.event === "text");
        for (let cut = 1; cut <= reports.length; cut += 5) {
          const said = reports.slice(0, cut).flatMap((r) => r.tokens);
          const rest = await worker.generate({ id: next(), messages, ...sampling, said, events_to_skip: 1 });
          assert.deepEqual(rest.tokens, expected.tokens.slice(said.length), `resumed after ${cut} reports`);
          assert.equal(reports.slice(0, cut).map((r) => r.text).join("") + rest.text, expected.text);
          assert.equal(rest.last.output_tokens, expected.last.output_tokens);
          assert.equal(rest.last.reason, expected.last.reason);
        }
      }
      await worker.stop();
    });
  }

  test("requests that come at once with a common beginning compute it once", async () => {
    const worker = await start(null, "--slots", "4");
    const common = words(33, 250);
    const several = [1, 2, 3, 4].map((n) => [{ role: "user", content: `${common} ${words(60 + n, 30 + n)}` }]);
    const shared = await (async () => {
      worker.send({ cmd: "count", id: next(), messages: [{ role: "user", content: common }] });
      return (await worker.when((r) => r.event === "counted")).input_tokens;
    })();
    const answers = await Promise.all(several.map((messages) => worker.generate({ id: next(), messages, ...seeded })));
    const computed = answers.map((answer) => started(answer).input_tokens - started(answer).cached_tokens);
    const own = answers.map((answer) => started(answer).input_tokens - shared);
    assert.ok(started(answers[0]).cached_tokens < 16);
    for (const n of [1, 2, 3]) assert.ok(computed[n] <= own[n] + 80, `request ${n}: ${computed[n]} tokens computed, ${own[n]} are its own`);
    for (const [n, messages] of several.entries()) assert.deepEqual(answers[n].tokens, (await coldAnswer(messages, seeded)).tokens);
    await worker.stop();
  });

  // It is often started for a request that follows at once, and must not keep that waiting for a step of its own.
  test("a worker that just came up does nothing by itself", async () => {
    const worker = await start(null);
    await worker.ready();
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal((await worker.health()).steps, 0);
    await worker.stop();
  });

  test("a worker tries by itself what exact mode promises, and gives way to requests", async (t) => {
    const worker = await start(null);
    const messages = ask(35, 90);
    const answer = await worker.generate({ id: next(), messages, ...seeded }); // Perhaps in the midst of it.
    assert.deepEqual(answer.tokens, (await coldAnswer(messages, seeded)).tokens);
    await worker.stop();
    const idle = await start(null);
    assert.equal((await idle.tried()).exact_differs, "");
    assert.match(idle.log, /exact: the same logits cut, beside another, fed again and moved \(tried in \d+ ms\)/);
    const late = await idle.generate({ id: next(), messages, ...seeded });
    assert.deepEqual(late.tokens, answer.tokens);
    // The next one of the same does not try it again: it would take the slots for it.
    const { proof } = await idle.ready();
    await idle.stop();
    if (!proof) t.diagnostic("no kernels of ours for this processor: nothing is handed on");
    else {
      // And says so from the first moment on.
      for (let time = 1; time <= 5; ++time) {
        const after = await start(null, "--proof", proof, "--exact-tried");
        const { kv, steps } = await after.health();
        assert.deepEqual([kv.exact_tried, kv.exact_differs, steps], [true, "", 0], `start ${time}`);
        await after.stop();
      }
    }
    const doubted = await start(null, "--proof", "of something else", "--exact-tried");
    assert.equal((await doubted.health()).kv.exact_tried, false);
    await doubted.stop();
    const never = await start(null, "--no-exact");
    assert.equal((await never.when((r) => r.event === "ready")).exact, false);
    await new Promise((resolve) => setTimeout(resolve, 1500)); // The others begin after a second.
    assert.equal((await settled(never)).exact_tried, false);
    await never.stop();
  });

  // Else whoever comes back after a short pause would wait for such a step, on a slow machine for seconds.
  test("its self-check keeps away in proportion to how long its steps take", { timeout: 60_000 }, async () => {
    const worker = new Worker(bin("pensieve-fake-worker"), ["--model", "script", "--slots", "3"], { PENSIEVE_FAKE_STEP_US: "500000" });
    const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
    const steps = async () => (await worker.health()).steps;
    while ((await steps()) === 0) await pause(50); // Its first, after a second.
    await worker.generate({ id: next(), messages: [{ role: "user", content: "hi" }], max_tokens: 1 });
    const before = await steps();
    await pause(1800);
    assert.equal(await steps(), before, "one more would have begun a second after the request");
    while ((await steps()) === before) await pause(50);
    await worker.stop();
  });

  test("its self-check's first step keeps away, too, by what prompts took", { timeout: 60_000 }, async () => {
    const worker = new Worker(bin("pensieve-fake-worker"), ["--model", "script", "--slots", "3"], { PENSIEVE_FAKE_STEP_US: "500000" });
    await worker.generate({ id: next(), messages: [{ role: "user", content: "hi" }], max_tokens: 1 });
    const before = (await worker.health()).steps;
    await new Promise((resolve) => setTimeout(resolve, 1800));
    assert.equal((await worker.health()).steps, before);
    await worker.stop();
  });

  test("the next turn of a conversation computes only what is new, once the answer was read again", async () => {
    const worker = await start(null);
    const first = ask(30, 120);
    const answer = await worker.generate({ id: next(), messages: first, temperature: 0.7, seed: 5, max_tokens: 40 });
    await settled(worker);
    const second = [...first, { role: "assistant", content: answer.text }, { role: "user", content: "and then?" }];
    const turn = await worker.generate({ id: next(), messages: second, ...greedy });
    const { cached_tokens, input_tokens } = started(turn);
    assert.ok(cached_tokens >= answer.last.input_tokens + answer.last.output_tokens - 8, `${cached_tokens} of ${input_tokens}, the first turn had ${answer.last.input_tokens}`);
    assert.deepEqual(turn.tokens, (await coldAnswer(second, greedy)).tokens);
    await worker.stop();
  });

  test("an answer that comes back is the ids that were sampled, also after kill -9", async () => {
    const own = mkdtempSync(join(tmpdir(), "pensieve-kv-"));
    let worker = await start(own);
    const count = async (by, messages) => {
      const n = next();
      by.send({ cmd: "count", id: n, messages, wants_tokens: true });
      return by.when((r) => r.event === "counted" && r.id === n);
    };
    // An answer of the hot model that no tokeniser would have cut as it was sampled. Its text must
    // be whole, or the client could not send it back.
    let first, answer, second, anew;
    for (let seed = 1; ; ++seed) {
      assert.ok(seed < 40, "a hot model says something that is tokenised otherwise");
      first = ask(50 + seed, 60);
      answer = await worker.generate({ id: next(), messages: first, ...seeded, seed, max_tokens: 40 });
      second = [...first, { role: "assistant", content: answer.text }, { role: "user", content: "and then?" }];
      anew = await count(cold, second); // This worker never said it.
      const ids = answer.tokens.slice(0, answer.last.reason === "end_turn" ? -1 : undefined);
      const there = JSON.stringify(anew.tokens).includes(JSON.stringify(ids).slice(1, -1));
      if (!there && !answer.text.includes("\ufffd") && answer.text.trim() === answer.text && JSON.stringify((await count(worker, second)).tokens).includes(JSON.stringify(ids).slice(1, -1))) break;
    }
    const counted = await count(worker, second);
    assert.notDeepEqual(counted.tokens, anew.tokens, "retokenised, it would be other ids");
    const covered = answer.last.input_tokens + answer.last.output_tokens - (answer.last.reason === "end_turn" ? 1 : 0);
    await settled(worker);
    const warm = await worker.generate({ id: next(), messages: second, ...greedy });
    assert.ok(started(warm).cached_tokens >= covered - 8, `${started(warm).cached_tokens} of ${covered} tokens of the turn before were there`);
    assert.equal(started(warm).input_tokens, counted.input_tokens, "counted as it is run");
    await settled(worker);
    worker.child.kill("SIGKILL");
    await worker.exited;
    worker = await start(own);
    assert.deepEqual((await count(worker, second)).tokens, counted.tokens, "known after kill -9");
    const after = await worker.generate({ id: next(), messages: second, ...greedy });
    assert.ok(started(after).cached_tokens >= covered - 8, `${started(after).cached_tokens} of ${covered} after kill -9`);
    assert.deepEqual(after.tokens, warm.tokens);
    const health = await settled(worker);
    assert.ok(health.answers_recognised >= 2);
    await worker.stop();
    rmSync(own, { recursive: true });
  });

  test("a flipped, a torn and a swapped block are never used; the answer is right all the same", async () => {
    const own = mkdtempSync(join(tmpdir(), "pensieve-kv-"));
    const messages = ask(40, 300);
    let worker = await start(own);
    const expected = await worker.generate({ id: next(), messages, ...seeded });
    await settled(worker);
    await worker.stop();
    const damage = {
      flipped: (path) => { const bytes = readFileSync(path); bytes[Math.floor(bytes.length / 2)] ^= 1; writeFileSync(path, bytes); },
      torn: (path) => writeFileSync(path, readFileSync(path).subarray(0, statSync(path).size - 777)),
      swapped: (path, other) => writeFileSync(path, readFileSync(other)),
      emptied: (path) => writeFileSync(path, ""),
    };
    for (const [what, hurt] of Object.entries(damage)) {
      const blocks = blocksIn(own).filter((path) => !path.includes("set_aside"));
      assert.ok(blocks.length >= 2, `${what}: ${blocks.length} blocks`);
      hurt(blocks[0], blocks[1]);
      worker = await start(own);
      const answer = await worker.generate({ id: next(), messages, ...seeded });
      assert.deepEqual(answer.tokens, expected.tokens, what);
      assert.equal((await settled(worker)).store_blocks_set_aside, 1, what);
      await worker.stop(); // It has stored the block anew.
    }
    rmSync(own, { recursive: true });
  });

  test("files are for their owner only", () => {
    for (const path of blocksIn(folder)) assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.equal(statSync(join(blocksIn(folder)[0], "..")).mode & 0o777, 0o700);
  });

  test("pensieve store shows, checks and removes what is there", () => {
    const run = (...args) => spawnSync(bin("pensieve"), ["store", ...args, "--store", folder], { encoding: "utf8" });
    const blocks = blocksIn(folder).length;
    assert.match(run("ls").stdout, new RegExp(`^[0-9a-f]{32} +${blocks} blocks .* Pensieve`));
    assert.match(run("stat").stdout, new RegExp(`blocks +${blocks} `));
    assert.equal(run("verify").status, 0);
    const [victim] = blocksIn(folder);
    const bytes = readFileSync(victim);
    bytes[bytes.length - 100] ^= 1;
    writeFileSync(victim, bytes);
    const damaged = run("verify");
    assert.equal(damaged.status, 1);
    assert.match(damaged.stdout, new RegExp(`${blocks} blocks read, 1 damaged`));
    assert.equal(run("purge").status, 2, "it wants --yes when nobody can be asked");
    assert.match(run("purge", "0".repeat(32), "--yes").stdout, /^0 blocks/);
    assert.match(run("purge", "--yes").stdout, new RegExp(`^${blocks} blocks removed`));
    assert.equal(blocksIn(folder).length, 0);
  });
});
