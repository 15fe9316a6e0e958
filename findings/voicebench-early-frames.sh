#!/bin/sh
# voicebench 0.2.0: a frame of the user's sound is sent when it begins, not when a microphone would
# have all of it; what an agent needs to answer is reported shorter by the length of a frame.
#
# Exit code: 0 if it behaves so, 1 if it does not any more, 2 if the packages cannot be had.
# Needs Python 3.11 or later as python3, and a package index. Takes some 10 s.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    voicebench==0.2.0 numpy==2.4.0 websockets==15.0.1 || exit 2

cat > "$folder/show.py" <<'PYTHON'
"""An agent that answers 500 ms after the last loud frame has come, in frames of 20 and of 200 ms."""

import asyncio
import sys
from importlib.metadata import version

import numpy as np
from voicebench.bench import run_benchmark
from voicebench.scenario import parse_scenario
from websockets.asyncio.server import serve

RATE, LATENCY_S = 16_000, 0.5
REPLY = np.resize(np.array([8000, -8000], "<i2"), RATE // 2).tobytes()


async def agent(socket):
    async def answer():
        await asyncio.sleep(LATENCY_S)
        await socket.send(REPLY)

    waiting = None
    async for frame in socket:
        if np.abs(np.frombuffer(frame, "<i2").astype(int)).max() > 1000:
            if waiting:
                waiting.cancel()
            waiting = asyncio.create_task(answer())


async def main():
    found = {}
    async with serve(agent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for frame_ms in (20, 200):
            turn = {"audio": {"synth": "speech", "duration_ms": 1000}, "start": {"delay_ms": 400}}
            scenario = {"name": "one", "frame_ms": frame_ms, "tail_ms": 1500, "turns": [turn]}
            options = {"url": f"ws://127.0.0.1:{port}"}
            made = await run_benchmark(parse_scenario(scenario), "websocket", options)
            found[frame_ms] = made.summary["response_latency_ms"]["p50"]
            print(f"frames of {frame_ms:3} ms: reported {found[frame_ms]:.0f} ms", flush=True)
    return found


print("voicebench", version("voicebench"))
print(f"the agent answers {LATENCY_S * 1000:.0f} ms after the last loud frame has come")
found = asyncio.run(main())
as_stated = 460 <= found[20] <= 500 and 280 <= found[200] <= 330
print("as stated" if as_stated else "NOT as stated")
sys.exit(not as_stated)
PYTHON
code=0
"$folder/venv/bin/python" "$folder/show.py" || code=1
exit $code
