"""The log-mel features of faster-whisper, plus an optional equaliser curve."""

import numpy as np
from faster_whisper.feature_extractor import FeatureExtractor

from whisper_mini_en.utterances import SR, Samples

BANDS = 80
WINDOW, HOP = 400, 160  # samples; a frame every 10 ms
FLOOR = -10.0  # log10 of the power that counts as silence


class LogMel:
    """Samples to features, for training.

    Without an equaliser curve the result is that of faster-whisper's ``FeatureExtractor``;
    running this module shows how closely.
    """

    def __init__(self) -> None:
        self.mel = FeatureExtractor.get_mel_filters(SR, WINDOW, BANDS).astype(np.float32)
        self.window = np.hanning(WINDOW + 1)[:-1].astype(np.float32)

    def __call__(self, x: Samples, curve: Samples | None = None) -> Samples:
        """[BANDS, frames] of an utterance.

        Args:
            x: samples at 16 kHz.
            curve: [BANDS], what is added to each band, in log10 of power.
        """
        x = np.pad(np.pad(x, (0, HOP)), (WINDOW // 2, WINDOW // 2), mode="reflect")
        frames = np.lib.stride_tricks.sliding_window_view(x, WINDOW)[::HOP]
        power = np.abs(np.fft.rfft(frames * self.window).astype(np.complex64)[:-1]) ** 2
        s = np.log10(np.maximum(power @ self.mel.T, 10**FLOOR)).T
        if curve is not None:
            s = np.maximum(s + curve[:, None], FLOOR)
        s = np.maximum(s, s.max() - 8.0)
        return ((s + 4.0) / 4.0).astype(np.float32)


def main() -> None:
    """Compare with faster-whisper."""
    x = np.random.default_rng(0).standard_normal(40000).astype(np.float32) * 0.1
    difference = np.abs(LogMel()(x) - FeatureExtractor()(x)).max()
    print(f"largest difference to faster-whisper's features: {difference:g}")
    if difference > 1e-4:
        raise SystemExit("error: these are not the features that the model will get")


if __name__ == "__main__":
    main()
