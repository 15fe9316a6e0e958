"""A conversation with the toy engines over a real socket, held by the SDK."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import numpy as np
import pytest
from servers.llm_server import DONE, Answer, LlmServer, delta, finish, reply, tool_call
from support.cli_child import HUMAN, needs_people, recording
from support.real_engines import fetched
from support.realtime_client import RATE, SOON_S, Client, connected, silence
from support.served import Served, served
from websockets.asyncio.client import connect

from pipeline.audio.files import read_audio
from pipeline.clock import Clock
from pipeline.config import LlmSettings, Settings, SttSettings, TtsSettings
from pipeline.engines.local import LocalEngines
from pipeline.engines.piper import Piper
from pipeline.serve.link import Link, Opening
from pipeline.serve.realtime import RealtimeConversation
from pipeline.text.heard import Sound

pytestmark = pytest.mark.slow

PROMPTS = Path("/usr/share/asterisk/sounds")
"""People who say a telephone's prompts in their languages: what Debian's packages
asterisk-core-sounds-fr-wav and -es-wav hold."""

STORY = "Once upon a time there was a museum, and in it there was a clock, which was slow. " * 4


@asynccontextmanager
async def talking(llm: LlmServer, stt: str = "whisper-mini-en") -> AsyncIterator[Client]:
    """A client of a server whose language model is this one."""
    settings = Settings(
        stt=SttSettings(model=stt),
        tts=TtsSettings(voice="en_US-mini"),
        llm=LlmSettings(model=llm.url),
    )
    engines = LocalEngines(settings)

    async def talk(link: Link, opening: Opening) -> None:
        await RealtimeConversation(engines, settings, Clock(), link, opening).run()

    async with engines, served(talk) as server:
        place: Any = SimpleNamespace(url=server.url.removesuffix("/realtime"))
        async with connected(place) as client:
            yield client


async def test_a_client_that_leaves_frees_the_model_and_the_voice_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The embedded model and a stock voice, in the middle of a long reply.

    Counted in tokens and pieces of sound, of which a busy machine makes fewer: who stays for
    another second gets 40 tokens and 6 pieces more.
    """
    model = fetched("llm", "smollm2-135m-instruct")
    fetched("tts", "en_US-joe-medium")
    settings = Settings(
        stt=SttSettings(model="whisper-mini-en"),
        tts=TtsSettings(voice="en_US-joe-medium"),
        llm=LlmSettings(model=str(model), max_tokens=1000),
    )
    engines = LocalEngines(settings, sessions=2)
    over: asyncio.Queue[None] = asyncio.Queue()
    spoken, synthesize = 0, Piper.synthesize

    def counted(*args: Any) -> Iterator[Sound]:
        nonlocal spoken
        for piece in synthesize(*args):
            spoken += 1
            yield piece

    monkeypatch.setattr(Piper, "synthesize", counted)

    async def talk(link: Link, opening: Opening) -> None:
        try:
            with engines.seat() as seat:
                await RealtimeConversation(seat, settings, Clock(), link, opening).run()
        finally:
            over.put_nowait(None)

    async def told(llama: httpx2.AsyncClient, name: str) -> float:
        """What the model's own server counts."""
        lines = (await llama.get("/metrics")).text.splitlines()
        [count] = [line for line in lines if line.startswith(f"llamacpp:{name} ")]
        return float(count.split()[1])

    async def leave(server: Served, kind: str) -> None:
        """Come, ask, and go without a word once it is answered."""
        async with connect(server.url, max_size=None) as client:
            text = [{"type": "input_text", "text": "Tell me a long story about the sea."}]
            item = {"type": "message", "role": "user", "content": text}
            await client.send(json.dumps({"type": "conversation.item.create", "item": item}))
            response = {"output_modalities": [kind]}
            await client.send(json.dumps({"type": "response.create", "response": response}))
            first = {"text": "response.output_text.delta", "audio": "response.output_audio.delta"}
            async with asyncio.timeout(SOON_S):
                while json.loads(await client.recv())["type"] != first[kind]:
                    pass
            client.transport.abort()

    async with engines, served(talk) as server:
        there = engines._chat.server
        key = {"Authorization": f"Bearer {there.api_key}"}
        base = there.base_url.removesuffix("/v1")
        async with asyncio.timeout(SOON_S), httpx2.AsyncClient(base_url=base, headers=key) as llama:
            before = await told(llama, "n_decode_total")
            await leave(server, "text")
            while await told(llama, "requests_processing"):
                await asyncio.sleep(0.002)
            assert await told(llama, "n_decode_total") - before < 20
            await over.get()
            await leave(server, "audio")
            before = spoken
            await over.get()
            # Somebody else's word is spoken.
            await engines._speaking.run(lambda: None)
            await asyncio.sleep(0.5)
            assert spoken - before <= 2


