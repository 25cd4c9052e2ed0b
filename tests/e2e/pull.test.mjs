// `pensieve pull` and the catalogue against a hub on this machine that behaves, and one that does not.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer, request as httpRequest } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { Hub } from "./hub.mjs";
import { bin } from "./programs.mjs";
import { ask, Server } from "./server.mjs";
import { Worker } from "./worker.mjs";

const work = mkdtempSync(join(tmpdir(), "pensieve-pull-"));
after(() => rmSync(work, { recursive: true, force: true }));
const repository = "someone/Model-GGUF";

let whole; // 12 MB: a dozen chunks of 1 MiB.
let small;
before(() => {
  for (const [shape, quant] of [["tiny", "f16"], ["tiny-qwen3", "q4_k"]]) execFileSync(bin("pensieve-make-model"), [shape, join(work, `${shape}.gguf`), "--quant", quant], { stdio: "ignore" });
  whole = readFileSync(join(work, "tiny.gguf"));
  small = readFileSync(join(work, "tiny-qwen3.gguf"));
  assert.ok(whole.length > 6 << 20);
});

let hub;
let models;
let number = 0;
beforeEach(async () => {
  models = join(work, `models-${++number}`);
  hub = await Hub.start({ [repository]: { "README.md": Buffer.from("hello"), "Model-Q4_K_M.gguf": small, "Model-F16.gguf": whole } });
});
afterEach(() => hub.stop());

