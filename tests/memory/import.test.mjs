// `pensieve import` takes as much memory for a large checkpoint as for a small one.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { closeSync, copyFileSync, mkdirSync, mkdtempSync, openSync, rmSync, statSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { bin } from "../e2e/programs.mjs";
import { anonymousOf, mb, Sampler } from "./tree.mjs";

const pieces = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "models", "training", "tokenizer.model");
const scratch = mkdtempSync(join(tmpdir(), "pensieve-import-"));
after(() => rmSync(scratch, { recursive: true, force: true }));

// A Llama of so many layers in bf16, its numbers between -0.03 and 0.03.
function checkpoint(layers) {
  const [width, inner, vocabulary] = [1024, 2816, 4096];
  const tensors = [["model.embed_tokens.weight", [vocabulary, width]], ["model.norm.weight", [width]], ["lm_head.weight", [vocabulary, width]]];
  for (let i = 0; i < layers; ++i) {
    const layer = (name, ...shape) => tensors.push([`model.layers.${i}.${name}.weight`, shape]);
    layer("input_layernorm", width), layer("post_attention_layernorm", width);
    for (const part of ["q", "k", "v", "o"]) layer(`self_attn.${part}_proj`, width, width);
    layer("mlp.gate_proj", inner, width), layer("mlp.up_proj", inner, width), layer("mlp.down_proj", width, inner);
  }
  const header = {};
  let bytes = 0;
  for (const [name, shape] of tensors) {
    const size = 2 * shape.reduce((product, side) => product * side, 1);
    header[name] = { dtype: "BF16", shape, data_offsets: [bytes, bytes + size] };
    bytes += size;
  }
  const folder = join(scratch, `layers-${layers}`);
  mkdirSync(folder);
  const config = { model_type: "llama", hidden_size: width, num_hidden_layers: layers, intermediate_size: inner, num_attention_heads: 16, num_key_value_heads: 16, rms_norm_eps: 1e-5,
                   vocab_size: vocabulary, max_position_embeddings: 4096, rope_theta: 10000, tie_word_embeddings: false };
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
  writeFileSync(join(folder, "tokenizer_config.json"), JSON.stringify({ eos_token: "<|endoftext|>", unk_token: "<unk>", add_bos_token: false }));
  copyFileSync(pieces, join(folder, "tokenizer.model"));
  const text = Buffer.from(JSON.stringify(header));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(text.length));
  const numbers = Buffer.alloc(1 << 20);
  for (let i = 0, state = 1; i < numbers.length; i += 2) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    numbers.writeUInt16LE(0x3c00 | (state >>> 31 << 15) | (state >>> 16 & 0xff), i);
  }
  const file = openSync(join(folder, "model.safetensors"), "w");
  writeSync(file, size), writeSync(file, text);
  for (let left = bytes; left > 0; left -= numbers.length) writeSync(file, numbers, 0, Math.min(left, numbers.length));
  closeSync(file);
  return folder;
}

async function importing(folder, quantisation) {
  const child = spawn(bin("pensieve"), ["import", folder, "--name", `made-${quantisation}`, "--models", join(scratch, "models"), "--quant", quantisation], { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr.on("data", (data) => (said += data));
  const sampler = new Sampler(child.pid, 5, anonymousOf);
  const code = await new Promise((resolve) => child.on("exit", resolve));
  const { peak, samples } = sampler.stop();
  assert.equal(code, 0, said);
  assert.ok(samples > 5, "it was looked at while it ran");
  rmSync(join(scratch, "models"), { recursive: true });
  return peak;
}

const [small, large] = [checkpoint(2), checkpoint(12)];
const sizeOf = (folder) => statSync(join(folder, "model.safetensors")).size;

// Two tensors of the quantiser's in float32 and its results, whatever the number of layers.
for (const [quantisation, most] of [["q8_0", 16e6], ["q4_k_m", 64e6]]) test(`--quant ${quantisation}: memory does not grow with the model`, { timeout: 300_000 }, async () => {
  const [less, more] = [await importing(small, quantisation), await importing(large, quantisation)];
  console.log(`# ${quantisation}: ${mb(sizeOf(small))} of weights took ${mb(less)}, ${mb(sizeOf(large))} took ${mb(more)}`);
  assert.ok(more <= less + 4e6, `${mb(more)} for the large one, ${mb(less)} for the small one`);
  assert.ok(more <= most, `${mb(more)}, at most ${mb(most)} were expected`);
});
