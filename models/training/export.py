"""Writes a checkpoint as GGUF, then quantises it with the engine's own quantiser.

    python3 export.py CHECKPOINT OUT.gguf [--types f16|mix|q8_0|q6_k|...]

The quantiser is the engine's llama-quantize; types may differ per tensor:
--types q6_k,ffn_up=q4_k is q6_k everywhere but in ffn_up.
"""

import argparse
from pathlib import Path

import gguf
import numpy as np
import sentencepiece
import torch

import engine
from chat import CONTROL, MARKERS

HERE = Path(__file__).parent
# What ships: every byte of the 16 MB is used where it helps most.
MIX = {"token_embd": "q6_k", "attn_qkv": "q6_k", "attn_output": "q6_k", "ffn_up": "q5_k", "ffn_down": "q5_k"}


def plan(types):
    """{part of a tensor's name: type}"""
    first, *rest = types.split(",")
    parts = dict(MIX) if first == "mix" else {k: first for k in MIX}
    return parts | dict(r.split("=") for r in rest)


def main():
    a = argparse.ArgumentParser()
    a.add_argument("checkpoint")
    a.add_argument("out")
    a.add_argument("--types", default="mix")
    a.add_argument("--tokenizer", default=str(HERE / "tokenizer.model"))
    o = a.parse_args()
    data = torch.load(o.checkpoint, map_location="cpu")
    shape, state = data["shape"], {k: v.float().numpy() for k, v in data["state"].items()}

    plain = o.out if o.types == "f16" else o.out + ".f16"
    w = gguf.GGUFWriter(plain, "phi3")
    # Not "phi-3": libllama strips white space after special tokens in models of that name.
    w.add_name("Pensieve demo")
    w.add_description("The small built-in model of Pensieve, trained from its own curriculum")
    w.add_context_length(shape["context"])
    w.add_embedding_length(shape["width"])
    w.add_feed_forward_length(shape["inner"])
    w.add_block_count(shape["layers"])
    w.add_head_count(shape["heads"])
    w.add_head_count_kv(shape["kv_heads"])
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_dimension_count(shape["width"] // shape["heads"])
    w.add_rope_freq_base(shape["rope_base"])
    w.add_rope_scaling_orig_ctx_len(shape["context"])
    w.add_vocab_size(shape["vocab"])
    w.add_file_type(1)
    # The model is trained to be read greedily.
    w.add_float32("general.sampling.temp", 0.0)
    w.add_int32("general.sampling.top_k", 1)

    sp = sentencepiece.SentencePieceProcessor(model_file=o.tokenizer)
    kinds = []
    for i in range(sp.get_piece_size()):
        piece = sp.id_to_piece(i)
        kinds.append(2 if sp.is_unknown(i) else 3 if sp.is_control(i) else 6 if sp.is_byte(i) else 4 if piece in MARKERS else 1)
    w.add_tokenizer_model("llama")
    w.add_tokenizer_pre("default")
    w.add_token_list([sp.id_to_piece(i) for i in range(sp.get_piece_size())])
    w.add_token_scores([sp.get_score(i) for i in range(sp.get_piece_size())])
    w.add_token_types(kinds)
    ids = {t: sp.piece_to_id(t) for t in CONTROL}
    w.add_bos_token_id(ids["<|endoftext|>"])
    w.add_eos_token_id(ids["<|endoftext|>"])
    w.add_eot_token_id(ids["<|end|>"])
    w.add_pad_token_id(ids["<|endoftext|>"])
    w.add_unk_token_id(0)
    w.add_add_bos_token(False)
    w.add_add_eos_token(False)
    w.add_add_space_prefix(False)
    w.add_chat_template((HERE / "template.jinja").read_text().rstrip("\n"))

    def matrix(name, value):
        w.add_tensor(name, value.astype(np.float16))

    matrix("token_embd.weight", state["embed.weight"])
    w.add_tensor("output_norm.weight", state["norm"])
    for i in range(shape["layers"]):
        to, frm = f"blk.{i}.", f"blocks.{i}."
        w.add_tensor(to + "attn_norm.weight", state[frm + "attn_norm"])
        w.add_tensor(to + "ffn_norm.weight", state[frm + "ffn_norm"])
        matrix(to + "attn_qkv.weight", state[frm + "qkv.weight"])
        matrix(to + "attn_output.weight", state[frm + "out.weight"])
        matrix(to + "ffn_up.weight", state[frm + "up.weight"])
        matrix(to + "ffn_down.weight", state[frm + "down.weight"])
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    if plain != o.out:
        engine.quantize(plain, o.out, plan(o.types))
        Path(plain).unlink()
    print(f"{o.out}: {Path(o.out).stat().st_size / 1e6:.2f} MB, {o.types}")


if __name__ == "__main__":
    main()
