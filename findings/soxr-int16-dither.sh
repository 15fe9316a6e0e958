#!/bin/sh
# soxr 1.1.0: resampled int16 silence is no silence. A quarter of the samples of zeros come out as 1 or
# -1, at every quality and even from 16 kHz to 16 kHz: libsoxr dithers int16, soxr for Python has no
# switch for it, and its documentation does not speak of it. float32 and int32 zeros stay zeros.
#
# Who tells a muted microphone or a gap between two replies by exact zeros (not block.any()) does not
# find them behind the resampler; and a stream's blocks do not equal the whole's. Convert to float32
# first, or test before.
#
# Seen: soxr 1.1.0, numpy 2.4.6: int16: 23 % of the samples, -97 dBFS; float32, int32: none.
#
# Exit code: 0 if it behaves so, 1 if it does not any more, 2 if the packages cannot be had.
# Needs Python 3.11 or later as python3, and a package index.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    soxr==1.1.0 numpy==2.4.6 || exit 2

cat > "$folder/show.py" <<'PYTHON'
"""What is left of silence."""

import sys

import numpy as np
import soxr

print("soxr", soxr.__version__, "numpy", np.__version__)
as_stated = True
for kind in (np.int16, np.int32, np.float32):
    for rates in ((48_000, 16_000), (16_000, 48_000), (16_000, 16_000)):
        for quality in ("QQ", "HQ"):
            out = soxr.resample(np.zeros(rates[0], kind), *rates, quality)
            share = np.mean(out != 0)
            print(f"{kind.__name__}, {rates[0]} to {rates[1]} Hz, {quality}: {share:.0%} not zero")
            expected = 0.1 < share < 0.4 if kind is np.int16 else share == 0
            as_stated = as_stated and bool(expected)
print("as stated" if as_stated else "NOT as stated")
sys.exit(not as_stated)
PYTHON
code=0
"$folder/venv/bin/python" "$folder/show.py" || code=1
exit $code
