#!/usr/bin/python3
"""gpt2.py - makes tests/golden/gpt2.safetensors: a tiny GPT-2 in PyTorch, its logits, gradients and ten AdamW steps.

Run with Debian's python3-torch (1.13 or later; CPU):   /usr/bin/python3 tests/golden/gpt2.py
The model is written here from the published description (Radford et al., 2019; Hugging Face's tensor names and
[in, out] layout), independent of Weft's graph files.  Everything is computed twice, in float32 and in float64; the
file holds the float32 results and, for judging them, the float64 ones with the prefix "f64:".
"""
import math
import os

import torch
import torch.nn.functional as F

from write_safetensors import save

LAYERS, HEADS, D, VOCAB, CTX, B, T = 2, 3, 24, 61, 20, 2, 17
STEPS, PEAK, FLOOR, WARMUP, DECAY, CLIP = 10, 3e-3, 3e-4, 3, 0.1, 1.0


def make_weights(generator):
    def normal(*shape, std=0.02):
        return torch.randn(*shape, generator=generator, dtype=torch.float64) * std

    # Larger than GPT-2's 0.02 and with random biases and norms: every gradient path must matter.
    w = {"wte.weight": normal(VOCAB, D, std=0.3), "wpe.weight": normal(CTX, D, std=0.2)}
    for i in range(LAYERS):
        p = f"h.{i}."
        for n in ("ln_1", "ln_2"):
            w[p + n + ".weight"] = 1 + normal(D, std=0.1)
            w[p + n + ".bias"] = normal(D, std=0.1)
        for n, a, b in (("attn.c_attn", D, 3 * D), ("attn.c_proj", D, D), ("mlp.c_fc", D, 4 * D), ("mlp.c_proj", 4 * D, D)):
            w[p + n + ".weight"] = normal(a, b, std=0.2)
            w[p + n + ".bias"] = normal(b, std=0.1)
    w["ln_f.weight"] = 1 + normal(D, std=0.1)
    w["ln_f.bias"] = normal(D, std=0.1)
    return {k: v.float() for k, v in w.items()}  # representable in both precisions


def forward(w, tokens):
    def norm(x, n):
        return F.layer_norm(x, (D,), w[n + ".weight"], w[n + ".bias"], 1e-5)

    def conv1d(x, n):
        return x @ w[n + ".weight"] + w[n + ".bias"]

    x = w["wte.weight"][tokens] + w["wpe.weight"][: tokens.shape[1]]
    mask = torch.ones(T, T).tril().bool()
    for i in range(LAYERS):
        p = f"h.{i}."
        q, k, v = conv1d(norm(x, p + "ln_1"), p + "attn.c_attn").split(D, dim=2)
        q, k, v = (t.view(B, T, HEADS, D // HEADS).transpose(1, 2) for t in (q, k, v))
        s = (q @ k.transpose(2, 3) / math.sqrt(D // HEADS)).masked_fill(~mask, float("-inf"))
        o = (s.softmax(-1) @ v).transpose(1, 2).reshape(B, T, D)
        x = x + conv1d(o, p + "attn.c_proj")
        h = conv1d(norm(x, p + "ln_2"), p + "mlp.c_fc")
        h = 0.5 * h * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h ** 3)))
        x = x + conv1d(h, p + "mlp.c_proj")
    return norm(x, "ln_f") @ w["wte.weight"].T


def rate(step):
    """proto/recipe.proto, Schedule: linear warm-up, then a cosine from peak to floor at STEPS."""
    if step < WARMUP:
        return PEAK * (step + 1) / WARMUP
    return FLOOR + 0.5 * (PEAK - FLOOR) * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP)))


def loss_of(w, tokens, targets):
    logits = forward(w, tokens)
    return logits, F.cross_entropy(logits.view(-1, VOCAB), targets.view(-1), ignore_index=-1)


def run(weights, tokens, targets, dtype):
    w = {k: v.to(dtype).clone().requires_grad_(True) for k, v in weights.items()}
    logits, loss = loss_of(w, tokens, targets)
    loss.backward()
    out = {"logits": logits.detach()}
    out.update({"grad:" + k: v.grad.clone() for k, v in w.items()})
    groups = [{"params": [v for v in w.values() if v.dim() >= 2], "weight_decay": DECAY},
              {"params": [v for v in w.values() if v.dim() < 2], "weight_decay": 0.0}]
    opt = torch.optim.AdamW(groups, lr=PEAK, betas=(0.9, 0.95), eps=1e-8)
    losses, norms = [], []
    for step in range(STEPS):
        opt.zero_grad()
        loss = loss_of(w, tokens, targets)[1]
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(list(w.values()), CLIP)))
        losses.append(float(loss))
        for g in opt.param_groups:
            g["lr"] = rate(step)
        opt.step()
    out["losses"] = torch.tensor(losses, dtype=torch.float64)
    out["norms"] = torch.tensor(norms, dtype=torch.float64)
    out.update({"after:" + k: v.detach() for k, v in w.items()})
    return out


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(1234)
    weights = make_weights(generator)
    ids = torch.randint(0, VOCAB, (B, T + 1), generator=generator)
    tokens, targets = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
    targets[1, 3] = -1  # one ignored position
    out = {"weight:" + k: v for k, v in weights.items()}
    out["tokens"], out["targets"] = tokens.int(), targets.int()
    out.update(run(weights, tokens, targets, torch.float32))
    double = run(weights, tokens, targets, torch.float64)
    out.update({"f64:" + k: v for k, v in double.items() if not k.startswith(("grad:", "after:"))})
    folder = os.path.dirname(os.path.abspath(__file__))
    save(os.path.join(folder, "gpt2.safetensors"), out, {})
    print("losses f32", out["losses"].tolist())
    print("losses f64", double["losses"].tolist())


if __name__ == "__main__":
    main()
