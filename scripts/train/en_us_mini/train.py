"""Train the student; writes a checkpoint of its averaged weights after every epoch."""

import argparse
import math
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from en_us_mini.examples import Example, load
from en_us_mini.features import BANDS, SUB
from en_us_mini.model import OUT, Acoustic

FULL_STOP = 10  # its id in Piper's map
WARM_UP = 200  # steps
WEIGHTS = {"env": 1.0, "dyn": 0.5, "f0": 0.6, "voiced": 0.5, "mvf": 0.1, "dur": 1.0}


class Batch(NamedTuple):
    """B padded utterances; N tokens, T model frames.

    Attributes:
        ids: [B, N].
        dur: [B, N] in vocoder steps.
        tokens: [B, N, 1] mask.
        length: [B, 1] tokens.
        frames: [B, T, 1] mask.
        target: [B, T * SUB, OUT], not normalised.
        weight: [B, T * SUB], 0 where the alignment is not to be trusted.
    """

    ids: Tensor
    dur: Tensor
    tokens: Tensor
    length: Tensor
    frames: Tensor
    target: Tensor
    weight: Tensor


def groups(data: list[Example], size: int, r: Random) -> list[list[int]]:
    """Indices of utterances of similar length together, the groups in random order."""
    order = sorted(range(len(data)), key=lambda i: len(data[i]["lf0"]) * (1 + 0.1 * r.random()))
    out = [order[i : i + size] for i in range(0, len(order), size)]
    r.shuffle(out)
    return out


def collate(items: list[Example], r: Random) -> Batch:
    """Pad utterances to one batch; some lose their final full stop, as people leave it out."""
    ids, durs = [], []
    for item in items:
        i, d = item["ids"], item["dur"]
        if i[-2] == FULL_STOP and r.random() < 0.12:
            d = np.concatenate([d[:-2], [d[-1] + d[-2]]]).astype(np.float32)
            i = np.concatenate([i[:-2], i[-1:]])
        ids.append(i)
        durs.append(d)
    b, n = len(items), max(map(len, ids))
    frames = math.ceil(max(len(item["lf0"]) for item in items) / SUB)
    batch = Batch(
        ids=torch.zeros(b, n, dtype=torch.long),
        dur=torch.zeros(b, n),
        tokens=torch.zeros(b, n, 1),
        length=torch.zeros(b, 1),
        frames=torch.zeros(b, frames, 1),
        target=torch.zeros(b, frames * SUB, OUT),
        weight=torch.zeros(b, frames * SUB),
    )
    for k, item in enumerate(items):
        m, s = len(ids[k]), len(item["lf0"])
        batch.ids[k, :m] = torch.from_numpy(ids[k].astype(np.int64))
        batch.dur[k, :m] = torch.from_numpy(durs[k])
        batch.tokens[k, :m] = 1
        batch.length[k] = m
        batch.frames[k, : math.ceil(s / SUB)] = 1
        batch.target[k, :s, :BANDS] = torch.from_numpy(item["env"].astype(np.float32))
        batch.target[k, :s, BANDS] = torch.from_numpy(item["lf0"])
        batch.target[k, :s, BANDS + 1] = torch.from_numpy(item["voiced"].astype(np.float32))
        batch.target[k, :s, BANDS + 2] = torch.from_numpy(item["mvf"])
        batch.weight[k, :s] = torch.from_numpy(item["weight"])
    return batch


def losses(model: Acoustic, batch: Batch) -> dict[str, Tensor]:
    """The parts of the loss, to be weighted by `WEIGHTS`."""
    y, w = batch.target, batch.weight
    x, log_duration = model.encode(batch.ids, batch.tokens, batch.length)
    p = model.decode(model.spread(x, batch.dur, batch.frames.shape[1]), batch.frames)
    voiced, total = y[..., BANDS + 1], w.sum()
    off = p[..., :BANDS] - (y[..., :BANDS] - model.env_mean) / model.env_std
    change = off[:, 1:] - off[:, :-1]
    pitch_off = p[..., BANDS] - (y[..., BANDS] - model.f0_stat[0]) / model.f0_stat[1]
    pitch_weight = w * (0.1 + 0.9 * voiced)
    voicing = binary_cross_entropy_with_logits(p[..., BANDS + 1], voiced, reduction="none")
    mvf_off = p[..., BANDS + 2] - y[..., BANDS + 2]
    dur_off = (log_duration - torch.log1p(batch.dur)) * batch.tokens[..., 0]
    return {
        "env": ((off.abs() + 0.5 * off * off).mean(-1) * w).sum() / total,
        "dyn": (change.abs().mean(-1) * w[:, 1:] * w[:, :-1]).sum() / total,
        "f0": (pitch_off.abs() * pitch_weight).sum() / pitch_weight.sum(),
        "voiced": (voicing * w).sum() / total,
        "mvf": (mvf_off.abs() * w).sum() / total,
        "dur": (dur_off.abs() + dur_off * dur_off).sum() / batch.tokens.sum(),
    }


