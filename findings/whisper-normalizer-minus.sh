#!/bin/sh
# whisper_normalizer 0.1.15 (EnglishTextNormalizer, which OpenAI published with Whisper): "minus five"
# becomes "-5", and "-5" becomes "5": signs are taken for punctuation before the numbers are read. So
# a right transcript has a word error, and one that says the opposite has none.
#
# Whisper writes "-5" for what people say as "minus five" and prepare as a text so. Who counts the
# errors of a program that asks for temperatures or balances sees neither what it mishears nor that it
# heard well. Write "minus " for the sign in both texts before they are normalised.
#
# Seen: whisper_normalizer 0.1.15, jiwer 4.0.0; word errors of 4 words:
#     "It is minus five", heard as "It is -5": 1; "It is -5", heard as "It is 5": 0
#     with "minus " for each sign: 0; 1
#
# Exit code: 0 if it behaves so, 1 if it does not any more, 2 if the packages cannot be had.
# Needs Python 3.11 or later as python3, and a package index.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    whisper_normalizer==0.1.15 jiwer==4.0.0 || exit 2

cat > "$folder/show.py" <<'PYTHON'
"""Word errors between numbers with a sign, by how the sign is written."""

import re
import sys
from importlib.metadata import version

import jiwer
from whisper_normalizer.english import EnglishTextNormalizer

SAME = ("It is minus five", "It is -5")
OTHER = ("It is -5", "It is 5")


def errors(pair, prepare=str):
    said, heard = (normalize(prepare(text)) for text in pair)
    found = jiwer.process_words(said, heard)
    print(f"    {said!r}, heard {heard!r}")
    return found.substitutions + found.deletions + found.insertions


def in_words(text):
    return re.sub(r"(?<![\w.])-(?=\d)", "minus ", text)


normalize = EnglishTextNormalizer()
print("whisper_normalizer", version("whisper_normalizer"), "jiwer", version("jiwer"))
plain = errors(SAME), errors(OTHER)
print("as it is: word errors", plain)
prepared = errors(SAME, in_words), errors(OTHER, in_words)
print('with "minus ": word errors', prepared)
as_stated = (plain, prepared) == ((1, 0), (0, 1))
print("as stated" if as_stated else "NOT as stated")
sys.exit(not as_stated)
PYTHON
code=0
"$folder/venv/bin/python" "$folder/show.py" || code=1
exit $code