def said(number: int) -> np.ndarray:
    return np.concatenate([*read_audio(recording(number), RATE)])


async def in_real_time(client: Client, *sounds: np.ndarray) -> None:
    samples = np.concatenate(sounds)
    began = time.monotonic()
    for start in range(0, len(samples), RATE // 50):
        await client.hear(samples[start : start + RATE // 50])
        await asyncio.sleep(max(0, began + (start + RATE // 50) / RATE - time.monotonic()))


async def test_a_turn_an_interruption_a_call_and_a_retrieve() -> None:
    calls = Answer(
        [
            delta("One moment."),
            tool_call('{"city": "Tokyo"}', index=0, id="c", name="weather"),
            finish("tool_calls"),
            DONE,
        ]
    )
    prompts: list[Any] = []

    def answer(request: Any) -> Answer:
        prompts.append(request.body["messages"])
        last = request.body["messages"][-1]
        if last["role"] == "tool":
            return reply("It is sunny.")
        if "weather" in last["content"].lower():
            return calls
        return reply(STORY) if "museum" in last["content"].lower() else reply("I see.")

    tool = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
    async with LlmServer(otherwise=answer) as llm, talking(llm) as client:
        await client.setup({"type": "server_vad"}, tools=[tool])
        await in_real_time(client, said(5), silence(3.0))
        first = (await client.event("response.created"))["response"]
        assert len(client.heard(first["id"])) > RATE
        await in_real_time(client, said(10), silence(2.0))
        cut = (await client.event("response.done"))["response"]
        assert cut["status_details"]["reason"] == "turn_detected"
        where = {"item_id": cut["output"][0]["id"], "content_index": 0}
        await client.sdk.conversation.item.truncate(**where, audio_end_ms=1500)
        await client.event("conversation.item.truncated")
        call = await client.event("response.function_call_arguments.done")
        assert json.loads(call["arguments"]) == {"city": "Tokyo"}
        await client.event("response.done", 2)
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "sun"}
        await client.sdk.conversation.item.create(item=output)  # type: ignore[arg-type]
        await client.sdk.response.create()
        done = (await client.event("response.done", 3))["response"]
        assert done["output"][0]["content"][0]["transcript"] == "It is sunny."
        heard = next(each["content"] for each in prompts[-1] if each["role"] == "assistant")
        assert STORY.startswith(heard)
        assert 2 <= len(heard.split()) <= 8
        await client.sdk.conversation.item.retrieve(item_id=where["item_id"])
        kept = (await client.event("conversation.item.retrieved"))["item"]["content"][0]
        assert kept["transcript"] == heard
        assert len(base64.b64decode(kept["audio"])) == 2 * 1.5 * RATE
        latency = json.loads(done["metadata"]["cascade.latency_ms"])
        assert latency["total"] > 0
        assert client.grammar.finish() == []


@needs_people
async def test_people_change_the_language_and_are_answered_in_theirs() -> None:
    turns = [
        (HUMAN / "azure" / "whatstheweatherlike.wav", "weather", ""),
        (PROMPTS / "fr_CA_f_June" / "conf-onlyperson.wav", "seul participant", "French"),
        (PROMPTS / "es_MX_f_Allison" / "vm-nonumber.wav", "mensaje", "Spanish"),
        (HUMAN / "google" / "audio.wav", "Brooklyn", "English"),
        (HUMAN / "rhasspy" / "turn_on_the_living_room_lamp.wav", "lamp", ""),
    ]
    if absent := [str(path) for path, _, _ in turns if not path.is_file()]:
        why = "of Debian's asterisk-core-sounds-fr-wav and -es-wav, or the people's recordings"
        pytest.skip(f"not here, {why}: {', '.join(absent)}")
    model = fetched("stt", "base")
    async with LlmServer(otherwise=reply("Yes.")) as llm, talking(llm, str(model)) as client:
        await client.setup({"type": "server_vad"})
        for number, (path, words, answer_in) in enumerate(turns, 1):
            sound = np.concatenate([*read_audio(path, RATE)])
            await in_real_time(client, sound, silence(1.5))
            await client.event("response.done", number)
            heard = "conversation.item.input_audio_transcription.completed"
            told = await client.event(heard, number)
            assert words in told["transcript"]
            asked = llm.requests[-1].body["messages"][-1]["content"]
            note = f" (Answer in {answer_in}.)" if answer_in else ""
            assert asked == told["transcript"] + note
        assert client.of("error") == []
        assert client.grammar.finish() == []
