"""`pensieve import` against MLX itself: the same checkpoint in MLX and, imported, in our engine.

    python3 mlx_import.py BUILD/bin MODELS/pensieve-demo.gguf [PART]

PART: only the models whose names hold it.

The trained demo model and small random ones of every family become checkpoint folders (bf16, and affine groups of 4 and 8
bits, made by mlx-lm). Each is imported; every weight of the GGUF is compared with MLX's own dequantisation, the tokenizer
with its source, and the logits and greedy tokens of both engines with each other. MLX computes in float32. Byte-level
tokenizers of every way of cutting that the import knows are trained here, imported, and compared on texts made to be cut.
"""

import json
import random
import shutil
import subprocess
import sys
import tempfile
import unicodedata
from pathlib import Path

import gguf
import mlx.core as mx
import mlx.nn as nn
import numpy as np
import sentencepiece
from mlx.utils import tree_flatten, tree_map
from mlx_lm.utils import load_model, quantize_model, save_config, save_model

BIN, DEMO = Path(sys.argv[1]), Path(sys.argv[2])
PART = sys.argv[3] if len(sys.argv) > 3 else ""
ROOT = Path(__file__).resolve().parents[2]
WORK = Path(tempfile.mkdtemp(prefix="pensieve-mlx-"))
PIECES = ROOT / "models/training/tokenizer.model"
failures = 0


def check(good, text):
    global failures
    failures += not good
    print(("ok    " if good else "FAIL  ") + text, flush=True)


def run(name, *arguments, **more):
    return subprocess.run([str(BIN / name), *map(str, arguments)], capture_output=True, **more)


# ---- checkpoints

def demo_checkpoint(folder):
    """The trained model as MLX has it: dequantised from the GGUF, rounded to bf16."""
    reader = gguf.GGUFReader(DEMO)
    field = lambda key: reader.fields[key].contents()
    names = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "attn_norm": "input_layernorm", "attn_qkv": "self_attn.qkv_proj",
             "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm", "ffn_up": "mlp.gate_up_proj", "ffn_down": "mlp.down_proj", "output": "lm_head"}
    weights = {}
    for tensor in reader.tensors:
        parts = tensor.name.split(".")
        name = names[parts[0]] if parts[0] != "blk" else f"model.layers.{parts[1]}.{names[parts[2]]}"
        weights[name + ".weight"] = mx.array(gguf.dequantize(tensor.data, tensor.tensor_type)).astype(mx.bfloat16)
    folder.mkdir()
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    config = {"model_type": "phi3", "hidden_size": field("phi3.embedding_length"), "num_hidden_layers": field("phi3.block_count"),
              "intermediate_size": field("phi3.feed_forward_length"), "num_attention_heads": field("phi3.attention.head_count"),
              "num_key_value_heads": field("phi3.attention.head_count_kv"), "rms_norm_eps": field("phi3.attention.layer_norm_rms_epsilon"),
              "rope_theta": field("phi3.rope.freq_base"), "max_position_embeddings": field("phi3.context_length"), "vocab_size": len(field("tokenizer.ggml.tokens")),
              "tie_word_embeddings": "lm_head.weight" not in weights}
    (folder / "config.json").write_text(json.dumps(config))
    shutil.copy(PIECES, folder)
    template = (ROOT / "models/training/template.jinja").read_text().rstrip("\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>", "unk_token": "<unk>", "add_bos_token": False, "chat_template": template}))


BASE = {"hidden_size": 256, "num_hidden_layers": 2, "intermediate_size": 512, "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5,
        "vocab_size": 4096, "max_position_embeddings": 4096, "rope_theta": 10000.0, "tie_word_embeddings": False}