def normalise(model: Acoustic, data: list[Example]) -> None:
    """Set the model's means and deviations from the training data."""
    envelopes = np.concatenate([item["env"].astype(np.float32) for item in data[::5]])
    model.env_mean.copy_(torch.tensor(envelopes.mean(0)))
    model.env_std.copy_(torch.tensor(envelopes.std(0)))
    pitches = np.concatenate([item["lf0"][item["voiced"]] for item in data])
    model.f0_stat.copy_(torch.tensor([pitches.mean(), pitches.std()]))


def optimiser(model: torch.nn.Module, lr: float) -> torch.optim.Optimizer:
    """AdamW; weight decay on matrices only."""
    decay = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    parts = [{"params": decay, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(parts, lr=lr, betas=(0.9, 0.98))


class Trainer:
    """A training run."""

    def __init__(self, model: Acoustic, data: list[Example], lr: float, steps: int) -> None:
        self.model, self.data, self.lr, self.steps = model, data, lr, steps
        self.average = {k: v.clone() for k, v in model.state_dict().items()}
        self.optimiser = optimiser(model, lr)
        self.step = 0
        self.r = Random(1)

    def rate(self) -> float:
        """The learning rate of this step: warm-up, then a half cosine down to 2 %."""
        half_cosine = 0.5 * (1 + math.cos(math.pi * self.step / self.steps))
        return self.lr * min(1.0, (self.step + 1) / WARM_UP) * (0.02 + 0.98 * half_cosine)

    def update(self, batch: Batch, bf16: bool) -> dict[str, float]:
        """One step on one batch; returns the parts of the loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        self.model.train()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            parts = losses(self.model, batch)
        loss = sum(WEIGHTS[k] * v for k, v in parts.items())
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        keep = min(0.998, 1 - 1 / (1 + self.step / 5))
        with torch.no_grad():
            for k, v in self.model.state_dict().items():
                self.average[k].lerp_(v, 1 - keep)
        return {k: float(v.detach()) for k, v in parts.items()}

    def epoch(self, batch_size: int, bf16: bool) -> None:
        """Go once through the data, or to the last step; reports every 100 steps."""
        sums: Counter[str] = Counter()
        count, start = 0, time.monotonic()
        for group in groups(self.data, batch_size, self.r):
            sums.update(self.update(collate([self.data[i] for i in group], self.r), bf16))
            count += 1
            if count == 100 or self.step == self.steps:
                means = " ".join(f"{k} {v / count:.4f}" for k, v in sums.items())
                pace = (time.monotonic() - start) / count
                print(f"step {self.step} {pace:.2f} s/step {means}", flush=True)
                sums, count, start = Counter(), 0, time.monotonic()
            if self.step == self.steps:
                break

    def averaged(self) -> Acoustic:
        """A model with the averaged weights."""
        model = Acoustic(**self.model.config)
        model.load_state_dict(self.average)
        return model.eval()

    def checkpoint(self) -> dict[str, Any]:
        """What `load_checkpoint` reads."""
        return {"config": self.model.config, "state": self.average, "step": self.step}


def load_checkpoint(path: Path) -> Acoustic:
    """The model of a checkpoint, with its averaged weights."""
    checkpoint = torch.load(path, weights_only=True)
    model = Acoustic(**checkpoint["config"])
    model.load_state_dict(checkpoint["state"])
    return model


def main() -> None:
    """Train."""
    ap = argparse.ArgumentParser(description="Train the student.")
    ap.add_argument("--data", type=Path, required=True)
    ap.add_argument("--more", type=Path, help="further training examples, same format")
    ap.add_argument("--init", type=Path, help="start from this checkpoint's averaged weights")
    ap.add_argument("--out", type=Path, required=True)
    ap.add_argument("--steps", type=int, default=9000)
    ap.add_argument("--batch", type=int, default=24)
    ap.add_argument("--lr", type=float, default=1.5e-3)
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--held-out", type=int, default=64, help="the first examples are not used")
    ap.add_argument("--bf16", action="store_true", help="faster on CPUs with AVX512-BF16 or AMX")
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    data = load(args.data)
    held_out, data = data[: args.held_out], data[args.held_out :]
    if args.more:
        data += load(args.more)
    model = load_checkpoint(args.init) if args.init else Acoustic()
    if not args.init:
        normalise(model, data)
    size = sum(p.numel() for p in model.parameters())
    print(f"{len(data)} training utterances, {size} weights")
    trainer, epoch = Trainer(model, data, args.lr, args.steps), 0
    while trainer.step < args.steps:
        trainer.epoch(args.batch, args.bf16)
        epoch += 1
        with torch.no_grad():
            parts = losses(trainer.averaged(), collate(held_out, Random(0)))
        means = " ".join(f"{k} {float(v):.4f}" for k, v in parts.items())
        print(f"epoch {epoch} held-out {means}", flush=True)
        torch.save(trainer.checkpoint(), args.out)


if __name__ == "__main__":
    main()
