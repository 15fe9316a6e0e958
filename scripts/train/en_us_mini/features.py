"""Constants and the mel-spaced envelope used by preparation, training and the vocoder."""

import numpy as np
import pyworld
from numpy.typing import NDArray

Array = NDArray[np.floating]

SR = 22050  # Hz
HOP = 128  # samples; one vocoder step (5.8 ms)
SUB = 3  # vocoder steps per model frame (17.4 ms)
NFFT = 1024
BINS = NFFT // 2 + 1
BANDS = 64
F0_MIN, F0_MAX = 90.0, 400.0  # Hz


def band_centres() -> Array:
    """Centre frequencies of the bands, in Hz: 0 to half the sample rate, evenly spaced in mel."""
    mel = np.linspace(0.0, 1127 * np.log(1 + SR / 2 / 700), BANDS)
    return 700 * (np.exp(mel / 1127) - 1)


def analysis_matrix() -> Array:
    """BINS x BANDS: mean of the log envelope under a triangle around each centre."""
    f = np.linspace(0, SR / 2, BINS)
    c = band_centres()
    matrix = np.zeros((BINS, BANDS))
    for b in range(BANDS):
        low = c[b - 1] if b else c[0] - (c[1] - c[0])
        high = c[b + 1] if b + 1 < BANDS else c[b] + (c[b] - c[b - 1])
        weights = np.minimum((f - low) / (c[b] - low), (high - f) / (high - c[b])).clip(0)
        if weights.sum() < 1.0:  # narrower than a bin: interpolate at the centre
            weights = np.clip(1 - np.abs(f - c[b]) / (f[1] - f[0]), 0, None)
        matrix[:, b] = weights / weights.sum()
    return matrix


def synthesis_matrix() -> Array:
    """BINS x BANDS: linear interpolation between centres."""
    f = np.linspace(0, SR / 2, BINS)
    c = band_centres()
    return np.stack([np.interp(f, c, row) for row in np.eye(BANDS)], axis=1)


ANALYSIS = analysis_matrix()


def pitch(x: Array, period_ms: float) -> tuple[Array, Array]:
    """F0 in Hz (0 where unvoiced) every `period_ms`, and the times of its frames in s."""
    f0, times = pyworld.dio(x, SR, frame_period=period_ms, f0_floor=F0_MIN, f0_ceil=F0_MAX)
    return pyworld.stonemask(x, f0, times, SR), times


def analyse(x: Array, period_ms: float) -> tuple[Array, Array]:
    """Envelope (frames x BANDS, log amplitude) and F0 (frames, Hz) of an utterance.

    Args:
        x: samples at `SR`, float64.
        period_ms: distance of the frames.
    """
    f0, times = pitch(x, period_ms)
    power = pyworld.cheaptrick(x, f0, times, SR, fft_size=NFFT)
    return 0.5 * np.log(power + 1e-10) @ ANALYSIS, f0
