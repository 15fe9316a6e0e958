#!/bin/sh
# docstring_parser 0.18.0: what a Google docstring says after `Args:` under a heading that the parser
# does not know (`Note:`, `Warning:`) is in nothing that it gives; before `Args:` it is kept.
#
# Exit code: 0 if it behaves so, 1 if it does not any more, 2 if the packages cannot be had.
# Needs Python 3.9 or later as python3, and a package index.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    docstring_parser==0.18.0 || exit 2

cat > "$folder/show.py" <<'PYTHON'
"""A note before the parameters, and the same after them."""

import sys
from importlib.metadata import version

import docstring_parser

ARGS = "Args:\n    city: Its name."
NOTE = "Note:\n    Only for cities in Europe."


def everything(docstring):
    """All text in what the parser gives."""
    found = docstring_parser.parse(docstring)
    texts = [found.short_description, found.long_description]
    return texts + [each.description for each in found.meta]


print("docstring_parser", version("docstring_parser"))
before = everything(f"Tell the weather.\n\n{NOTE}\n\n{ARGS}")
after = everything(f"Tell the weather.\n\n{ARGS}\n\n{NOTE}")
print("note first:", before)
print("note last: ", after)
as_stated = "Europe" in str(before) and "Europe" not in str(after)
print("as stated" if as_stated else "NOT as stated")
sys.exit(not as_stated)
PYTHON
code=0
"$folder/venv/bin/python" "$folder/show.py" || code=1
exit $code
