#!/usr/bin/python3
"""bench.py - tokens/s and peak memory of one training step in PyTorch on the CPU: the other side of `weft bench` (docs/performance.md).

  bench.py gpt2          GPT-2 124M, batch 4 x 256
  bench.py cocomix       CoCoMix at the size of the paper's 69M model, batch 1 x 1024

Random weights; f32; AdamW (PyTorch's fused one where it has it) with clipping. CoCoMix is written after the description of the
official algorithm: GPT-2 124M as extractor, SAE with 32768 latents, dense attribution, four cross-entropies, interleaving
after three blocks.

  --algorithm=released   the extractor's weight gradients are computed too, as the official code does
  --algorithm=needed     the same savings as PyTorch users can make by hand: no gradients for frozen weights, one log-softmax
  --cached               labels given, no extractor
  --steps=N --threads=N --batch=N (gpt2) --length=N
Needs Debian 13's python3-torch (2.6) and libopenblas0-openmp; Debian 12's 1.13 has no fused attention and is slower.
"""
import argparse
import resource
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn

V, C, K, KL = 50257, 32768, 32, 4


class Block(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.proj = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.fc, self.out = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = (y.view(b, t, self.heads, -1).transpose(1, 2) for y in self.qkv(self.ln_1(x)).chunk(3, -1))
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(a.transpose(1, 2).reshape(b, t, d))
        return x + self.out(F.gelu(self.fc(self.ln_2(x)), approximate="tanh"))


class GPT(nn.Module):
    def __init__(self, layers, heads, d, t):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(V, d), nn.Embedding(t, d)
        self.h = nn.ModuleList(Block(d, heads) for _ in range(layers))
        self.ln_f = nn.LayerNorm(d)
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, std=0.02)

    def embed(self, tokens):
        return self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]

    def logits(self, x):
        return self.ln_f(x) @ self.wte.weight.T


def standardize(x):
    mean, std = x.mean(-1, keepdim=True), x.std(-1, keepdim=True)
    return (x - mean) / (std + 1e-5), mean, std


class Student(GPT):
    def __init__(self, t):
        super().__init__(8, 8, 512, t)
        self.pre_bias = nn.Parameter(torch.zeros(512))
        self.predictor, self.compress = nn.Linear(512, C), nn.Linear(C, 512)

    def forward(self, tokens, targets, labels):
        x = self.embed(tokens)
        for b in self.h[:3]:
            x = b(x)
        xn, mean, std = standardize(x)
        concept = self.predictor(xn - self.pre_bias)
        top = concept.topk(K, -1)
        kept = torch.zeros_like(concept).scatter(-1, top.indices, top.values)
        c = (self.compress(kept) + self.pre_bias) * std + mean
        x = torch.stack([x, c], 2).flatten(1, 2)
        for b in self.h[3:]:
            x = b(x)
        lm = F.cross_entropy(self.logits(x[:, 1::2]).flatten(0, 1), targets.flatten())
        if args.algorithm == "released":
            con = sum(F.cross_entropy(concept.flatten(0, 1), labels[..., i].flatten()) for i in range(KL)) / KL
        else:
            con = -F.log_softmax(concept, -1).gather(-1, labels).mean()
        return lm + 0.1 * con


def label(teacher, sae, tokens, targets):
    x = teacher.embed(tokens)
    for b in teacher.h[:6]:
        x = b(x)
    if args.algorithm == "released":
        x.retain_grad()
    else:
        x = x.detach().requires_grad_()
    y = x
    for b in teacher.h[6:]:
        y = b(y)
    F.cross_entropy(teacher.logits(y).flatten(0, 1), targets.flatten()).backward()
    with torch.no_grad():
        xn, _, _ = standardize(x)
        pre = (xn - sae["pre_bias"]) @ sae["encoder"].T + sae["latent_bias"]
        top = pre.topk(K, -1)
        z = torch.zeros_like(pre).scatter(-1, top.indices, top.values.relu())
        if args.algorithm == "released":
            return ((x.grad @ sae["decoder"]) * z).topk(KL, -1).indices
        score = (x.grad @ sae["decoder"]).gather(-1, top.indices) * top.values.relu()
        return top.indices.gather(-1, score.topk(KL, -1).indices)


parser = argparse.ArgumentParser()
parser.add_argument("model", choices=["gpt2", "cocomix"])
parser.add_argument("--algorithm", default="released", choices=["released", "needed"])
parser.add_argument("--cached", action="store_true")
parser.add_argument("--steps", type=int, default=4)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--batch", type=int, default=4)
parser.add_argument("--length", type=int)
args = parser.parse_args()
torch.manual_seed(1)
torch.set_num_threads(args.threads)
if args.model == "gpt2":
    B, T, name = args.batch, args.length or 256, "gpt2"
    student = GPT(12, 12, 768, 1024)
else:
    B, T, name = 1, args.length or 1024, f"cocomix {args.algorithm}{' cached' if args.cached else ''}"
    student = Student(T)
    if not args.cached:
        teacher = GPT(12, 12, 768, T).requires_grad_(args.algorithm == "released")
        sae = {"pre_bias": torch.zeros(768), "latent_bias": torch.zeros(C), "encoder": torch.randn(C, 768) * 0.04, "decoder": torch.randn(768, C) * 0.04}
try:
    optimizer = torch.optim.AdamW(student.parameters(), 6e-4, (0.9, 0.95), 1e-8, 0.1, fused=True)
except RuntimeError:  # PyTorch before 2.4 has none for the CPU
    optimizer = torch.optim.AdamW(student.parameters(), 6e-4, (0.9, 0.95), 1e-8, 0.1)
seconds = []
for step in range(args.steps + 1):
    tokens, targets = torch.randint(V, (B, T)), torch.randint(V, (B, T))
    start = time.perf_counter()
    if args.model == "gpt2":
        x = student.embed(tokens)
        for block in student.h:
            x = block(x)
        loss = F.cross_entropy(student.logits(x).flatten(0, 1), targets.flatten())
    else:
        labels = torch.randint(C, (1, T, KL)) if args.cached else label(teacher, sae, tokens, targets)
        loss = student(tokens, targets, labels)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(student.parameters(), 1.0)
    optimizer.step()
    seconds.append(time.perf_counter() - start)
seconds = seconds[1:]
a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
rate = []
for _ in range(5):
    start = time.perf_counter()
    a @ b
    rate.append(2 * 2048**3 / (time.perf_counter() - start) * 1e-9)
print(f"torch {torch.__version__} {name}: "
      f"{B * T / statistics.median(seconds):.1f} tokens/s (median of {len(seconds)}; {min(seconds):.2f}-{max(seconds):.2f} s a step), "
      f"GEMM {max(rate):.0f} GFLOP/s, peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")
