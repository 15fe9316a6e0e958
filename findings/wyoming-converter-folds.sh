#!/bin/sh
# wyoming 1.10.2 (the protocol of Home Assistant's voice): AudioChunkConverter, with which servers
# as wyoming-faster-whisper make 16 kHz mono of what comes, adds the channels of stereo, not halved:
# the same voice on both comes 6 dB louder, and all above half of full scale is cut off. And it filters
# nothing when it lowers the rate: what is above half of the new one is mirrored into the speech, at its
# full level.
#
# It is audioop.tomono(..., 1, 1) and audioop.ratecv() with its default weights. A microphone of 48 kHz
# has hiss, s and the whine of screens and supplies above 8 kHz, and a recogniser or a detector that
# was measured on good sound of 16 kHz gets them as tones among the formants. Convert before it, by a
# resampler that filters.
#
# Seen: wyoming 1.10.2, soxr 1.1.0, numpy 2.4.6; tones, those of stereo the same on both channels:
#     stereo to mono: of -3 dBFS 51 % of the samples at full scale; of -12 dBFS 6.0 dB louder
#     48 to 16 kHz: a tone of 10 kHz becomes one of 6 kHz, 0 dB down; by soxr it is 92 dB down
#
# Exit code: 0 if it behaves so, 1 if it does not any more, 2 if the packages cannot be had.
# Needs Python 3.11 or later as python3, and a package index.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    wyoming==1.10.2 soxr==1.1.0 numpy==2.4.6 || exit 2

cat > "$folder/show.py" <<'PYTHON'
"""What becomes of tones that are converted, 20 ms at a time."""

import sys
import warnings
from importlib.metadata import version

import numpy as np
import soxr

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # audioop is deprecated in Python 3.11 and 3.12
    from wyoming.audio import AudioChunk, AudioChunkConverter

HIGH, LOW = 48_000, 16_000


def tone(hz, level_db, rate=HIGH):
    sound = 10 ** (level_db / 20) * np.sin(2 * np.pi * hz * np.arange(rate) / rate)
    return np.round(sound * 32767).astype(np.int16)


def level_db(sound):
    """Of a tone with that RMS (dBFS)."""
    return 20 * np.log10(np.sqrt(2 * np.mean((sound / 32768) ** 2)) + 1e-12)


def converted(sound, own_rate, **to):
    """Sound of shape (n,) or (n, 2), by the converter."""
    channels = 1 if sound.ndim == 1 else 2
    converter, pieces = AudioChunkConverter(**to), []
    for at in range(0, len(sound), own_rate // 50):
        piece = sound[at : at + own_rate // 50].tobytes()
        chunk = AudioChunk(rate=own_rate, width=2, channels=channels, audio=piece)
        pieces.append(converter.convert(chunk).audio)
    return np.frombuffer(b"".join(pieces), np.int16)


print("wyoming", version("wyoming"), "soxr", version("soxr"), "numpy", np.__version__)
loud, quiet = (tone(300, level, LOW) for level in (-3, -12))
mono = [converted(np.stack([one, one], 1), LOW, channels=1) for one in (loud, quiet)]
cut = np.mean(np.abs(mono[0].astype(int)) >= 32767)
louder = level_db(mono[1]) - level_db(quiet)
print(f"stereo to mono: at -3 dBFS {cut:.0%} at full scale; at -12 dBFS {louder:.1f} dB louder")

high = tone(10_000, -12)
folded = converted(high, HIGH, rate=LOW)
spectrum = np.abs(np.fft.rfft(folded * np.hanning(len(folded))))
at_hz = int(np.argmax(spectrum) * LOW / len(folded))
down = level_db(high) - level_db(folded)
filtered = soxr.resample(high.astype(np.float32) / 32768, HIGH, LOW)[1000:-1000] * 32768
by_soxr = level_db(high) - level_db(filtered)
print(f"10 kHz, to 16 kHz: a tone of {at_hz} Hz, {abs(down):.1f} dB down; by soxr {by_soxr:.0f} dB down")
as_stated = 0.2 < cut < 0.6 and abs(louder - 6.02) < 0.1
as_stated = as_stated and abs(at_hz - 6000) < 20 and abs(down) < 0.1 and by_soxr > 60
print("as stated" if as_stated else "NOT as stated")
sys.exit(not as_stated)
PYTHON
code=0
"$folder/venv/bin/python" "$folder/show.py" || code=1
exit $code
