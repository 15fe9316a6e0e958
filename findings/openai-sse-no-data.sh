#!/bin/sh
# openai 3.52.0: a server-sent event without data ends a good chat stream with json.JSONDecodeError,
# where the standard says to set the event aside. "retry: 3000" and a bare "event: ping" are such
# events, and once any event had an "id:", so is every blank line: the blank line after a ": ping"
# comment, harmless before, is an error after it. It is no openai.OpenAIError, so that it passes by a
# program's handlers.
#
# The standard: https://html.spec.whatwg.org/multipage/server-sent-events.html#dispatchMessage ("If the
# data buffer is an empty string, set the data buffer and the event type buffer to the empty string
# and return."). Servers and proxies send all of these to keep a connection open, in the silence
# before a slow model's first words above all.
#
# Seen: openai 3.52.0 with httpx2 2.16.2:
#     plain, comment, id: the whole text
#     retry: '', then JSONDecodeError
#     event, id and comment: 'Hello', then JSONDecodeError
#
# Exit code: 0 if it behaves so, 1 if it does not any more, 2 if the packages cannot be had.
# Needs Python 3.10 or later as python3, and a package index.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    openai==3.52.0 httpx2==2.16.2 || exit 2

cat > "$folder/show.py" <<'PYTHON'
"""One chat stream by several event streams that mean the same."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version

from openai import OpenAI, OpenAIError


def words(text):
    """The event of a piece of text."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    kind = "chat.completion.chunk"
    chunk = {"id": "1", "object": kind, "created": 1, "model": "m", "choices": [choice]}
    return f"data: {json.dumps(chunk)}\n\n"


HELLO, THERE = words("Hello"), words(" there")
STREAMS = {
    "plain": HELLO + THERE,
    "comment": HELLO + ": ping\n\n" + THERE,
    "id": "id: 7\n" + HELLO + THERE,
    "retry": "retry: 3000\n\n" + HELLO + THERE,
    "event": HELLO + "event: ping\n\n" + THERE,
    "id and comment": "id: 7\n" + HELLO + ": ping\n\n" + THERE,
}
EXPECTED = {
    **dict.fromkeys(("plain", "comment", "id"), ("Hello there", None)),
    "retry": ("", "JSONDecodeError"),
    **dict.fromkeys(("event", "id and comment"), ("Hello", "JSONDecodeError")),
}


class Server(BaseHTTPRequestHandler):
    """Answers with the event stream that the model's name says."""

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write((STREAMS[request["model"]] + "data: [DONE]\n\n").encode())

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{server.server_port}/v1"
client = OpenAI(api_key="none", base_url=address, max_retries=0)

print("openai", version("openai"), "httpx2", version("httpx2"))
seen = {}
for name in STREAMS:
    text, error = "", None
    try:
        for chunk in client.chat.completions.create(model=name, messages=[], stream=True):
            text += chunk.choices[0].delta.content
    except OpenAIError as known:
        error = f"OpenAIError: {known}"
    except Exception as unknown:
        error = type(unknown).__name__
    seen[name] = (text, error)
    print(f"{name}: {text!r}, {error or 'no error'}")
as_stated = seen == EXPECTED
print("as stated" if as_stated else "NOT as stated")
sys.exit(not as_stated)
PYTHON
code=0
"$folder/venv/bin/python" "$folder/show.py" || code=1
exit $code
