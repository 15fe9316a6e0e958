#!/bin/sh
# whisper_normalizer 0.1.15 (EnglishTextNormalizer, which OpenAI published with Whisper): number words
# that commas part become one number ("twenty, thirty" is 2030), and digits do not (of "1, 2, 3" the
# 1 becomes a word): a transcript without a fault has word errors.
#
# Exit code: 0 if it behaves so, 1 if it does not any more, 2 if the packages cannot be had.
# Needs Python 3.10 or later as python3, and a package index.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    whisper_normalizer==0.1.15 || exit 2

cat > "$folder/show.py" <<'PYTHON'
"""The same words as they are said and as a recogniser writes them, normalised."""

import sys
from importlib.metadata import version

from whisper_normalizer.english import EnglishTextNormalizer

PAIRS = [
    ("twenty, thirty or forty", "20, 30 or 40"),
    ("one, two, three", "1, 2, 3"),
]
STATED = [
    ("2030 or 40", "20 30 or 40"),
    ("123", "one 2 3"),
]

print("whisper_normalizer", version("whisper_normalizer"))
plain = EnglishTextNormalizer()
found = [(plain(said), plain(written)) for said, written in PAIRS]
for pair, normalised in zip(PAIRS, found):
    print(*pair, "become", *normalised, sep=" | ")
print("as stated" if found == STATED else "NOT as stated")
sys.exit(found != STATED)
PYTHON
code=0
"$folder/venv/bin/python" "$folder/show.py" || code=1
exit $code
