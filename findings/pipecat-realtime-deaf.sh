#!/bin/sh
# pipecat-ai 1.14.0, OpenAIRealtimeLLMService: a session.created or session.updated whose input
# transcription has a field beyond model, language and prompt ends the service's receiving for good:
# nothing that the server says after it is heard, no ErrorFrame is pushed, and the connection stays
# open. An unknown field at any other place of the same session is passed over.
#
# The server states the full session, and openai 3.52.0's AudioTranscription has also delay, keywords and
# languages. Pipecat's models, by Pydantic's default, ignore what they do not know; this one has a
# constructor of fixed arguments, which Pydantic calls with every key. So the bot falls silent where a
# server sets such a field, by a default or a client secret's session, or only states it as null.
#
# Seen: pipecat-ai 1.14.0, openai 3.52.0, websockets 15.0.1, against a server of our own:
#     transcription of a model alone, an unknown field elsewhere: 'Hello'
#     with languages, keywords, delay, or these as null: nothing, and no error frame; the log has
#     "InputAudioTranscription.__init__() got an unexpected keyword argument"
#
# Exit code: 0 if it behaves so, 1 if it does not any more, 2 if the packages cannot be had.
# Needs Python 3.11 or later as python3, and a package index.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    pipecat-ai==1.14.0 openai==3.52.0 websockets==15.0.1 || exit 2

cat > "$folder/show.py" <<'PYTHON'
"""What a pipeline hears of a reply, by the session that the server states before."""

import asyncio
import json
import sys
from importlib.metadata import version

from loguru import logger
from openai.types.realtime import AudioTranscription
from pipecat.frames.frames import EndFrame, ErrorFrame, LLMTextFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.workers.runner import WorkerRunner
from websockets.asyncio.server import serve

MODEL = {"model": "gpt-transcribe"}
SESSIONS = {
    "model alone": {"audio": {"input": {"transcription": MODEL}}},
    "unknown in the session": {"brand_new": 1, "audio": {"input": {"transcription": MODEL}}},
    "unknown in the input": {"audio": {"input": {"brand_new": 1, "transcription": MODEL}}},
    "languages": {"audio": {"input": {"transcription": {**MODEL, "languages": ["en"]}}}},
    "keywords": {"audio": {"input": {"transcription": {**MODEL, "keywords": ["Oslo"]}}}},
    "delay": {"audio": {"input": {"transcription": {**MODEL, "delay": "low"}}}},
    "delay is null": {"audio": {"input": {"transcription": {**MODEL, "delay": None}}}},
}
HEARD = ("model alone", "unknown in the session", "unknown in the input")
PLACE = {"response_id": "r", "item_id": "i", "output_index": 0, "content_index": 0}
logged = []


class Listener(FrameProcessor):
    """Keeps the text and the errors that pass, either way."""

    def __init__(self):
        super().__init__()
        self.text, self.errors = "", []

    async def process_frame(self, frame, direction):
        await super().process_frame(frame, direction)
        if isinstance(frame, LLMTextFrame):
            self.text += frame.text
        elif isinstance(frame, ErrorFrame):
            self.errors.append(frame.error)
        await self.push_frame(frame, direction)


async def heard(name):
    """The text that is heard after such a session, the error frames, and if it stays connected."""
    done, open_still = asyncio.Event(), []

    async def answer(connection):
        """State the session, and say a word once it has been set up."""

        async def send(kind, **fields):
            await connection.send(json.dumps({"type": kind, "event_id": "e", **fields}))

        await send("session.created", session={"type": "realtime"})
        await connection.recv()  # session.update
        await send("session.updated", session={"type": "realtime", **SESSIONS[name]})
        await send("response.output_text.delta", delta="Hello", **PLACE)
        await asyncio.sleep(1)
        open_still.append(connection.close_code is None)
        done.set()
        await connection.wait_closed()

    async with serve(answer, "127.0.0.1", 0) as server:
        address = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        service = OpenAIRealtimeLLMService(api_key="none", base_url=address)
        before, after = Listener(), Listener()
        worker = PipelineWorker(Pipeline([before, service, after]))
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(worker)
        running = asyncio.create_task(runner.run())
        async with asyncio.timeout(60):
            await done.wait()
            await worker.queue_frame(EndFrame())
            await running
    return after.text, before.errors + after.errors, open_still == [True]


async def main():
    seen = {}
    for name in SESSIONS:
        logged.clear()
        seen[name] = await heard(name)
        text, errors, open_still = seen[name]
        print(f"{name}: {text!r}, error frames {errors}, connected: {open_still}")
        for record in logged:
            print("    log:", record.splitlines()[0].partition("): ")[2] or record[:100])
    return all(
        seen == ("Hello" if name in HEARD else "", [], True) for name, seen in seen.items()
    ) and {"delay", "keywords", "languages"} <= set(AudioTranscription.model_fields)


logger.remove()
logger.add(lambda record: logged.append(record), level="ERROR", format="{message}", backtrace=False)
print("pipecat-ai", version("pipecat-ai"), "openai", version("openai"))
as_stated = asyncio.run(main())
print("as stated" if as_stated else "NOT as stated")
sys.exit(not as_stated)
PYTHON
code=0
"$folder/venv/bin/python" "$folder/show.py" || code=1
exit $code
