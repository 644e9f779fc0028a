#!/usr/bin/env python3
"""The distillation step of `drafthorse-train distill` and the same step in PyTorch, timed in turns in one run.

    pip install torch safetensors
    cargo bench -p drafthorse-training --bench step --no-run       # prints the program's path
    python3 training/benches/torch_reference.py PATH [--device cuda --ours-device tch-cuda:0] [-- more of the program's options]

Both sides read the same random weights and the same batch: forward KL over the full vocabulary at the completion's
positions, AdamW, gradients clipped at 1. The losses of the first steps must agree, or no ratio is printed. Tokens are
those of prompts and completions. On the CPU both sides have one thread.
"""
import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import torch
import torch.nn.functional as functional
from safetensors.torch import load_file


class Model:
    """A Llama-shaped model from a folder with config.json and model.safetensors."""

    def __init__(self, folder, device, trained):
        with open(os.path.join(folder, "config.json")) as file:
            self.config = json.load(file)
        weights = load_file(os.path.join(folder, "model.safetensors"), device=device)
        self.weights = {name: tensor.float().requires_grad_(trained) for name, tensor in weights.items()}
        head_len = self.config["head_dim"]
        theta = self.config.get("rope_theta", 10000.0)
        frequencies = theta ** (-torch.arange(0, head_len, 2, device=device).float() / head_len)
        angles = torch.arange(self.config["max_position_embeddings"], device=device).float()[:, None] * frequencies
        self.cos, self.sin = angles.cos().repeat(1, 2), angles.sin().repeat(1, 2)

    def norm(self, name, x):
        scale = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.config["rms_norm_eps"])
        return x * scale * self.weights[name].view(-1)

    def linear(self, name, x):
        return functional.linear(x, self.weights[name])

    def rotate(self, x):
        length, half = x.shape[-2], x.shape[-1] // 2
        turned = torch.cat((-x[..., half:], x[..., :half]), -1)
        return x * self.cos[:length] + turned * self.sin[:length]

    def hidden(self, tokens):
        c = self.config
        rows, length = tokens.shape
        heads, kv_heads, head_len = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
        x = functional.embedding(tokens, self.weights["model.embed_tokens.weight"])
        for layer in range(c["num_hidden_layers"]):
            at = f"model.layers.{layer}."
            y = self.norm(at + "input_layernorm.weight", x)
            split = lambda name, count: self.linear(at + name, y).view(rows, length, count, head_len).transpose(1, 2)
            q = self.rotate(split("self_attn.q_proj.weight", heads))
            k = self.rotate(split("self_attn.k_proj.weight", kv_heads))
            v = split("self_attn.v_proj.weight", kv_heads)
            if heads != kv_heads:
                k, v = (t.repeat_interleave(heads // kv_heads, 1) for t in (k, v))
            mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            mixed = mixed.transpose(1, 2).reshape(rows, length, heads * head_len)
            x = x + self.linear(at + "self_attn.o_proj.weight", mixed)
            y = self.norm(at + "post_attention_layernorm.weight", x)
            gate = functional.silu(self.linear(at + "mlp.gate_proj.weight", y))
            x = x + self.linear(at + "mlp.down_proj.weight", gate * self.linear(at + "mlp.up_proj.weight", y))
        return self.norm("model.norm.weight", x)

    def logits(self, hidden):
        tied = self.config.get("tie_word_embeddings", False)
        return self.linear("model.embed_tokens.weight" if tied else "lm_head.weight", hidden)


class Reference:
    """The step in PyTorch."""

    def __init__(self, folder, device, autocast):
        self.target = Model(os.path.join(folder, "target"), device, False)
        self.drafter = Model(os.path.join(folder, "drafter"), device, True)
        with open(os.path.join(folder, "batch.json")) as file:
            examples = json.load(file)
        self.tokens = torch.tensor([e["prompt"] + e["completion"] for e in examples], device=device)
        self.first = len(examples[0]["prompt"]) - 1
        spared = lambda name: name.endswith("norm.weight") or name.endswith("bias")
        named = self.drafter.weights.items()
        groups = [
            {"params": [t for n, t in named if not spared(n)], "weight_decay": 0.1},
            {"params": [t for n, t in named if spared(n)], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), eps=1e-8)
        self.device, self.autocast = device, autocast

    def step(self):
        with torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=self.autocast):
            with torch.no_grad():
                p = self.target.logits(self.target.hidden(self.tokens)[:, self.first:-1])
            q = self.drafter.logits(self.drafter.hidden(self.tokens)[:, self.first:-1])
        p, q = functional.log_softmax(p.float(), -1), functional.log_softmax(q.float(), -1)
        loss = (p.exp() * (p - q)).sum(-1).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.drafter.weights.values(), 1.0)
        self.optimizer.step()
        return loss

    def take(self, steps):
        start = time.perf_counter()
        for _ in range(steps):
            loss = self.step()
        loss = loss.item()  # waits for the device
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "tokens": steps * self.tokens.numel(), "loss": loss}


class Ours:
    """The program of `benches/step.rs`."""

    def __init__(self, program, device, folder, more):
        command = [program, "--device", device, "--out", folder, *more]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # libtorch's threads
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
        self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit("the program ended; see its message above")
        return json.loads(line)

    def take(self, steps):
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return self.answer()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the built bench `step`")
    parser.add_argument("--device", default="cpu", help="PyTorch's device")
    parser.add_argument("--ours-device", default="flex", help="the program's device")
    parser.add_argument("--bf16", action="store_true", help="PyTorch computes under bf16 autocast")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=4, help="per round and side")
    parser.add_argument("more", nargs="*", help="options of the program, after --")
    arguments = parser.parse_intermixed_args()
    torch.set_num_threads(1)
    torch.manual_seed(1)
    with tempfile.TemporaryDirectory() as folder:
        ours = Ours(arguments.program, arguments.ours_device, folder, arguments.more)
        reference = Reference(folder, arguments.device, arguments.bf16)
        tolerance = 0.05 if arguments.bf16 else 2e-3
        for step in range(3):
            a, b = ours.take(1)["loss"], reference.take(1)["loss"]
            if not math.isclose(a, b, rel_tol=tolerance):
                sys.exit(f"step {step}: losses {a} and {b}: not the same step, so no ratio")
        speeds = ([], [])
        for turn in range(arguments.rounds):
            order = [(0, ours), (1, reference)]
            for side, runner in order if turn % 2 == 0 else order[::-1]:
                taken = runner.take(arguments.steps)
                speeds[side].append(taken["tokens"] / taken["seconds"])
        memory = ours.take(1)["resident_bytes_max"]
    ratios = sorted(a / b for a, b in zip(*speeds))
    print(f"step in drafthorse ({arguments.ours_device}): {statistics.median(speeds[0]):.0f} tokens/s, "
          f"peak resident memory {memory / 1e6:.0f} MB" if memory else "")
    print(f"step in PyTorch {torch.__version__} ({arguments.device}): {statistics.median(speeds[1]):.0f} tokens/s, "
          f"peak resident memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB")
    print(f"ratio: {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}, {len(ratios)} rounds)")


if __name__ == "__main__":
    main()
