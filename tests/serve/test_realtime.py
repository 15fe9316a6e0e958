"""A conversation with the cascade over the Realtime protocol, in virtual time."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import virtual_time
from support.pictures import drawn
from support.realtime_talk import RATE, Client, hold
from support.scene import LONG, check_prompt
from support.scripted import Engines, Model, Speaker

from pipeline import pictures
from pipeline.clock import NS_PER_S
from pipeline.config import PACES, ServeSettings, Settings
from pipeline.conversation.history import RUNNING
from pipeline.engines.context import TooLong
from pipeline.engines.llm import Calling, Unanswered
from pipeline.engines.prosody import EXPLAINED, Prosody
from pipeline.engines.tools import Prompt, ToolUse, tools_of
from pipeline.errors import StageError
from pipeline.prompts import Prompts, StoredPrompt
from pipeline.serve.link import Opening
from pipeline.serve.realtime import Playhead, RealtimeConversation, manner
from pipeline.serve.remembered import SILENCE
from pipeline.serve.session_object import new_session, updated
from pipeline.serve.sound import SoundIn
from pipeline.turns.end_of_turn import Hangover, hold_ms

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


async def ask_twice(client: Client) -> None:
    await ask(client)
    await ask(client)


def test_a_turn_is_heard_answered_and_told_in_the_protocols_order() -> None:
    async def script(client: Client) -> None:
        client.detect(VAD)
        await ask(client)

    client = hold(engines("It is nine."), script)
    began = ["session.created", "conversation.created", "session.updated"]
    assert plain(client) == [*began, *TURN, *ANSWER]
    [heard] = client.of("conversation.item.input_audio_transcription.completed")
    assert heard["transcript"] == "What time is it?"
    assert heard["usage"]["type"] == "duration"
    assert client.said_back == ["It is nine. "]
    started, stopped = client.of(TURN[0])[0], client.of(TURN[1])[0]
    assert abs(started["audio_start_ms"] - (500 - 300)) <= 64
    assert abs(stopped["audio_end_ms"] - (1700 + 500)) <= 64


def test_words_are_told_just_before_the_sound_that_they_end_in() -> None:
    client = hold(engines(LONG), listen)
    seconds, chars, gaps = 0.0, 0, []
    for event in client.events:
        if event["type"] == "response.output_audio_transcript.delta":
            chars += len(event["delta"])
        elif event["type"] == "response.output_audio.delta":
            seconds += len(base64.b64decode(event["delta"])) / 2 / RATE
            gaps.append(seconds - chars * 0.06)  # so long the voice takes for each
    assert client.said_back == [f"{LONG} "]
    # No word is told before it is spoken, but the last of a clause with the space after it.
    assert min(gaps[:-1]) > -0.2
    assert max(gaps[:-1]) < 10 * 0.06 + 0.2  # the longest word, and a piece of sound


async def listen(client: Client) -> None:
    client.detect(VAD)
    await ask(client, then=30)


def test_an_answer_is_there_when_the_turn_ends() -> None:
    client = hold(engines("It is nine."), ask)
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
        await client.answered()
        client.tell("input_audio_buffer.commit")
        await client.until("error")
        await client.speak(1.0)
        client.tell("input_audio_buffer.clear")
        client.tell("input_audio_buffer.commit")
        await client.until("error", 2)

    made = engines("It is nine.")
    client = hold(made, script)
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
        await client.answered()

    made = engines("It is nine.", recognise_s=1.0)
    client = hold(made, script)
    assert made.model.prompts[0][-1] == {"role": "user", "content": "What time is it?"}
    assert client.time("response.created") < 1.1
    told = json.loads(client.done[0]["metadata"]["cascade.latency_ms"])
    assert told["stt"] == 1000
    assert 1000 < told["total"] < 1200


def test_speaking_over_a_reply_cuts_it_and_the_model_knows_what_was_heard() -> None:
    async def script(client: Client) -> None:
        await ask(client, then=3.0)
        await client.speak(1.0)
        await client.quiet(3.0)

    made = engines(LONG, "Fine.", texts=("When?", "Stop."))
    client = hold(made, script)
    assert client.ends == [("cancelled", "turn_detected"), ("completed", None)]
    cut = client.events.index(client.of("response.done")[0])
    over = client.kinds.index("input_audio_buffer.speech_started", 20)
    assert over < cut and "response.output_audio.delta" not in client.kinds[over:cut]
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
        await client.answered()

    made = engines(LONG, "Well.")
    client = hold(made, script)
    assert client.ends == [("cancelled", "client_cancelled"), ("completed", None)]
    assert client.of("error")[0]["error"]["code"] == "response_cancel_not_active"
    assert made.model.open == made.voice.open == 0
    assert [each["role"] for each in made.model.prompts[1]] == ["system", "user", "assistant"]


def words(prompt: Any) -> list[tuple[str, str]]:
    """A prompt without its instructions: who, and what."""
    return [(each["role"], each["content"]) for each in prompt[1:]]


def test_the_items_are_what_the_model_is_reminded_of() -> None:
    async def script(client: Client) -> None:
        client.detect(None)
        client.write("My name is Ada.")
        client.write("Be brief.", "system", previous_item_id="root")
        client.write("Hello Ada.", "assistant")
        client.write("I like tea.")
        await client.until("conversation.item.done", 4)
        client.tell("conversation.item.delete", item_id=client.events[-1]["item"]["id"])
        client.write("What is my name?")
        await client.answered()
        await client.answered(instructions="Sing.")
        client.update(instructions="")
        await client.answered()

    made = engines("Ada.", "La.", "Still Ada.")
    hold(made, script)
    first, second, third = made.model.prompts
    asked = [
        ("user", "My name is Ada."),
        ("assistant", "Hello Ada."),
        ("user", "What is my name?"),
    ]
    assert words(first) == asked
    assert first[0]["content"] == f"{Settings().llm.instructions} Be brief."
    assert second[0] == {"role": "system", "content": "Sing. Be brief."}
    assert words(second) == [*asked, ("assistant", "Ada.")]
    assert third[0] == {"role": "system", "content": "Be brief."}
    assert words(third)[-1] == ("assistant", "Ada. La.")


TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object"}}


def test_a_call_ends_the_response_and_its_result_is_told_in_the_next() -> None:
    async def script(client: Client) -> None:
        client.update(tools=[TOOL])
        await ask(client, then=2.0)
        call = (await client.until("response.function_call_arguments.done"))["call_id"]
        client.add(type="function_call_output", call_id=call, output="sunny")
        await client.answered()

    made = engines('Let me look. CALL:weather:{"city":"Rome"}', "It is sunny.")
    client = hold(made, script)
    assert client.ends == [("completed", None)] * 2
    assert client.said_back == ["Let me look. ", "It is sunny. "]
    [call] = [each for each in client.done[0]["output"] if each["type"] == "function_call"]
    assert (call["name"], json.loads(call["arguments"])) == ("weather", {"city": "Rome"})
    assert call["status"] == "completed"
    assert len(client.of("response.function_call_arguments.delta")) > 1
    assert tools_of(made.model.prompts[0])[0]["function"]["name"] == "weather"
    check_prompt(made.model.prompts[1])
    assert made.model.prompts[1][-1]["content"] == "sunny"
    assert made.model.prompts[1][2]["content"] == "Let me look."


def test_a_call_without_a_result_is_running_when_the_user_goes_on() -> None:
    async def script(client: Client) -> None:
        client.update(tools=[TOOL])
        await ask(client, then=2.0)
        await client.speak(1.0)
        await client.quiet(3.0)
        call = client.of("response.function_call_arguments.done")[0]["call_id"]
        client.add(type="function_call_output", call_id=call, output="sunny")
        await client.answered()

    made = engines("CALL:weather:{}", "One moment.", "It is sunny.", texts=("When?", "Well?"))
    hold(made, script)
    for prompt in made.model.prompts:
        check_prompt(prompt)
    assert ("tool", RUNNING) in words(made.model.prompts[1])
    assert words(made.model.prompts[2])[-1] == ("tool", "sunny")


def test_responses_out_of_band_change_nothing_and_several_are_made_at_a_time() -> None:
    async def script(client: Client) -> None:
        await ask(client, then=2.0)
        item = client.of("conversation.item.done")[0]["item"]["id"]
        for topic in ("a", "b"):
            client.respond(
                conversation="none",
                metadata={"topic": topic},
                instructions="Classify.",
                output_modalities=["text"],
                input=[{"type": "item_reference", "id": item}],
            )
        await client.until("response.done", 2)
        assert not [each for each in client.done if each["conversation_id"]]
        await client.speak(1.0)
        await client.quiet(4.0)

    made = engines(LONG, "tea", "coffee", "Fine.", texts=("When?", "Stop."))
    client = hold(made, script)
    apart = [each for each in client.done if each["conversation_id"] is None]
    assert {each["metadata"]["topic"] for each in apart} == {"a", "b"}
    assert {each["output"][0]["content"][0]["text"] for each in apart} == {"tea ", "coffee "}
    for prompt in made.model.prompts[1:3]:
        assert list(prompt) == [
            {"role": "system", "content": "Classify."},
            {"role": "user", "content": "When?"},
        ]
    assert client.ends[-2:] == [("cancelled", "turn_detected"), ("completed", None)]
    assert "tea" not in str(made.model.prompts[3])


def test_a_response_out_of_band_is_cancelled_by_its_id() -> None:
    async def script(client: Client) -> None:
        client.respond(conversation="none")
        created = await client.until("response.created")
        await asyncio.sleep(0.3)
        client.tell("response.cancel", response_id=created["response"]["id"])
        await client.until("response.done")

    made = engines(LONG)
    client = hold(made, script)
    assert client.ends == [("cancelled", "client_cancelled")]
    assert made.model.open == made.voice.open == 0


def test_a_response_has_settings_of_its_own() -> None:
    async def script(client: Client) -> None:
        client.update(tools=[TOOL], max_output_tokens=50)
        client.write("Hello.")
        await client.answered(tools=[], output_modalities=["text"], max_output_tokens=9)
        await client.answered(tool_choice="required")
        await client.answered(tool_choice="none", input=[])

    made = engines("Hi.", "Hi.", "Hi.")
    client = hold(made, script)
    first, second, third = made.model.prompts
    assert isinstance(first, Prompt) and isinstance(second, Prompt) and isinstance(third, Prompt)
    assert (first.tools, first.limit) == ((), 9)
    assert (second.tools[0].name, second.choice, second.limit) == ("weather", "required", 50)
    assert (third.tools, list(third)[1:]) == ((), [])
    assert len(made.voice.said) == 2
    assert client.of("response.output_text.done")[0]["text"] == "Hi. "


def test_text_is_read_as_it_is_written_and_remembered_whole() -> None:
    async def script(client: Client) -> None:
        client.update(output_modalities=["text"])
        await ask(client)
        await ask(client)

    made = engines(LONG, "Yes.")
    client = hold(made, script)
    assert not made.voice.said
    assert not client.of("response.output_audio.delta")
    assert words(made.model.prompts[1])[1] == ("assistant", LONG.strip())


def test_what_the_model_counts_is_told_as_usage() -> None:
    [response] = hold(engines("It is nine."), ask).done
    usage = response["usage"]
    assert (usage["input_tokens"], usage["input_token_details"]["cached_tokens"]) == (10, 5)
    made = usage["output_token_details"]
    assert made["text_tokens"] == 3
    assert usage["output_tokens"] == made["text_tokens"] + made["audio_tokens"]
    assert made["audio_tokens"] > 10


def test_turns_that_are_not_to_be_answered_are_only_heard() -> None:
    async def script(client: Client) -> None:
        client.detect({**VAD, "create_response": False})
        await ask(client, then=2.0)
        await client.answered()

    made = engines("It is nine.")
    client = hold(made, script)
    assert client.time("response.created") - client.time(TURN[4]) > 1
    assert len(made.model.prompts) == 1
    assert words(made.model.prompts[0]) == [("user", "What time is it?")]


def test_speech_does_not_cut_a_reply_that_may_not_be_cut() -> None:
    async def script(client: Client) -> None:
        client.detect({**VAD, "interrupt_response": False})
        await ask(client, then=2.0)
        await client.speak(1.0)
        await client.quiet(25.0)

    made = engines(LONG, "Yes.", texts=("When?", "Stop."))
    client = hold(made, script)
    assert client.ends == [("completed", None)]
    assert len(client.of("input_audio_buffer.committed")) == 2
    said = client.of("conversation.item.input_audio_transcription.completed")
    assert [each["transcript"] for each in said] == ["When?", "Stop."]


def test_semantic_detection_waits_as_long_as_it_is_eager() -> None:
    waits = {}
    for eagerness in ("low", "auto", "high"):

        async def script(client: Client, eagerness: str = eagerness) -> None:
            client.detect({"type": "semantic_vad", "eagerness": eagerness})
            await ask(client, then=12.0)

        client = hold(engines("Yes.", texts=("I would like to",), sounds=0.01), script)
        stopped = client.of(TURN[1])[0]
        waits[eagerness] = round(stopped["audio_end_ms"] - 1700, -3)
    assert waits == {"low": 8000, "auto": 4000, "high": 2000}


def test_a_long_silence_after_a_reply_is_broken() -> None:
    async def script(client: Client) -> None:
        client.detect({**VAD, "idle_timeout_ms": 5000})
        await client.quiet(7.0)
        assert not client.of("input_audio_buffer.timeout_triggered")
        await ask(client, then=14.0)

    made = engines("Nine.", "Hello?", "Still there?")
    client = hold(made, script)
    first = client.of("input_audio_buffer.timeout_triggered")[0]
    assert 4900 <= first["audio_end_ms"] - first["audio_start_ms"] <= 5100
    assert client.ends == [("completed", None)] * 3
    played = len("Nine.") * 0.06
    waited = client.time("input_audio_buffer.timeout_triggered") - client.time("response.done")
    assert abs(waited - 5 - played) < 0.3
    assert words(made.model.prompts[1])[-1] == ("user", SILENCE)


def test_a_session_for_transcription_answers_nothing_and_writes_as_it_hears() -> None:
    async def script(client: Client) -> None:
        await client.quiet(0.5)
        await client.speak(4.0)
        await client.quiet(2.0)
        client.respond()
        await client.until("error")

    made = Engines(["one two three four five six"], Model([]))
    client = hold(made, script, opening=Opening(intent="transcription"))
    kind = "conversation.item.input_audio_transcription"
    deltas = [each["delta"] for each in client.of(f"{kind}.delta")]
    assert "".join(deltas) == "one two three four five six"
    assert client.time(f"{kind}.delta") < client.time("input_audio_buffer.speech_stopped") - 1
    assert client.of(f"{kind}.completed")[0]["transcript"] == "one two three four five six"
    assert not made.model.prompts


@pytest.mark.parametrize(
    ("replies", "texts", "stage"),
    [
        ([StageError("llm", "http://box:1/v1 has no model")], ["When?"], "llm"),
        (["At nine. BREAK"], ["When?"], "llm"),
        (["FAIL now."], ["When?"], "tts"),
    ],
)
def test_a_stage_that_fails_ends_the_response_and_not_the_session(
    replies: list[Any], texts: list[str], stage: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = hold(engines(*replies, "Nine.", texts=texts), ask_twice)
    assert [status for status, _ in client.ends] == ["failed", "completed"]
    assert client.done[0]["status_details"]["error"]["code"] == f"{stage}_failed"
    [error] = client.of("error")
    assert (error["error"]["type"], error["error"]["code"]) == ("server_error", f"{stage}_failed")
    # Where servers are is no client's business.
    assert "box" not in str(client.events)
    assert len(caplog.records) == 1


def test_words_that_cannot_be_recognised_are_told_as_failed() -> None:
    async def script(client: Client) -> None:
        client.detect(VAD)
        await ask(client)
        await ask(client)

    client = hold(engines("Nine.", texts=("FAIL", "When?")), script)
    assert len(client.of("conversation.item.input_audio_transcription.failed")) == 1
    assert client.of("error")[0]["error"]["code"] == "stt_failed"
    assert client.ends == [("completed", None)]


def test_a_reply_that_is_cut_off_is_incomplete() -> None:
    client = hold(engines("It is nine CUT"), ask)
    assert client.ends == [("incomplete", "max_output_tokens")]
    assert client.said_back == ["It is nine "]


@pytest.mark.parametrize(
    ("reply", "end"),
    [
        (Unanswered("spent all 9 tokens", "limit"), ("incomplete", "max_output_tokens")),
        (Unanswered("stopped by its filter", "filter"), ("incomplete", "content_filter")),
        ("", ("completed", None)),
    ],
)
def test_a_reply_without_a_word_is_no_failure(
    reply: Any, end: tuple[str, str | None], caplog: pytest.LogCaptureFixture
) -> None:
    client = hold(engines(reply, "Nine."), ask_twice)
    assert client.ends == [end, ("completed", None)]
    assert client.done[0]["output"] == []
    assert not client.of("error")
    # Whoever runs the server can read why nothing was said.
    assert len(caplog.records) == 1


def test_a_call_that_is_cut_off_in_the_middle_leaves_the_words_before_it() -> None:
    class CutInCall(Model):
        async def stream(self, messages: Any) -> Any:
            async for piece in super().stream(messages):
                yield piece
            if not self.scripts[1:]:
                return
            self.scripts.pop()
            raise Unanswered("spent all 9 tokens before its tool call was whole", "limit")

    made = Engines(("When?",), CutInCall(["Let me look.", "Nine.", ""]))
    client = hold(made, ask_twice)
    assert client.ends == [("incomplete", "max_output_tokens"), ("completed", None)]
    assert words(made.model.prompts[1])[1] == ("assistant", "Let me look. …")


@pytest.mark.parametrize("after_s", [1.9, 2.5, 3.2])
def test_a_client_that_leaves_frees_everything(after_s: float) -> None:
    async def script(client: Client) -> None:
        client.respond(conversation="none")
        await asyncio.sleep(0.01)
        for _ in range(5):
            await client.speak(0.1, loud=False)
        await client.speak(1.2)
        await client.quiet(after_s - 1.7)

    made = engines(LONG, LONG, LONG)

    async def talk() -> None:
        client = Client()
        clock = virtual_time.VirtualClock()
        held = RealtimeConversation(made, Settings(), clock, client, Opening())
        talking = asyncio.create_task(held.run())
        await script(client)
        assert made.model.open + made.voice.open
        before = asyncio.get_running_loop().time()
        talking.cancel()
        await asyncio.wait([talking])
        assert asyncio.get_running_loop().time() - before < 0.1
        assert made.model.open == made.voice.open == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtual_time.run(talk())


def test_a_recording_that_comes_all_at_once_is_heard_turn_by_turn() -> None:
    async def script(client: Client) -> None:
        client.detect({**VAD, "interrupt_response": False})
        pieces = []
        for _ in range(2):
            pieces += [client.sound(1.0, loud=False), client.sound(1.0)]
            client.said += 1
        client.append(np.concatenate([*pieces, client.sound(1.5, loud=False)]))
        await client.until("response.done")
        await asyncio.sleep(3)
        for event in client.of("input_audio_buffer.committed"):
            client.tell("conversation.item.retrieve", item_id=event["item_id"])
        await client.until("conversation.item.retrieved", 2)

    client = hold(engines("Yes.", "Well.", texts=("One.", "Two.")), script)
    said = client.of("conversation.item.input_audio_transcription.completed")
    assert [each["transcript"] for each in said] == ["One.", "Two."]
    sounds = [
        len(base64.b64decode(each["item"]["content"][0]["audio"])) / 2 / RATE
        for each in client.of("conversation.item.retrieved")
    ]
    assert sounds == pytest.approx([1.8, 1.8], abs=0.15)


def test_an_answer_that_was_begun_for_other_instructions_is_not_given() -> None:
    async def script(client: Client) -> None:
        client.detect({**VAD, "silence_duration_ms": 1000})
        await ask(client, then=0.5)
        client.update(instructions="Sing.")
        await client.quiet(3.0)

    made = engines("Nine.", "La la.")
    client = hold(made, script)
    assert client.said_back == ["La la. "]
    assert made.model.prompts[1][0]["content"] == "Sing."


@pytest.mark.parametrize("aside", [False, True])
def test_sound_that_is_given_as_an_item_is_recognised(aside: bool) -> None:
    async def script(client: Client) -> None:
        client.detect(None)
        audio = base64.b64encode(client.sound(1.0).astype("<i2").tobytes()).decode()
        text = {"type": "input_text", "text": "Listen:"}
        sound = {"type": "input_audio", "audio": audio}
        said = {"type": "message", "role": "user", "content": [text, sound]}
        if aside:
            await client.answered(conversation="none", input=[said])
        else:
            client.add(**said)
            await client.answered()

    made = engines("Nine.")
    client = hold(made, script)
    assert words(made.model.prompts[0]) == [("user", "Listen: What time is it?")]
    told = client.of("conversation.item.input_audio_transcription.completed")
    assert len(told) == (not aside)


def test_who_sends_much_at_once_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes in one message is taken piece by piece, and others have their turns between."""
    turns = 0
    taken: Counter[int] = Counter()
    push = SoundIn.push

    def noted(sound: SoundIn, data: bytes) -> dict[int, Any]:
        taken[turns] += len(data)
        return push(sound, data)

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async def script(client: Client) -> None:
        client.append(client.sound(0.011, loud=False))  # no whole frame
        client.append(client.sound(30, loud=False))
        client.update()
        counting = asyncio.create_task(others())
        await client.until("session.updated")
        counting.cancel()

    monkeypatch.setattr(SoundIn, "push", noted)
    hold(engines(), script)
    assert turns > 30 / 0.02 / 20
    assert max(taken.values()) < taken.total() / 20


