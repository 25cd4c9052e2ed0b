// Every tiny stand-in is made, loads in the real worker and speaks; what it says depends on all it has read.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { bin } from "./programs.mjs";
import { Worker } from "./worker.mjs";

const folder = mkdtempSync(join(tmpdir(), "pensieve-shapes-"));
after(() => rmSync(folder, { recursive: true }));

const make = (shape, quant, name = `${shape}-${quant}.gguf`) => {
  const path = join(folder, name);
  execFileSync(bin("pensieve-make-model"), [shape, path, "--quant", quant], { stdio: "ignore" });
  return path;
};

const shapes = {
  tiny: "phi3", "tiny-longrope": "phi3", "tiny-qwen3": "qwen3", "tiny-gemma3": "gemma3", "tiny-qwen3moe": "qwen3moe",
  "tiny-granitemoe": "granitemoe", "tiny-lfm2": "lfm2", "tiny-mamba2": "mamba2",
};

for (const [number, [shape, architecture]] of Object.entries(shapes).entries()) {
  test(`${shape} loads and speaks`, async (t) => {
    const path = make(shape, ["q4_k", "q8_0", "f16"][number % 3]);
    assert.ok(statSync(path).size < 16e6);
    const worker = new Worker(bin("pensieve-worker"), ["--model", path, "--slots", "1", "--context", "1024", "--threads", "1"]);
    t.after(() => worker.child.kill());
    const ready = await worker.ready();
    assert.equal(ready.model.architecture, architecture);
    assert.equal(ready.chat_template, "model");
    // Draws over the whole vocabulary: a greedy answer of random weights often repeats one token, whatever was said before.
    const say = async (id, first) => {
      const messages = [
        { role: "system", content: "Be brief." },
        { role: "user", content: `${first} is the word. ${"Now some more words that are all the same. ".repeat(8)}` },
      ];
      worker.send({ cmd: "count", id: id + 100, messages, wants_tokens: true });
      const counted = await worker.when((r) => r.id === id + 100);
      const said = await worker.generate({ id, messages, temperature: 1.5, top_k: 0, top_p: 1, min_p: 0, seed: 11, max_tokens: 24 });
      assert.equal(said.last.event, "finish");
      assert.equal(said.last.input_tokens, counted.input_tokens);
      return said.tokens.concat(said.last.tokens ?? []);
    };
    const one = await say(1, "Window");
    const again = await say(2, "Window");
    assert.ok(one.length > 1);
    assert.deepEqual(again, one);
    const others = [];
    for (const word of ["Garden", "Kettle", "Orange", "Sailor", "Winter"]) others.push(await say(3 + others.length, word));
    assert.ok(others.some((other) => other.join() !== one.join()), "the word far back changed, the answer did not");
    assert.equal((await worker.stop()).code, 0);
  });
}

const kernelsOf = async (path) => {
  const worker = new Worker(bin("pensieve-worker"), ["--model", path, "--slots", "1", "--context", "512", "--threads", "1"]);
  await worker.ready();
  await worker.stop();
  return /kernels: (.*)/.exec(worker.log)[1];
};

test("a row's bits depend on nothing but itself, in each format of weights that our kernels know", async (t) => {
  if (!/products/.test(await kernelsOf(make("tiny", "q4_k")))) return t.skip("no products of ours for this processor");
  for (const quant of ["q4_k", "q4_0", "q4_1", "q8_0"]) assert.match(await kernelsOf(make("tiny-qwen3", quant)), /^attention .*, products .*, rows alone$/, quant);
});

// Where experts are chosen, the smallest difference may choose another one. That is no fault of a kernel, and without ours
// the model would need more memory than was planned.
test("our kernels are used with experts, too, whatever the weights", async (t) => {
  if (!/attention/.test(await kernelsOf(make("tiny", "q4_k")))) return t.skip("no attention of ours for this processor");
  for (const seed of [1, 2, 3, 4]) {
    const path = join(folder, `experts-${seed}.gguf`);
    execFileSync(bin("pensieve-make-model"), ["tiny-granitemoe", path, "--seed", String(seed)], { stdio: "ignore" });
    assert.match(await kernelsOf(path), /^attention/);
  }
});

test("the same arguments write the same bytes, another seed others", () => {
  const one = readFileSync(make("tiny-lfm2", "q4_k", "one.gguf"));
  assert.ok(one.equals(readFileSync(make("tiny-lfm2", "q4_k", "two.gguf"))));
  const path = join(folder, "three.gguf");
  execFileSync(bin("pensieve-make-model"), ["tiny-lfm2", path, "--seed", "7"], { stdio: "ignore" });
  assert.ok(!one.equals(readFileSync(path)));
});
