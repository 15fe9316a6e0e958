"""Source-filter vocoder as plain tensor operations, so that it exports to ONNX.

Excitation: a band-limited pulse train (closed-form sum of cosines) plus fixed noise.  Both are
cut in overlapping frames, taken to the frequency domain with a matrix product, mixed by a
maximum voiced frequency, filtered with the minimum-phase spectrum of the predicted envelope
(phase and magnitude are both linear in the log envelope), taken back and overlap-added.
"""

import math

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn.functional import pad

from en_us_mini.features import BINS, HOP, NFFT, SR, Array, synthesis_matrix

NOISE_LEN = 512  # vocoder steps in the noise table (about 3 s)
LOWEST = 60  # Hz; nothing is let through below


def _phase_matrix() -> Array:
    """BINS x BINS: row k is the minimum phase that the log magnitude of bin k causes."""
    cepstra = np.fft.irfft(np.eye(BINS), n=NFFT, axis=1)
    fold = np.zeros(NFFT)
    fold[0] = 1
    fold[1 : NFFT // 2] = 2
    fold[NFFT // 2] = 1
    return np.fft.rfft(cepstra * fold, axis=1).imag


def _sharpened(synthesis: Array, amount: float) -> Array:
    """Formants made sharper: cepstral coefficients above the first few lifted by `amount`."""
    cepstra = np.fft.irfft(np.eye(BINS), n=NFFT, axis=1)
    quefrency = np.minimum(np.arange(NFFT), NFFT - np.arange(NFFT))
    lift = 1 + amount * np.clip((quefrency - 2) / 6, 0, 1) * (quefrency < 120)
    return np.fft.rfft(cepstra * lift, axis=1).real.T @ synthesis


class Vocoder(nn.Module):
    """Envelope, F0, voicing and maximum voiced frequency to samples; nothing in it is learnt."""

    def __init__(self, sharpen: float = 0.0) -> None:
        super().__init__()
        synthesis = synthesis_matrix()  # BINS x BANDS
        if sharpen:
            synthesis = _sharpened(synthesis, sharpen)
        freq = np.linspace(0, SR / 2, BINS)
        floor = np.where(freq < LOWEST, -8.0, 0.0)
        both = np.concatenate([synthesis, (synthesis.T @ _phase_matrix()).T], 0).T
        self._buffer("to_filter", both)  # BANDS x 2*BINS
        self._buffer("filter_bias", np.concatenate([floor, np.zeros(BINS)]))
        # Fourier matrices are rebuilt from one cosine table (the runtime folds them on loading,
        # so the file stays small)
        self.register_buffer("k_index", torch.arange(BINS)[:, None])
        self.register_buffer("n_index", torch.arange(NFFT)[None])
        self.register_buffer("m_index", torch.arange(2 * HOP)[:, None])
        self._buffer("cosine", np.cos(2 * np.pi * np.arange(NFFT) / NFFT))
        self._buffer("window", np.hanning(2 * HOP + 1)[:-1, None])
        weight = np.full((BINS, 1), 2.0 / NFFT)
        weight[0] = weight[-1] = 1.0 / NFFT
        self._buffer("weight", weight)
        self._buffer("khz", freq / 1000)
        j = np.arange(HOP)
        self._buffer("quad", j * j / (2.0 * HOP))
        self._buffer("step", j)
        generator = torch.Generator().manual_seed(1)
        self.register_buffer("noise", torch.randn(NOISE_LEN, HOP, generator=generator))

    def _buffer(self, name: str, values: ArrayLike) -> None:
        values = torch.tensor(np.ascontiguousarray(values), dtype=torch.float32)
        self.register_buffer(name, values)

    def fourier(self) -> tuple[Tensor, Tensor]:
        """Windowed forward DFT [2*HOP, 2*BINS] and inverse DFT [2*BINS, NFFT]."""
        forward = (self.m_index * self.k_index.transpose(0, 1)) % NFFT
        inverse = (self.k_index * self.n_index) % NFFT
        quarter = NFFT // 4
        dft = torch.cat([self.cosine[forward], self.cosine[(forward + quarter) % NFFT]], 1)
        idft = torch.cat(
            [
                self.cosine[inverse] * self.weight,
                self.cosine[(inverse + quarter) % NFFT] * self.weight,
            ],
            0,
        )
        return dft * self.window, idft

    def source(self, f0: Tensor) -> Tensor:
        """f0 [T] in Hz -> pulse train [T, HOP] of unit power."""
        following = torch.cat([f0[1:], f0[-1:]])
        # in double precision, as the phase of a long utterance adds up
        cycles = ((f0 + following) * (0.5 * HOP / SR)).double()
        start = torch.cumsum(cycles, 0) - cycles
        start = (start - torch.floor(start)).float()
        phase = f0[:, None] * self.step + (following - f0)[:, None] * self.quad
        phase = start[:, None] + phase / SR
        phase = phase - torch.round(phase)  # -0.5 .. 0.5 cycles
        harmonics = torch.floor(0.49 * SR / f0)[:, None]
        s = torch.sin(math.pi * phase)
        near = s.abs() < 1e-4
        d = torch.sin((2 * harmonics + 1) * math.pi * phase)
        d = d / torch.where(near, torch.ones_like(s), s)
        d = torch.where(near, 2 * harmonics + 1 + 0 * s, d)
        return (d - 1) * torch.sqrt(f0 / SR)[:, None]

    def forward(
        self,
        env: Tensor,
        f0: Tensor,
        voiced: Tensor,
        mvf: Tensor,
        noise_gain: float | Tensor = 1.0,
    ) -> Tensor:
        """Samples [T * HOP] for T vocoder steps.

        Args:
            env: [T, BANDS] log amplitude.
            f0: [T] Hz.
            voiced: [T] 0..1.
            mvf: [T] maximum voiced frequency, kHz.
            noise_gain: factor of all noise.
        """
        steps = env.shape[0]
        dft, idft = self.fourier()
        index = torch.arange(steps, device=env.device)
        index = index - torch.div(index, NOISE_LEN, rounding_mode="floor") * NOISE_LEN

        def spectrum(x: Tensor) -> Tensor:  # [T, HOP] -> [T, 2*BINS]
            previous = torch.cat([torch.zeros_like(x[:1]), x[:-1]])
            return torch.cat([previous, x], 1) @ dft

        pulse, noise = spectrum(self.source(f0)), spectrum(self.noise[index])
        share = torch.sigmoid((self.khz - mvf[:, None]) * 1.6)  # of noise, per bin
        v = voiced[:, None]
        pulse_gain = v * torch.sqrt(1 - share * share + 1e-6)
        hiss_gain = torch.sqrt((1 - v) * (1 - v) + v * share * share * 0.7 + 1e-6) * noise_gain
        h = env @ self.to_filter + self.filter_bias
        magnitude, phase = torch.exp(h[:, :BINS]), h[:, BINS:]
        hr, hi = magnitude * torch.cos(phase), magnitude * torch.sin(phase)
        xr = pulse[:, :BINS] * pulse_gain + noise[:, :BINS] * hiss_gain
        xi = pulse[:, BINS:] * pulse_gain + noise[:, BINS:] * hiss_gain
        y = torch.cat([xr * hr - xi * hi, xr * hi + xi * hr], 1) @ idft
        return self._overlap_add(y)

    def _overlap_add(self, y: Tensor) -> Tensor:
        """[T, NFFT] frames, HOP apart -> [T * HOP]; frame t starts at step t - 1."""
        steps, parts = y.shape[0], NFFT // HOP
        y = y.reshape(steps, parts, HOP)
        out = pad(y[:, 0], (0, 0, 0, parts - 1))
        for j in range(1, parts):
            out = out + pad(y[:, j], (0, 0, j, parts - 1 - j))
        return out[1 : steps + 1].reshape(-1)