def test_a_turn_that_is_cleared_was_never_said() -> None:
    async def script(client: Client) -> None:
        await client.quiet(0.5)
        await client.speak(0.6)
        client.tell("input_audio_buffer.clear")
        await client.quiet(3.0)
        await ask(client)

    made = engines("Nine.", texts=("Well,", "When?"))
    client = hold(made, script)
    assert client.ends == [("completed", None)]
    assert words(made.model.prompts[-1]) == [("user", "When?")]


def test_speed_is_the_clients() -> None:
    async def script(client: Client) -> None:
        client.update(audio={"output": {"speed": 0.5}})
        await client.answered()

    client = hold(engines("It is nine."), script)
    audio = b"".join(base64.b64decode(e["delta"]) for e in client.of("response.output_audio.delta"))
    assert len(audio) / 2 / RATE == pytest.approx(len("It is nine.") * 0.12, abs=0.05)


def test_a_voice_that_is_here_speaks_by_its_name_and_others_are_ours() -> None:
    def spoken_by(name: str) -> tuple[list[str], list[str]]:
        async def script(client: Client) -> None:
            client.update(audio={"output": {"voice": name}})
            await client.answered()

        made = engines("Neun Uhr.", voice=Speaker(others={"de": Speaker(language="de")}))
        hold(made, script)
        return made.voice.said, made.voice.others["de"].said

    assert spoken_by("de_DE-thorsten-medium") == ([], ["Neun Uhr."])
    assert spoken_by("marin") == (["Neun Uhr."], [])


