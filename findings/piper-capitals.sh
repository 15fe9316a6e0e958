#!/bin/sh
# piper-tts 1.8.0 (the espeak-ng in it): whether capitals are spelled depends on what else is in the
# clause. Where there are more capitals than small letters, none are that can be said as a word: "By
# UPS." is "by ups", "NYC." is "nick", and a plural's s is lost ("The PDFs." is one). In any other
# clause each word of two or three capitals is spelled that is not in its dictionary, English words too:
# "The answer is YES." ends in "why ee ess".
#
# Language models stress words so, and short answers are such clauses; so is what a voice program cuts
# off a stream to begin early. The same word is heard in two ways in one reply, and a test with whole
# sentences never meets it. "U.P.S" is spelled everywhere, "yes" nowhere.
#
# Seen: piper-tts 1.8.0, at the phonemes that a voice is given (en-us, stress left out):
#     in a short clause, in a long one: UPS, NYC, FAQ, VAT, EV, LED: a word, spelled
#     "The PDFs.", "The CDs.": without the s; "I read the PDFs now.": with it
#     "The answer is YES.", "a BIG deal", "It is HOT there.": spelled; STOP and NOT there: words
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
"""Which words in capitals are spelled, by the clause that they are in."""

import sys
from importlib.metadata import version

from piper.phonemize_espeak import EspeakPhonemizer

SHORT, LONG = "By {}.", "we look at some {} here today"
ABBREVIATIONS = ["UPS", "NYC", "FAQ", "VAT", "EV", "LED"]
PLURALS = [("The PDFs.", "I read the PDFs now."), ("The CDs.", "I hear the CDs now.")]
STRESSED = ["YES", "BIG", "HOT"]
KNOWN = ["STOP", "NOT"]


def sounds(text):
    sentences = phonemizer.phonemize("en-us", text)
    return "".join(char for part in sentences for char in part if char not in "ˈˌ.")


def is_spelled(word, clause):
    """Whether it sounds as its letters do, which full stops between them always give."""
    return sounds(clause.format(word)) == sounds(clause.format(".".join(word)))


phonemizer = EspeakPhonemizer()
print("piper-tts", version("piper-tts"))
as_stated = True
for word in ABBREVIATIONS:
    found = is_spelled(word, SHORT), is_spelled(word, LONG)
    print(f"{word}: {sounds(SHORT.format(word))!r}; spelled (short, long): {found}")
    as_stated = as_stated and found == (False, True)
for short, long in PLURALS:
    word = short.split()[1].rstrip(".")
    lost = sounds(short) == sounds(short.replace("s.", "."))
    kept = sounds(long) != sounds(long.replace(word, word[:-1]))
    print(f"{short!r}: without its s {lost}; {long!r}: with it {kept}")
    as_stated = as_stated and lost and kept
for word in STRESSED + KNOWN:
    spelled = is_spelled(word, LONG)
    print(f"{word}: spelled in a long clause: {spelled}")
    as_stated = as_stated and spelled == (word in STRESSED)
print("as stated" if as_stated else "NOT as stated")
sys.exit(not as_stated)
PYTHON
code=0
"$folder/venv/bin/python" "$folder/show.py" || code=1
exit $code
