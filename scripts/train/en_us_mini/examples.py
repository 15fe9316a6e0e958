"""Training examples from the teacher's recordings.

Per utterance: eSpeak token ids (with the marks of begin and end, without padding), the duration
of each, and per vocoder step the spectral envelope, F0, voicing and the maximum voiced frequency.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP
from piper.phonemize_espeak import EspeakPhonemizer
from scipy.ndimage import gaussian_filter1d

from en_us_mini.alignment import align
from en_us_mini.features import HOP, SR, Array, analyse
from en_us_mini.teacher import utterance

STEP = HOP / SR  # seconds
# The teacher excites voiced sounds with pulses only.  A real voice is noisy at high frequencies,
# and early on in voiced fricatives.
VOICED_UP_TO, NOISY_FROM = 5500.0, 2200.0  # Hz
NOISY = set("zvðʒ")
# The teacher hardly raises its voice in questions; the targets do, in those that begin like this.
YES_NO = {
    *("is", "are", "was", "were", "am", "do", "does", "did", "can", "could", "will", "would"),
    *("shall", "should", "may", "might", "must", "have", "has", "had", "really", "anything"),
}
RISE = 0.42  # log Hz, from the last stress to the end: 7.3 semitones
HIGHEST = 330.0  # Hz, for raised pitch
MOST_COST = 0.25  # per phone; examples that line up worse are left out


class Example(TypedDict):
    """One utterance; N tokens, T vocoder steps.

    Attributes:
        number: its line in the corpus.
        text: the sentence.
        ids: [N] Piper's ids.
        dur: [N] duration of each token in vocoder steps.
        env: [T, BANDS] log amplitude.
        lf0: [T] log F0, interpolated where unvoiced.
        voiced: [T] whether there is a pitch.
        mvf: [T] maximum voiced frequency, kHz.
        weight: [T] 0 where the alignment is not to be trusted, otherwise 1.
        trusted: [N] whether a token's duration is.
        cost: of the alignment, per phone.
    """

    number: int
    text: str
    ids: NDArray[np.int16]
    dur: NDArray[np.float32]
    env: NDArray[np.float16]
    lf0: NDArray[np.float32]
    voiced: NDArray[np.bool_]
    mvf: NDArray[np.float32]
    weight: NDArray[np.float32]
    trusted: NDArray[np.bool_]
    cost: float


class Token(NamedTuple):
    """A token with its time in the utterance, in seconds from the audio's begin."""

    symbol: str
    start: float
    end: float
    trusted: bool


@cache
def _espeak() -> EspeakPhonemizer:
    return EspeakPhonemizer()


def pitch_target(f0: Array, text: str, tokens: list[Token]) -> Array:
    """Log F0 of every step: continuous, smoothed, and rising at the end of a yes/no question.

    Args:
        f0: Hz, 0 where unvoiced.
        text: the sentence.
        tokens: its tokens, those for begin and end included.
    """
    steps = np.arange(len(f0))
    voiced = f0 > 0
    lf0 = np.interp(steps, steps[voiced], np.log(f0[voiced]))
    if text.endswith("?") and text.split()[0].strip(",.?!").lower() in YES_NO:
        stresses = [token.start for token in tokens if token.symbol == "ˈ"]
        start, end = stresses[-1] if stresses else tokens[1].start, tokens[-1].start
        ramp = np.clip((steps * STEP - start) / max(end - start, 0.1), 0, 1)
        lf0 = np.minimum(lf0 + RISE * ramp**1.3, np.log(HIGHEST))
    return gaussian_filter1d(lf0, 1.0)


def weights_and_noise(steps: int, tokens: list[Token]) -> tuple[Array, Array]:
    """Per step: how far to trust it (0 or 1), and the maximum voiced frequency in Hz."""
    weight, highest = np.ones(steps, np.float32), np.full(steps, VOICED_UP_TO)
    for token in tokens:
        span = slice(round(token.start / STEP), round(token.end / STEP))
        if not token.trusted:
            weight[span] = 0
        if token.symbol in NOISY:
            highest[span] = NOISY_FROM
    return weight, gaussian_filter1d(highest, 3.0)


def example(job: tuple[int, str, Path]) -> Example | None:
    """The example of one utterance; None where it cannot be used.

    Args:
        job: line in the corpus, sentence, folder of the teacher's recordings.
    """
    number, text, folder = job
    sentences = _espeak().phonemize("en-us", text)
    said = utterance(folder, number)
    if len(sentences) != 1 or said is None:
        return None
    symbols = [symbol for symbol in sentences[0] if symbol in DEFAULT_PHONEME_ID_MAP]
    times, trusted, cost = align(symbols, said.phones)
    env, f0 = analyse(said.audio, STEP * 1000)
    if (f0 > 0).sum() < 4:
        return None
    first, last = said.phones[0].start, said.phones[-1].end
    spans = [(said.begin, first), *times, (last, said.end)]
    tokens = [
        Token(symbol, start - said.begin, end - said.begin, trust)
        for symbol, (start, end), trust in zip(
            ["^", *symbols, "$"], spans, [True, *trusted, True], strict=True
        )
    ]
    weight, highest = weights_and_noise(len(f0), tokens)
    phones = sum(phone.name != "pau" for phone in said.phones)
    return {
        "number": number,
        "text": text,
        "ids": np.array([DEFAULT_PHONEME_ID_MAP[t.symbol][0] for t in tokens], np.int16),
        "dur": np.array([(t.end - t.start) / STEP for t in tokens], np.float32),
        "env": env.astype(np.float16),
        "lf0": pitch_target(f0, text, tokens).astype(np.float32),
        "voiced": f0 > 0,
        "mvf": (highest / 1000).astype(np.float32),
        "weight": weight,
        "trusted": np.array([t.trusted for t in tokens]),
        "cost": cost / max(1, phones),
    }


def load(path: Path) -> list[Example]:
    """The examples of a file that this module wrote."""
    return torch.load(path, weights_only=False)


def main() -> None:
    """Write the examples of a corpus."""
    ap = argparse.ArgumentParser(description="Training examples from the teacher's recordings.")
    ap.add_argument("--corpus", type=Path, required=True)
    ap.add_argument("--teacher", type=Path, required=True)
    ap.add_argument("--out", type=Path, required=True)
    ap.add_argument("--workers", type=int, default=1)
    ap.add_argument("--limit", type=int, help="use at most this many utterances")
    args = ap.parse_args()
    jobs = [
        (i, text, args.teacher)
        for i, text in enumerate(args.corpus.read_text(encoding="utf-8").splitlines())
        if text.strip() and (args.teacher / f"{i:05d}.wav").exists()
    ][: args.limit]
    with ProcessPoolExecutor(args.workers) as pool:
        usable = [found for found in pool.map(example, jobs, chunksize=32) if found]
    kept = [found for found in usable if found["cost"] < MOST_COST]
    if not kept:
        raise SystemExit(f"error: no usable utterance in {args.teacher}; delete it and start again")
    hours = sum(len(found["lf0"]) for found in kept) * STEP / 3600
    print(
        f"{len(jobs)} utterances, {len(usable)} usable, {len(kept)} kept ({hours:.2f} h), "
        f"mean cost {np.mean([found['cost'] for found in usable]):.3f}, "
        f"untrusted frames {np.mean([1 - found['weight'].mean() for found in kept]):.3f}"
    )
    torch.save(kept, args.out)


if __name__ == "__main__":
    main()