def test_a_client_is_answered_in_the_language_that_is_spoken() -> None:
    voice = Speaker(others={"de": Speaker(language="de")})
    made = engines("Neun.", "Zehn.", texts=("Wann?", "Und dann?"), speaks="de", voice=voice)
    hold(made, ask_twice)
    assert voice.others["de"].said == ["Neun.", "Zehn."]
    asked = [("user", "Wann? (Answer in German.)"), ("assistant", "Neun."), ("user", "Und dann?")]
    assert words(made.model.prompts[-1]) == asked


def test_who_measures_is_told_of_every_turn() -> None:
    told: list[tuple[int, Any, Any]] = []

    hold(engines("Nine.", texts=("When?", "")), ask_twice, over=lambda *turn: told.append(turn))
    assert [turn for turn, _, _ in told] == [1, 2]
    assert {"speech.end", "committed", "heard.first"} <= told[0][1].keys()
    assert told[0][2].output_tokens == 1


def png(side: int) -> str:
    """A picture of so many pixels."""
    data = drawn(np.full((side, side, 3), 200, np.uint8))
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def test_the_model_is_shown_images() -> None:
    url = png(8)

    async def script(client: Client) -> None:
        client.detect(None)
        shown = {"type": "input_image", "image_url": url}
        client.add(type="message", role="user", content=[shown])
        client.write("What is this?")
        await client.answered()

    made = engines("A square.")
    hold(made, script)
    assert made.model.prompts[0][-1]["content"] == [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]


