"""Which words of a known text have been heard, told from its sound alone.

The text is spoken once by the voice's own library, which tells how long each phoneme lasts; any
other sound of it is laid beside that by dynamic time warping (Sakoe and Chiba 1978). Nothing of
what Cascade says of its words is used.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
from piper import PiperVoice, SynthesisConfig

from pipeline.audio.resample import resampled
from pipeline.events import Samples

RATE = 16_000
HOP, WINDOW = RATE // 100, RATE // 40
BANDS = 24
FLOOR = 20.0  # quieter than this is all the same: amplitude, of int16
EDGES = frozenset(" .,!?;:^$")
"""Phonemes that are no sound of a word."""

Floats = npt.NDArray[np.float64]


class Counter:
    """Knows how a text sounds.

    Args:
        voice: A Piper voice's `.onnx`.
        text: What it will say, with other durations and other noise.
    """

    def __init__(self, voice: Path, text: str) -> None:
        speaker = PiperVoice.load(str(voice), include_alignments=True)
        rate = speaker.config.sample_rate
        config = SynthesisConfig(noise_scale=0.0, noise_w_scale=0.0)
        parts, ends, before = [], [], 0
        # Comma by comma: within longer texts the lengths it tells run ahead of the sound.
        for piece in re.findall(r"[^,]+,?", text):
            at = sounding = before
            for chunk in speaker.synthesize(piece, config, include_alignments=True):
                parts.append(chunk.audio_int16_array)
                for phoneme in chunk.phoneme_alignments or ():
                    at += phoneme.num_samples
                    if phoneme.phoneme == " ":
                        ends += [sounding] if sounding > before else []
                    elif phoneme.phoneme not in EDGES:
                        sounding = at
                before += len(parts[-1])
            ends += [sounding] if not ends or sounding > ends[-1] else []
        self.words = re.findall(r"[\w']+", text)
        if len(ends) != len(self.words):
            raise ValueError(f"{len(self.words)} words, and {len(ends)} in the sound of: {text}")
        self._ends = [end * RATE // rate // HOP for end in ends]
        self._features = _features(resampled(np.concatenate(parts), rate, RATE))

    def heard(self, samples: Samples, rate: int, position: int) -> int:
        """How many words of the text are complete once so much of a sound of it was heard.

        Args:
            samples: The sound, from the text's beginning, maybe not to its end.
            rate: Hz.
            position: Samples of it that were heard.
        """
        path = _warp(_features(resampled(samples, rate, RATE)), self._features)
        frame = min(position * RATE // rate // HOP, len(path) - 1)
        return sum(end <= path[frame] for end in self._ends)


def _features(samples: Samples) -> Floats:
    """The loudness of each band (dB), every 10 ms: shape (frames, bands)."""
    padded = np.pad(samples.astype(float), (WINDOW // 2, WINDOW))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW), axis=1)) ** 2
    # Bands as wide as hearing's: evenly spaced below 1 kHz, wider above.
    mel = np.linspace(0, 2595 * np.log10(1 + RATE / 2 / 700), BANDS + 1)
    edges = np.unique((700 * (10 ** (mel / 2595) - 1) * WINDOW / RATE).astype(int))
    bands = np.add.reduceat(power, edges[:-1], axis=1)
    return np.asarray(10 * np.log10(bands + (FLOOR * WINDOW / 4) ** 2))


def _warp(made: Floats, known: Floats) -> npt.NDArray[np.intp]:
    """For each frame of `made` the frame of `known` that it is; `made` may end before."""
    squares = np.square(made).sum(axis=1)[:, None] + np.square(known).sum(axis=1)
    cost = np.sqrt(np.maximum(squares - 2 * made @ known.T, 0))
    total = np.cumsum(cost, axis=1)
    for row in range(1, len(cost)):
        before, along = total[row - 1], total[row]
        come = np.minimum(before, np.concatenate([[np.inf], before[:-1]]))
        # Into a cell from the frame before, or along this one: the sum along it does that at once.
        total[row] = along + np.minimum.accumulate(come - along + cost[row])
    place = np.zeros(len(cost), np.intp)
    row, column = len(cost) - 1, int(total[-1].argmin())
    place[row] = column
    while row > 0:
        steps = [(row - 1, column)]
        if column > 0:
            steps += [(row - 1, column - 1), (row, column - 1)]
        row, column = min(steps, key=lambda at: float(total[at]))
        place[row] = column
    return place
