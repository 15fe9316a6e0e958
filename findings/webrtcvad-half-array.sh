#!/bin/sh
# webrtcvad-wheels 2.0.14.post1: is_speech() takes a NumPy array without complaint and judges the
# first half of it. Its length is len(buffer) / 2, which counts bytes, and an array counts samples: of
# 20 ms the first 10 ms are judged. (10 and 30 ms raise an Error that names no length: 5 and 15 ms are
# no frames.) A float32 array is taken too, and its bytes are read as int16: room noise of -80 dBFS is
# speech.
#
# Both are what a sound card's library hands to a callback. Speech is found up to 10 ms late and at
# other frames, and nothing tells. Pass array.tobytes() of int16.
#
# Seen: webrtcvad-wheels 2.0.14.post1, numpy 2.4.6, mode 3, 16 kHz, 20 ms:
#     a frame, its first half silent, a tone in the other: as bytes speech, as an array none
#     100 frames of noise of -80 dBFS: as bytes 0 are speech, as an int16 array 0, as float32 99
#
# Exit code: 0 if it behaves so, 1 if it does not any more, 2 if the packages cannot be had.
# Needs Python 3.11 or later as python3, and a package index.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    webrtcvad-wheels==2.0.14.post1 numpy==2.4.6 || exit 2

cat > "$folder/show.py" <<'PYTHON'
"""The same frames as bytes and as arrays."""

import sys
from importlib.metadata import version

import numpy as np
import webrtcvad

RATE, FRAME, FRAMES = 16_000, 320, 100


def speech(frames):
    """How many of the frames are speech."""
    vad = webrtcvad.Vad(3)
    return sum(vad.is_speech(frame, RATE) for frame in frames)


late = np.zeros(FRAME, np.int16)
late[FRAME // 2 :] = 8000 * np.sin(2 * np.pi * 300 * np.arange(FRAME // 2) / RATE)
noise = np.random.default_rng(0).normal(0, 1e-4, (FRAMES, FRAME)).astype(np.float32)
pcm = (noise * 32767).astype(np.int16)

print("webrtcvad-wheels", version("webrtcvad-wheels"), "numpy", np.__version__)
tone = {"bytes": speech([late.tobytes()]), "array": speech([late])}
print("a frame with a tone in its second half:", tone)
hiss = {
    "bytes": speech(frame.tobytes() for frame in pcm),
    "int16 array": speech(pcm),
    "float32 array": speech(noise),
}
print(f"{FRAMES} frames of noise:", hiss)
refused = []
for ms in (10, 20, 30):
    try:
        speech([np.zeros(RATE * ms // 1000, np.int16)])
    except Exception as error:  # its type has no public name
        refused.append(ms)
        print(f"an array of {ms} ms: {error}")
as_stated = tone == {"bytes": 1, "array": 0}
as_stated = as_stated and hiss["bytes"] == 0 and hiss["float32 array"] > 90
as_stated = as_stated and refused == [10, 30]
print("as stated" if as_stated else "NOT as stated")
sys.exit(not as_stated)
PYTHON
code=0
"$folder/venv/bin/python" "$folder/show.py" || code=1
exit $code