def test_a_picture_that_is_too_large_is_scaled_and_what_is_none_is_refused() -> None:
    async def script(client: Client) -> None:
        client.detect(None)
        for url in (png(1500), "data:image/png;base64,AAAA", "data:image/png;base64,?"):
            shown = {"type": "input_image", "image_url": url}
            client.add(type="message", role="user", content=[shown])
        client.write("What is this?")
        await client.answered()
        part = {"type": "input_image", "image_url": png(1500)}
        await client.answered(input=[{"type": "message", "role": "user", "content": [part]}])

    made = engines("A square.", "One more.")
    client = hold(made, script)
    refused = [event["error"] for event in client.of("error")]
    assert [(e["code"], e["param"]) for e in refused] == [
        ("invalid_value", "item.content[0].image_url")
    ] * 2
    for prompt in made.model.prompts:
        [shown] = [part for part in prompt[-1]["content"] if part["type"] == "image_url"]
        assert pictures.of_url(shown["image_url"]["url"]).width == pictures.MOST_SIDE


def test_who_shows_a_picture_to_a_model_that_does_not_see_is_told_so_once() -> None:
    async def script(client: Client) -> None:
        client.detect(None)
        for number in (1, 2):
            shown = {"type": "input_image", "image_url": png(8 * number)}
            client.add(type="message", role="user", content=[shown])
            await client.until("error", number)
            for _ in range(2):
                await client.answered()

    made = engines("No.", "No.", "No.", "No.", sees=False)
    client = hold(made, script)
    assert [event["error"]["code"] for event in client.of("error")] == ["image_not_seen"] * 2
    assert client.ends == [("completed", None)] * 4


