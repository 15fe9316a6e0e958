#!/bin/sh
# piper-tts 1.8.0 (the espeak-ng in it): a hum as people and language models write it is spelled, not
# hummed. "Mm-hm" is spoken as "em, em, aitch, em", "Mhm" as "em, aitch, em", "Mmm" as "em, em, em".
# What has a vowel is a word: "Um-hum", "Uh-huh", "Hmm" (with a schwa). No error, no warning.
#
# Who has a voice speak a transcript, or an assistant that hums, hears letters; who tests how a system
# takes a listener's "mm-hm" tests how it takes four letters, which it may well answer.
#
# Seen: piper-tts 1.8.0, at the phonemes that a voice is given (en-us, stress left out):
#     spelled: Mm-hm, Mhm, M-hm, Mm hmm (its first half), Mmm; a word: Um-hum, Uh-huh, Hmm
#
# Exit code: 0 if it behaves so, 1 if it does not any more, 2 if the packages cannot be had.
# Needs Python 3.10 or later as python3, and a package index.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    piper-tts==1.8.0 || exit 2

cat > "$folder/show.py" <<'PYTHON'
"""Which hums come out as the names of letters."""

import sys
from importlib.metadata import version

from piper.phonemize_espeak import EspeakPhonemizer

SPELLED = ("Mm-hm.", "Mhm.", "M-hm.", "Mm hmm.", "Mmm.")
WORDS = ("Um-hum.", "Uh-huh.", "Hmm.")
STRESS = str.maketrans("", "", "ˈˌ")
espeak = EspeakPhonemizer()


def phonemes(text):
    """The text's phonemes without stress."""
    sentences = espeak.phonemize("en-us", text)
    return "".join(mark for sentence in sentences for mark in sentence).translate(STRESS)


print("piper-tts", version("piper-tts"))
letter = phonemes("M").strip(".")
as_stated = True
for text in SPELLED + WORDS:
    heard = phonemes(text)
    spelled = letter in heard
    print(f"{text:8} {heard:16} {'spelled' if spelled else 'a word'}")
    as_stated = as_stated and spelled == (text in SPELLED)
print("as stated" if as_stated else "NOT as stated")
sys.exit(not as_stated)
PYTHON
code=0
"$folder/venv/bin/python" "$folder/show.py" || code=1
exit $code
