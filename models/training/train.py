"""The training loop. It stops by the clock, and the learning rate follows the clock too.

    python3 train.py --shape demo --minutes 18 --workers 14 --out DIR

Worker processes make rows of tokens and drop them as files in a spool
directory; the trainer moves them into a pool on the device and draws batches
from it, so that neither side waits for the other. A row may be drawn more than
once if the makers are slower than the device; the log says how often.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import random
import shutil
import time
from pathlib import Path

import numpy as np
import torch

from model import SHAPES, Model, loss_of

HERE = Path(__file__).parent


# --- rows ----------------------------------------------------------------------

def make_rows(worker, spool, tokenizer, lengths, chunk_tokens, seed):
    """A worker: writes chunks LENGTH_worker_number.npy of [rows, length + 1], the learn mark in the top bit."""
    from curriculum import Tokens, rows
    from words import Source
    os.nice(5)
    tokens = Tokens(tokenizer)
    source = Source(seed * 1000 + worker)
    makers = {n: rows(source, tokens, n) for n in lengths}
    for number in itertools.count():
        while len(os.listdir(spool)) > 120: time.sleep(0.2)   # the trainer has enough
        length = source.choices(list(lengths), list(lengths.values()))[0] if number > 2 else min(lengths)
        out = np.empty((max(1, chunk_tokens // length), length + 1), np.uint16)
        for i in range(len(out)):
            ids, learn = next(makers[length])
            out[i] = np.array(ids, np.uint16) | (np.array(learn, np.uint16) << 15)
        name = Path(spool) / f"{length}_{worker}_{number}.npy"
        np.save(name.with_suffix(".part.npy"), out)
        os.rename(name.with_suffix(".part.npy"), name)


class Pool:
    """Rows by length, on the device. Oldest chunks leave when a length has more than it may hold."""

    def __init__(self, spool, device, tokens_max):
        self.spool, self.device, self.tokens_max = spool, device, tokens_max
        self.chunks, self.fresh, self.made, self.drawn = {}, {}, 0, 0

    def take_in(self):
        for name in os.listdir(self.spool):
            if name.endswith(".part.npy"): continue
            path = os.path.join(self.spool, name)
            length = int(name.split("_")[0])
            if len(self.fresh.get(length, [])) > 40: continue
            data = torch.from_numpy(np.load(path).view(np.int16)).to(self.device)
            os.unlink(path)
            chunks = self.chunks.setdefault(length, [])
            chunks.append(data)
            self.fresh.setdefault(length, []).append([data, 0])
            self.made += data.numel()
            while sum(c.numel() for c in chunks) > self.tokens_max: chunks.pop(0)

    def ready(self, length):
        return bool(self.chunks.get(length))

    def draw(self, length, n):
        """n rows: new ones in their order first, then old ones at random."""
        parts, need = [], n
        fresh = self.fresh.get(length, [])
        while need and fresh:
            data, at = fresh[0]
            got = data[at:at + need]
            parts.append(got)
            need -= len(got)
            fresh[0][1] += len(got)
            if fresh[0][1] >= len(data): fresh.pop(0)
        while need:
            data = random.choice(self.chunks[length])
            got = data[torch.randint(len(data), (min(need, 4),), device=self.device)]
            parts.append(got)
            need -= len(got)
        self.drawn += n * length
        x = torch.cat(parts).to(torch.int32) & 0xFFFF
        return (x & 0x7FFF).long(), (x >> 15).float()


# --- optimiser -------------------------------------------------------------------

@torch.compile(disable=not torch.cuda.is_available())
def orthogonal(g):
    """Five Newton-Schulz steps towards the nearest orthogonal matrix, for a stack of matrices."""
    x = g.bfloat16() if g.is_cuda else g
    tall = x.shape[-2] > x.shape[-1]
    if tall: x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.mT if tall else x


class Muon:
    """Momentum, orthogonalised, for the matrices of the blocks; fused ones are treated in their parts."""

    def __init__(self, model, lr, momentum=0.95):
        s = model.shape
        kv = s.kv_heads * s.head
        self.lr, self.momentum, self.groups = lr, momentum, {}
        for b in model.blocks:
            for p, cut in ((b.qkv.weight, (s.width, kv, kv)), (b.out.weight, None), (b.up.weight, (s.inner, s.inner)), (b.down.weight, None)):
                p.momentum = torch.zeros_like(p)
                for at, rows in self.parts(p, cut):
                    self.groups.setdefault((rows, p.shape[1]), []).append((p, at))

    @staticmethod
    def parts(p, cut):
        at = 0
        for rows in cut or (p.shape[0],):
            yield at, rows
            at += rows

    @torch.no_grad()
    def step(self, factor, decay=0.02):
        seen = {id(p): p for g in self.groups.values() for p, _ in g}
        for p in seen.values():
            p.momentum.lerp_(p.grad, 1 - self.momentum)
        lr = self.lr * factor
        for (rows, cols), members in self.groups.items():
            g = torch.stack([p.grad[a:a + rows].lerp(p.momentum[a:a + rows], self.momentum) for p, a in members])
            u = orthogonal(g).float() * max(1.0, rows / cols) ** 0.5
            for (p, a), d in zip(members, u):
                p[a:a + rows].mul_(1 - lr * decay).sub_(d, alpha=lr)


# --- the run ----------------------------------------------------------------------

def save(model, path, note):
    path = Path(path)
    torch.save({"shape": model.shape.dict(), "note": note,
                "state": {k: v.to(torch.bfloat16) if v.ndim == 2 else v for k, v in model.state_dict().items()}}, path.with_suffix(".part"))
    os.rename(path.with_suffix(".part"), path)


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--shape", default="demo")
    a.add_argument("--minutes", type=float, default=18)
    a.add_argument("--workers", type=int, default=14)
    a.add_argument("--batch", type=int, default=131072, help="tokens per step")
    a.add_argument("--row", type=int, default=4096)
    a.add_argument("--long", default="16384:0.14,32768:0.05", help="LENGTH:SHARE of rows made that are longer")
    a.add_argument("--tokenizer", default=str(HERE / "tokenizer.model"))
    a.add_argument("--out", default="/tmp/pensieve-train")
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--lr", type=float, default=0.02)
    a.add_argument("--start", default="", help="a checkpoint to go on from")
    o = a.parse_args()
    out = Path(o.out)
    out.mkdir(parents=True, exist_ok=True)
    spool = "/dev/shm/pensieve-rows"
    shutil.rmtree(spool, ignore_errors=True)
    os.makedirs(spool)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(o.seed)
    random.seed(o.seed)
    torch.backends.cuda.matmul.allow_tf32 = True

    extra = {int(k): float(v) for k, v in (x.split(":") for x in o.long.split(",") if x)}
    lengths = {o.row: 1 - sum(extra.values()), **extra}
    chunk = 1 << 20 if device == "cuda" else 1 << 15
    makers = [multiprocessing.Process(target=make_rows, args=(i, spool, o.tokenizer, lengths, chunk // 2, o.seed), daemon=True) for i in range(o.workers)]
    for m in makers: m.start()

    shape = SHAPES[o.shape]
    model = Model(shape).to(device)
    if o.start: model.load_state_dict({k: v.float() for k, v in torch.load(o.start)["state"].items()})
    count = sum(p.numel() for p in model.parameters())
    muon = Muon(model, o.lr)
    rest = [p for n, p in model.named_parameters() if "blocks" not in n or p.ndim == 1]
    adam = torch.optim.AdamW(rest, lr=1.0, betas=(0.9, 0.95), weight_decay=0.0, fused=device == "cuda")
    if device == "cuda":
        for b in model.blocks: b.compile(dynamic=False)
        loss_fn = torch.compile(loss_of, dynamic=False)
    else:
        loss_fn = loss_of
    pool = Pool(spool, device, 400_000_000)
    while not pool.ready(o.row):
        pool.take_in()
        time.sleep(0.1)
    print(f"{count/1e6:.2f} M parameters on {device}; first rows are here", flush=True)

    begin, step, seen, marks = time.time(), 0, 0, [0.5, 0.8]
    while (done := (time.time() - begin) / (60 * o.minutes)) < 1:
        if step % 10 == 0: pool.take_in()
        # Long rows from the first sixth on; in the last third of the time more of them.
        length = o.row
        share = 0 if done < 0.15 else 0.10 if done < 0.65 else 0.22
        if random.random() < share:
            length = random.choices(list(extra) or [o.row], list(extra.values()) or [1])[0]
            if not pool.ready(length): length = o.row
        x, learn = pool.draw(length, max(1, o.batch // length))
        weight = learn[:, 1:] + 0.06 * (1 - learn[:, 1:]) * (1.0 if done < 0.6 else 0.3)
        factor = min(1, (step + 1) / 100) * (1 if done < 0.45 else max(0.0, (1 - done) / 0.55) * 0.98 + 0.02)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = loss_fn(model(x[:, :-1]), model.embed.weight, x[:, 1:], weight)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(rest, 1.0)
        muon.step(factor)
        for g in adam.param_groups: g["lr"] = 0.15 * o.lr * factor
        adam.step()
        model.zero_grad(set_to_none=True)
        step += 1
        seen += x.numel()
        if step % (50 if device == "cuda" else 5) == 0:
            now = time.time()
            print(f"{now-begin:6.0f}s step {step} len {length} loss {loss.item():.4f} lr {factor:.3f} seen {seen/1e6:.0f}M "
                  f"made {pool.made/1e6:.0f}M rate {seen/(now-begin)/1e3:.0f}k/s", flush=True)
        if marks and done > marks[0]:
            save(model, out / f"at{int(100*marks.pop(0))}.pt", {"step": step, "seen": seen})
    note = {"steps": step, "tokens": seen, "made": pool.made, "minutes": o.minutes, "parameters": count}
    save(model, out / "final.pt", note)
    (out / "note.json").write_text(json.dumps(note))
    print("saved", note, flush=True)
    for m in makers: m.terminate()
    for m in makers: m.join()
    shutil.rmtree(spool, ignore_errors=True)


if __name__ == "__main__":
    main()