def test_pictures_of_a_prompt_are_shown_before_the_conversation() -> None:
    prompt = StoredPrompt(id="p", instructions="This is {{plan}}.")

    async def script(client: Client) -> None:
        client.detect(None)
        plan = {"type": "input_image", "image_url": png(8)}
        client.update(prompt={"id": "p", "variables": {"plan": plan}})
        client.write("Where am I?")
        await client.answered()

    made = engines("Here.")
    hold(made, script, prompts=Prompts({"p": {"1": prompt}}))
    assert list(made.model.prompts[0]) == [
        {"role": "system", "content": "This is (the picture plan)."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "(The picture plan.) Where am I?"},
                {"type": "image_url", "image_url": {"url": png(8)}},
            ],
        },
    ]


def test_what_waits_behind_another_reply_is_not_heard_before_it() -> None:
    """The client plays one after the other: of the second nothing was heard, of the first half."""

    async def script(client: Client) -> None:
        client.detect({**VAD, "create_response": False})
        for _ in range(2):
            await client.answered()
        await client.quiet(0.5)
        await client.speak(0.8)
        await client.quiet(2.0)
        await client.answered()

    first = "One two three four five six seven eight nine."
    made = engines(first, "Ten eleven.", "Yes.", texts=("Stop.",))
    hold(made, script)
    said = words(made.model.prompts[2])
    assert [role for role, _ in said] == ["assistant", "user"]
    assert first.startswith(said[0][1])
    assert 1 < len(said[0][1].split()) < 9


def test_old_items_are_left_out_of_a_prompt_that_is_too_long() -> None:
    async def script(client: Client) -> None:
        client.update(truncation={"type": "retention_ratio", "retention_ratio": 0.5})
        for number in range(40):
            client.write(f"number {number} " + "word " * 20)
            client.write("Yes.", "assistant")
        client.write("How many?")
        for _ in range(2):
            await client.answered()
        client.update(truncation="disabled")
        await client.answered()

    made = engines("Some.", "Some.", "All.")
    hold(made, script)
    first, second, third = map(words, made.model.prompts)
    assert 2 < len(first) < 40
    assert second[: len(first)] == first, "seldom and much: what was read stays read"
    assert len(third) == 82


