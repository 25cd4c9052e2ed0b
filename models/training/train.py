"""The training loop. It stops by the clock, and the learning rate follows the clock too.

    python3 train.py --shape demo --minutes 18 --workers 14 --out DIR
    torchrun --standalone --nproc-per-node 2 train.py ...      on two devices
    ... --resume                                               goes on from DIR/state.pt, saved every three minutes

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
import torch.distributed as dist

from model import SHAPES, Model, loss_of

HERE = Path(__file__).parent


# --- rows ----------------------------------------------------------------------

def make_rows(worker, spool, tokenizer, lengths, chunk_tokens, seed, early):
    """A worker: writes chunks LENGTH_worker_number.npy of [rows, length + 1], the marks in the top two bits."""
    from curriculum import Tokens, rows
    from words import Source
    os.nice(5)
    tokens = Tokens(tokenizer)
    source = Source(seed * 1000 + worker)
    makers = {n: rows(source, tokens, n) for n in lengths}
    for number in itertools.count():
        source.early = number < early
        while len(os.listdir(spool)) > 60: time.sleep(0.2)   # the trainer has enough
        length = source.choices(list(lengths), list(lengths.values()))[0] if number > 2 else min(lengths)
        out = np.empty((max(1, chunk_tokens // length), length + 1), np.uint16)
        for i in range(len(out)):
            ids, learn = next(makers[length])
            out[i] = np.array(ids, np.uint16) | (np.array(learn, np.uint16) << 14)
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
            fresh = self.fresh.setdefault(length, [])
            if len(fresh) > 40: fresh.pop(0)   # still drawn at random; left lying it would block the makers
            data = torch.from_numpy(np.load(path).view(np.int16)).to(self.device)
            os.unlink(path)
            chunks = self.chunks.setdefault(length, [])
            chunks.append(data)
            fresh.append([data, 0])
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
        return (x & 0x3FFF).long(), x >> 14


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


def fastest_attention(shape, length):
    """Lets the quickest attention kernel that gives the right answer do the work, and no other."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    q, k, v = (torch.randn(8, shape.heads, length, shape.head, device="cuda", dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
    run = lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    took, right = {}, None
    for name in ("FLASH_ATTENTION", "CUDNN_ATTENTION"):
        try:
            with sdpa_kernel(getattr(SDPBackend, name)):
                for n in range(13):
                    if n == 3:
                        torch.cuda.synchronize()
                        begin = time.time()
                    y = run()
                    g = torch.autograd.grad(y.float().square().sum(), (q, k, v))
                torch.cuda.synchronize()
            took[name] = time.time() - begin
            sums = [y, *g]
            if right is None: right = sums
            elif any((a - b).norm() > 0.02 * b.norm() for a, b in zip(sums, right)): del took[name]
        except RuntimeError as problem:
            print("attention:", name, "is not to be had:", str(problem)[:100])
    best = min(took, key=took.get)
    order = [getattr(SDPBackend, best)] + [SDPBackend.FLASH_ATTENTION] * (best != "FLASH_ATTENTION")
    sdpa_kernel(order, set_priority=True).__enter__()   # from here to the end of the program
    return f"{best} of {({k: round(v * 100, 2) for k, v in took.items()})} ms"


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--shape", default="demo")
    a.add_argument("--minutes", type=float, default=18)
    a.add_argument("--workers", type=int, default=14, help="processes that make rows, for each device")
    a.add_argument("--batch", type=int, default=131072, help="tokens per step and device")
    a.add_argument("--row", type=int, default=2048)
    a.add_argument("--long", default="8192:0.07,16384:0.09,32768:0.04", help="LENGTH:SHARE of rows made that are longer")
    a.add_argument("--early", type=int, default=5, help="chunks of each maker that are mostly copying")
    a.add_argument("--tokenizer", default=str(HERE / "tokenizer.model"))
    a.add_argument("--out", default="/tmp/pensieve-train")
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--lr", type=float, default=0.02)
    a.add_argument("--save-every", type=float, default=180, help="seconds between saves of state.pt")
    a.add_argument("--resume", action="store_true")
    a.add_argument("--start", default="", help="a checkpoint whose weights to begin with")
    o = a.parse_args()
    rank, ranks = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    out = Path(o.out)
    out.mkdir(parents=True, exist_ok=True)
    spool = f"/dev/shm/pensieve-rows-{rank}"
    shutil.rmtree(spool, ignore_errors=True)
    os.makedirs(spool)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    extra = {int(k): float(v) for k, v in (x.split(":") for x in o.long.split(",") if x)}
    lengths = {o.row: 1 - sum(extra.values()), **extra}
    chunk = 1 << 20 if device == "cuda" else 1 << 15
    past = torch.load(out / "state.pt", map_location="cpu") if o.resume and (out / "state.pt").exists() else None
    begin_seconds = past["seconds"] if past else 0
    makers = [multiprocessing.Process(target=make_rows, daemon=True,
                                      args=(100 * rank + i, spool, o.tokenizer, lengths, chunk // 2, o.seed + int(begin_seconds), 0 if past else o.early)) for i in range(o.workers)]
    for m in makers: m.start()

    # After the makers, so that they do not inherit the device.
    if device == "cuda": torch.cuda.set_device(rank)
    group = None
    if ranks > 1:
        dist.init_process_group("nccl" if device == "cuda" else "gloo")
        group = dist.new_group(backend="gloo")   # the clock of rank 0, without a word to the device
    torch.manual_seed(o.seed + rank)
    shared, own = random.Random(o.seed), random.Random(o.seed + 1000 + rank)
    random.seed(own.random())
    torch.backends.cuda.matmul.allow_tf32 = True
    say = print if rank == 0 else lambda *_, **__: None

    shape = SHAPES[o.shape]
    model = Model(shape).to(device)
    if o.start: model.load_state_dict({k: v.float() for k, v in torch.load(o.start)["state"].items()})
    if past: model.load_state_dict(past["model"])
    if ranks > 1:
        for p in model.parameters(): dist.broadcast(p.data, 0)
    count = sum(p.numel() for p in model.parameters())
    # All gradients lie in one buffer, which is what the devices average.
    flat = torch.zeros(count, device=device)
    at = 0
    for p in model.parameters():
        p.grad = flat[at:at + p.numel()].view_as(p)
        at += p.numel()
    muon = Muon(model, o.lr)
    rest = [p for n, p in model.named_parameters() if "blocks" not in n or p.ndim == 1]
    adam = torch.optim.AdamW(rest, lr=1.0, betas=(0.9, 0.95), weight_decay=0.0, fused=device == "cuda")
    step = seen = 0
    if past:
        adam.load_state_dict(past["adam"])
        for p, m in zip(model.parameters(), past["momentum"]):
            if m is not None: p.momentum.copy_(m)
        step, seen = past["step"], past["seen"]
        del past
    if device == "cuda":
        if rank == 0: print("attention:", fastest_attention(shape, o.row), flush=True)
        else: fastest_attention(shape, o.row)
        for b in model.blocks: b.compile(dynamic=False)
        loss_fn = torch.compile(loss_of, dynamic=False)
    else:
        loss_fn = loss_of
    pool = Pool(spool, device, 400_000_000)
    while not pool.ready(o.row):
        pool.take_in()
        time.sleep(0.1)
    say(f"{count/1e6:.2f} M parameters on {ranks} x {device}; first rows are here", flush=True)

    def save_all(seconds):
        torch.save({"model": model.state_dict(), "adam": adam.state_dict(), "momentum": [getattr(p, "momentum", None) for p in model.parameters()],
                    "step": step, "seen": seen, "seconds": seconds}, out / "state.part")
        os.rename(out / "state.part", out / "state.pt")

    begin, marks = time.time() - begin_seconds, [0.5, 0.8]
    last_saved, done = time.time(), begin_seconds / (60 * o.minutes)
    while True:
        if step % 10 == 0:
            pool.take_in()
            clock = torch.tensor([(time.time() - begin) / (60 * o.minutes)], dtype=torch.float64)
            if ranks > 1: dist.broadcast(clock, 0, group=group)
            done = clock.item()
            if done >= 1: break
            if rank == 0 and time.time() - last_saved > o.save_every:
                last_saved = time.time()
                save_all(time.time() - begin)
        # Long rows from a seventh on; in the last third of the time more of them. All devices take the same length.
        length = o.row
        share = 0 if done < 0.15 else 0.10 if done < 0.65 else 0.20
        if shared.random() < share: length = shared.choices(list(extra), list(extra.values()))[0] if extra else o.row
        if not pool.ready(length): length = o.row
        x, mark = pool.draw(length, max(1, o.batch // length))
        mark = mark[:, 1:]
        weight = (mark == 1).float() + (0.05 if done < 0.6 else 0.02) * (mark == 0).float()
        factor = min(1, (step + 1) / 100) * (1 if done < 0.45 else max(0.0, (1 - done) / 0.55) * 0.98 + 0.02)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = loss_fn(model(x[:, :-1]), model.embed.weight, x[:, 1:], weight)
        loss.backward()
        if ranks > 1:
            dist.all_reduce(flat)
            flat.div_(ranks)
        torch.nn.utils.clip_grad_norm_(rest, 1.0)
        muon.step(factor)
        for g in adam.param_groups: g["lr"] = 0.15 * o.lr * factor
        adam.step()
        flat.zero_()
        step += 1
        seen += x.numel() * ranks
        if step % (100 if device == "cuda" else 5) == 0:
            now = time.time()
            say(f"{now-begin:6.0f}s step {step} len {length} loss {loss.item():.4f} lr {factor:.3f} seen {seen/1e6:.0f}M "
                f"made {pool.made*ranks/1e6:.0f}M rate {seen/(now-begin)/1e3:.0f}k/s", flush=True)
        if rank == 0 and marks and done > marks[0]:
            save(model, out / f"at{int(100*marks.pop(0))}.pt", {"step": step, "seen": seen})
    if rank == 0:
        note = {"steps": step, "tokens": seen, "made": pool.made * ranks, "minutes": o.minutes, "devices": ranks, "parameters": count}
        save(model, out / "final.pt", note)
        (out / "note.json").write_text(json.dumps(note))
        print("saved", note, flush=True)
    for m in makers: m.terminate()
    for m in makers: m.join()
    shutil.rmtree(spool, ignore_errors=True)
    if ranks > 1: dist.destroy_process_group()


if __name__ == "__main__":
    main()
