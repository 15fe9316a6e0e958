"""A conversation with the cascade over the Realtime protocol, in virtual time."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from support.realtime_talk import Client, hold
from support.scene import LONG
from support.scripted import Engines, Model

VAD = {"type": "server_vad"}

TURN = [
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
]
ANSWER = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
    "rate_limits.updated",
]


def engines(*replies: Any, texts: Any = ("What time is it?",), **more: Any) -> Engines:
    return Engines(texts, Model(list(replies)), **more)


def plain(client: Client) -> list[str]:
    """The kinds of events, without deltas and what may come at any time."""
    return [k for k in client.kinds if not k.endswith("delta") and "transcription" not in k]


async def ask(client: Client, seconds: float = 1.2, then: float = 4.0) -> None:
    await client.quiet(0.5)
    await client.speak(seconds)
    await client.quiet(then)


def test_a_turn_is_heard_answered_and_told_in_the_protocols_order() -> None:
    async def script(client: Client) -> None:
        client.detect(VAD)
        await ask(client)

    client = hold(engines("It is nine."), script)
    client.finish()
    began = ["session.created", "conversation.created", "session.updated"]
    assert plain(client) == [*began, *TURN, *ANSWER]
    [heard] = client.of("conversation.item.input_audio_transcription.completed")
    assert heard["transcript"] == "What time is it?"
    assert heard["usage"]["type"] == "duration"
    assert client.said_back == ["It is nine. "]
    started, stopped = client.of(TURN[0])[0], client.of(TURN[1])[0]
    assert abs(started["audio_start_ms"] - (500 - 300)) <= 64
    assert abs(stopped["audio_end_ms"] - (1700 + 500)) <= 64


def test_an_answer_is_there_when_the_turn_ends() -> None:
    async def script(client: Client) -> None:
        await ask(client)

    client = hold(engines("It is nine."), script)
    ends = client.time("input_audio_buffer.speech_stopped")
    assert client.time("response.output_audio.delta") == ends
    [response] = client.done
    told = json.loads(response["metadata"]["cascade.latency_ms"])
    assert told["total"] == sum(told.values()) - told["total"]
    assert abs(told["endpoint"] - 500) <= 64
    assert told["total"] - told["endpoint"] <= 2


def test_the_client_ends_turns_itself() -> None:
    async def script(client: Client) -> None:
        client.detect(None)
        await client.speak(1.0)
        client.tell("input_audio_buffer.commit")
        await client.until("conversation.item.done")
        await asyncio.sleep(1)
        assert not client.of("response.created")
        client.respond()
        await client.until("response.done")
        client.tell("input_audio_buffer.commit")
        await client.until("error")
        await client.speak(1.0)
        client.tell("input_audio_buffer.clear")
        client.tell("input_audio_buffer.commit")
        await client.until("error", 2)

    made = engines("It is nine.")
    client = hold(made, script)
    client.finish()
    assert not client.of(TURN[0])
    assert [each["error"]["code"] for each in client.of("error")] == [
        "input_audio_buffer_commit_empty"
    ] * 2
    assert made.model.prompts[0][-1] == {"role": "user", "content": "What time is it?"}
    assert client.ends == [("completed", None)]


def test_a_response_asked_for_at_once_waits_for_what_was_said() -> None:
    async def script(client: Client) -> None:
        client.detect(None)
        await client.speak(1.0)
        client.tell("input_audio_buffer.commit")
        client.respond()
        await client.until("response.done")

    made = engines("It is nine.", recognise_s=1.0)
    client = hold(made, script)
    assert made.model.prompts[0][-1] == {"role": "user", "content": "What time is it?"}
    assert client.time("response.created") < 1.1
    assert "stt" in json.loads(client.done[0]["metadata"]["cascade.latency_ms"])


def test_speaking_over_a_reply_cuts_it_and_the_model_knows_what_was_heard() -> None:
    async def script(client: Client) -> None:
        await ask(client, then=3.0)
        await client.speak(1.0)
        await client.quiet(3.0)

    made = engines(LONG, "Fine.", texts=("When?", "Stop."))
    client = hold(made, script)
    client.finish()
    assert client.ends == [("cancelled", "turn_detected"), ("completed", None)]
    cut = client.events.index(client.of("response.done")[0])
    assert client.kinds.index("input_audio_buffer.speech_started", 20) < cut
    heard = made.model.prompts[1][2]["content"]
    assert 3 < len(heard.split()) < len(client.said_back[0].split())
    assert client.said_back[0].startswith(heard)
    item = client.done[0]["output"][0]
    assert item["status"] == "incomplete"


def test_a_cough_over_a_reply_does_not_cut_it() -> None:
    async def script(client: Client) -> None:
        await ask(client, then=3.0)
        await client.speak(0.3)
        await client.quiet(25.0)

    client = hold(engines(LONG, texts=("When?", "")), script)
    assert client.ends == [("completed", None)]
    assert len(client.of(TURN[0])) == 1


@pytest.mark.parametrize("at_ms", [0, 1500, 3000])
def test_a_client_that_truncates_says_what_was_heard(at_ms: int) -> None:
    async def script(client: Client) -> None:
        client.detect(VAD)
        await ask(client, then=4.0)
        await client.speak(0.5)
        done = await client.until("response.done")
        where = {"item_id": done["response"]["output"][0]["id"], "content_index": 0}
        client.tell("conversation.item.truncate", **where, audio_end_ms=at_ms)
        await client.speak(0.5)
        await client.quiet(3.0)

    made = engines(LONG, "Fine.", texts=("When?", "Stop.", "Stop."))
    client = hold(made, script)
    assert client.of("conversation.item.truncated")[0]["audio_end_ms"] == at_ms
    said = [each["content"] for each in made.model.prompts[-1] if each["role"] == "assistant"]
    if at_ms == 0:
        assert said == []
    else:
        chars = at_ms / 60  # of the scripted voice, each takes 60 ms
        assert chars - 12 < len(said[0]) <= chars
        assert LONG.startswith(said[0])


def test_the_client_cancels_a_reply() -> None:
    async def script(client: Client) -> None:
        await ask(client, then=2.0)
        client.tell("response.cancel")
        await client.until("response.done")
        client.tell("response.cancel")
        await client.until("error")
        client.respond()
        await client.until("response.done", 2)

    made = engines(LONG, "Well.")
    client = hold(made, script)
    client.finish()
    assert client.ends == [("cancelled", "client_cancelled"), ("completed", None)]
    assert client.of("error")[0]["error"]["code"] == "response_cancel_not_active"
    assert made.model.open == made.voice.open == 0
    assert [each["role"] for each in made.model.prompts[1]] == ["system", "user", "assistant"]
