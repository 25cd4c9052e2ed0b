"""Scores long-context skills of a GGUF by one forward pass a case, on a GPU.

    python3 forward.py MODEL.gguf [--cases 200] [--skills needle_4k,needle_16k,needle_30k,count_long] [--out scores.json]

The weights are those of the file, after quantisation, in the network of
model.py. A case is right when every token of the right answer, its end
included, is the most likely one after all that stands before it: that is what
greedy decoding would have written. evaluate.py asks the engine itself, but
takes hours on a CPU for contexts of this length.
"""

import argparse
import json
from pathlib import Path

import gguf
import torch
import torch.nn.functional as F

import curriculum
import evaluate
from chat import prompt
from model import Model, Shape


def load(path, device):
    reader = gguf.GGUFReader(path)
    value = lambda key: reader.fields["phi3." + key].parts[-1][0].item()
    shape = Shape(vocab=len(reader.fields["tokenizer.ggml.tokens"].data), layers=value("block_count"), width=value("embedding_length"),
                  heads=value("attention.head_count"), kv_heads=value("attention.head_count_kv"), inner=value("feed_forward_length"),
                  rope_base=value("rope.freq_base"), context=value("context_length"))
    names = {"token_embd.weight": "embed.weight", "output_norm.weight": "norm"}
    for i in range(shape.layers):
        for theirs, ours in (("attn_norm.weight", "attn_norm"), ("ffn_norm.weight", "ffn_norm"), ("attn_qkv.weight", "qkv.weight"),
                             ("attn_output.weight", "out.weight"), ("ffn_up.weight", "up.weight"), ("ffn_down.weight", "down.weight")):
            names[f"blk.{i}.{theirs}"] = f"blocks.{i}.{ours}"
    state = {names[t.name]: torch.from_numpy(gguf.quants.dequantize(t.data, t.tensor_type).copy()).float() for t in reader.tensors}
    model = Model(shape)
    model.load_state_dict(state)
    return model.to(device).eval()


@torch.no_grad()
def right(model, tokens, case, device):
    messages, tools, check = case
    head = tokens.encode(prompt(messages[:-1], tools))
    answer = tokens.encode(check) + [tokens.control["<|end|>"]]
    ids = torch.tensor([head + answer], device=device)
    with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
        hidden = model(ids[:, :-1])[0, len(head) - 1:]
        best = F.linear(hidden, model.embed.weight.to(hidden.dtype)).argmax(-1).tolist()
    return best == answer, len(head)


def main():
    a = argparse.ArgumentParser()
    a.add_argument("model")
    a.add_argument("--cases", type=int, default=200)
    a.add_argument("--skills", default="needle_4k,needle_16k,needle_30k,count_long")
    a.add_argument("--out")
    o = a.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, tokens, scores = load(o.model, device), curriculum.Tokens(Path(__file__).parent / "tokenizer.model"), {}
    for name in o.skills.split(","):
        results = [right(model, tokens, c, device) for c in evaluate.cases(name, o.cases)]
        good, longest = sum(r for r, _ in results), max(n for _, n in results)
        scores[name] = {"cases": o.cases, "right": good, "score": round(100 * good / o.cases, 1), "tokens_most": longest,
                        "tokens_mean": round(sum(n for _, n in results) / o.cases)}
        print(name, scores[name], flush=True)
        model._rope.clear()
    if o.out: Path(o.out).write_text(json.dumps(scores, indent=1) + "\n")


if __name__ == "__main__":
    main()
