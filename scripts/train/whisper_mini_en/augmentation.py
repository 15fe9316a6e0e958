"""What happens to an utterance on its way to the microphone: noise, rooms, levels, filters."""

from random import Random

import numpy as np
from scipy.signal import fftconvolve, lfilter

from whisper_mini_en.features import BANDS
from whisper_mini_en.utterances import SR, Corpus, Samples

MAINS = [(50, 0), (100, 1), (150, 2), (250, 3), (120, 1)]  # Hz and phase of a hum


def _unit_power(x: Samples) -> Samples:
    return (x / np.sqrt(np.mean(x**2))).astype(np.float32)


class Noise:
    """Noises of several colours, from a pool made once.

    Args:
        seed: of the pool.
        seconds: length of each noise in the pool; no noise can be longer.
    """

    def __init__(self, seed: int = 0, seconds: int = 40) -> None:
        n = seconds * SR
        white = np.random.default_rng(seed).standard_normal(n).astype(np.float32)
        # J. O. Smith, Spectral Audio Signal Processing, "Synthesis of 1/F Noise"
        pink = lfilter(
            [0.049922, -0.095993, 0.050613, -0.004408], [1, -2.494956, 2.017265, -0.522189], white
        )
        brown = lfilter([1], [1, -0.98], white)
        low = lfilter([1], [1, -1.8, 0.82], white)
        band = lfilter([1, 0, -1], [1, -1.2, 0.72], white)
        t = np.arange(n) / SR
        tones = [np.sin(2 * np.pi * f * t + phase) / k for k, (f, phase) in enumerate(MAINS, 1)]
        hum = sum(tones) + 0.1 * white
        self.pool = [_unit_power(x) for x in (white, pink, brown, low, band, hum)]

    def get(self, r: Random, n: int, corpus: Corpus | None = None) -> Samples:
        """`n` samples of about unit power; now and then babble, if there is a corpus."""
        if corpus is not None and r.random() < 0.2:
            return self._babble(r, n, corpus)
        x = r.choice(self.pool)
        if r.random() < 0.3:
            x = 0.7 * x + 0.7 * r.choice(self.pool)
        start = r.randrange(len(x) - n)
        y = x[start : start + n]
        if r.random() < 0.2:  # slowly changing level
            levels = [10 ** r.uniform(-1, 0) for _ in range(6)]
            y = y * np.interp(np.arange(n), np.linspace(0, n, 6), levels)
        return y.astype(np.float32)

    def _babble(self, r: Random, n: int, corpus: Corpus) -> Samples:
        """Several other utterances at once."""
        y = np.zeros(n, np.float32)
        for _ in range(r.randint(2, 5)):
            x = corpus[r.randrange(len(corpus))].audio
            start = r.randrange(n)
            y += np.tile(x, 2 * n // len(x) + 2)[start : start + n] * r.uniform(0.4, 1)
        return y / np.sqrt(np.mean(y**2) + 1e-9)


class Augmentation:
    """Random changes to utterances and their features.

    Attributes:
        strength: 0 for nearly clean, 1 for everything; the trainer raises it over time.
    """

    def __init__(self, r: Random, g: np.random.Generator, noise: Noise) -> None:
        self.r, self.g, self.noise = r, g, noise
        self.strength = 1.0

    def _happens(self, share: float) -> bool:
        return self.r.random() < share * self.strength

    def utterance(self, x: Samples, corpus: Corpus) -> tuple[Samples, float]:
        """An utterance with silence around it; and where its speech ends, in seconds."""
        r = self.r
        if self._happens(0.3):  # speed and pitch together
            factor = r.uniform(0.9, 1.1)
            at = np.arange(0, len(x) - 1, factor)
            x = np.interp(at, np.arange(len(x)), x).astype(np.float32)
        x, lead, end = self._surround(x)
        if self._happens(0.25):
            x = self._room(x)
        power = np.mean(x[lead : lead + SR * 2] ** 2) + 1e-9
        if r.random() < 0.25 + 0.4 * self.strength:
            snr_db = r.uniform(26 - 18 * self.strength, 42)
            x = x + self.noise.get(r, len(x), corpus) * np.sqrt(power / 10 ** (snr_db / 10))
        x = x * (10 ** r.uniform(-1.4, 0) / (np.abs(x).max() + 1e-6))
        if self._happens(0.08):  # overdriven
            gain = r.uniform(1.5, 5)
            x = np.clip(x * gain, -1, 1) if r.random() < 0.5 else np.tanh(x * gain)
        return x.astype(np.float32), end

    def _surround(self, x: Samples) -> tuple[Samples, int, float]:
        """Silence before and after; -> samples, samples before, end of speech in seconds."""
        r = self.r
        cut = self._happens(0.06)  # the end is cut off
        if cut:
            x = x[: len(x) - int(r.uniform(0.03, 0.1) * SR)]
        lead = int(r.uniform(0, 0.5) * SR) if r.random() < 0.7 else 0
        tail = 0
        if not cut:
            tail = int((r.uniform(0, 0.4) if r.random() < 0.93 else r.uniform(0.4, 2.5)) * SR)
        return np.pad(x, (lead, tail)), lead, (lead + len(x)) / SR

    def _room(self, x: Samples) -> Samples:
        """The echoes of a small room."""
        n = int(self.r.uniform(0.08, 0.45) * SR)
        # decays by 60 dB over its length
        echo = self.g.standard_normal(n).astype(np.float32) * np.exp(-6.9 * np.arange(n) / n)
        echo[: int(0.002 * SR)] = 0
        echo *= self.r.uniform(0.1, 0.7) / np.sqrt(np.sum(echo**2))
        echo[0] = 1.0
        return fftconvolve(x, echo)[: len(x)].astype(np.float32)

    def silence(self) -> Samples:
        """Audio without speech: silence or noise, sometimes with tones, beeps and clicks."""
        r = self.r
        n = int(r.uniform(0.3, 6) * SR)
        x = np.zeros(n, np.float32)
        if r.random() < 0.75:
            x = self.noise.get(r, n) * 10 ** r.uniform(-4, -0.7)
        if r.random() < 0.3:
            for _ in range(r.randint(1, 6)):
                self._beep(x)
        return np.clip(x, -1, 1).astype(np.float32)

    def _beep(self, x: Samples) -> None:
        """Add a tone or a click somewhere."""
        r = self.r
        start = r.randrange(len(x))
        end = min(len(x), start + int(r.uniform(0.005, 0.8) * SR))
        if r.random() < 0.6:
            f, t = r.uniform(80, 4000), np.arange(start, end) / SR
            x[start:end] += 10 ** r.uniform(-2, -0.5) * np.sin(2 * np.pi * f * t)
        else:
            n = min(end, start + int(r.uniform(0.002, 0.05) * SR)) - start
            level, decay = 10 ** r.uniform(-2, -0.3), np.exp(-5 * np.arange(n) / max(1, n))
            x[start : start + n] += level * self.g.standard_normal(n) * decay

    def curve(self) -> Samples | None:
        """An equaliser curve for the features, [BANDS] in log10 of power; or none."""
        r = self.r
        if not self._happens(0.35):
            return None
        points = [r.uniform(-0.6, 0.6) for _ in range(6)]
        curve = np.interp(np.arange(BANDS), np.linspace(0, BANDS - 1, 6), points)
        if r.random() < 0.25:  # as by telephone: little above 3.4 kHz or below 300 Hz
            curve[r.randint(60, 76) :] -= r.uniform(1, 3)
            if r.random() < 0.5:
                curve[: r.randint(2, 9)] -= r.uniform(0.5, 2)
        return curve.astype(np.float32)

    def mask(self, mel: Samples) -> Samples:
        """Hide some bands and frames of features, in place (SpecAugment)."""
        r = self.r
        if self._happens(0.4):
            band, width = r.randrange(BANDS), r.randint(1, 10)
            mel[band : band + width] = mel.mean()
        if self._happens(0.4):
            for _ in range(r.randint(1, 2)):
                frame, width = r.randrange(mel.shape[1]), r.randint(1, 8)
                mel[:, frame : frame + width] = mel.mean()
        return mel
