"""The network: phi3 as libllama runs it (fused qkv, fused gate and up, RMSNorm, RoPE), output tied to the embedding."""

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Shape:
    vocab: int = 4096
    layers: int = 8
    width: int = 512
    heads: int = 8
    kv_heads: int = 4
    inner: int = 1024
    rope_base: float = 500000.0
    context: int = 32768

    @property
    def head(self):
        return self.width // self.heads

    dict = asdict


SHAPES = {
    "tiny": Shape(layers=4, width=256, heads=4, kv_heads=2, inner=512),
    "demo": Shape(),
}


def rms(x, weight):
    return F.rms_norm(x, (x.shape[-1],), weight, 1e-5)


def rope_table(shape, length, device):
    # The two halves of a head rotate against each other (NEOX order), as llama.cpp does for phi3.
    freq = shape.rope_base ** (-torch.arange(0, shape.head, 2, device=device).float() / shape.head)
    angle = torch.arange(length, device=device).float()[:, None] * freq[None]
    return angle.cos(), angle.sin()


def rotate(x, cos, sin):
    a, b = x.float().chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1).type_as(x)


class Block(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        kv = shape.kv_heads * shape.head
        self.attn_norm = nn.Parameter(torch.ones(shape.width))
        self.ffn_norm = nn.Parameter(torch.ones(shape.width))
        self.qkv = nn.Linear(shape.width, shape.width + 2 * kv, bias=False)
        self.out = nn.Linear(shape.width, shape.width, bias=False)
        self.up = nn.Linear(shape.width, 2 * shape.inner, bias=False)   # gate first, then up
        self.down = nn.Linear(shape.inner, shape.width, bias=False)
        for w in (self.qkv, self.up):
            nn.init.normal_(w.weight, std=0.5 / math.sqrt(shape.width))
        for w in (self.out, self.down):
            nn.init.normal_(w.weight, std=0.5 / math.sqrt(w.in_features) / math.sqrt(2 * shape.layers))

    def forward(self, x, cos, sin):
        s = self.shape
        batch, length, _ = x.shape
        kv = s.kv_heads * s.head
        q, k, v = self.qkv(rms(x, self.attn_norm)).split((s.width, kv, kv), -1)
        q, k, v = (t.view(batch, length, -1, s.head).transpose(1, 2) for t in (q, k, v))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        group = s.heads // s.kv_heads
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(batch, length, s.width))
        gate, up = self.up(rms(x, self.ffn_norm)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


class Model(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.embed = nn.Embedding(shape.vocab, shape.width)
        nn.init.normal_(self.embed.weight, std=0.02)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.Parameter(torch.ones(shape.width))
        self._rope = {}

    def rope(self, length, device):
        if length not in self._rope:
            self._rope[length] = rope_table(self.shape, length, device)
        return self._rope[length]

    def forward(self, ids):
        cos, sin = self.rope(ids.shape[1], ids.device)
        x = self.embed(ids)
        if torch.is_autocast_enabled(ids.device.type):
            x = x.to(torch.bfloat16)
        for block in self.blocks:
            x = block(x, cos, sin)
        return rms(x, self.norm)


def loss_of(hidden, embedding, target, weight):
    """Weighted cross entropy of the next token over the tied output."""
    logits = F.linear(hidden, embedding.to(hidden.dtype)).float()
    each = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none")
    w = weight.flatten()
    return (each * w).sum() / w.sum().clamp(min=1)
