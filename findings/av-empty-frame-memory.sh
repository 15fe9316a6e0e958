#!/bin/sh
# av 18.1.0 (PyAV): AudioResampler.resample() of a frame without samples raises MemoryError ("[Errno 12]
# Cannot allocate memory") if there is anything to convert, be it the rate, the layout or the format.
# If there is nothing to convert, the same frame passes; AudioFrame.from_ndarray() and AudioFifo take
# it; and a sound of no frames at all, resample(None), gives nothing and raises nothing.
#
# The error is also Python's own MemoryError, which speaks of a machine out of memory and not of the
# argument. Empty frames come from what filters hold back (a noise filter's first blocks) and from
# network packets without sound, and only at a client of another rate. soxr 1.1.0 gives an empty array
# for one. A program that met it: https://github.com/pipecat-ai/pipecat/issues/3259 .
#
# Seen: av 18.1.0, soxr 1.1.0, numpy 2.4.6, from mono int16 of 48 kHz:
#     to the same: 0 samples; to 16 kHz, to stereo, to float32: MemoryError, first or amid others
#     after the error the resampler goes on as before; soxr's stream: 0 samples
#
# Exit code: 0 if it behaves so, 1 if it does not any more, 2 if the packages cannot be had.
# Needs Python 3.11 or later as python3, and a package index.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    av==18.1.0 soxr==1.1.0 numpy==2.4.6 || exit 2

cat > "$folder/show.py" <<'PYTHON'
"""What becomes of a frame without samples."""

import sys
from importlib.metadata import version

import av
import numpy as np
import soxr

RATE = 48_000
SAME = {"format": "s16", "layout": "mono", "rate": RATE}
TARGETS = {
    "the same": SAME,
    "16 kHz": {**SAME, "rate": 16_000},
    "stereo": {**SAME, "layout": "stereo"},
    "float32": {**SAME, "format": "flt"},
}


def frame(samples):
    """A frame of silence."""
    made = av.AudioFrame.from_ndarray(np.zeros((1, samples), np.int16), "s16", "mono")
    made.sample_rate = RATE
    return made


def resampled(resampler, samples):
    """The number of samples that come out, or the error."""
    try:
        return sum(out.samples for out in resampler.resample(frame(samples)))
    except MemoryError as error:
        print(f"    {samples} samples: {type(error).__name__}: {error}")
        return "MemoryError"


print("av", version("av"), "soxr", version("soxr"), "numpy", np.__version__)
as_stated = True
for name, target in TARGETS.items():
    print(f"to {name}:")
    error = 0 if target is SAME else "MemoryError"
    first = resampled(av.AudioResampler(**target), 0)
    resampler = av.AudioResampler(**target)
    seen = [resampled(resampler, samples) for samples in (960, 0, 960)]
    print(f"    an empty frame first: {first}; after 960 samples, and 960 again: {seen}")
    as_stated = as_stated and first == seen[1] == error and seen[0] > 200 and seen[2] > 200
fifo = av.AudioFifo()
fifo.write(frame(0))
none = av.AudioResampler(**TARGETS["16 kHz"]).resample(None)
stream = soxr.ResampleStream(RATE, 16_000, 1, dtype="int16")
empty = len(stream.resample_chunk(np.zeros(0, np.int16)))
print(f"AudioFifo: {fifo.samples}; resample(None) at once: {len(none)} frames; soxr: {empty} samples")
as_stated = as_stated and fifo.samples == empty == len(none) == 0
print("as stated" if as_stated else "NOT as stated")
sys.exit(not as_stated)
PYTHON
code=0
"$folder/venv/bin/python" "$folder/show.py" || code=1
exit $code