rising = [1 + i * 0.4 for i in range(32)]
gentle = [1 + i * 0.02 for i in range(32)]
FAMILIES = {
    "llama": {"model_type": "llama"},
    "llama3": {"model_type": "llama", "tie_word_embeddings": True, "rope_theta": 500000.0,
               "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 512}},
    "mistral": {"model_type": "mistral", "head_dim": 32},
    "qwen2": {"model_type": "qwen2", "rope_theta": 1000000.0},
    "qwen3": {"model_type": "qwen3", "rope_theta": 1000000.0, "head_dim": 128, "tie_word_embeddings": True},
    "phi3": {"model_type": "phi3"},
    "phi3-partial": {"model_type": "phi3", "partial_rotary_factor": 0.75},
    "phi3-long": {"model_type": "phi3", "max_position_embeddings": 2048, "original_max_position_embeddings": 256,
                  "rope_scaling": {"type": "longrope", "long_factor": rising, "short_factor": gentle}},
}


def random_checkpoint(folder, config):
    """Weights of the size that trained ones have, so that errors show in the logits."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    model, _ = load_model(folder, lazy=True, strict=False)
    mx.random.seed(5)

    def value(path, old):
        if path.endswith("norm.weight"):
            return 1 + 0.1 * mx.random.normal(old.shape)
        return mx.random.normal(old.shape) / (1 if len(old.shape) == 1 else old.shape[-1] ** 0.5)

    weights = {path: value(path, old).astype(mx.bfloat16) for path, old in tree_flatten(model.parameters())}
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    if config["model_type"].startswith("qwen"):
        byte_level_tokenizer(folder)
    else:
        shutil.copy(PIECES, folder)
        (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>", "unk_token": "<unk>", "add_bos_token": False}))


# ---- byte-level tokenizers

CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
WORD = r"[^\r\n\p{L}\p{N}]?"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
# As the tokenizer.json files of these families write them. gpt-2: no expression, the library's own.
CUTS = {
    "qwen2": rf"{CONTRACTIONS}|{WORD}\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{SPACES}",
    "llama-bpe": rf"{CONTRACTIONS}|{WORD}\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{SPACES}",
    "tekken": rf"{WORD}{UPPER}*{LOWER}+|{WORD}{UPPER}+{LOWER}*|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{SPACES}",
    "gpt-4o": rf"{WORD}{UPPER}*{LOWER}+{CONTRACTIONS}?|{WORD}{UPPER}+{LOWER}*{CONTRACTIONS}?|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{SPACES}",
    "gpt-2": None,
}


def texts_to_cut(count, seed):
    """Where ways of cutting differ: case, digits, contractions, marks, runs of spaces and line ends, scripts, combining marks."""
    draw = random.Random(seed)
    bits = ["hello", "World", "HTTPServer", "camelCase", "don't", "I'LL", "they've", "'s", "O'Neil", "x", "7", "42", "1234567", "3.14", "1,000", " ", "  ", "    ", "\t", "\n", "\n\n", "\r\n", " \n ",
            "://", "a/b/", "!?", "...", "--", "_name_", "{}", "(x)", "#!", "ünï", "Straße", "ÀÉÎ", "e\u0301", "漢字", "かな", "мир", "Мир", "שלום", "مرحبا", "हिन्दी", "ǅ", "٣٤", "½", "🙂", "👩‍💻", "\u00a0", "\u200b"]
    return ["".join(draw.choice(bits) + draw.choice(["", "", " "]) for _ in range(draw.randint(1, 14))) for _ in range(count)]


CORPUS = [p.read_text() for p in sorted((ROOT / "docs").glob("*.md"))] + texts_to_cut(2000, 1)


def byte_level_tokenizer(folder, cut="qwen2"):
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    tokenizer = Tokenizer(models.BPE(ignore_merges=cut in ("llama-bpe", "tekken")))
    if CUTS[cut] is None:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(CUTS[cut]), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=3000, special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>", "chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}"}))


def quantised(source, bits, group):
    folder = source.with_name(f"{source.name}-{bits}bit-{group}")
    model, config = load_model(source)
    model, config = quantize_model(model, config, group, bits)
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    save_model(folder, model)
    save_config(config, folder / "config.json")
    return folder


# ---- comparing

def exact(folder, more=None):
    """The model in MLX with every parameter that is not packed in float32."""
    model, _ = load_model(folder, model_config=more or {})
    model.update(tree_map(lambda p: p.astype(mx.float32) if mx.issubdtype(p.dtype, mx.floating) else p, model.parameters()))
    return model


def mlx_logits(model, ids):
    return np.array(model(mx.array([ids]))[0].astype(mx.float32))


def our_logits(path, ids, context, greedy=0):
    done = run("pensieve-logits", path, "--context", context, "--greedy", greedy, "--threads", 1, input=" ".join(map(str, ids)).encode())
    assert done.returncode == 0, done.stderr.decode()
    last = done.stderr.decode().strip().splitlines()
    rows = len(ids) + greedy
    return np.frombuffer(done.stdout, np.float32).reshape(rows, -1), [int(i) for i in last[-1].split()] if greedy and last else []


def imported(folder, name, *more):
    done = run("pensieve", "import", folder, "--name", name, "--models", WORK / "models", "--json", *more)
    if done.returncode != 0:
        check(False, f"{name}: {done.stderr.decode().strip()}")
        return None
    return json.loads(done.stdout)


def undo_pairs(rows, heads):
    return rows.reshape(heads, rows.shape[0] // heads // 2, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def compare_weights(name, folder, report):
    """Every number of the GGUF against MLX's: the largest difference, which the import must have told."""
    config = json.loads((folder / "config.json").read_text())
    parts = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head", "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
             "attn_qkv": "self_attn.qkv_proj", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
             "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm", "ffn_up": "mlp.gate_up_proj" if config["model_type"] == "phi3" else "mlp.up_proj",
             "ffn_gate": "mlp.gate_proj", "ffn_down": "mlp.down_proj"}
    model = exact(folder)
    modules = dict(model.named_modules())
    worst, kinds = 0.0, {}
    for tensor in gguf.GGUFReader(report["path"]).tensors:
        piece = tensor.name.split(".")
        if piece[0].startswith("rope"):
            continue
        key = parts[piece[0]] if piece[0] != "blk" else f"model.layers.{piece[1]}.{parts[piece[2]]}"
        module = modules[key]
        if piece[-1] == "bias":
            meant = np.array(module.bias)
        elif hasattr(module, "scales"):
            meant = np.array(mx.dequantize(module.weight, module.scales, module.biases, module.group_size, module.bits))
        else:
            meant = np.array(module.weight)
        written = gguf.dequantize(tensor.data, tensor.tensor_type).reshape(meant.shape)
        if report["architecture"] == "llama" and piece[-2] in ("attn_q", "attn_k"):
            written = undo_pairs(written, config["num_attention_heads" if piece[-2] == "attn_q" else "num_key_value_heads"])
        worst = max(worst, float(np.abs(written.astype(np.float64) - meant).max()))
        kinds[tensor.tensor_type.name] = kinds.get(tensor.tensor_type.name, 0) + 1
    # Both round the product differently in the last bit of float32.
    check(worst <= report["error_max"] + 1e-6, f"{name}: largest weight difference {worst:.3g} (import says {report['error_max']:.3g}); {kinds}, overflows {report['overflows']}")
    return worst


