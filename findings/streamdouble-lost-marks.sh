#!/bin/sh
# streamdouble 0.3.0 (a double of Twilio's Media Streams): marks that wait when `clear` comes are
# never sent back. Twilio documents that it empties the buffer and sends those marks back, and that
# an application can so tell what was cleared.
#
# Exit code: 0 if it behaves so, 1 if it does not any more, 2 if the packages cannot be had.
# Needs Python 3.11 or later as python3, and a package index. Takes some 10 s.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    streamdouble==0.3.0 numpy==2.4.0 websockets==15.0.1 || exit 2

cat > "$folder/show.py" <<'PYTHON'
"""A server that sends sound and a mark behind it, twice; the second time it clears the sound."""

import asyncio
import base64
import json
import sys
from importlib.metadata import version

from streamdouble.session import Session, SessionConfig
from websockets.asyncio.server import serve

back = []


async def agent(socket):
    async def say(sid, name):
        for _ in range(50):
            payload = base64.b64encode(bytes([0x10] * 160)).decode()
            media = {"event": "media", "streamSid": sid, "media": {"payload": payload}}
            await socket.send(json.dumps(media))
        await socket.send(json.dumps({"event": "mark", "streamSid": sid, "mark": {"name": name}}))

    async def talk(sid):
        await say(sid, "played")
        await asyncio.sleep(1.5)
        await say(sid, "cleared")
        await asyncio.sleep(0.2)
        await socket.send(json.dumps({"event": "clear", "streamSid": sid}))

    async for text in socket:
        message = json.loads(text)
        if message["event"] == "start":
            talking = asyncio.create_task(talk(message["streamSid"]))
        if message["event"] == "mark":
            back.append(message["mark"]["name"])
    await talking


async def main():
    async with serve(agent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        silence = [bytes([0xFF] * 160)] * 200
        call = Session(f"ws://127.0.0.1:{port}", silence, config=SessionConfig())
        return await call.run()


print("streamdouble", version("streamdouble"))
result = asyncio.run(main())
print(f"marks sent to it: {result.marks_received}, clears: {result.clears_received}")
print(f"marks that came back: {back}")
as_stated = result.marks_received == ["played", "cleared"] and back == ["played"]
print("as stated" if as_stated else "NOT as stated")
sys.exit(not as_stated)
PYTHON
code=0
"$folder/venv/bin/python" "$folder/show.py" || code=1
exit $code
