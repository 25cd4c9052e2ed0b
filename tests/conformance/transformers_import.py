"""`pensieve import` of an unquantised checkpoint against transformers: the same weights in both, logits and greedy tokens.

    python3 transformers_import.py BUILD/bin MODELS/pensieve-demo.gguf

The trained demo model is written as a Hugging Face checkpoint in bf16 (config.json, model.safetensors, tokenizer.model), imported,
and asked beside transformers, which computes in float32 on the CPU.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np
import sentencepiece
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

BIN, DEMO = Path(sys.argv[1]), Path(sys.argv[2])
PIECES = Path(__file__).resolve().parents[2] / "models/training/tokenizer.model"
QUESTIONS = ["Hello! Who are you?", "How do I connect Claude Code?", "What is 7 plus 5?", "Count from 3 to 12.", "Repeat exactly: blue sky over the hill", "What does error 529 mean?"]
NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "attn_norm": "input_layernorm", "attn_qkv": "self_attn.qkv_proj", "attn_output": "self_attn.o_proj",
         "ffn_norm": "post_attention_layernorm", "ffn_up": "mlp.gate_up_proj", "ffn_down": "mlp.down_proj", "output": "lm_head"}
GREEDY = 40
failures = 0


def check(good, text):
    global failures
    failures += not good
    print(("ok    " if good else "FAIL  ") + text, flush=True)


def write_checkpoint(folder):
    reader = gguf.GGUFReader(DEMO)
    field = lambda key: reader.fields[key].contents()
    weights = {}
    for tensor in reader.tensors:
        parts = tensor.name.split(".")
        name = NAMES[parts[0]] if parts[0] != "blk" else f"model.layers.{parts[1]}.{NAMES[parts[2]]}"
        weights[name + ".weight"] = torch.from_numpy(gguf.dequantize(tensor.data, tensor.tensor_type).copy()).to(torch.bfloat16)
    folder.mkdir()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = {"architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "hidden_size": field("phi3.embedding_length"), "num_hidden_layers": field("phi3.block_count"),
              "intermediate_size": field("phi3.feed_forward_length"), "num_attention_heads": field("phi3.attention.head_count"), "num_key_value_heads": field("phi3.attention.head_count_kv"),
              "rms_norm_eps": field("phi3.attention.layer_norm_rms_epsilon"), "rope_theta": field("phi3.rope.freq_base"), "max_position_embeddings": field("phi3.context_length"),
              "vocab_size": len(field("tokenizer.ggml.tokens")), "tie_word_embeddings": "lm_head.weight" not in weights, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    (folder / "config.json").write_text(json.dumps(config))
    shutil.copy(PIECES, folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>", "unk_token": "<unk>", "add_bos_token": False}))


def our_logits(path, ids, greedy):
    done = subprocess.run([BIN / "pensieve-logits", path, "--context", "1024", "--threads", "1", "--greedy", str(greedy)], input=" ".join(map(str, ids)).encode(), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    rows = np.frombuffer(done.stdout, np.float32).reshape(len(ids) + greedy, -1)
    return rows, [int(i) for i in done.stderr.decode().strip().splitlines()[-1].split()]


def main(work):
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(PIECES))
    marker = pieces.piece_to_id
    folder = work / "demo"
    write_checkpoint(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.eval()
    # bf16 as it is, and halves: there our engine rounds activations less.
    for quantisation, limit in (("", 0.05), ("f16", 0.02)):
        name = "demo" + ("-" + quantisation if quantisation else "")
        done = subprocess.run([BIN / "pensieve", "import", folder, "--name", name, "--models", work / "models", "--json", *(["--quant", quantisation] if quantisation else [])], capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        path = json.loads(done.stdout)["path"]
        worst = gap = 0.0
        same = whole = 0
        for question in QUESTIONS:
            ids = [marker("<|user|>"), *pieces.encode("\n" + question), marker("<|end|>"), *pieces.encode("\n"), marker("<|assistant|>"), *pieces.encode("\n")]
            got, said = our_logits(path, ids, GREEDY)
            with torch.no_grad():
                meant = model(torch.tensor([ids + said])).logits[0].numpy()
            spread = float(meant.std())
            worst = max(worst, float(np.abs(got - meant).max()) / spread)
            # Our answer, read by transformers: its own choice, or as good but for rounding?
            rows = meant[len(ids) - 1:-1]
            equal = rows.argmax(-1) == said
            same += int(equal.sum())
            whole += bool(equal.all())
            gap = max(gap, float((rows.max(-1) - rows[np.arange(GREEDY), said]).max()) / spread)
        check(worst <= limit, f"{name}: logits differ by at most {worst:.4f} of their spread over {len(QUESTIONS)} prompts and answers")
        check(gap <= limit, f"{name}: {whole} of {len(QUESTIONS)} greedy answers are transformers' own, {same} of {len(QUESTIONS) * GREEDY} tokens; where not, its best was better by {gap:.4f} of the spread")
    return 1 if failures else 0


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="pensieve-transformers-") as folder:
        code = main(Path(folder))
    print("all agree" if code == 0 else f"{failures} checks failed")
    sys.exit(code)