function start(command, { env = {} } = {}) {
  const child = spawn(bin("pensieve"), [...command, "--models", models], {
    env: { ...process.env, HF_ENDPOINT: hub.url, HF_TOKEN: "", no_proxy: "*", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  child.text = "";
  child.stdout.on("data", (data) => (child.text += data));
  child.stderr.on("data", (data) => (child.text += data));
  child.done = new Promise((resolve) => child.on("close", (code, signal) => resolve({ code, signal, text: child.text })));
  return child;
}
const run = (command, options) => start(command, options).done;
const pull = (what, more = [], options = {}) => run(["pull", what, "--chunk", "1", "--stall", "1", ...more], options);
const visible = () => (existsSync(models) ? readdirSync(models).filter((name) => !name.startsWith(".")) : []);
const same = (path, bytes) => assert.ok(readFileSync(path).equals(bytes), `${path} has other bytes`);

describe("pull", () => {
  test("brings a file in parallel ranges, checked, and lists, shows, serves and removes it", async () => {
    const result = await pull(`hf:${repository}:F16`, ["--name", "mine"]);
    assert.equal(result.code, 0, result.text);
    same(join(models, "mine", "Model-F16.gguf"), whole);
    const ranges = hub.seen.filter((r) => r.where === "cdn" && r.range !== "bytes=0-0");
    assert.equal(ranges.length, Math.ceil(whole.length / (1 << 20)));
    // The hub is asked for the list and one address, not once a range.
    assert.equal(hub.seen.filter((r) => r.where === "hub").length, 2);
    assert.match(result.text, /100 %.*\/s/);

    const list = JSON.parse((await run(["ls", "--json"])).text);
    assert.equal(list.models[0].name, "mine");
    assert.equal(list.models[0].architecture, "phi3");
    assert.equal(list.models[0].files[0].sha256, createHash("sha256").update(whole).digest("hex"));
    assert.equal((await run(["alias", "claude-test-*", "mine"])).code, 0);
    assert.match((await run(["ls"])).text, /mine .*phi3.*\nclaude-test-\* -> mine/s);
    assert.match((await run(["show", "claude-test-1"])).text, /^mine\n/);
    // Whether it fits is the sum that `plan` makes and `serve` keeps to.
    for (const [memory, fits] of [["4G", true], ["60M", false]]) {
      const [listed] = JSON.parse((await run(["ls", "--json", "--memory", memory])).text).models;
      assert.equal(listed.fits, fits, memory);
      assert.equal(JSON.parse((await run(["show", "mine", "--json", "--memory", memory])).text).fits, fits);
      if (fits) {
        const { budget } = JSON.parse(execFileSync(bin("pensieve"), ["plan", listed.path, "--json", "--memory", memory], { encoding: "utf8" }));
        for (const what of ["context_tokens", "slots", "kv_type"]) assert.equal(listed.budget[what], budget[what]);
      }
      if (!fits) assert.match(listed.why_not, /the least that it needs:[\s\S]*--memory \d+M would do/);
      assert.match((await run(["ls", "--memory", memory])).text, fits ? /mine .* fits: \d+ conversations of \d+ tokens/ : /mine .* does not fit/);
    }
    const wrong = await run(["ls", "--memory", "lots"]);
    assert.equal(wrong.code, 2);
    assert.match(wrong.text, /--memory: 'lots'/);

    const server = await Server.start({ modelFile: "claude-test-1", args: ["--models", models, "--context", "512", "--slots", "1", "--threads", "1"] });
    const reply = await server.post(ask("hello", { max_tokens: 4 }));
    assert.equal(reply.status, 200);
    await server.stop();

    const before = hub.seen.length;
    assert.match((await pull(`hf:${repository}:F16`, ["--name", "mine"])).text, /is there already/);
    assert.ok(!hub.seen.slice(before).some((r) => r.where === "cdn"));
    assert.equal((await pull(`hf:${repository}`, ["--name", "mine"])).code, 2, "another model under a taken name");
    assert.equal((await run(["rm", "claude-test-1"])).code, 2);
    assert.equal((await run(["rm", "mine"])).code, 0);
    assert.deepEqual(visible(), ["aliases.json"]);
    assert.equal((await run(["show", "claude-test-1"])).code, 1);
  });

  test("takes the usual quantisation and makes a name", async () => {
    hub.pages = 1;
    const result = await pull(`hf:${repository}`);
    assert.equal(result.code, 0, result.text);
    same(join(models, "model-q4_k_m", "Model-Q4_K_M.gguf"), small);
  });

  test("brings all parts of a split model", async () => {
    hub.files["a/b"] = { "Q8_0/m-00001-of-00002.gguf": small, "Q8_0/m-00002-of-00002.gguf": whole };
    const result = await pull("hf:a/b");
    assert.equal(result.code, 0, result.text);
    same(join(models, "b-q8_0", "m-00001-of-00002.gguf"), small);
    same(join(models, "b-q8_0", "m-00002-of-00002.gguf"), whole);
  });

  test("killed in the middle it goes on where it was", async () => {
    let served = 0;
    let enough;
    const stuck = new Promise((resolve) => (enough = resolve));
    hub.onCdn = (request) => {
      if (request.headers.range === "bytes=0-0" || ++served <= 5) return false;
      if (served === 9) enough(); // Four hang, so five are written.
      return true;
    };
    const child = start(["pull", `hf:${repository}:F16`, "--name", "mine", "--chunk", "1"]);
    await stuck;
    child.kill("SIGKILL");
    await child.done;
    assert.deepEqual(visible(), []);
    const partial = join(models, ".partial", "mine");
    assert.ok(existsSync(join(partial, "Model-F16.gguf.part.state")));
    hub.onCdn = () => false;
    hub.seen.length = 0;
    assert.equal((await pull(`hf:${repository}:F16`, ["--name", "mine"])).code, 0);
    same(join(models, "mine", "Model-F16.gguf"), whole);
    const again = hub.seen.filter((r) => r.where === "cdn" && r.range !== "bytes=0-0").length;
    assert.equal(again, Math.ceil(whole.length / (1 << 20)) - 5);
    assert.deepEqual(readdirSync(join(models, "mine")).sort(), ["Model-F16.gguf", "model.json"]);
  });

  test("half a file of another content is not used", async () => {
    let served = 0;
    hub.onCdn = (request, response) => {
      if (request.headers.range === "bytes=0-0" || ++served <= 5) return false;
      response.writeHead(400).end();
      return true;
    };
    assert.equal((await pull(`hf:${repository}:F16`, ["--name", "mine"])).code, 1);
    const changed = Buffer.from(whole);
    changed[whole.length - 5] ^= 1;
    changed[4000000] ^= 1;
    hub.files[repository]["Model-F16.gguf"] = changed;
    hub.onCdn = () => false;
    const result = await pull(`hf:${repository}:F16`, ["--name", "mine"]);
    assert.equal(result.code, 0, result.text);
    same(join(models, "mine", "Model-F16.gguf"), changed);
  });

  test("cut connections, 500, 503 and 429 are tried again", async () => {
    let served = 0;
    hub.onCdn = (request, response, bytes) => {
      if (request.headers.range === "bytes=0-0") return false;
      served += 1;
      if (served % 5 === 1) {
        // Half of what was asked for, then the line is cut.
        const [, begin, end] = /(\d+)-(\d+)/.exec(request.headers.range).map(Number);
        response.writeHead(206, { "content-range": `bytes ${begin}-${end}/${bytes.length}`, "content-length": end - begin + 1 });
        response.write(bytes.subarray(begin, begin + 1000), () => response.destroy());
        return true;
      }
      if (served === 3) return response.writeHead(429, { "retry-after": "0" }).end(), true;
      if (served === 4) return response.writeHead(503).end(), true;
      if (served === 7) return request.socket.destroy(), true;
      return false;
    };
    let asked = 0;
    hub.onHub = () => (++asked === 1 ? { status: 429, headers: { "retry-after": "0" } } : asked === 3 ? 500 : null);
    const result = await pull(`hf:${repository}:F16`);
    assert.equal(result.code, 0, result.text);
    same(join(models, "model-f16", "Model-F16.gguf"), whole);
  });

  test("a silent connection is cut and made anew", async () => {
    let hung = 0;
    hub.onCdn = (request) => request.headers.range !== "bytes=0-0" && hung++ < 2;
    const result = await pull(`hf:${repository}:F16`);
    assert.equal(result.code, 0, result.text);
    same(join(models, "model-f16", "Model-F16.gguf"), whole);
  });

  test("an expired address of the CDN is asked for again", async () => {
    let served = 0;
    hub.onCdn = (request, response) => {
      if (request.headers.range === "bytes=0-0" || ++served !== 4) return false;
      hub.signature += 1;
      response.writeHead(403).end("expired");
      return true;
    };
    const result = await pull(`hf:${repository}:F16`);
    assert.equal(result.code, 0, result.text);
    same(join(models, "model-f16", "Model-F16.gguf"), whole);
  });

  test("the token goes to the hub and not to the CDN", async () => {
    hub.onHub = (request) => (request.headers.authorization === "Bearer secret" ? null : 401);
    assert.equal((await pull(`hf:${repository}`, [], { env: { HF_TOKEN: "secret" } })).code, 0);
    for (const seen of hub.seen) assert.equal(seen.authorization, seen.where === "hub" ? "Bearer secret" : undefined);
  });

  test("a server without ranges will do", async () => {
    hub.ranges = false;
    const result = await pull(`hf:${repository}:F16`);
    assert.equal(result.code, 0, result.text);
    same(join(models, "model-f16", "Model-F16.gguf"), whole);
  });

  test("a plain address, with and without a hash", async () => {
    const address = hub.addressOf(repository, "Model-Q4_K_M.gguf");
    const result = await pull(address);
    assert.equal(result.code, 0, result.text);
    assert.match(result.text, /Nobody gave a hash/);
    same(join(models, "model-q4_k_m", "model-q4_k_m.gguf"), small);
    const hash = createHash("sha256").update(small).digest("hex");
    assert.equal((await pull(address, ["--name", "a", "--sha256", hash])).code, 0);
    const wrong = await pull(address, ["--name", "b", "--sha256", "0".repeat(64)]);
    assert.equal(wrong.code, 1);
    assert.match(wrong.text, /hash that was promised/);
    assert.deepEqual(visible().sort(), ["a", "model-q4_k_m"]);
  });

  test("a plain address without a hash: half a file under another ETag is not used", async () => {
    const address = hub.addressOf(repository, "Model-F16.gguf");
    let served = 0;
    hub.onCdn = (request, response) => request.headers.range !== "bytes=0-0" && ++served > 5 && (response.writeHead(400).end(), true);
    assert.equal((await pull(address, ["--name", "mine"])).code, 1);
    assert.ok(existsSync(join(models, ".partial", "mine")));
    const changed = Buffer.from(whole);
    for (let at = 100_000; at < changed.length; at += 1 << 20) changed[at] ^= 1; // In each chunk.
    hub.files[repository]["Model-F16.gguf"] = changed;
    hub.onCdn = () => false;
    const result = await pull(address, ["--name", "mine"]);
    assert.equal(result.code, 0, result.text);
    same(join(models, "mine", "model-f16.gguf"), changed);
  });

  test("a proxy is honoured, and so is no_proxy", async () => {
    const proxied = [];
    const proxy = createServer((request, response) => {
      proxied.push(request.url);
      const to = request.url.replace("http://hub.invalid", hub.url);
      const onward = httpRequest(to, { headers: request.headers }, (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
      });
      onward.end();
    });
    await new Promise((resolve) => proxy.listen(0, "127.0.0.1", resolve));
    const http_proxy = `http://127.0.0.1:${proxy.address().port}`;
    const result = await pull(`hf:${repository}`, [], { env: { HF_ENDPOINT: "http://hub.invalid", http_proxy, no_proxy: "", NO_PROXY: "" } });
    assert.equal(result.code, 0, result.text);
    same(join(models, "model-q4_k_m", "Model-Q4_K_M.gguf"), small);
    assert.equal(proxied.length, hub.seen.length, "the hub and the CDN, all through the proxy");
    assert.ok(proxied.some((url) => url.startsWith("http://hub.invalid/api/models/")));
    const before = proxied.length;
    assert.equal((await pull(`hf:${repository}`, ["--name", "direct"], { env: { http_proxy, no_proxy: "127.0.0.1" } })).code, 0);
    assert.equal(proxied.length, before);
    proxy.closeAllConnections();
    await new Promise((resolve) => proxy.close(resolve));
  });

  test("two pulls of one model do not meet", async () => {
    const waiting = [];
    hub.onCdn = (request, response, bytes) => request.headers.range !== "bytes=0-0" && (waiting.push([request, response, bytes]), true);
    const first = start(["pull", `hf:${repository}`]);
    while (waiting.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    const second = await pull(`hf:${repository}`);
    assert.equal(second.code, 1);
    assert.match(second.text, /another pull/);
    hub.onCdn = () => false;
    for (const held of waiting) hub.send(...held);
    assert.equal((await first.done).code, 0);
  });
});

// A checkpoint as MLX writes it: one layer of phi3 in bf16, the demo model's tokenizer.
function checkpoint() {
  const [width, inner, vocabulary] = [64, 128, 4096];
  const shapes = { "model.embed_tokens": [vocabulary, width], "model.norm": [width], "model.layers.0.input_layernorm": [width], "model.layers.0.post_attention_layernorm": [width],
    "model.layers.0.self_attn.qkv_proj": [2 * width, width], "model.layers.0.self_attn.o_proj": [width, width], "model.layers.0.mlp.gate_up_proj": [2 * inner, width], "model.layers.0.mlp.down_proj": [width, inner] };
  const header = {};
  let offset = 0;
  for (const [name, shape] of Object.entries(shapes)) {
    const bytes = shape.reduce((a, b) => a * b) * 2;
    header[`${name}.weight`] = { dtype: "BF16", shape, data_offsets: [offset, offset + bytes] };
    offset += bytes;
  }
  const data = Buffer.alloc(offset);
  for (let i = 0; i < offset; i += 2) data.writeUInt16LE(((i * 2654435761) >>> 24) % 2 === 0 ? 0x3e00 + ((i * 40503) & 0xff) : 0xbe00 + ((i * 30011) & 0xff), i);
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const config = { model_type: "phi3", hidden_size: width, num_hidden_layers: 1, intermediate_size: inner, num_attention_heads: 2, num_key_value_heads: 1, vocab_size: vocabulary,
    max_position_embeddings: 512, rms_norm_eps: 1e-5, tie_word_embeddings: true };
  return {
    "README.md": Buffer.from("a checkpoint"),
    "config.json": Buffer.from(JSON.stringify(config)),
    "model.safetensors": Buffer.concat([length, text, data]),
    "tokenizer.model": readFileSync(new URL("../../models/training/tokenizer.model", import.meta.url)),
    "tokenizer_config.json": Buffer.from(JSON.stringify({ eos_token: "<|endoftext|>", chat_template: "{% for m in messages %}{{ m.content }}{% endfor %}" })),
  };
}

describe("pull of a checkpoint", () => {
  test("it is imported, and the worker loads it", async () => {
    hub.files["mlx/Tiny-4bit"] = checkpoint();
    for (const [name, more] of [["plain", []], ["mixed", ["--quant", "q4_k_m"]]]) {
      const result = await pull("hf:mlx/Tiny-4bit", ["--name", name, ...more]);
      assert.equal(result.code, 0, result.text);
      if (name === "plain") assert.match(result.text, /largest difference .*: 0; 0 numbers too large/);
      const worker = new Worker(bin("pensieve-worker"), ["--model", join(models, name, `${name}.gguf`), "--context", "512", "--slots", "1", "--threads", "1"]);
      const said = await worker.ready().then(() => worker.generate({ id: 1, messages: [{ role: "user", content: "hello" }], max_tokens: 4, temperature: 0 }));
      assert.equal(said.last.event, "finish");
      await worker.stop();
      assert.deepEqual(readdirSync(join(models, ".partial")).filter((n) => !n.endsWith(".lock")), []);
    }
    assert.deepEqual(visible().sort(), ["mixed", "plain"]);
    assert.match((await pull("hf:mlx/Tiny-4bit", ["--name", "plain"])).text, /is there already/);
  });

  test("one that cannot be imported leaves nothing to see", async () => {
    hub.files["mlx/Odd"] = { ...checkpoint(), "config.json": Buffer.from('{"model_type":"rwkv"}') };
    const result = await pull("hf:mlx/Odd");
    assert.notEqual(result.code, 0);
    assert.match(result.text, /model_type 'rwkv'/);
    assert.deepEqual(visible(), []);
    hub.files["mlx/None"] = { "README.md": Buffer.from("nothing") };
    assert.match((await pull("hf:mlx/None")).text, /no GGUF file and no checkpoint/);
  });
});

describe("pull refuses, and nothing becomes visible", () => {
  const cases = {
    "a wrong hash": [() => (hub.lies["Model-F16.gguf"] = { sha256: "1".repeat(64) }), "F16", /does not have the hash/],
    "a wrong size": [() => (hub.lies["Model-F16.gguf"] = { size: 77 }), "F16", /77 were promised/],
    "bytes flipped on the way": [() => (hub.onCdn = (request, response, bytes) => {
      hub.send(request, response, bytes, (part) => { const copy = Buffer.from(part); copy[0] ^= 1; return copy; });
      return true;
    }), "F16", /does not have the hash/],
    "another range than asked for": [() => (hub.onCdn = (request, response, bytes) => {
      if (request.headers.range === "bytes=0-0") return false;
      response.writeHead(206, { "content-range": `bytes 5-10/${bytes.length}`, "content-length": 6 }).end("abcdef");
      return true;
    }), "F16", /other bytes than it was asked for/],
    "a file that is no model": [() => (hub.files[repository]["Model-F16.gguf"] = Buffer.from("this is no model ".repeat(1000))), "F16", /not a usable GGUF file/],
    "a model cut short": [() => (hub.files[repository]["Model-F16.gguf"] = whole.subarray(0, 3 << 20)), "F16", /cut short/],
    "more than the disk has room for": [() => (hub.lies["Model-F16.gguf"] = { size: 16e12 }), "F16", /has [\d.]+ GB free, the model needs 16000\.00 GB more and 0\.27 GB are left alone/],
    "a size that no sum holds": [() => (hub.lies["Model-F16.gguf"] = { size: 2 ** 64 - 2048 }), "F16", /no sensible size/],
    "a size below none": [() => (hub.lies["Model-F16.gguf"] = { size: -5 }), "F16", /no sensible size/],
    "a path that leaves the folder": [() => (hub.lies["Model-F16.gguf"] = { path: "../../Model-F16.gguf" }), "F16", /does not write/],
    "a quantisation that is not there": [() => {}, "Q2_K", /has no 'Q2_K'; it has .*Q4_K_M/],
    "401": [() => (hub.onHub = () => 401), "F16", /HF_TOKEN/],
    "403": [() => (hub.onHub = () => 403), "F16", /terms are accepted/],
    "404": [() => (hub.onHub = () => 404), "F16", /nothing of that name/],
    "416": [() => (hub.onCdn = (request, response) => (request.headers.range === "bytes=0-0" ? false : (response.writeHead(416).end(), true))), "F16", /416/],
    "a tree that is no JSON": [() => (hub.onHub = () => ({ status: 200 })), "F16", /not a JSON list/],
    "redirects without end": [() => (hub.onHub = (request) => ({ status: 302, headers: { location: request.url } })), "F16", /redirect/],
    "a redirect to another protocol": [() => (hub.onHub = () => ({ status: 302, headers: { location: "file:///etc/passwd" } })), "F16", /[Pp]rotocol/],
  };
  for (const [name, [arrange, quantisation, words]] of Object.entries(cases)) {
    test(name, async () => {
      arrange();
      const result = await pull(`hf:${repository}:${quantisation}`);
      assert.notEqual(result.code, 0);
      assert.match(result.text, words);
      assert.doesNotMatch(result.text, /signature=/);
      assert.deepEqual(visible(), []);
    });
  }

  test("a hub that is not there", async () => {
    const result = await pull(`hf:${repository}`, [], { env: { HF_ENDPOINT: "http://127.0.0.1:1" } });
    assert.equal(result.code, 1);
    assert.match(result.text, /127\.0\.0\.1/);
  });

  test("names that are none", async () => {
    for (const [what, more, words] of [
      ["nonsense", [], /no known name/], ["hf:a", [], /form hf:OWNER/], ["hf:../x", [], /form hf:OWNER/], [`hf:${repository}`, ["--name", "../x"], /cannot be a model's name/],
      [`${hub.url}/file.bin`, [], /does not end in .gguf/], [`hf:${repository}`, ["--sha256", "xyz"], /64 hexadecimal/],
    ]) {
      const result = await pull(what, more);
      assert.notEqual(result.code, 0, what);
      assert.match(result.text, words);
    }
    const served = await new Promise((resolve) => {
      const child = spawn(bin("pensieve"), ["serve", "--port", "0", "--model", "absent", "--models", models], { stdio: ["ignore", "ignore", "pipe"] });
      let text = "";
      child.stderr.on("data", (data) => (text += data));
      child.on("close", (code) => resolve({ code, text }));
    });
    assert.equal(served.code, 2);
    assert.match(served.text, /--model: there is no model 'absent' here/);
  });
});

test("the known names are listed and shown", async () => {
  assert.match((await run(["pull"])).text, /qwen3-coder-30b-a3b .*GB/);
  assert.match((await run(["show", "phi-4-mini"])).text, /not here.*MIT/s);
});
