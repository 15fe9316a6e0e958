#!/bin/sh
# google-genai 3.4.0, Live API: what a server says that this version does not know is passed over in
# three of five places, and in two it ends session.receive() with an error that is no APIError:
# - a message with one unknown field beside known ones, or inside one, is given out without it, and an
#   empty message is given out empty; but a message of an unknown field alone raises TypeError
#   ("'<=' not supported between instances of 'int' and 'NoneType'", while looking for an error code);
# - an enum's unknown name gives a new member; but its number, which is how protobuf's JSON writes a
#   value without a name and which its readers must take for any, raises AttributeError ("'int' object
#   has no attribute 'upper'"), and turnComplete in the same message is lost: the turn never ends.
#
# JSON of protobuf: https://protobuf.dev/programming-guides/json/ . Voice programs keep a session open
# for minutes and are built months before the server of the day.
#
# Seen: google-genai 3.4.0, websockets 15.0.1, against a server of our own.
#
# Exit code: 0 if it behaves so, 1 if it does not any more, 2 if the packages cannot be had.
# Needs Python 3.11 or later as python3, and a package index.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    google-genai==3.4.0 websockets==15.0.1 trustme==1.2.1 || exit 2

cat > "$folder/show.py" <<'PYTHON'
"""The messages that receive() gives out, by what the server sends."""

import asyncio
import json
import os
import ssl
import sys
import warnings
from importlib.metadata import version

import trustme
from google import genai
from websockets.asyncio.server import serve

warnings.simplefilter("ignore")  # of the unknown name
END = {"serverContent": {"turnComplete": True}}
SENT = {
    "known": [END],
    "unknown beside known": [{"brandNew": {"a": 1}, **END}],
    "unknown inside known": [{"serverContent": {"turnComplete": True, "brandNew": 1}}],
    "empty": [{}, END],
    "unknown alone": [{"brandNew": {"a": 1}}, END],
    "enum by new name": [{"serverContent": {"turnComplete": True, "turnCompleteReason": "NEW"}}],
    "enum by number": [{"serverContent": {"turnComplete": True, "turnCompleteReason": 99}}],
}
ERRORS = {"unknown alone": "TypeError", "enum by number": "AttributeError"}


async def answer(connection):
    """Send the messages that the model's name says."""
    setup = json.loads(await connection.recv())
    name = setup["setup"]["model"].removeprefix("models/")
    for message in ({"setupComplete": {}}, *SENT[name]):
        await connection.send(json.dumps(message))
    await connection.wait_closed()


async def received(client, name):
    """Whether the turn's end was received, and the error."""
    ended = False
    try:
        async with client.aio.live.connect(model=f"models/{name}") as session:
            async with asyncio.timeout(20):
                async for message in session.receive():
                    ended = bool(message.server_content and message.server_content.turn_complete)
    except Exception as error:
        print(f"    {type(error).__name__}: {error}")
        return ended, type(error).__name__
    return ended, None


async def main():
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    os.environ["SSL_CERT_FILE"] = sys.argv[1]
    authority.cert_pem.write_to_path(sys.argv[1])
    seen = {}
    async with serve(answer, "localhost", 0, ssl=context) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        options = {"base_url": f"https://localhost:{port}"}
        client = genai.Client(api_key="none", http_options=options)
        for name in SENT:
            print(f"{name}:")
            seen[name] = await received(client, name)
            print("    the turn's end is received" if seen[name][0] else "    no end of the turn")
    return seen == {name: (name not in ERRORS, ERRORS.get(name)) for name in SENT}


print("google-genai", version("google-genai"), "websockets", version("websockets"))
as_stated = asyncio.run(main())
print("as stated" if as_stated else "NOT as stated")
sys.exit(not as_stated)
PYTHON
code=0
"$folder/venv/bin/python" "$folder/show.py" "$folder/ca.pem" || code=1
exit $code