def compare_logits(name, folder, report, ids, context, limit, more=None):
    meant = mlx_logits(exact(folder, more), ids)
    got, _ = our_logits(report["path"], ids, context)
    error = np.abs(got - meant)
    spread = float(meant.std())
    same = float((got.argmax(-1) == meant.argmax(-1)).mean())
    check(error.max() <= limit * spread, f"{name}: {len(ids)} tokens: logits differ by at most {error.max():.4f}, {error.mean():.5f} on average (spread {spread:.2f}); the same best token {same:.1%}")


def compare_greedy(name, folder, report, prompts, count, limit):
    """Our greedy answers, read by MLX: is each token MLX's own choice, or as good but for rounding?"""
    model = exact(folder)
    same = tokens = 0
    worst = 0.0
    for ids in prompts:
        _, ours = our_logits(report["path"], ids, 1024, greedy=count)
        logits = mlx_logits(model, ids + ours)[len(ids) - 1:-1]
        chosen = logits[np.arange(count), ours]
        worst = max(worst, float((logits.max(-1) - chosen).max() / logits.std()))
        tokens += int((logits.argmax(-1) == ours).sum())
        same += bool((logits.argmax(-1) == ours).all())
    check(worst <= limit, f"{name}: {same} of {len(prompts)} greedy answers of {count} tokens are MLX's own, {tokens} of {len(prompts) * count} tokens; "
                          f"where not, MLX's best was better by at most {worst:.4f} of the spread")


def worker_tokens(path, texts):
    lines = "".join(json.dumps({"cmd": "count", "id": i + 1, "wants_tokens": True, "messages": [{"role": "user", "content": t}]}) + "\n" for i, t in enumerate(texts))
    done = run("pensieve-worker", "--model", path, "--context", 512, "--slots", 1, "--threads", 1, "--chat-template", "{{ messages[0]['content'] }}", input=lines.encode())
    counted = [json.loads(line) for line in done.stdout.decode().splitlines()]
    return [r["tokens"] for r in sorted((r for r in counted if r["event"] == "counted"), key=lambda r: r["id"])]


