#!/bin/sh
# piper-tts 1.8.0 (the espeak-ng in it): a number's hyphen-minus is said in English and German only
# where the number stands alone among spaces. In brackets or quotation marks, after "=", "<" or "*",
# before a currency or a decimal point it is left out without a trace, and so is an en dash anywhere:
# "(-20)" is heard as "twenty". In French and Spanish no hyphen-minus is said at all. The minus sign
# proper, U+2212, is said everywhere, but in French and Spanish, and in brackets in German, as the
# English word: the language's own word in the text is what is safe.
#
# Who says temperatures, balances or results aloud says the opposite value, and nobody can hear it.
#
# Seen: piper-tts 1.8.0, at the phonemes that a voice is given:
#     en-us: said: -5; "It is -5 now"; with U+2212 all that follow
#            not said: (-20); "-5"; x = -4; x < -5; 3 * -5; -$5; -.5; en dash and 5
#     de: said: -5; with U+2212 x = -4; not said: (-20); x = -4; English: (-20) with U+2212
#     fr, es: not said: -5; (-20); x = -4; English: all three with U+2212
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
"""Which minus signs come out as phonemes."""

import sys
from importlib.metadata import version

from piper.phonemize_espeak import EspeakPhonemizer

MINUS, DASH = "\N{MINUS SIGN}", "\N{EN DASH}"
OWN, ENGLISH, NOTHING = "own word", "English word", "nothing"
WORDS = {"en-us": "minus", "de": "minus", "fr": "moins", "es": "menos"}
# What is said of the hyphen-minus and of the minus sign in its place.
SAID = {
    "en-us": dict.fromkeys(["-5", "It is -5 now"], (OWN, OWN))
    | dict.fromkeys(
        ["(-20)", '"-5"', "x = -4", "x < -5", "3 * -5", "-$5", "-.5"], (NOTHING, OWN)
    ),
    "de": {"-5": (OWN, OWN), "(-20)": (NOTHING, ENGLISH), "x = -4": (NOTHING, OWN)},
    "fr": dict.fromkeys(["-5", "(-20)", "x = -4"], (NOTHING, ENGLISH)),
    "es": dict.fromkeys(["-5", "(-20)", "x = -4"], (NOTHING, ENGLISH)),
}
STRESS = str.maketrans("", "", "ˈˌ")
espeak = EspeakPhonemizer()


def phonemes(language, text):
    """The text's phonemes without stress."""
    sentences = espeak.phonemize(language, text)
    return "".join(mark for sentence in sentences for mark in sentence).translate(STRESS)


def sign(language, text):
    """What is said of the text's minus."""
    heard = phonemes(language, text)
    english = phonemes("en-us", "minus")
    own = phonemes(language, WORDS[language])
    said = OWN if own in heard else ENGLISH if english in heard else NOTHING
    named = text.replace(MINUS, "U+2212 ").replace(DASH, "U+2013 ")
    print(f"{language}: {named}: {heard}: {said}")
    return said


print("piper-tts", version("piper-tts"))
as_stated = True
for language, texts in SAID.items():
    for text, expected in texts.items():
        seen = sign(language, text), sign(language, text.replace("-", MINUS))
        as_stated = as_stated and seen == expected
    as_stated = as_stated and sign(language, f"{DASH}5") == NOTHING
print("as stated" if as_stated else "NOT as stated")
sys.exit(not as_stated)
PYTHON
code=0
"$folder/venv/bin/python" "$folder/show.py" || code=1
exit $code
