"""Train whisper-mini-en on synthesised utterances.

Training goes by the clock: learning rate, augmentation and the rest follow the share of the time
that has passed (`Schedule`).  ``OUT/last.pt`` holds the weights.
"""

import argparse
import json
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import ctc_loss, log_softmax

from whisper_mini_en.examples import IGNORED, LONGEST, Batch, Example, Maker, Targets
from whisper_mini_en.model import MiniWhisper
from whisper_mini_en.utterances import Corpus

GROUPS = 24  # batches that are made at once, so that their lengths are similar
SMOOTHING = 0.08  # share of the loss that wants every used token to stay possible
WRONG = 0.08  # share of wrong tokens in the decoder's history: it should rely on the audio
WATCHED = 400  # steps after which every token has been seen
SAVED_EVERY = 250  # steps


@dataclass(frozen=True)
class Schedule:
    """What changes while training; `share` is the share of the time that has passed.

    Attributes:
        lr: the learning rate between warm-up and decay.
        warm_up: in steps.
        decay_from: from this share on the learning rate falls, to zero at the end.
        short_until: until this share only short utterances are learnt; quicker, and easier to
            align.
        short: frames of what is short.
        long_from: from this share on some windows are long, up to faster-whisper's 3000 frames.
        long_share: how many of the batches are.
        strength: of the augmentation at `full_from` and later; it grows from zero.
        full_from: see `strength`.
    """

    lr: float = 1e-3
    warm_up: int = 400
    decay_from: float = 0.6
    short_until: float = 0.12
    short: int = 320
    long_from: float = 0.7
    long_share: float = 0.04
    strength: float = 0.6
    full_from: float = 0.6

    def rate(self, share: float, step: int) -> float:
        """The learning rate."""
        rate = self.lr * min(1, (step + 1) / self.warm_up)
        if share > self.decay_from:
            rate *= max(0.0, 1 - share) / (1 - self.decay_from)
        return rate

    def augmentation(self, share: float) -> float:
        """The strength of the augmentation."""
        return self.strength * min(1, share / self.full_from)

    def auxiliary(self, share: float) -> tuple[float, float]:
        """The weights of the losses on phonemes and on words."""
        if share < 0.25:
            return 1.0, 0.3
        return (0.3, 0.3) if share < 0.6 else (0.15, 0.15)


def ctc(logits: Tensor, targets: list[list[int]], frames: Tensor) -> Tensor:
    """Mean CTC loss per target.

    Args:
        logits: [B, T, classes].
        targets: B lists of classes.
        frames: [B] how many of the T belong to the utterance itself.
    """
    log_p = log_softmax(logits.float(), -1).transpose(0, 1)
    lengths = torch.tensor([len(target) for target in targets])
    flat = torch.tensor([label for target in targets for label in target], dtype=torch.long)
    frames = torch.minimum(frames, torch.tensor(log_p.shape[0]))
    loss = ctc_loss(log_p, flat, frames, lengths, reduction="none", zero_infinity=True)
    return (loss / lengths.clamp(min=1)).mean()


