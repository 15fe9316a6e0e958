#!/bin/sh
# ray[serve] 2.60.0: a WebSocket is refused and ended otherwise than a request.
# - One too many by max_queued_requests is refused by HTTP 500 "Internal Server Error"; a GET in its
#   place gets 503 with a reason, and what backpressure_config says of status and Retry-After.
# - When its application is deleted, an open one is served on for graceful_shutdown_timeout_s, and then
#   cut without a close frame (1006). The client is not told before, be the timeout 3 s or 20 s.
#
# BackpressureConfig's documentation has 503 or 429, and makes no case of WebSockets
# (https://docs.ray.io/en/master/serve/api/doc/ray.serve.config.BackpressureConfig.html). RFC 6455 has
# 1001 for a server that goes down, and uvicorn, which carries them here, has 1012 for it. So a full
# service looks like a broken one, and deleting an application looks to each caller like a lost network.
#
# Seen: ray 2.60.0, websockets 15.0.1, graceful_shutdown_timeout_s=3:
#     one too many: WebSocket 500, no Retry-After; GET 503, Retry-After: 7
#     deleted: an echo after 1 s, cut after 3 s or more, with no close frame (1006)
#
# Exit code: 0 if it behaves so, 1 if it does not any more, 2 if the packages cannot be had.
# Needs Python 3.11 or later as python3, a package index, and 2 GB of memory. Takes a minute.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    "ray[serve]==2.60.0" websockets==15.0.1 || exit 2

cat > "$folder/show.py" <<'PYTHON'
"""How a WebSocket is refused when there are too many, and ended when its application is."""

import asyncio
import os
import socket
import sys
import time
import urllib.error
import urllib.request
from importlib.metadata import version

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray
from fastapi import FastAPI, WebSocket
from ray import serve
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

TIMEOUT_S = 3
app = FastAPI()


@serve.deployment(
    max_ongoing_requests=1,
    max_queued_requests=1,
    backpressure_config={"status_code": 503, "retry_after_s": 7},
    graceful_shutdown_timeout_s=TIMEOUT_S,
    graceful_shutdown_wait_loop_s=0.5,
    ray_actor_options={"num_cpus": 0},
)
@serve.ingress(app)
class Echo:
    """Serves one at a time, and lets one wait."""

    @app.get("/")
    async def get(self):
        return "here"

    @app.websocket("/")
    async def echo(self, connection: WebSocket):
        await connection.accept()
        while True:
            await connection.send_text(await connection.receive_text())


def get(url):
    """The status of a GET, and when it is to be tried again."""
    try:
        return urllib.request.urlopen(url, timeout=30).status, None
    except urllib.error.HTTPError as error:
        again = error.headers.get("retry-after")
        print(f"GET: {error.code}, Retry-After: {again}, {error.read().decode()!r}")
        return error.code, again


async def refused(host):
    """What a WebSocket and a GET get that are one too many."""
    waiting = asyncio.create_task(connect(f"ws://{host}/", open_timeout=60).__aenter__())
    await asyncio.sleep(2)
    try:
        await connect(f"ws://{host}/", open_timeout=30)
        socket_gets = 101, None
    except InvalidStatus as error:
        response = error.response
        socket_gets = response.status_code, response.headers.get("retry-after")
        body = bytes(response.body).decode()
        print(f"WebSocket: {socket_gets[0]}, Retry-After: {socket_gets[1]}, {body!r}")
    get_gets = await asyncio.to_thread(get, f"http://{host}/")
    waiting.cancel()
    await asyncio.wait([waiting])
    return socket_gets, get_gets


async def ended(first):
    """If an open WebSocket still echoes while its application is deleted, and how it is closed."""
    begin = time.monotonic()
    deletion = asyncio.create_task(asyncio.to_thread(serve.delete, "echo"))
    await asyncio.sleep(1)
    await first.send("still?")
    echoed = await first.recv() == "still?"
    print(f"deleted: an echo after {time.monotonic() - begin:.1f} s")
    try:
        print("said unasked:", await first.recv())
    except ConnectionClosed as error:
        seconds = time.monotonic() - begin
        print(f"closed after {seconds:.1f} s: {first.close_code}, close frame: {error.rcvd}")
        await deletion
        return echoed and first.close_code == 1006 and error.rcvd is None and seconds >= TIMEOUT_S
    return False


async def main(host):
    async with asyncio.timeout(180), connect(f"ws://{host}/", open_timeout=60) as first:
        await first.send("here?")
        as_stated = await first.recv() == "here?"
        as_stated = await refused(host) == ((500, None), (503, "7")) and as_stated
        return await ended(first) and as_stated


print("ray", version("ray"), "websockets", version("websockets"), flush=True)
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
options = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 100_000_000}
ray.init("local", logging_level="ERROR", log_to_driver=False, **options)
serve.start(http_options={"host": "127.0.0.1", "port": port})
serve.run(Echo.bind(), name="echo")
as_stated = asyncio.run(main(f"127.0.0.1:{port}"))
serve.shutdown()
ray.shutdown()
print("as stated" if as_stated else "NOT as stated")
sys.exit(not as_stated)
PYTHON
code=0
"$folder/venv/bin/python" "$folder/show.py" || code=1
exit $code