@pytest.mark.parametrize("ratio", [0.2, 0.8])
def test_what_is_retained_is_a_share_of_what_instructions_leave(ratio: float) -> None:
    """However long they are: they and the tools do not count."""
    limits = {"post_instructions": 400}
    tool = {"type": "function", "name": "weather", "description": "Tells it. " * 100}

    async def script(client: Client) -> None:
        truncation = {"type": "retention_ratio", "retention_ratio": ratio, "token_limits": limits}
        client.update(instructions="Be brief. " * 300, tools=[tool], truncation=truncation)
        for number in range(40):
            client.write(f"number {number} " + "word " * 10)
            client.write("Yes.", "assistant")
        client.write("How many?")
        await client.answered()

    made = engines("Some.")
    hold(made, script)
    [prompt] = made.model.prompts
    assert prompt[0] == {"role": "system", "content": "Be brief. " * 300}
    assert tools_of(prompt)
    kept = sum(made.tokens.message(message) for message in prompt[1:])
    assert 400 * ratio - 60 < kept <= 400 * ratio


@pytest.mark.parametrize(("truncation", "status"), [("auto", "completed"), ("disabled", "failed")])
def test_what_the_model_refuses_for_its_length_is_shortened_if_it_may_be(
    truncation: str, status: str
) -> None:
    async def script(client: Client) -> None:
        client.update(truncation=truncation)
        for _ in range(8):
            client.write("word " * 30)
            client.write("Yes.", "assistant")
        client.write("How many?")
        await client.answered()

    made = engines("Some.")
    whole = made.model.stream

    async def narrow(messages: Any) -> Any:
        if len(messages) > 10:
            made.tokens.refused(messages, context=None, counted=None, reply=0)
            raise TooLong("the server answers 400: context length", None, None)
        async for piece in whole(messages):
            yield piece

    made.model.stream = narrow  # type: ignore[method-assign]
    client = hold(made, script)
    assert [end for end, _ in client.ends] == [status]
    assert len(made.model.prompts) == (status == "completed")


EAGER = st.one_of(
    st.tuples(st.just("speak"), st.floats(0.04, 1.5)),
    st.tuples(st.just("quiet"), st.floats(0.1, 3.0)),
    st.tuples(st.just("detect"), st.sampled_from([None, "server_vad", "semantic_vad", "mute"])),
    st.tuples(st.sampled_from(["commit", "clear", "respond", "apart", "cancel", "text"])),
    st.tuples(st.sampled_from(["delete", "truncate", "retrieve", "output"]), st.integers(0, 9)),
)


async def _act(client: Client, what: str, *how: Any) -> None:
    """Something that a client does, be it wise or not."""
    items = [each["item"]["id"] for each in client.of("conversation.item.added")]
    calls = [each["call_id"] for each in client.of("response.function_call_arguments.done")]
    match what:
        case "speak" | "quiet":
            await client.speak(*how, loud=what == "speak")
        case "detect":
            kind, mute = how[0], {"create_response": False, "interrupt_response": False}
            found = {"type": "server_vad", **mute} if kind == "mute" else {"type": kind}
            client.detect(None if kind is None else found)
        case "commit" | "clear":
            client.tell(f"input_audio_buffer.{what}")
        case "respond":
            client.respond()
        case "apart":
            client.respond(conversation="none", output_modalities=["text"])
        case "cancel":
            client.tell("response.cancel")
        case "text":
            client.write("And then?")
        case "output":
            call = calls[-1 - how[0] % len(calls)] if calls else "none"
            client.add(type="function_call_output", call_id=call, output="sunny")
        case _:
            more = {"content_index": 0, "audio_end_ms": 300} if what == "truncate" else {}
            item = items[-1 - how[0] % len(items)] if items else "none"
            client.tell(f"conversation.item.{what}", item_id=item, **more)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(EAGER, max_size=14), st.integers(0, 3))
def test_whatever_a_client_does_the_order_is_kept_and_the_session_goes_on(
    acts: list[tuple[Any, ...]], failing: int
) -> None:
    replies = ["Well. CALL:weather:{}", LONG, "Fine. FAIL", StageError("llm", "gone"), "Yes."]
    made = engines(*(replies[failing:] * 40), texts=("When?", "Stop.", "FAIL", "", "I want to"))

    async def script(client: Client) -> None:
        client.update(tools=[TOOL])
        for act in acts:
            await _act(client, *act)
        client.tell("input_audio_buffer.clear")
        client.detect(None)
        for response in client.of("response.created"):
            client.tell("response.cancel", response_id=response["response"]["id"])
        await asyncio.sleep(30)
        client.tell("response.create", response={"conversation": "none"})
        await client.until("response.created", len(client.of("response.created")) + 1)
        await asyncio.sleep(30)
        assert len(client.done) == len(client.of("response.created"))

    hold(made, script)
    for prompt in made.model.prompts:
        check_prompt(prompt)
    assert made.model.open == made.voice.open == 0


def test_a_session_lasts_no_longer_than_it_may() -> None:
    async def script(client: Client) -> None:
        await client.quiet(125)

    client = hold(engines(), script, Settings(serve=ServeSettings(minutes=2)))
    [error] = client.of("error")
    assert error["error"]["code"] == "session_expired"
    assert client.times[client.events.index(error)] == pytest.approx(120, abs=0.1)
    assert client.closed == (1001, "The session has expired.")


def test_the_recogniser_is_told_what_to_expect() -> None:
    async def script(client: Client) -> None:
        hints = {"model": "whisper-1", "language": "de", "prompt": "Ulm.", "keywords": ["Ada"]}
        client.update(audio={"input": {"transcription": hints}})
        await ask(client)

    made = engines("Nine.")
    hold(made, script)
    assert set(made.languages) <= {"de", "en"} and made.languages[0] == "de"
    assert set(made.hints) == {"Ulm. Ada"}


