#!/bin/sh
# av 18.1.0 (PyAV, FFmpeg 8.1.2): a WAV whose samples have 24 valid bits in 32, as Windows (WASAPI)
# has them of 24-bit sound cards, is decoded as floating-point numbers: what is above zero is gone, what
# is below is full scale or NaN, and the noise of a pause is as loud as speech. 20 valid bits in 32, 16
# in 24 and 8 in 16 become noise of a wrong length. Nothing is raised. faster-whisper reads files so.
#
# It is the header that misleads it: WAVE_FORMAT_EXTENSIBLE has wBitsPerSample, the container, which is
# what to read, and wValidBitsPerSample. Microsoft: the valid bits are the uppermost, and what is below
# should be zero, so that a sample is right as a whole
# (https://learn.microsoft.com/windows-hardware/drivers/ddi/ksmedia/ns-ksmedia-waveformatextensible).
# libsndfile reads all of them right. For FFmpeg, state as many valid bits as the container has.
#
# Seen: av 18.1.0, faster-whisper 1.2.1, soundfile 0.14.0 (libsndfile 1.2.2), numpy 2.4.6; a tone:
#     valid in container  av, as codec           soundfile
#     32 in 32            right, pcm_s32le       right
#     24 in 32            not finite, pcm_f24le  right
#     20 in 32            noise, pcm_s24le       right
#     16 in 24            noise, pcm_s16le       right
#     8 in 16             noise, pcm_u8          right
#     faster-whisper's decode_audio(), the tone at -12 dBFS, then noise of -66 dBFS:
#     32 in 32: -12 and -66 dBFS; 24 in 32: 0 and 0 dBFS
#
# Exit code: 0 if it behaves so, 1 if it does not any more, 2 if the packages cannot be had.
# Needs Python 3.11 or later as python3, and a package index.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    av==18.1.0 faster-whisper==1.2.1 soundfile==0.14.0 numpy==2.4.6 || exit 2

cat > "$folder/show.py" <<'PYTHON'
"""One tone in WAV files that differ in how many bits of a sample are valid."""

import io
import struct
import sys
from importlib.metadata import version

import av
import numpy as np
import soundfile
from faster_whisper import decode_audio

RATE = 16_000
PCM = bytes.fromhex("0100000000001000800000aa00389b71")
TONE = np.round(8192 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.int32)
PAUSE = np.random.default_rng(0).normal(0, 12, RATE).round().astype(np.int32)
SOUND = np.concatenate([TONE, PAUSE])


def wav(bits, valid):
    """A WAV of the sound, which is the same in all: its samples end in zeros."""
    width = bits // 8
    form = struct.pack("<HHIIHH", 0xFFFE, 1, RATE, RATE * width, width, bits)
    form += struct.pack("<HHI", 22, valid, 4) + PCM
    # Of 8 valid bits the lower ones of 16 are zero too.
    samples = (SOUND >> 8 << 24 if valid == 8 else SOUND << 16).astype("<i4")
    data = samples.view(np.uint8).reshape(-1, 4)[:, 4 - width :].tobytes()
    chunks = b"WAVEfmt " + struct.pack("<I", len(form)) + form
    chunks += b"data" + struct.pack("<I", len(data)) + data
    return io.BytesIO(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)


def by_av(file):
    with av.open(file) as container:
        frames = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
        return np.concatenate(frames).astype(float), container.streams.audio[0].codec.name


def judged(sound):
    if not np.isfinite(sound).all():
        return "not finite"
    alike = len(sound) == len(SOUND) and np.corrcoef(sound, SOUND)[0, 1] > 0.99
    return "right" if alike else "noise"


print("av", version("av"), "FFmpeg", av.ffmpeg_version_info, "numpy", np.__version__)
print("faster-whisper", version("faster-whisper"), "soundfile", version("soundfile"))
found = {}
for bits, valid in ((32, 32), (32, 24), (32, 20), (24, 16), (16, 8)):
    sound, codec = by_av(wav(bits, valid))
    other, _ = soundfile.read(wav(bits, valid))
    found[valid, bits] = judged(sound), codec, judged(other)
    print(f"{valid} in {bits}: av {judged(sound)}, {codec}; soundfile {judged(other)}")
levels = {}
for valid in (32, 24):
    heard = decode_audio(wav(32, valid)).astype(float)
    # Of a tone with that RMS (dBFS).
    parts = np.split(heard, [RATE])
    levels[valid] = [round(10 * np.log10(2 * np.mean(part**2))) for part in parts]
    print(f"faster-whisper, {valid} in 32: tone and pause {levels[valid]} dBFS")
as_stated = found == {
    (32, 32): ("right", "pcm_s32le", "right"),
    (24, 32): ("not finite", "pcm_f24le", "right"),
    (20, 32): ("noise", "pcm_s24le", "right"),
    (16, 24): ("noise", "pcm_s16le", "right"),
    (8, 16): ("noise", "pcm_u8", "right"),
}
as_stated = as_stated and levels[32][0] - levels[32][1] > 50 and levels[24][0] - levels[24][1] < 6
print("as stated" if as_stated else "NOT as stated")
sys.exit(not as_stated)
PYTHON
code=0
"$folder/venv/bin/python" "$folder/show.py" || code=1
exit $code
