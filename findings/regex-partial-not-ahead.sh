#!/bin/sh
# regex 2026.11.19: with partial=True a lookahead for what must follow waits at the end of the text
# (partial is True), but one for what must not follow, \b and $ take the end of what has come so far
# for the end of all: the match counts as complete, and the next piece would have undone it.
#
# partial=True is there for text that is still to come. Who cuts a model's stream into sentences with
# it finds the end of one in "3." before "50 euros." arrives, or a tag in "<think" before "ing>" does.
# r"\.(?!\d)" and r"\.(?=\D)" differ at the text's end only, and there the second is the one that waits.
#
# Seen: regex 2026.11.19, match(..., partial=True):
#     "3.": \d\.(?=\D) partial; \d\.(?!\d), \d\.$ complete; in "3.5" all three none
#     "<think": <think(?=\W) partial; <think(?!\w), <think\b complete; in "<thinki" all three none
#
# Exit code: 0 if it behaves so, 1 if it does not any more, 2 if the packages cannot be had.
# Needs Python 3.10 or later as python3, and a package index.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    regex==2026.11.19 || exit 2

cat > "$folder/show.py" <<'PYTHON'
"""What is found in a text that is still to come, and in one more character of it."""

import sys
from importlib.metadata import version

import regex


def found(pattern, text):
    """How the pattern is found in the text so far."""
    match = regex.match(pattern, text, partial=True)
    return "none" if match is None else "partial" if match.partial else "complete"


print("regex", version("regex"))
as_stated = True
for pattern, text, more, expected in (
    (r"\d\.(?=\D)", "3.", "5", "partial"),
    (r"\d\.(?!\d)", "3.", "5", "complete"),
    (r"\d\.$", "3.", "5", "complete"),
    (r"<think(?=\W)", "<think", "i", "partial"),
    (r"<think(?!\w)", "<think", "i", "complete"),
    (r"<think\b", "<think", "i", "complete"),
):
    before, after = found(pattern, text), found(pattern, text + more)
    print(f"{pattern} in {text!r}: {before}; in {text + more!r}: {after}")
    as_stated = as_stated and (before, after) == (expected, "none")
print("as stated" if as_stated else "NOT as stated")
sys.exit(not as_stated)
PYTHON
code=0
"$folder/venv/bin/python" "$folder/show.py" || code=1
exit $code