def test_a_language_that_the_recogniser_does_not_know_is_refused() -> None:
    async def script(client: Client) -> None:
        for language in ("xx", "de-AT"):
            heard = {"transcription": {"model": "whisper-1", "language": language}}
            client.update(audio={"input": heard})
        await client.until("session.updated")
        await ask(client)

    made = engines("Nine.")
    client = hold(made, script, languages=["de", "en"])
    [error] = client.of("error")
    assert error["error"]["code"] == "invalid_value"
    assert error["error"]["param"] == "session.audio.input.transcription.language"
    assert "de, en" in error["error"]["message"]
    assert made.languages[0] == "de" and client.ends == [("completed", None)]


def _detecting(detection: Any, **more: Any) -> Any:
    """How a session with this turn detection behaves."""
    fresh = new_session("s", "m", 0)
    audio = {"input": {"turn_detection": detection, **more}}
    session = updated(fresh, {"type": "realtime", "audio": audio})
    return manner(session, Settings(), None)


@given(st.integers(0, 60_000), st.integers(0, 60_000), st.floats(0, 1), st.booleans())
def test_silence_alone_ends_turns_where_the_client_says_how_long(
    silence_ms: int, padding_ms: int, threshold: float, answers: bool
) -> None:
    found = _detecting(
        {
            "type": "server_vad",
            "silence_duration_ms": silence_ms,
            "prefix_padding_ms": padding_ms,
            "threshold": threshold,
            "create_response": answers,
        }
    )
    assert 0 < found.vad.release < found.vad.threshold < 1
    assert abs(found.vad.threshold - threshold) < 0.011
    assert found.preroll_ms == min(padding_ms, 1000)
    assert (found.listens, found.answers, found.interrupts) == (True, answers, True)
    for spoken_s in (1.0, 30.0):
        assert hold_ms(found.turns, None, silence_ms, spoken_s=spoken_s) == silence_ms
    assert Hangover(found.turns).ms == silence_ms


def test_eagerness_is_one_of_our_paces() -> None:
    holds = [
        _detecting({"type": "semantic_vad", "eagerness": eagerness}).turns
        for eagerness in ("high", "medium", "low")
    ]
    assert [turns.longest_ms for turns in holds] == [2000, 4000, 8000]
    for name, turns in zip(("eager", "balanced", "patient"), holds, strict=True):
        assert turns.predict
        assert (turns.shortest_ms, turns.hold_ms) == (
            PACES[name]["shortest_ms"],
            PACES[name]["hold_ms"],
        )
    assert not _detecting(None).listens


def test_a_transcriber_writes_down_what_is_committed_too() -> None:
    async def script(client: Client) -> None:
        given = {"input": {"turn_detection": None}}
        client.tell("session.update", session={"type": "transcription", "audio": given})
        await client.speak(1.0)
        client.tell("input_audio_buffer.commit")
        await client.until("conversation.item.input_audio_transcription.completed")

    made = engines(texts=("What time is it?",))
    client = hold(made, script, opening=Opening(intent="transcription"))
    [heard] = client.of("conversation.item.input_audio_transcription.completed")
    assert heard["transcript"] == "What time is it?"
    assert not made.model.prompts + made.ahead


def test_several_calls_of_a_response_have_their_results_in_the_next_one() -> None:
    async def script(client: Client) -> None:
        client.update(tools=[TOOL])
        await ask(client, then=2.0)
        calls = client.of("response.function_call_arguments.done")
        for call, city in zip(reversed(calls), ("Bonn", "Rome"), strict=True):
            client.add(type="function_call_output", call_id=call["call_id"], output=city)
        await client.answered()

    made = engines('CALL:weather:{"a":1} CALL:weather:{"b":2}', "Sunny.")
    client = hold(made, script)
    calls = client.of("response.function_call_arguments.done")
    assert [json.loads(call["arguments"]) for call in calls] == [{"a": 1}, {"b": 2}]
    assert len({call["call_id"] for call in calls}) == 2
    prompt = made.model.prompts[1]
    check_prompt(prompt)
    told = {each["tool_call_id"]: each["content"] for each in prompt if each["role"] == "tool"}
    assert told == {calls[1]["call_id"]: "Bonn", calls[0]["call_id"]: "Rome"}
    # As the model wrote them: in one message.
    assert [len(each["tool_calls"]) for each in prompt if each.get("tool_calls")] == [2]


class Writing(Model):
    """Writes a call of `weather` in pieces, a word of its script at a time; may break off then."""

    async def stream(self, messages: Any) -> Any:
        script = self.scripts[0]
        if not (isinstance(script, str) and script.startswith("{")):
            async for piece in super().stream(messages):
                yield piece
            return
        self.prompts.append(messages)
        self.scripts.pop(0)
        *parts, last = script.split(" ")
        for part in parts:
            await asyncio.sleep(0.2)
            yield Calling("weather", part)
        await asyncio.sleep(0.2)
        if last == "CUT":
            raise Unanswered("spent all tokens before its tool call was whole", "limit")
        yield ToolUse("", "weather", "".join([*parts, last]))


def test_a_call_is_told_while_it_is_written() -> None:
    async def script(client: Client) -> None:
        client.update(tools=[TOOL])
        client.write("When?")
        await client.answered()

    client = hold(Engines((), Writing(['{"city": "Ro me"}'])), script)
    parts = client.of("response.function_call_arguments.delta")
    assert [part["delta"] for part in parts] == ['{"city":', '"Ro', 'me"}']
    first = client.time("response.function_call_arguments.delta")
    done = client.time("response.function_call_arguments.done")
    assert done - first == pytest.approx(0.4, abs=0.01)
    [call] = client.done[0]["output"]
    assert (call["arguments"], call["status"]) == ('{"city":"Rome"}', "completed")
    assert {part["call_id"] for part in parts} == {call["call_id"]}


