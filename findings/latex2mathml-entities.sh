#!/bin/sh
# latex2mathml 3.81.1: convert_to_element() gives a tree whose texts are entities spelt out: the text
# of "=" is the nine characters "&#x0003D;", that of alpha "&#x003B1;". Serialized by any XML library
# they come out as "&amp;#x0003D;". convert() is right, for it undoes the escaping of the whole string.
#
# Who reads a formula aloud walks the tree, and says "ampersand hash x ..." or drops the sign. Each
# text needs html.unescape().
#
# Seen: latex2mathml 3.81.1:
#     a=b: mi 'a', mo '&#x0003D;', mi 'b'; \alpha: mi '&#x003B1;'
#     the tree of convert()'s string: '=', the letter alpha
#
# Exit code: 0 if it behaves so, 1 if it does not any more, 2 if the packages cannot be had.
# Needs Python 3.10 or later as python3, and a package index.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    latex2mathml==3.81.1 || exit 2

cat > "$folder/show.py" <<'PYTHON'
"""The texts in the tree of a formula, and in that of its string."""

import sys
from importlib.metadata import version
from xml.etree import ElementTree

from latex2mathml.converter import convert, convert_to_element

print("latex2mathml", version("latex2mathml"))
as_stated = True
for formula, sign in (("a=b", "="), (r"\alpha", "\N{GREEK SMALL LETTER ALPHA}"), (r"a\leq b", "≤")):
    tree = [node.text for node in convert_to_element(formula).iter() if node.text]
    string = [node.text for node in ElementTree.fromstring(convert(formula)).iter() if node.text]
    print(f"{formula}: the tree has {tree}, the string's tree {string}")
    as_stated = as_stated and sign in string and f"&#x{ord(sign):05X};" in tree
print("as stated" if as_stated else "NOT as stated")
sys.exit(not as_stated)
PYTHON
code=0
"$folder/venv/bin/python" "$folder/show.py" || code=1
exit $code