class Trainer:
    """A training run.

    Args:
        model: what is trained.
        maker: makes its examples.
        schedule: what changes over time.
        batch: examples per step.
        bf16: compute in bfloat16 where that is safe.
    """

    def __init__(
        self, model: MiniWhisper, maker: Maker, schedule: Schedule, batch: int, *, bf16: bool
    ) -> None:
        self.model, self.maker, self.schedule = model, maker, schedule
        self.size, self.bf16 = batch, bf16
        decay = [p for p in model.parameters() if p.ndim > 1]
        plain = [p for p in model.parameters() if p.ndim <= 1]
        self.optimiser = torch.optim.AdamW(
            [{"params": decay, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}],
            lr=schedule.lr,
            betas=(0.9, 0.98),
            fused=True,
        )
        self.used = torch.zeros(model.cfg["vocab"])
        self.step = 0
        self._ready: list[list[Example]] = []

    def next_batch(self, share: float) -> Batch | None:
        """The next batch; None if the next examples are too long for this early."""
        r, schedule = self.maker.r, self.schedule
        if not self._ready:
            self.maker.augmentation.strength = schedule.augmentation(share)
            self._ready = self.maker.groups(GROUPS, self.size)
        examples, frames = self._ready.pop(), None
        longest = max(example.mel.shape[1] for example in examples)
        if share < schedule.short_until and longest > schedule.short:
            return None
        if share > schedule.long_from and r.random() < schedule.long_share:
            frames = LONGEST if r.random() < 0.6 else r.randint(600, 1600)
            examples = r.sample(examples, self.size // (4 if frames == LONGEST else 2))
        return self.maker.batch(examples, frames)

    def history(self, ids: Tensor) -> Tensor:
        """What the decoder is given: the tokens, some of them wrong."""
        known = self.used.nonzero()[:, 0]
        known = known[known < self.maker.end]
        given = ids.clone()
        if len(known):
            hit = (torch.rand(ids.shape) < WRONG) & (ids < self.maker.end)
            given[hit] = known[torch.randint(len(known), (int(hit.sum()),))]
        if self.step < WATCHED:
            self.used[ids.unique()] = 1
        return given

    def update(self, batch: Batch, share: float) -> dict[str, float]:
        """One step; returns what to report."""
        rate = self.schedule.rate(share, self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        mel, ids, labels = (torch.from_numpy(array) for array in batch[:3])
        given = self.history(ids)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bf16):
            output = self.model(mel, given)
        learnt = labels != IGNORED
        log_p = log_softmax(output.tokens[learnt], -1)
        nll = -log_p.gather(1, labels[learnt][:, None]).mean()
        smooth = -(log_p @ (self.used / self.used.sum())).mean()
        frames = torch.tensor(batch.frames)
        phonemes = ctc(output.phonemes, batch.phonemes, frames)
        words = ctc(output.words, batch.words, frames)
        w_phonemes, w_words = self.schedule.auxiliary(share)
        loss = (1 - SMOOTHING) * nll + SMOOTHING * smooth + w_phonemes * phonemes + w_words * words
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        gradient = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        wrong = output.tokens[learnt].argmax(-1) != labels[learnt]
        return {
            "lr": rate,
            "frames": mel.shape[2],
            "nll": nll.item(),
            "wrong": wrong.float().mean().item(),
            "phonemes": phonemes.item(),
            "words": words.item(),
            "gradient": float(gradient),
        }

    def save(self, path: Path) -> None:
        """Write what export.py reads; the file is whole at any time."""
        part = path.with_suffix(".part")
        state = {"cfg": self.model.cfg, "model": self.model.state_dict(), "step": self.step}
        torch.save(state, part)
        part.replace(path)


def train(trainer: Trainer, minutes: float, out: Path, report: int) -> None:
    """Train for so long, report as JSON lines, and save now and then."""
    start = time.monotonic()
    sums: Counter[str] = Counter()
    while (share := (time.monotonic() - start) / (60 * minutes)) < 1:
        began = time.monotonic()
        batch = trainer.next_batch(share)
        if batch is None:
            continue
        made = time.monotonic()
        sums.update(trainer.update(batch, share))
        sums.update({"data_s": made - began, "step_s": time.monotonic() - began})
        if trainer.step % report == 0:
            means = {name: float(np.round(value / report, 6)) for name, value in sums.items()}
            passed = round((time.monotonic() - start) / 60, 1)
            print(json.dumps({"step": trainer.step, "minutes": passed, **means}), flush=True)
            sums.clear()
        if trainer.step % SAVED_EVERY == 0:
            trainer.save(out)
    trainer.save(out)
    print(f"{trainer.step} steps")


def main() -> None:
    """Train."""
    ap = argparse.ArgumentParser(description="Train whisper-mini-en.")
    ap.add_argument("--data", type=Path, required=True, help="folder of utterances")
    ap.add_argument("--tokenizer", type=Path, required=True)
    ap.add_argument("--out", type=Path, required=True, help="the checkpoint")
    ap.add_argument("--minutes", type=float, default=80)
    ap.add_argument("--batch", type=int, default=16)
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--report", type=int, default=100, help="report every so many steps")
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--bf16", action="store_true", help="faster on CPUs with AVX512-BF16 or AMX")
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    tokenizer, targets = Tokenizer.from_file(str(args.tokenizer)), Targets()
    maker = Maker(Corpus(args.data), tokenizer, targets, seed=args.seed)
    model = MiniWhisper(tokenizer.get_vocab_size(), targets.phonemes, len(targets.words))
    size = sum(p.numel() for p in model.parameters())
    print(f"{len(maker.corpus)} utterances, {len(targets.words)} words, {size} weights", flush=True)
    trainer = Trainer(model, maker, Schedule(), args.batch, bf16=args.bf16)
    train(trainer, args.minutes, args.out, args.report)


if __name__ == "__main__":
    main()
