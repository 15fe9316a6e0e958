#!/bin/sh
# uvicorn 0.54.0 with websockets-sansio, which ws="auto" takes if websockets is installed: an app that
# refuses a WebSocket by the ASGI extension websocket.http.response (Starlette's
# send_denial_response()) does so as the specification says, its client gets the whole response, and
# the log has an ERROR each time: "ASGI callable returned without completing handshake." The older
# ws="websockets" logs none. A refusal by websocket.close (403) logs none in either.
#
# The extension: https://asgi.readthedocs.io/en/latest/extensions.html#websocket-denial-response . Who
# refuses a call without a key (401) or over capacity (503) so, has an error in the log for each, and
# it reads like that of an app that forgot to answer (which gets 500). Known, and open in September
# 2026: https://github.com/Kludex/uvicorn/pull/3138 .
#
# Seen: uvicorn 0.54.0, websockets 15.0.1:
#     auto, denial: 503 and its body; 1 error in the log; close: 403, none
#     websockets, denial: 503 and its body; no error; close: 403, none
#
# Exit code: 0 if it behaves so, 1 if it does not any more, 2 if the packages cannot be had.
# Needs Python 3.11 or later as python3, and a package index.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    uvicorn==0.54.0 websockets==15.0.1 || exit 2

cat > "$folder/show.py" <<'PYTHON'
"""What a refused WebSocket leaves in the log, by how it is refused and by whom."""

import asyncio
import logging
import sys
import warnings
from importlib.metadata import version

import uvicorn
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

warnings.simplefilter("ignore")  # of the older implementation
errors = []


class Errors(logging.Handler):
    """Keeps the errors that are logged."""

    def emit(self, record):
        if record.levelno >= logging.ERROR:
            errors.append(record.getMessage())


async def app(scope, receive, send):
    """Refuses each WebSocket in the way that its path says."""
    assert (await receive())["type"] == "websocket.connect"
    if scope["path"] == "/close":
        await send({"type": "websocket.close"})
        return
    assert "websocket.http.response" in scope["extensions"]
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"4"), (b"retry-after", b"1")]
    await send({"type": "websocket.http.response.start", "status": 503, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b"full"})


async def refused(server, path):
    """The status and the body that a client gets, and the errors in the log."""
    errors.clear()
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        await connect(f"ws://127.0.0.1:{port}{path}")
    except InvalidStatus as error:
        response = error.response
    await asyncio.sleep(0.2)
    return response.status_code, bytes(response.body or b""), list(errors)


async def main():
    seen = {}
    for kind in ("auto", "websockets"):
        options = {"host": "127.0.0.1", "port": 0, "lifespan": "off", "log_config": None}
        config = uvicorn.Config(app, ws=kind, **options)
        server = uvicorn.Server(config)
        running = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.05)
        print(f'ws="{kind}": {config.ws_protocol_class.__name__}')
        for path in ("/denial", "/close"):
            seen[kind, path] = await refused(server, path)
            print(f"    {path}:", *seen[kind, path])
        server.should_exit = True
        await running
    error = "ASGI callable returned without completing handshake."
    return seen == {
        ("auto", "/denial"): (503, b"full", [error]),
        ("auto", "/close"): (403, b"", []),
        ("websockets", "/denial"): (503, b"full", []),
        ("websockets", "/close"): (403, b"", []),
    }


logging.getLogger("uvicorn.error").addHandler(Errors())
print("uvicorn", version("uvicorn"), "websockets", version("websockets"))
as_stated = asyncio.run(main())
print("as stated" if as_stated else "NOT as stated")
sys.exit(not as_stated)
PYTHON
code=0
"$folder/venv/bin/python" "$folder/show.py" || code=1
exit $code
