#!/bin/sh
# pywebrtc-audio 0.2.0 (WebRTC's AEC3): an echo at the very time of its reference is cancelled at
# first and then, for good, no more; the same echo 20 ms later is cancelled throughout.
#
# Exit code: 0 if it behaves so, 1 if it does not any more, 2 if the packages cannot be had.
# Needs Python 3.10 or later as python3, and a package index. Takes some 20 s of computing.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    pywebrtc-audio==0.2.0 numpy==2.4.0 || exit 2

cat > "$folder/show.py" <<'PYTHON'
"""What is left of an echo, in every 10 s of a minute."""

import sys
from importlib.metadata import version

import numpy as np
from pywebrtc_audio import AudioProcessor

RATE, FRAME, BLOCK = 16_000, 160, 160_000
SECONDS = 60


def voice(seed):
    """Something like speech: syllables of a pitch that wanders, through moving formants."""
    rng = np.random.default_rng(seed)
    pieces, n = [], 0
    while n < SECONDS * RATE:
        size = int(rng.uniform(0.08, 0.35) * RATE)
        if rng.random() < 0.2:
            piece = np.zeros(size)
        else:
            if rng.random() < 0.25:  # a hiss
                source, formants = rng.standard_normal(size), [(rng.uniform(2500, 5000), 900)]
            else:
                pitch = rng.uniform(90, 220) * np.linspace(1, rng.uniform(0.8, 1.2), size)
                source = np.diff(np.floor(np.cumsum(pitch) / RATE), prepend=0)
                low, mid = rng.uniform(250, 800), rng.uniform(900, 2300)
                formants = [(low, 90), (mid, 140), (rng.uniform(2400, 3200), 200)]
            spectrum, f = np.fft.rfft(source), np.fft.rfftfreq(size, 1 / RATE)
            shape = sum(1 / (1 + ((f - at) / width) ** 2) for at, width in formants)
            piece = np.fft.irfft(spectrum * shape, size) * np.hanning(size)
            piece *= 10 ** rng.uniform(-0.5, 0) / (np.sqrt(np.mean(piece**2)) + 1e-9)
        pieces.append(piece)
        n += size
    sound = np.concatenate(pieces)[: SECONDS * RATE]
    return np.clip(sound * 3000, -32768, 32767).astype(np.int16)


def room(sound):
    """A direct sound and 0.2 s of reverberation, 10 dB quieter in all."""
    size = RATE // 5
    late = np.random.default_rng(7).standard_normal(size) * 10 ** (-3 * np.arange(size) / size)
    late[:48] = 0
    response = late * 0.5 / np.sqrt(np.sum(late**2))
    response[0] = 1
    response *= 10**-0.5 / np.sqrt(np.sum(response**2))
    length = 1 << (len(sound) + size).bit_length()
    spectrum = np.fft.rfft(sound.astype(float), length) * np.fft.rfft(response, length)
    return np.fft.irfft(spectrum, length)[: len(sound)]


def losses(far, echo):
    """Echo loss in dB, 10 s by 10 s."""
    noise = np.random.default_rng(3).normal(0, 10, len(echo))
    near = np.clip(np.rint(echo + noise), -32768, 32767).astype(np.int16)
    canceller = AudioProcessor(sample_rate=RATE, echo_cancellation=True)
    pairs = ((near[i : i + FRAME], far[i : i + FRAME]) for i in range(0, len(near), FRAME))
    clean = np.concatenate([canceller.process(*pair) for pair in pairs]).astype(float)
    powers = [np.mean(side.reshape(-1, BLOCK) ** 2, axis=1) for side in (echo, clean)]
    return 10 * np.log10(powers[0] / powers[1])


print("pywebrtc-audio", version("pywebrtc-audio"), "numpy", np.__version__)
print("echo loss (dB) in each 10 s of a minute of speech-like sound, room echo at -10 dB")
lost = []
steady = []
for seed in range(1, 5):
    far = voice(seed)
    for ms in (0, 20):
        quiet = np.zeros(ms * RATE // 1000)
        echo = np.concatenate([quiet, room(far)])[: len(far)]
        loss = losses(far, echo)
        print(f"voice {seed}, {ms:2} ms late:", *(f"{x:5.1f}" for x in loss), flush=True)
        (steady if ms else lost).append(loss)
as_stated = min(x[1:].min() for x in steady) > 25 and min(x[-1] for x in lost) < 6
print("as stated" if as_stated else "NOT as stated")
sys.exit(not as_stated)
PYTHON
code=0
"$folder/venv/bin/python" "$folder/show.py" || code=1
exit $code
