#!/bin/sh
# faster-whisper 1.2.1 over PyAV 18.1.0 (FFmpeg): of a plain WAV of 3 channels the third, and of 6, 7
# or 8 channels the fourth, is not decoded, without a word. The file names no places ("6 channels"),
# but FFmpeg's mix down to mono takes the usual ones for that count (2.1, 5.1, ...), and leaves out
# the bass channel (LFE). The others are mixed at unlike weights: up to 7 dB between them.
#
# Who transcribes a microphone array or a recorder's tracks (one voice each) loses one speaker whole.
# av.AudioResampler(layout="mono") is what does it, for any program. Channels that are no places are
# to be mixed or chosen as an array.
#
# Seen: faster-whisper 1.2.1, av 18.1.0; the peak of a tone that is in one channel alone:
#     2 channels: 0.15 0.15
#     3 channels: 0.15 0.15 0.00
#     4 channels: 0.07 0.07 0.10 0.05
#     5 channels: 0.06 0.06 0.09 0.04 0.04
#     6 channels: 0.06 0.06 0.09 0.00 0.04 0.04
#     7 channels: 0.06 0.06 0.08 0.00 0.04 0.04 0.04
#     8 channels: 0.05 0.05 0.07 0.00 0.03 0.03 0.03 0.03
#
# Exit code: 0 if it behaves so, 1 if it does not any more, 2 if the packages cannot be had.
# Needs Python 3.11 or later as python3, and a package index.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    faster-whisper==1.2.1 av==18.1.0 numpy==2.4.6 || exit 2

cat > "$folder/show.py" <<'PYTHON'
"""What is left of a tone in each channel of a WAV."""

import io
import sys
import wave
from importlib.metadata import version

import av
import numpy as np
from faster_whisper import decode_audio

RATE = 48_000
LOST = {2: [], 3: [2], 4: [], 5: [], 6: [3], 7: [3], 8: [3]}
tone = 10_000 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)


def file(channels, channel):
    """A WAV of so many channels, silent but for one."""
    sound = np.zeros((RATE, channels), np.int16)
    sound[:, channel] = tone
    memory = io.BytesIO()
    with wave.open(memory, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        writer.writeframes(sound.tobytes())
    memory.seek(0)
    return memory


print("faster-whisper", version("faster-whisper"), "av", version("av"))
as_stated = True
for channels, lost in LOST.items():
    with av.open(file(channels, 0)) as container:
        layout = container.streams.audio[0].layout.name
    peaks = [np.abs(decode_audio(file(channels, n))).max() for n in range(channels)]
    print(f"{layout}:", *(f"{peak:.2f}" for peak in peaks))
    as_stated = as_stated and [n for n, peak in enumerate(peaks) if peak < 0.001] == lost
print("as stated" if as_stated else "NOT as stated")
sys.exit(not as_stated)
PYTHON
code=0
"$folder/venv/bin/python" "$folder/show.py" || code=1
exit $code
