#!/bin/sh
# aiortc 1.16.0: one lost audio packet of 20 ms takes four good ones with it: 100 ms of sound are
# missing, unfilled, and that only shows in pts. And from the first loss on every frame comes some
# 200 ms later than before it, for good: the jitter buffer (16 packets, of which 4 are waited for)
# stands still at the hole until it is full, throws away what is before it, and stays full.
#
# Who makes one array of what recv() gives has half of the sound where one packet in ten is lost, and
# in it all times behind a loss are early; who measures how fast a voice program answers over a line
# that ever lost a packet measures 200 ms of buffer with it. The delay is known, and closed as stale:
# https://github.com/aiortc/aiortc/issues/543 .
#
# Seen: aiortc 1.16.0, av 18.1.0, two connections over loopback, Opus, the 100th packet lost:
#     pts jump once, by 6 frames for 1; frames reach recv() a median 80 ms after they were sent before
#     the loss, and 280 ms after it; without a loss nothing is missing, and 80 ms throughout
#     from there on every tenth lost: half of the frames arrive
#
# Exit code: 0 if it behaves so, 1 if it does not any more, 2 if the packages cannot be had.
# Needs Python 3.11 or later as python3, and a package index. Takes half a minute.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    aiortc==1.16.0 av==18.1.0 numpy==2.4.6 || exit 2

cat > "$folder/show.py" <<'PYTHON'
"""What arrives of a tone over a line that loses packets, and when."""

import asyncio
import statistics
import sys
from fractions import Fraction
from importlib.metadata import version
from time import monotonic

import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame

RATE, FRAME = 48_000, 960
FRAMES, FIRST_LOST = 300, 100


class Tone(MediaStreamTrack):
    """A frame of 20 ms each 20 ms; remembers when it gave them."""

    kind = "audio"

    def __init__(self):
        super().__init__()
        self.given = []

    async def recv(self):
        if self.given:
            due = self.given[0] + len(self.given) * FRAME / RATE
            await asyncio.sleep(max(0, due - monotonic()))
        at = len(self.given) * FRAME
        sound = 8000 * np.sin(2 * np.pi * 440 * (np.arange(FRAME) + at) / RATE)
        frame = AudioFrame.from_ndarray(sound.astype(np.int16)[np.newaxis], "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, at, Fraction(1, RATE)
        self.given.append(monotonic())
        return frame


async def call(is_lost):
    """Number and delay (ms) of each frame that arrives; the first one sent has number 0."""
    caller, callee = (RTCPeerConnection(RTCConfiguration(iceServers=[])) for _ in range(2))
    tone, arrived, listening = Tone(), [], []
    sender = caller.addTrack(tone)

    async def listen(track):
        try:
            while True:
                frame = await track.recv()
                arrived.append((frame.pts // FRAME, monotonic()))
        except MediaStreamError:
            pass

    callee.on("track", lambda track: listening.append(asyncio.create_task(listen(track))))
    await caller.setLocalDescription(await caller.createOffer())
    await callee.setRemoteDescription(caller.localDescription)
    await callee.setLocalDescription(await callee.createAnswer())
    await caller.setRemoteDescription(callee.localDescription)

    # The line: what goes out is RTP alone, and its numbers are counted from the first.
    transport, send, sent = sender.transport, sender.transport._send_rtp, []

    async def line(data):
        if 200 <= data[1] <= 204:  # RTCP
            await send(data)
            return
        sent.append(data)
        if not is_lost(len(sent)):
            await send(data)

    transport._send_rtp = line
    while len(sent) < FRAMES:
        await asyncio.sleep(0.1)
    await caller.close()
    await asyncio.sleep(0.5)
    await callee.close()
    await asyncio.gather(*listening)
    first = arrived[0][0]
    return [(n - first, (t - tone.given[n - first]) * 1000) for n, t in arrived]


def told(name, got):
    steps = [int(after - before) for (before, _), (after, _) in zip(got, got[1:])]
    jumps = [step for step in steps if step > 1]
    before = statistics.median(delay for n, delay in got[10:] if n < FIRST_LOST - 10)
    after = statistics.median(delay for n, delay in got if n > FIRST_LOST + 20)
    print(f"{name}: {len(got)} of {got[-1][0] + 1} frames; pts jump by {jumps[:3]} frames;")
    print(f"    {before:.0f} ms after they were sent, later {after:.0f} ms")
    return jumps, before, after, len(got) / (got[-1][0] + 1)


async def main():
    print("aiortc", version("aiortc"), "av", version("av"))
    jumps, before, after, share = told("no loss", await call(lambda n: False))
    as_stated = jumps == [] and share == 1 and abs(after - before) < 40
    jumps, before, after, _ = told("one lost", await call(lambda n: n == FIRST_LOST))
    as_stated = as_stated and jumps == [6] and 150 < after - before < 260
    lossy = await call(lambda n: n >= FIRST_LOST and n % 10 == 0)
    jumps, _, _, _ = told("every tenth lost", lossy)
    behind = [n for n, _ in lossy if n > FIRST_LOST]
    share = len(behind) / (behind[-1] - FIRST_LOST)
    print(f"    behind the first loss {share:.0%} of the frames")
    as_stated = as_stated and {*jumps} == {6} and 0.35 < share < 0.6
    print("as stated" if as_stated else "NOT as stated")
    sys.exit(not as_stated)


asyncio.run(main())
PYTHON
code=0
"$folder/venv/bin/python" "$folder/show.py" || code=1
exit $code