def test_a_call_is_not_told_before_the_turn_is_over() -> None:
    async def script(client: Client) -> None:
        client.update(tools=[TOOL])
        client.detect({**VAD, "silence_duration_ms": 2000})
        await ask(client, then=1.5)  # it is being written
        await client.speak(1.0)
        await client.quiet(3.0)

    made = Engines(("When?", "Where?"), Writing(['{"city": "Ro me"}'] * 2))
    client = hold(made, script)
    assert len(made.model.prompts) == 2
    stops = client.time("input_audio_buffer.speech_stopped")
    assert len(client.of("response.function_call_arguments.done")) == 1
    assert client.time("response.function_call_arguments.delta") >= stops
    assert client.kinds.count("response.created") == 1


def test_a_call_that_is_never_whole_is_none() -> None:
    async def script(client: Client) -> None:
        client.update(tools=[TOOL])
        for _ in range(2):
            client.write("When?")
            await client.answered()

    made = Engines((), Writing(['{"city": "Ro CUT', "Nine."]))
    client = hold(made, script)
    assert client.ends == [("incomplete", "max_output_tokens"), ("completed", None)]
    [call] = client.done[0]["output"]
    assert (call["arguments"], call["status"]) == ('{"city":"Ro', "incomplete")
    assert not client.of("response.function_call_arguments.done")
    assert not [message for message in made.model.prompts[1] if message.get("tool_calls")]


def test_calls_that_were_asked_for_one_after_the_other_are_told_so() -> None:
    async def script(client: Client) -> None:
        client.update(tools=[TOOL])
        await ask(client, then=2.0)
        for number in (1, 2):
            call = await client.until("response.function_call_arguments.done", number)
            client.add(type="function_call_output", call_id=call["call_id"], output="sun")
            await client.answered()

    made = engines("CALL:weather:{}", "CALL:weather:{}", "Sunny.")
    hold(made, script)
    asked = [
        [len(each["tool_calls"]) for each in prompt if each.get("tool_calls")]
        for prompt in made.model.prompts
    ]
    assert asked == [[], [1], [1, 1]]
    for prompt in made.model.prompts:
        check_prompt(prompt)


def test_a_call_is_told_before_the_words_before_it_have_been_played() -> None:
    async def script(client: Client) -> None:
        client.update(tools=[TOOL])
        await ask(client, then=3.0)

    client = hold(engines(LONG + "CALL:weather:{}"), script)
    spoken_s = len(LONG) * 0.06
    told = client.time("response.function_call_arguments.done")
    assert told - client.time("response.created") < 2.5 < spoken_s / 4


def test_what_the_user_cuts_short_calls_nothing() -> None:
    async def script(client: Client) -> None:
        client.update(tools=[TOOL])
        await ask(client, then=0.9)
        await client.speak(2.5)
        await client.quiet(3.0)

    slow = Model([LONG + "CALL:weather:{}", "Yes."], token_s=0.1)
    client = hold(Engines(("When?", "Stop."), slow), script)
    assert client.ends == [("cancelled", "turn_detected"), ("completed", None)]
    assert not client.of("response.function_call_arguments.done")


@pytest.mark.parametrize("detects", [True, False])
def test_the_model_is_told_how_something_was_said_and_the_client_is_not(detects: bool) -> None:
    calm = Prosody(2.0, (), -25.0, 40.0, 0.8, 120.0, 7.0)
    asked = "What time does the next train leave?"
    made = engines("Nine.", "Soon.", "Bye.", texts=(asked, asked, "Thank you."))
    made.spoken = [calm, replace(calm, level_db=-10.0), calm]

    async def turn(client: Client, number: int) -> None:
        if detects:
            await ask(client)
            return
        await client.speak(1.2)
        client.tell("input_audio_buffer.commit")
        await client.answered()

    async def script(client: Client) -> None:
        client.detect(VAD if detects else None)
        for number in (1, 2, 3):
            await turn(client, number)

    prosody = Settings.model_validate({"conversation": {"prosody": True}})
    client = hold(made, script, prosody)
    first, second, third = made.model.prompts
    assert first[0]["content"].endswith(EXPLAINED)
    assert first[-1]["content"] == asked
    assert second[-1]["content"] == f"{asked} [speaks louder than before]"
    assert third[: len(second)] == second
    assert "speaks" not in json.dumps(client.of("conversation.item.done"))
    assert "speaks" not in json.dumps(
        client.of("conversation.item.input_audio_transcription.completed")
    )


PIECES = st.lists(st.tuples(st.integers(0, 3 * NS_PER_S), st.integers(1, 40_000)), max_size=9)


@given(PIECES, st.lists(st.integers(0, 5 * NS_PER_S), max_size=9), st.integers(0, 9 * NS_PER_S))
def test_no_more_is_played_than_was_sent_and_there_was_time_for(
    pieces: list[tuple[int, int]], looks: list[int], free_ns: int
) -> None:
    playing, now, sent, before = Playhead(24_000, free_ns), 0, 0, 0
    first = pieces[0][0] if pieces else 0
    for wait, samples in pieces:
        now += wait
        playing.add(samples, now)
        sent += samples
        assert before <= (before := playing.played(now)) <= sent
    for look in sorted(looks):
        played = playing.played(now + look)
        assert before <= played <= sent
        passed = max(0, now + look - max(first, free_ns))
        assert played <= passed * 24_000 // NS_PER_S
        before = played
    assert playing.played(playing.ends_ns) == sent
    if sent:
        assert playing.played(playing.ends_ns - 10**6) < sent


def test_a_reply_that_ran_dry_goes_on_where_it_stopped() -> None:
    playing = Playhead(1000)
    playing.add(1000, 0)
    assert playing.played(5 * NS_PER_S) == 1000
    playing.add(1000, 5 * NS_PER_S)
    assert playing.played(5 * NS_PER_S + NS_PER_S // 2) == 1500
    assert playing.ends_ns == 6 * NS_PER_S
    assert playing.made_s == 2
