// A load generator that is not ours (GuideLLM, from PyPI) asks the same two servers through /v1/chat/completions, in turn,
// so that our own generator's figures (compare.mjs) can be held against somebody else's: docs/benchmarks.md.
// GuideLLM brings PyTorch, some 6 GB, into build/bench-guidellm: neither `make bench` nor CI runs this.
//
//   node bench/cross_check.mjs --model build/bench/small.gguf
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { median, root, start } from "./servers.mjs";

const { values: options } = parseArgs({
  options: {
    model: { type: "string" },
    words: { type: "string", default: "64" },   // Tokens of each prompt, as GuideLLM counts them.
    tokens: { type: "string", default: "128" }, // Of each answer.
    rounds: { type: "string", default: "3" },
    streams: { type: "string", default: "1,4" },
    context: { type: "string", default: "8192" },
    out: { type: "string" },
  },
});
const slots = 4;
const home = join(root, "build/bench-guidellm");
const python = join(home, "venv/bin/python");
const quiet = { stdio: ["ignore", "ignore", "inherit"] };

if (!existsSync(join(home, "tokenizer"))) {
  mkdirSync(home, { recursive: true });
  console.error("installing GuideLLM (some 6 GB) ...");
  execFileSync("python3", ["-m", "venv", join(home, "venv")], quiet);
  execFileSync(join(home, "venv/bin/pip"), ["install", "--quiet", "--disable-pip-version-check", "guidellm"], quiet);
  // It makes its prompts with a tokenizer; ours lies in the GGUF, so it gets one made of our own documents.
  writeFileSync(join(home, "tokenizer.py"), `
import sys
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast
made = Tokenizer(models.BPE())
made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
made.train(sys.argv[2:], trainers.BpeTrainer(vocab_size=4000, special_tokens=["<eos>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<eos>").save_pretrained(sys.argv[1])
`);
  const documents = readdirSync(join(root, "docs")).filter((name) => name.endsWith(".md")).map((name) => join(root, "docs", name));
  execFileSync(python, [join(home, "tokenizer.py"), join(home, "tokenizer"), ...documents], quiet);
}

function load(server, streams, seed) {
  const out = join(home, "out.json");
  execFileSync(join(home, "venv/bin/guidellm"), [
    "run", "--disable-console", "--backend", `kind=openai_http,target=${server.url},model=bench`, "--profile", `kind=concurrent,streams=${streams}`,
    "--constraint", `kind=max_requests,count=${streams * 2}`, "--tokenizer", `kind=hf_auto,model=${join(home, "tokenizer")}`,
    "--data", `kind=synthetic_text,prompt_tokens=${options.words},output_tokens=${options.tokens}`, "--seed", `kind=static,value=${seed}`, "--output", `kind=json,path=${out}`,
  ], { ...quiet, env: { ...process.env, HF_HUB_OFFLINE: "1", GUIDELLM__LOGGING__CONSOLE_LOG_LEVEL: "ERROR" } });
  const [{ metrics }] = JSON.parse(readFileSync(out, "utf8")).benchmarks;
  const of = (name) => metrics[name].successful;
  if (of("output_token_count").count !== streams * 2) throw new Error(`${server.name}: ${of("output_token_count").count} of ${streams * 2} requests were answered`);
  return { tokens: of("output_token_count").mean, rate: (1000 / of("inter_token_latency_ms").mean) * streams, ttft: of("time_to_first_token_ms").median };
}

const spread = (list) => `${Math.min(...list).toFixed(1)}-${Math.max(...list).toFixed(1)}`;
const servers = [
  await start("pensieve", options.model, ["--slots", String(slots), "--context", String(Number(options.context) / slots), "--store", "off"]),
  await start("llama-server", options.model, ["-c", options.context, "--parallel", String(slots)]),
];
const report = { model: options.model, rows: [] };
try {
  for (const server of servers) load(server, 1, 1);
  for (const streams of options.streams.split(",").map(Number)) {
    const figures = { pensieve: [], "llama-server": [] };
    for (let round = 0; round < Number(options.rounds); ++round) {
      for (const server of round % 2 === 0 ? servers : [...servers].reverse()) figures[server.name].push(load(server, streams, 10 * streams + round));
    }
    const ratios = figures.pensieve.map((mine, i) => mine.rate / figures["llama-server"][i].rate);
    for (const [name, list] of Object.entries(figures)) {
      console.log(`${streams} streams  ${name.padEnd(13)} decode ${median(list.map((f) => f.rate)).toFixed(1).padStart(8)} tokens/s (${spread(list.map((f) => f.rate))})  TTFT ${median(list.map((f) => f.ttft)).toFixed(0)} ms  ${median(list.map((f) => f.tokens)).toFixed(0)} tokens each`);
    }
    console.log(`${streams} streams  ratio of decode rates, median ${median(ratios).toFixed(2)} (${Math.min(...ratios).toFixed(2)}-${Math.max(...ratios).toFixed(2)})`);
    report.rows.push({ streams, ratios, figures });
  }
} finally {
  for (const server of servers) server.child.kill("SIGKILL");
}
if (options.out) writeFileSync(options.out, JSON.stringify(report, null, 1) + "\n");
