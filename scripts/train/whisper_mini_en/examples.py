"""Training examples: augmented utterances as features and token ids, in batches."""

import subprocess
from random import Random
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from shared.words import words_of
from whisper_mini_en.augmentation import Augmentation, Noise
from whisper_mini_en.features import BANDS, LogMel
from whisper_mini_en.grammar import vocabulary
from whisper_mini_en.utterances import SR, Corpus, Samples

IGNORED = -100  # label of a token that is not learnt
LONGEST = 3000  # frames; Whisper's 30 s


class Example(NamedTuple):
    """One training example.

    Attributes:
        mel: [BANDS, frames].
        ids: the decoder's tokens, first to last.
        phonemes: classes for the first auxiliary output, from 1 on.
        words: classes for the second, from 1 on.
        silent: whether nobody speaks.
    """

    mel: Samples
    ids: list[int]
    phonemes: list[int]
    words: list[int]
    silent: bool


class Batch(NamedTuple):
    """B examples, padded to F frames and L tokens.

    Attributes:
        mel: [B, BANDS, F].
        ids: [B, L] what the decoder is given.
        labels: [B, L] what it should answer, or `IGNORED`.
        phonemes: B lists of classes.
        words: B lists of classes.
        frames: frames of the encoder's output that belong to each example.
    """

    mel: Samples
    ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    phonemes: list[list[int]]
    words: list[list[int]]
    frames: list[int]


class Targets:
    """The classes of the auxiliary outputs: the grammar's words, and their phonemes.

    eSpeak NG gives the phonemes; they are only used while training.

    Attributes:
        words: class of each word, from 1 on (0 is the CTC blank).
        spelling: classes of each word's phonemes, from 1 on.
        phonemes: how many different phonemes there are.
    """

    def __init__(self) -> None:
        first, rest = vocabulary()
        words = sorted({word for text in first + rest for word in words_of(text)})
        spoken = {word: _phonemes(word) for word in words}
        names = sorted({name for spelling in spoken.values() for name in spelling})
        classes = {name: i for i, name in enumerate(names, 1)}
        self.words = {word: i for i, word in enumerate(words, 1)}
        self.spelling = {word: [classes[name] for name in spoken[word]] for word in words}
        self.phonemes = len(names)


def _phonemes(word: str) -> list[str]:
    words = ["espeak-ng", "-q", "-x", "--sep=_", "-v", "en-us", word]
    answer = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    names = (name.strip("',|-:; ") for name in answer.replace(" ", "_").split("_"))
    return [name for name in names if name]


class Maker:
    """Makes examples of a corpus; no two are the same, as the augmentation is random."""

    def __init__(
        self, corpus: Corpus, tokenizer: Tokenizer, targets: Targets, seed: int = 0
    ) -> None:
        self.corpus, self.tokenizer, self.targets = corpus, tokenizer, targets
        self.r = Random(seed)
        self.augmentation = Augmentation(self.r, np.random.default_rng(seed), Noise(seed))
        self.mel = LogMel()
        ids = tokenizer.token_to_id
        self.end, self.start = ids("<|endoftext|>"), ids("<|startoftranscript|>")
        self.no_speech, self.no_times = ids("<|nospeech|>"), ids("<|notimestamps|>")
        self.time_zero = self.no_times + 1

    def example(self, i: int) -> Example:
        """Utterance `i`, or now and then two utterances, or none."""
        r = self.r
        if r.random() < 0.04:
            mel = self.mel(self.augmentation.silence())[:, :-1]
            mode = self.no_times if r.random() < 0.7 else self.time_zero
            return Example(mel, [self.start, mode, self.end], [], [], True)
        x, text, _ = self.corpus[i]
        if r.random() < 0.06:
            y, second, _ = self.corpus[r.randrange(len(self.corpus))]
            if len(x) + len(y) < 8 * SR:
                gap = np.zeros(int(r.uniform(0.15, 0.8) * SR), np.float32)
                x, text = np.concatenate([x, gap, y]), f"{text} {second}"
        x, end = self.augmentation.utterance(x, self.corpus)
        mel = self.augmentation.mask(self.mel(x, self.augmentation.curve())[:, :-1])
        tokens = self.tokenizer.encode(" " + text, add_special_tokens=False).ids
        if r.random() < 0.2:
            # time stamps count 20 ms; the end is given to the nearest 100 ms
            stamp = self.time_zero + min(1500, round(end * 10) * 5)
            ids = [self.start, self.time_zero, *tokens, stamp, self.end]
        else:
            ids = [self.start, self.no_times, *tokens, self.end]
        words = words_of(text)
        phonemes = [p for word in words for p in self.targets.spelling[word]]
        return Example(mel, ids, phonemes, [self.targets.words[word] for word in words], False)

    def groups(self, n: int, size: int) -> list[list[Example]]:
        """`n` groups of `size` fresh examples, similar lengths together, in random order."""
        pool = [self.example(self.r.randrange(len(self.corpus))) for _ in range(n * size)]
        pool.sort(key=lambda example: example.mel.shape[1])
        out = [pool[k : k + size] for k in range(0, len(pool), size)]
        self.r.shuffle(out)
        return out

    def batch(self, examples: list[Example], frames: int | None = None) -> Batch:
        """Pad examples to arrays; features with zeros, as faster-whisper does.

        Args:
            examples: what to pad.
            frames: pad to at least this many; a little more than needed if left out.
        """
        n = max(example.mel.shape[1] for example in examples)
        if frames is None:
            frames = n + int(self.r.uniform(0, 300 if self.r.random() < 0.12 else 30))
        # few different shapes: oneDNN compiles and caches its kernels per shape
        n = min(LONGEST, _up(max(n, frames), 20))
        length = _up(max(len(example.ids) for example in examples) - 1, 4)
        mel = np.zeros((len(examples), BANDS, n), np.float32)
        ids = np.full((len(examples), length), self.end, np.int64)
        labels = np.full((len(examples), length), IGNORED, np.int64)
        for k, example in enumerate(examples):
            mel[k, :, : example.mel.shape[1]] = example.mel
            ids[k, : len(example.ids) - 1] = example.ids[:-1]
            labels[k, : len(example.ids) - 1] = example.ids[1:]
            if example.silent:
                labels[k, 0] = self.no_speech
        return Batch(
            mel,
            ids,
            labels,
            [example.phonemes for example in examples],
            [example.words for example in examples],
            [(example.mel.shape[1] + 1) // 2 for example in examples],
        )


def _up(n: int, step: int) -> int:
    """`n` rounded up to a multiple of `step`."""
    return -(-n // step) * step