def compare_cutting(name, folder, report):
    """Exactly, but for texts with combining marks (and ǅ, the one title-case letter here) where the import says that those are cut otherwise."""
    from tokenizers import Tokenizer
    source = Tokenizer.from_file(str(folder / "tokenizer.json"))
    texts = TEXTS + texts_to_cut(400, 2)
    ours = worker_tokens(report["path"], texts)
    different = [t for t, ids in zip(texts, ours) if ids != source.encode(t).ids]
    marked = [t for t in texts if any(unicodedata.category(c)[0] == "M" or unicodedata.category(c) == "Lt" for c in t)]
    wrong = [t for t in different if not (report["cuts_marks_otherwise"] and t in marked)]
    check(len(ours) == len(texts) and not wrong, f"{name}: {len(texts) - len(different)} of {len(texts)} texts are cut as the source cuts them, {len(different)} of {len(marked)} with combining marks or ǅ are not" + (f"; not {wrong[0]!r}" if wrong else ""))
    check(report["cuts_marks_otherwise"] == bool(different), f"{name}: and the import says so")


TEXTS = ["Hello there!", "They're 12345 tokens.", "def f(x):\n\treturn x  + 1\n\n", "Ünïcödé 漢字 🙂", "  two spaces"]


def main():
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(PIECES))
    random_ids = [int(i) for i in np.random.default_rng(3).integers(10, 590, 60)]

    if PART in "demo":
        demo = WORK / "demo"
        demo_checkpoint(demo)
        questions = ["Hello! Who are you?", "How do I connect Claude Code?", "What is 7 plus 5?", "Count from 3 to 12.", "Repeat exactly: blue sky over the hill", "Which day comes after Monday?",
                     "How do I pull a model?", "What does error 529 mean?"]
        marker = lambda text: pieces.piece_to_id(text)
        prompts = [[marker("<|user|>"), *pieces.encode("\n" + q), marker("<|end|>"), *pieces.encode("\n"), marker("<|assistant|>"), *pieces.encode("\n")] for q in questions]
        for variant, limit in ((demo, 0.05), (quantised(demo, 4, 64), 0.15), (quantised(demo, 8, 64), 0.15)):
            report = imported(variant, variant.name)
            if report is None:
                continue
            worst = compare_weights(variant.name, variant, report)
            if "4bit" in variant.name:
                check(worst <= 1e-6, f"{variant.name}: four-bit groups are written value for value")
            compare_logits(variant.name, variant, report, prompts[1], 1024, limit)
            compare_greedy(variant.name, variant, report, prompts, 40, limit)
            check(worker_tokens(report["path"], TEXTS) == [pieces.encode(t) for t in TEXTS], f"{variant.name}: the tokenizer cuts as its source does")
        # Eight-bit groups kept as halves show that they are read right, and that what Q8_0 loses is its rounding.
        eight = WORK / "demo-8bit-64"
        report = imported(eight, "demo-8bit-f16", "--quant", "f16")
        if report is not None:
            compare_logits("demo-8bit --quant f16", eight, report, prompts[1], 1024, 0.02)

        for quantisation in ("q8_0", "f16", "q4_k_m"):
            report = imported(demo, f"demo-{quantisation}".replace("_", "-"), "--quant", quantisation)
            if report is not None:
                compare_logits(f"demo --quant {quantisation}", demo, report, prompts[1], 1024, 1.5 if quantisation == "q4_k_m" else 0.15)

    for name, more in FAMILIES.items():
        if PART not in name:
            continue
        folder = WORK / name
        random_checkpoint(folder, BASE | more)
        for variant, limit in ((folder, 0.1), (quantised(folder, 4, 64), 0.25)):
            report = imported(variant, variant.name)
            if report is None:
                continue
            compare_weights(variant.name, variant, report)
            if name != "phi3-long":
                compare_logits(variant.name, variant, report, random_ids, 512, limit)
                continue
            # MLX knows the long factors only. Our engine takes them when the context is longer than the original one;
            # below it takes the short ones, so there MLX is given those as its long ones.
            long_ids = (random_ids * 6)[:340]
            compare_logits(variant.name + " long", variant, report, long_ids, 1024, limit)
            short = {"rope_scaling": more["rope_scaling"] | {"long_factor": gentle}}
            compare_logits(variant.name + " short", variant, report, random_ids, 256, limit, short)
        if name.startswith("qwen"):
            compare_cutting(name, folder, report)

    for cut in CUTS:
        if PART not in f"cut-{cut}":
            continue
        folder = WORK / f"cut-{cut}"
        random_checkpoint(folder, BASE | {"model_type": "llama"})
        (folder / "tokenizer.model").unlink()
        byte_level_tokenizer(folder, cut)
        report = imported(folder, folder.name)
        if report is not None:
            compare_cutting(folder.name, folder, report)
    return 1 if failures else 0


if __name__ == "__main__":
    code = main()
    shutil.rmtree(WORK)
    print("all agree" if code == 0 else f"{failures} checks failed")
    sys.exit(code)
