"""What a session does for its client, feature by feature; the grammar checks all that it tells."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.realtime import (
    RealtimeSessionCreateRequest,
    RealtimeTranscriptionSessionCreateRequest,
)
from openai.types.realtime.realtime_audio_config import RealtimeAudioConfig
from openai.types.realtime.realtime_audio_config_input import RealtimeAudioConfigInput
from openai.types.realtime.realtime_audio_config_output import RealtimeAudioConfigOutput

from pipeline.prompts import Prompts, StoredPrompt
from pipeline.serve.items import MOST_SOUND_S
from pipeline.serve.link import MOST_SENT, Author, Opening
from pipeline.serve.protocol import MOST_RESPONSES, ServerSide
from pipeline.serve.refused import (
    RequestRefused,
)
from pipeline.serve.responses import RealtimeResponse
from pipeline.serve.session_object import MOST_SETTINGS, JsonObject, new_session, updated
from pipeline.serve.sound import MOST_BUFFERED_S, RATE
from pipeline.turns.taker import RATE as EARS

MANUAL = {"turn_detection": None}
FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}}
RETAIN = {"type": "retention_ratio", "retention_ratio": 0.5}
OUTPUT = {"type": "output_text", "text": "x"}


def hearing(**fields: Any) -> JsonObject:
    return {"audio": {"input": fields}}


class Session:
    """A session without a brain."""

    def __init__(self, opening: Opening | None = None, prompts: Prompts | None = None) -> None:
        self.told: list[JsonObject] = []
        self.side = ServerSide(
            Author("t", lambda event: self.told.append(json.loads(json.dumps(event)))),
            "cascade",
            1_900_000_000,
            opening,
            ears=EARS,
            prompts=prompts,
        )
        self.side.begin()

    def say(self, kind: str, **fields: Any) -> Any:
        """Send an event, which is done."""
        done = self.side.receive(json.dumps({"type": kind, **fields}))
        assert done is not None, self.told[-1]
        return done

    def refused(self, kind: str, **fields: Any) -> tuple[str, str | None]:
        """Send an event, which is refused: the code, and which field is wrong."""
        return self.refuses({"type": kind, **fields})

    def refuses(self, event: JsonObject) -> tuple[str, str | None]:
        """The same."""
        assert self.side.receive(json.dumps({"event_id": "mine", **event})) is None
        error = self.told[-1]["error"]
        assert error["event_id"] == "mine" and error["type"] == "invalid_request_error"
        return error["code"], error["param"]

    def update(self, **fields: Any) -> Any:
        kind = self.side.session["type"]
        self.say("session.update", session={"type": kind, **fields})
        return self.told[-1]["session"]

    def append(self, seconds: float) -> Any:
        audio = base64.b64encode(bytes(2 * round(seconds * RATE))).decode()
        return self.hear(audio)

    def hear(self, audio: str) -> np.ndarray:
        """Send sound, which is heard."""
        pieces = self.say("input_audio_buffer.append", audio=audio)["audio"]
        return np.concatenate([piece for piece, _ in pieces])

    def add(self, *content: JsonObject, role: str = "user", **more: Any) -> str:
        item = {"type": "message", "role": role, "content": list(content)}
        return str(self.say("conversation.item.create", item=item, **more)["item"]["id"])

    def write(self, text: str, role: str = "user", **more: Any) -> str:
        kind = "output_text" if role == "assistant" else "input_text"
        return self.add({"type": kind, "text": text}, role=role, **more)

    def retrieved(self, item_id: str) -> Any:
        self.say("conversation.item.retrieve", item_id=item_id)
        return self.told[-1]["item"]

    def respond(self, **options: Any) -> RealtimeResponse:
        response = self.side.respond(self.say("response.create", response=options)["response"])
        response.begin()
        return response

    def speak(self, response: RealtimeResponse, text: str, seconds: float) -> str:
        response.open()
        response.text(text)
        response.audio(np.ones(round(seconds * RATE), np.int16))
        return response.output[-1].id

    def of(self, kind: str) -> list[JsonObject]:
        return [event for event in self.told if event["type"] == kind]


# --- the session object ---


def test_a_session_tells_every_field_that_it_has() -> None:
    told = Session().told[0]["session"]
    assert set(told) == {*RealtimeSessionCreateRequest.model_fields, "id", "object", "expires_at"}
    assert set(told["audio"]) == set(RealtimeAudioConfig.model_fields)
    assert set(told["audio"]["input"]) == set(RealtimeAudioConfigInput.model_fields)
    assert set(told["audio"]["output"]) == set(RealtimeAudioConfigOutput.model_fields)
    written = Session(Opening("whisper-1", "transcription")).told[0]["session"]
    fields = {*RealtimeTranscriptionSessionCreateRequest.model_fields, "id", "object", "expires_at"}
    assert set(written) == fields and written["object"] == "realtime.transcription_session"


@pytest.mark.parametrize(
    "fields",
    [
        {"tool_choice": {"type": "function", "name": "f"}, "tools": [FUNCTION]},
        {"parallel_tool_calls": False},
        {"reasoning": {"effort": "low"}},
        {
            "truncation": {
                "type": "retention_ratio",
                "retention_ratio": 0.5,
                "token_limits": {"post_instructions": 900},
            }
        },
        {"truncation": "disabled"},
        {"tracing": {"workflow_name": "w", "group_id": "g", "metadata": {"a": 1}}},
        {"include": ["item.input_audio_transcription.logprobs"]},
        {"audio": {"input": {"noise_reduction": {"type": "far_field", "strength": 1.5}}}},
        {"audio": {"output": {"voice": {"id": "voice_1"}, "speed": 1.25}}},
        {"max_output_tokens": 4096, "output_modalities": ["text"]},
    ],
)
def test_what_is_set_is_told_back(fields: JsonObject) -> None:
    def holds(wanted: Any, told: Any) -> bool:
        if isinstance(wanted, dict):
            return all(holds(value, told[name]) for name, value in wanted.items())
        return bool(wanted == told)

    told = Session().update(**fields)
    assert holds(fields, told)


UNKNOWN, MISSING = "unknown_parameter", "missing_required_parameter"


@pytest.mark.parametrize(
    ("fields", "param", "word"),
    [
        ({"type": "transcription"}, "type", "cannot be changed"),
        ({"temperature": 1}, "temperature", UNKNOWN),
        ({"output_modalities": ["audio", "text"]}, "output_modalities", ""),
        ({"max_output_tokens": 5000}, "max_output_tokens", ""),
        ({"max_output_tokens": True}, "max_output_tokens", ""),
        ({"tools": [{"type": "function"}]}, "tools[0].name", MISSING),
        ({"tools": [{"type": "mcp", "server_label": "s"}]}, "tools[0].type", "MCP"),
        ({"tool_choice": {"type": "mcp", "server_label": "s"}}, "tool_choice.server_label", ""),
        ({"tool_choice": {"type": "function", "name": "g"}}, "tool_choice.name", "none of"),
        ({"prompt": {"id": "../secret"}}, "prompt.id", "no prompt '../secret'"),
        ({"reasoning": {"effort": "utmost"}}, "reasoning.effort", "minimal"),
        ({"truncation": {"type": "retention_ratio"}}, "truncation.retention_ratio", MISSING),
        ({"truncation": {**RETAIN, "retention_ratio": 2}}, "truncation.retention_ratio", "1"),
        ({"truncation": {**RETAIN, "type": "nope"}}, "truncation.type", ""),
        ({"truncation": {**RETAIN, "limits": {}}}, "truncation.limits", UNKNOWN),
        ({"truncation": "nope"}, "truncation", ""),
        ({"audio": []}, "audio", ""),
        (hearing(format={"type": "audio/opus"}), "audio.input.format.type", ""),
        (hearing(format={"type": "audio/pcm", "rate": 8000}), "audio.input.format.rate", "16000"),
        (hearing(format={"type": "audio/pcmu", "rate": 24_000}), "audio.input.format.rate", ""),
        (hearing(turn_detection={"type": "x"}), "audio.input.turn_detection.type", ""),
        (
            hearing(turn_detection={"type": "server_vad", "idle_timeout_ms": 1}),
            "audio.input.turn_detection.idle_timeout_ms",
            "5000",
        ),
        ({"audio": {"output": {"speed": 3}}}, "audio.output.speed", "1.5"),
    ],
)
def test_a_session_that_cannot_be_is_refused_in_words(
    fields: JsonObject, param: str, word: str
) -> None:
    session = Session()
    before = session.update()
    code, found = session.refused("session.update", session={"type": "realtime", **fields})
    assert found == f"session.{param}" and word in f"{code} {session.told[-1]['error']['message']}"
    assert session.update() == before


def said(kind: str, **part: Any) -> JsonObject:
    """The addition of a message of the user's, or of the assistant's, with one part."""
    role = "assistant" if kind.startswith("output") else "user"
    item = {"type": "message", "role": role, "content": [{"type": kind, **part}]}
    return {"type": "conversation.item.create", "item": item}


def added(**item: Any) -> JsonObject:
    return {"type": "conversation.item.create", "item": item}


def asking(**options: Any) -> JsonObject:
    return {"type": "response.create", "response": options}


@pytest.mark.parametrize(
    ("event", "code", "param"),
    [
        ({"type": "session.dream"}, "invalid_event", "type"),
        ({}, "invalid_event", "type"),
        ({"type": "session.update", "session": {}}, MISSING, "session.type"),
        ({"type": "conversation.item.delete"}, MISSING, "item_id"),
        ({"type": "conversation.item.delete", "item_id": 3}, "", "item_id"),
        (added(type="message", role="robot", content=[]), "", "item.role"),
        (added(type="message", role="user"), MISSING, "item.content"),
        (added(type="function_call_output", output="x"), MISSING, "item.call_id"),
        (added(type="mcp_call"), "", "item.type"),
        (added(), MISSING, "item.type"),
        (added(type="message", role="user", content=[OUTPUT]), "", "item.content"),
        (said("output_audio"), MISSING, "item.content[0].transcript"),
        # Nobody puts words into the assistant's mouth.
        (said("output_audio", transcript="x", audio="AAAA"), "", "item.content[0].audio"),
        (said("input_text"), MISSING, "item.content[0].text"),
        (said("input_audio", audio="%"), "", "item.content[0].audio"),
        # Images come as data.
        (said("input_image", image_url="https://e.org/a.png"), "", "item.content[0].image_url"),
        (
            said("input_image", image_url="data:text/html;base64,AA"),
            "",
            "item.content[0].image_url",
        ),
        ({"type": "response.create", "response": []}, "", "response"),
        (asking(metadata={"a" * 65: "x"}), "", f"response.metadata.{'a' * 65}"),
        (asking(metadata={f"k{n}": "x" for n in range(17)}), "", "response.metadata"),
        (asking(metadata={"a": "x" * 513}), "", "response.metadata.a"),
        (asking(conversation="other"), "", "response.conversation"),
        (asking(input=[{"type": "item_reference", "id": "x"}]), "", "response.input[0].id"),
        (asking(input=[{"type": "dream"}]), "", "response.input[0].type"),
        (asking(audio={"output": {"speed": 1.2}}), UNKNOWN, "response.audio.output.speed"),
        (asking(tool_choice={"type": "function", "name": "g"}), "", "response.tool_choice.name"),
        (asking(tools=[{"type": "mcp", "server_label": "s"}]), "", "response.tools[0].type"),
        (asking(prompt={"id": "p"}), "prompt_not_found", "response.prompt.id"),
    ],
)
def test_an_event_that_cannot_be_is_refused(event: JsonObject, code: str, param: str) -> None:
    session = Session()
    assert session.refuses(event) == (code or "invalid_value", param)
    assert session.side.items.kept == [] and session.side.responses == {}


def test_null_means_the_default_where_it_is_no_value() -> None:
    session = Session()
    fresh = session.update()
    session.update(
        instructions="x",
        tools=[FUNCTION],
        tool_choice="none",
        max_output_tokens=5,
        parallel_tool_calls=False,
        audio={"input": {"format": {"type": "audio/pcmu"}}, "output": {"speed": 1.5}},
    )
    cleared = ("instructions", "tools", "tool_choice", "max_output_tokens", "parallel_tool_calls")
    nothing = dict.fromkeys(cleared)
    audio = {"input": {"format": None}, "output": {"speed": None}}
    assert session.update(**nothing, audio=audio) == fresh
    assert session.update(audio={"input": MANUAL})["audio"]["input"]["turn_detection"] is None


def test_speed_changes_between_turns_only() -> None:
    session = Session()
    response = session.respond()
    faster = {"audio": {"output": {"speed": 1.2}}}
    wanted = {"type": "realtime", **faster}
    assert session.refused("session.update", session=wanted)[1] == "session.audio.output.speed"
    session.side.end(response, "completed")
    assert session.update(**faster)["audio"]["output"]["speed"] == 1.2


def test_a_session_that_its_key_describes() -> None:
    asked = {"type": "realtime", "instructions": "Be brief.", "audio": {"input": MANUAL}}
    session = Session(Opening("gpt-realtime-2.1", session=asked))
    created = session.told[0]["session"]
    assert created["instructions"] == "Be brief."
    assert created["audio"]["input"]["turn_detection"] is None
    wrong = Session(Opening(session={"temperature": 1}))
    assert wrong.told[0]["type"] == "session.created"
    assert wrong.told[-1]["error"]["param"] == "session.temperature"


# --- sessions that only write down ---


def test_a_transcription_session_answers_nothing() -> None:
    session = Session(Opening("whisper-1", "transcription"))
    told = session.update(audio={"input": {"transcription": {"language": "de"}, **MANUAL}})
    heard = told["audio"]["input"]
    assert heard["transcription"]["model"] == "cascade"
    assert heard["transcription"]["language"] == "de" and heard["turn_detection"] is None
    told = session.update(audio={"input": {"transcription": None}})
    assert told["audio"]["input"]["transcription"] is not None
    for kind, fields in (
        ("response.create", {}),
        ("response.cancel", {}),
        ("conversation.item.create", {"item": {"type": "message", "role": "user", "content": []}}),
        ("conversation.item.truncate", {"item_id": "x", "content_index": 0, "audio_end_ms": 0}),
    ):
        assert session.refused(kind, **fields) == ("invalid_event", "type")
    for fields in ({"instructions": "x"}, {"audio": {"output": {"speed": 1}}}):
        wanted = {"type": "transcription", **fields}
        assert session.refused("session.update", session=wanted)[0] == "unknown_parameter"
    told = {"type": "realtime"}
    assert session.refused("session.update", session=told) == ("invalid_value", "session.type")
    session.append(0.5)
    session.say("input_audio_buffer.commit")
    item = session.side.commit()
    session.side.transcribed(item, "Guten Tag")
    (done,) = session.of("conversation.item.input_audio_transcription.completed")
    assert (done["transcript"], done["usage"]["seconds"]) == ("Guten Tag", 0.5)
    assert session.retrieved(item.id)["content"][0]["transcript"] == "Guten Tag"
    session.say("conversation.item.delete", item_id=item.id)


# --- what is heard ---


def test_words_are_told_as_they_are_spoken() -> None:
    session = Session()
    session.update(audio={"input": {"transcription": {"model": "whisper-1"}}})
    side, kind = session.side, "conversation.item.input_audio_transcription"
    session.append(1)
    side.speech_started(0)
    for delta in ("What", " time"):
        side.transcribing(side.speech or "", delta)
    item = side.speech_stopped()
    side.transcribed(item, "What time is it?")
    deltas = [event["delta"] for event in session.of(f"{kind}.delta")]
    assert deltas == ["What", " time", " is it?"]
    session.append(1)
    side.speech_started(RATE)
    side.transcribing(side.speech or "", "Wad")
    second = side.speech_stopped()
    side.transcribed(second, "What")
    assert session.of(f"{kind}.delta")[3:][0]["delta"] == "Wad"
    assert session.of(f"{kind}.completed")[1]["transcript"] == "What"
    session.append(1)
    side.speech_started(2 * RATE)
    third = side.speech_stopped()
    side.transcription_failed(third, "the recogniser is gone")
    (failed,) = session.of(f"{kind}.failed")
    assert failed["error"]["message"] == "the recogniser is gone"
    # Nobody wants to know of what is no item any more.
    session.append(1)
    side.speech_started(3 * RATE)
    fourth = side.speech_stopped()
    session.say("conversation.item.delete", item_id=fourth.id)
    side.transcribed(fourth, "gone")
    assert len(session.of(f"{kind}.completed")) == 2


def test_an_utterance_may_end_before_what_was_received() -> None:
    session = Session()
    session.append(2)
    session.side.speech_started(RATE // 2)
    item = session.side.speech_stopped(RATE)
    # With the padding from before it.
    assert item.ms == 500 + 300
    assert session.of("input_audio_buffer.speech_stopped")[0]["audio_end_ms"] == 1000
    assert session.side.buffer.start == RATE and len(session.side.buffer) == RATE
    session.side.speech_started(RATE)
    assert session.side.speech_stopped().ms == 1000


def test_silence_that_is_too_long_becomes_an_item() -> None:
    session = Session()
    session.append(8)
    item = session.side.timed_out(2 * RATE)
    (timeout,) = session.of("input_audio_buffer.timeout_triggered")
    assert (timeout["audio_start_ms"], timeout["audio_end_ms"]) == (2000, 8000)
    assert timeout["item_id"] == item.id == session.of("conversation.item.done")[0]["item"]["id"]
    assert item.ms == 6000 + 300


def test_the_input_buffer_is_bounded() -> None:
    session = Session()
    session.update(audio={"input": {**MANUAL, "format": {"type": "audio/pcmu"}}})
    minute = base64.b64encode(bytes(8000 * 60)).decode()
    for _ in range(MOST_BUFFERED_S // 60):
        session.hear(minute)
    full = session.refused("input_audio_buffer.append", audio=minute)
    assert full == ("input_audio_buffer_full", "audio")
    session.say("input_audio_buffer.clear")
    # Who finds turns hears on, and keeps the newest.
    session.update(audio={"input": {"turn_detection": {"type": "server_vad"}}})
    for _ in range(MOST_BUFFERED_S // 60 + 1):
        assert len(session.hear(minute)) > 59 * EARS
    assert len(session.side.buffer) == MOST_BUFFERED_S * RATE
    much = base64.b64encode(bytes(8000 * (MOST_BUFFERED_S + 1))).decode()
    assert session.refused("input_audio_buffer.append", audio=much)[0] == "input_audio_buffer_full"


# --- prompts ---

RECEPTION = StoredPrompt(
    id="reception",
    version="2",
    instructions="You answer for {{practice}}, {{day}}.",
    variables={"practice": "Dr. Weber"},
    turns="patient",
    voice="joe",
    speed=1.25,
    language="de",
    tools=[FUNCTION, "/of/talk.py"],
)
PROMPTS = Prompts(
    {"reception": {"1": StoredPrompt(id="reception", instructions="x"), "2": RECEPTION}}
)


def test_a_prompt_says_what_the_update_does_not() -> None:
    session = Session(prompts=PROMPTS)
    prompt = {"id": "reception", "variables": {"day": {"type": "input_text", "text": "{{x}}"}}}
    told = session.update(prompt=prompt)
    RealtimeSessionCreateRequest.model_validate(told)
    assert told["instructions"] == "You answer for Dr. Weber, {{x}}."
    assert told["prompt"] == {**prompt, "version": "2"}
    assert told["tools"] == [FUNCTION]
    audio = told["audio"]
    assert audio["output"]["voice"] == "joe" and audio["output"]["speed"] == 1.25
    assert audio["input"]["transcription"] == {"language": "de"}
    detection = audio["input"]["turn_detection"]
    assert (detection["type"], detection["eagerness"]) == ("semantic_vad", "low")
    # What an update says itself wins, and what it does not name stays.
    told = session.update(
        prompt=prompt,
        instructions="Be brief.",
        audio={"input": {"turn_detection": {"type": "server_vad"}}, "output": {"speed": 1.0}},
    )
    assert told["instructions"] == "Be brief." and told["audio"]["output"]["speed"] == 1.0
    assert told["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 500
    assert told["audio"]["output"]["voice"] == "joe"
    told = session.update(prompt=None, tools=[])
    assert told["prompt"] is None and told["instructions"] == "Be brief."
    assert session.update(prompt={"id": "reception", "version": "1"})["instructions"] == "x"


def test_a_response_has_a_prompt_of_its_own() -> None:
    session = Session(prompts=PROMPTS)
    asked = {"id": "reception", "variables": {"day": "Monday"}}
    options = session.say("response.create", response={"prompt": asked, "tools": []})["response"]
    response = session.side.respond(options)
    assert response.settings["instructions"] == "You answer for Dr. Weber, Monday."
    assert response.settings["tools"] == [] and response.settings["audio"]["output"]["speed"] == 1
    assert session.side.session["prompt"] is None and session.side.session["instructions"] == ""


def test_a_key_brings_its_prompt() -> None:
    key = {"prompt": {"id": "reception", "variables": {"day": "Monday"}}, "instructions": "Hi."}
    session = Session(Opening(session=key), PROMPTS)
    (created,) = session.of("session.created")
    assert created["session"]["instructions"] == "Hi."
    assert created["session"]["tools"] == [FUNCTION]
    refused = Session(Opening(session={"prompt": {"id": "nobody"}}), PROMPTS)
    assert refused.told[-1]["error"]["code"] == "prompt_not_found"
    assert refused.of("session.created")[0]["session"]["prompt"] is None


@pytest.mark.parametrize(
    ("prompt", "code", "param"),
    [
        ({}, "missing_required_parameter", "id"),
        ({"id": 1}, "invalid_value", "id"),
        ({"id": "nobody"}, "prompt_not_found", "id"),
        ({"id": "../reception"}, "prompt_not_found", "id"),
        ({"id": "reception\0"}, "prompt_not_found", "id"),
        ({"id": "reception", "version": "3"}, "prompt_not_found", "version"),
        ({"id": "reception"}, "missing_required_parameter", "variables.day"),
        (
            {"id": "reception", "variables": {"day": "x", "night": "y"}},
            "unknown_parameter",
            "variables.night",
        ),
        ({"id": "reception", "variables": {"day": 1}}, "invalid_value", "variables.day"),
        (
            {"id": "reception", "variables": {"day": {"type": "input_file", "file_id": "f"}}},
            "invalid_value",
            "variables.day.type",
        ),
        (
            {
                "id": "reception",
                "variables": {"day": {"type": "input_image", "image_url": "https://e.org/a.png"}},
            },
            "invalid_value",
            "variables.day.image_url",
        ),
        ({"id": "reception", "colour": "red"}, "unknown_parameter", "colour"),
    ],
)
def test_a_prompt_that_cannot_be_used_is_refused(prompt: JsonObject, code: str, param: str) -> None:
    session = Session(prompts=PROMPTS)
    update = {"type": "realtime", "prompt": prompt}
    assert session.refused("session.update", session=update) == (code, f"session.prompt.{param}")
    refused = session.refused("response.create", response={"prompt": prompt})
    assert refused == (code, f"response.prompt.{param}")
    assert session.side.session["prompt"] is None and session.side.responses == {}


# --- items ---


def test_items_of_every_kind_are_kept_and_told() -> None:
    session = Session()
    image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"}
    system = session.write("Be kind.", "system", previous_item_id="root")
    seen = session.add(image, {"type": "input_text", "text": "What is it?"})
    said = session.add({"type": "output_audio", "transcript": "A cat."}, role="assistant")
    for item in (
        {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "c"},
        {"type": "function_call_output", "call_id": "c", "output": "1"},
    ):
        created = session.say("conversation.item.create", item=item)["item"]["id"]
        assert item.items() <= session.retrieved(created).items()
    assert session.side.items.kept[0].id == system
    assert session.retrieved(seen)["content"][0] == image
    assert session.retrieved(said)["content"][0]["transcript"] == "A cat."
    item = {"type": "message", "role": "user", "content": [], "id": seen}
    assert session.refused("conversation.item.create", item=item) == ("invalid_value", "item.id")


def test_a_result_is_of_a_call() -> None:
    session = Session()
    result = {"type": "function_call_output", "call_id": "c", "output": "1"}
    refused = ("invalid_tool_call_id", "item.call_id")
    assert session.refused("conversation.item.create", item=result) == refused
    call = {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "c"}
    called = session.say("conversation.item.create", item=call)["item"]["id"]
    session.say("conversation.item.create", item=result)
    session.say("conversation.item.delete", item_id=called)
    assert session.refused("conversation.item.create", item=result) == refused


def test_sound_that_was_added_is_kept_part_by_part() -> None:
    session = Session()
    sounds = [base64.b64encode(bytes([n] * 200)).decode() for n in (1, 2)]
    parts = [{"type": "input_audio", "audio": audio} for audio in sounds]
    item_id = session.add(parts[0], {"type": "input_text", "text": "and"}, parts[1])
    content = session.retrieved(item_id)["content"]
    assert [part.get("audio") for part in content] == [sounds[0], None, sounds[1]]
    item = session.side.items.get(item_id)
    assert item is not None and item.ms == pytest.approx(200 / 24)


def test_no_message_is_longer_than_clients_take() -> None:
    session = Session()
    url = "data:image/png;base64," + "A" * (2 << 20)
    photo = session.add({"type": "input_image", "image_url": url})
    assert session.retrieved(photo)["content"] == [{"type": "input_image"}]
    item = session.side.items.get(photo)
    assert item is not None and item.about["content"][0]["image_url"] == url
    long = {"type": "function_call_output", "call_id": "c", "output": "x" * MOST_SENT}
    code = session.refused("conversation.item.create", item=long)
    assert code == ("string_above_max_length", "item")
    told = {"type": "realtime", "instructions": "ü" * (MOST_SETTINGS // 2)}
    assert session.refused("session.update", session=told)[0] == "string_above_max_length"
    for item_id in ("x" * 300, ""):
        refused = session.refused("conversation.item.retrieve", item_id=item_id)
        assert refused == ("invalid_value", "item_id")
    session.refused("session.update", session={"type": "realtime", "x" * MOST_SENT: 1})
    session.update(audio={"input": MANUAL})
    for seconds, fits in ((12, True), (20, False)):
        session.append(seconds)
        session.say("input_audio_buffer.commit")
        part = session.retrieved(session.side.commit().id)["content"][0]
        assert ("audio" in part) == fits
    # As G.711 there is room for more of it.
    session.update(audio={"input": {"format": {"type": "audio/pcma"}}})
    assert "audio" in session.retrieved(session.side.items.kept[-1].id)["content"][0]
    assert max(len(json.dumps(event)) for event in session.told) < 1 << 20


def test_sound_of_long_ago_is_let_go() -> None:
    session = Session()
    session.update(audio={"input": MANUAL})
    for _ in range(3):
        session.append(MOST_SOUND_S / 2.5)
        session.say("input_audio_buffer.commit")
        session.side.commit()
    kept = [item.sounds[0].samples is not None for item in session.side.items.kept]
    assert kept == [False, True, True]
    oldest = session.side.items.kept[0]
    assert oldest.ms == MOST_SOUND_S * 1000 / 2.5
    assert "audio" not in session.retrieved(oldest.id)["content"][0]


def test_what_is_no_json_of_this_world_is_refused() -> None:
    session = Session()
    for message in (
        '{"type": "session.update", "session": {"a": NaN}}',
        '{"type": "session.update", "session": {"a": 1e999}}',
        '{"type": "session.update", "session": {"a": "\\ud800"}}',
        '{"type": "session.update", "session": ' + "[" * 70 + "]" * 70 + "}",
    ):
        assert session.side.receive(message) is None
        assert session.told[-1]["error"]["code"] == "invalid_event"
    assert (
        session.side.receive(json.dumps({"type": "response.cancel", "event_id": "x" * 600})) is None
    )
    assert session.told[-1]["error"]["param"] == "event_id"
    assert session.side.receive('{"a": [' + "[]," * 4_000_000) is None
    assert "commas" in session.told[-1]["error"]["message"]
    # A character beyond the first plane is two halves, and whole.
    escaped = json.dumps({"type": "session.update", "session": {"type": "realtime"}})
    assert session.side.receive(escaped.replace("}}", ', "instructions": "\\ud83d\\ude00"}}'))
    assert session.side.session["instructions"] == "😀"


# --- responses ---


def test_a_response_has_settings_of_its_own() -> None:
    session = Session()
    session.update(instructions="Be brief.", tools=[FUNCTION])
    own = session.respond(
        instructions="",
        tools=[],
        tool_choice="none",
        max_output_tokens=9,
        metadata={"topic": "x"},
        output_modalities=None,
        audio={"output": {"format": {"type": "audio/pcm"}, "voice": {"id": "voice_1"}}},
    )
    assert own.settings["instructions"] == "" and own.settings["tools"] == []
    assert own.settings["max_output_tokens"] == 9 and own.speaks
    (created,) = session.of("response.created")
    assert created["response"]["metadata"] == {"topic": "x"}
    output = created["response"]["audio"]["output"]
    assert output == {"format": {"type": "audio/pcm", "rate": 24_000}, "voice": "voice_1"}
    own.stamp({"topic": "mine", "latency": "1", **{f"n{n}": "x" * 600 for n in range(20)}})
    session.side.end(own, "completed")
    (done,) = session.of("response.done")
    metadata = done["response"]["metadata"]
    assert metadata["topic"] == "x" and metadata["latency"] == "1"
    assert len(metadata) == 16 and max(map(len, metadata.values())) == 512
    assert session.told[-1]["rate_limits"] == [
        {
            "name": "requests",
            "limit": MOST_RESPONSES,
            "remaining": MOST_RESPONSES,
            "reset_seconds": 0,
        }
    ]
    plain = session.respond()
    assert plain.settings["instructions"] == "Be brief." and plain.settings["tools"] == [FUNCTION]


def test_a_response_reads_the_conversation_or_what_it_is_given() -> None:
    session = Session()
    first, second = session.write("one"), session.write("two")
    main = session.respond()
    assert [item.id for item in main.read] == [first, second]
    given = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]}
    read = [{"type": "item_reference", "id": second}, given]
    aside = session.respond(conversation="none", input=read)
    assert aside.read[0].id == second and aside.read[1].about["content"][0]["text"] == "x"
    assert session.respond(conversation="none", input=[]).read == []
    assert [item.id for item in session.side.items.kept] == [first, second]
    # What it says itself is not read.
    session.speak(main, "hello", 0.1)
    assert [item.id for item in main.read] == [first, second]


def test_responses_out_of_band_run_side_by_side() -> None:
    session = Session()
    main = session.respond()
    code, _ = session.refused("response.create")
    assert code == "conversation_already_has_active_response"
    asides = [session.respond(conversation="none") for _ in range(MOST_RESPONSES - 1)]
    code, _ = session.refused("response.create", response={"conversation": "none"})
    assert code == "rate_limit_exceeded"
    for response in (main, *asides):
        session.speak(response, f"I am {response.id}.", 0.1)
    assert len(session.of("conversation.item.added")) == 1
    cancelled = session.say("response.cancel", response_id=asides[3].id)["response_id"]
    assert session.side.responses[cancelled] is asides[3]
    session.side.end(asides[3], "cancelled", reason="client_cancelled")
    code, _ = session.refused("response.cancel", response_id=asides[3].id)
    assert code == "response_cancel_not_active"
    # Who names none means the conversation's.
    assert session.say("response.cancel")["response_id"] == main.id
    for response in (asides[0], main, *asides[1:3], *asides[4:]):
        session.side.end(response, "completed")
    done = [event["response"] for event in session.of("response.done")]
    assert [each["id"] for each in done if each["conversation_id"]] == [main.id]
    assert session.side.responses == {} and session.side.active is None
    assert session.refused("response.cancel")[0] == "response_cancel_not_active"


def test_arguments_are_told_as_they_are_written() -> None:
    session = Session()
    response = session.respond()
    response.open_call("f", "call_1")
    for delta in ('{"a"', ": 1}"):
        response.arguments(delta)
    response.open_call("f", "call_2")
    response.arguments("{")
    session.side.end(response, "cancelled", reason="client_cancelled")
    kind = "response.function_call_arguments"
    assert [event["delta"] for event in session.of(f"{kind}.delta")] == ['{"a"', ": 1}", "{"]
    # Clients call when they see this: a call that is not whole has none.
    (done,) = session.of(f"{kind}.done")
    assert (done["arguments"], done["name"], done["call_id"]) == ('{"a": 1}', "f", "call_1")
    calls = session.of("response.done")[0]["response"]["output"]
    assert [call["status"] for call in calls] == ["completed", "incomplete"]


def test_a_reply_is_truncated_while_it_grows() -> None:
    session = Session()
    response = session.respond()
    item_id = session.speak(response, "One two", 2)
    delete = session.refused("conversation.item.delete", item_id=item_id)
    assert delete == ("invalid_value", "item_id")
    where = {"item_id": item_id, "content_index": 0}
    session.say("conversation.item.truncate", **where, audio_end_ms=1200)
    response.text(" three")
    response.audio(np.ones(RATE, np.int16))
    session.side.end(response, "cancelled", reason="turn_detected")
    part = session.retrieved(item_id)["content"][0]
    assert part["transcript"] == "One" and len(base64.b64decode(part["audio"])) == 2 * 28_800
    # What was sent was sent.
    (said,) = session.of("response.output_audio_transcript.done")
    assert said["transcript"] == "One two three"
    (item,) = session.side.items.kept
    assert item.about["status"] == "incomplete"


def test_what_is_known_of_the_words_decides_what_was_heard() -> None:
    session = Session()
    response = session.respond()
    item_id = session.speak(response, "One two three", 3)
    response.output[0].sounds[0].heard = lambda seconds: "One two" if seconds >= 2.5 else "One"
    response.close()
    for ms, words in ((2600, "One two"), (2400, "One")):
        where = {"item_id": item_id, "content_index": 0}
        session.say("conversation.item.truncate", **where, audio_end_ms=ms)
        assert session.retrieved(item_id)["content"][0]["transcript"] == words


def test_the_session_expires() -> None:
    session = Session()
    session.side.expire()
    assert session.told[-1]["error"]["code"] == "session_expired"


SESSION = new_session("sess_1", "gpt-realtime-2.1", 1_800_000_000)

VADS = st.sampled_from(
    [
        None,
        {"type": "server_vad"},
        {"type": "server_vad", "threshold": 0.7, "idle_timeout_ms": 5000},
        {"type": "server_vad", "silence_duration_ms": 200, "idle_timeout_ms": None},
        {"type": "semantic_vad", "eagerness": "low"},
    ]
)
HEARING = st.fixed_dictionaries(
    {}, optional={"turn_detection": VADS, "transcription": st.sampled_from([None, {"model": "m"}])}
)
SPEAKING = st.fixed_dictionaries(
    {}, optional={"voice": st.sampled_from(["marin", "cedar"]), "speed": st.just(1.2)}
)

UPDATES = st.fixed_dictionaries(
    {"type": st.just("realtime")},
    optional={
        "instructions": st.text(max_size=20),
        "output_modalities": st.sampled_from([["audio"], ["text"]]),
        "tools": st.just([]) | st.just([{"type": "function", "name": "f"}]),
        "max_output_tokens": st.just("inf") | st.integers(1, 4096),
        "audio": st.fixed_dictionaries({}, optional={"input": HEARING, "output": SPEAKING}),
    },
)


def _at(session: dict[str, Any], path: str) -> Any:
    for name in path.split("."):
        session = session[name]
    return session


@given(UPDATES, UPDATES)
def test_updates_change_what_they_name_and_nothing_else(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    before = updated(SESSION, first)
    kept = copy.deepcopy(before)
    after = updated(before, second)
    assert before == kept
    RealtimeSessionCreateRequest.model_validate(after)
    assert updated(after, second) == after
    assert updated(after, {"type": "realtime"}) == after
    for name in set(SESSION) - {"audio"}:
        assert after[name] == second.get(name, before[name])
    for side in ("input", "output"):
        told = second.get("audio", {}).get(side, {})
        for name in SESSION["audio"][side]:
            if name not in told:
                assert after["audio"][side][name] == before["audio"][side][name]
            elif isinstance(told[name], dict):
                assert told[name].items() <= after["audio"][side][name].items()
            else:
                assert after["audio"][side][name] == told[name]


def test_a_detection_keeps_its_other_fields_while_its_type_stays() -> None:
    def detect(session: dict[str, Any], **vad: Any) -> dict[str, Any]:
        audio = {"input": {"turn_detection": vad}}
        return updated(session, {"type": "realtime", "audio": audio})

    path = "audio.input.turn_detection"
    once = detect(SESSION, type="server_vad", silence_duration_ms=200)
    twice = detect(once, type="server_vad", threshold=0.7)
    assert _at(twice, f"{path}.silence_duration_ms") == 200
    other = detect(twice, type="semantic_vad")
    assert _at(other, path)["eagerness"] == "auto"
    assert _at(detect(other, type="server_vad"), path) == _at(SESSION, path)


def test_the_voice_and_the_tracing_are_fixed_at_some_time() -> None:
    change = {"type": "realtime", "audio": {"output": {"voice": "cedar"}}}
    assert _at(updated(SESSION, change), "audio.output.voice") == "cedar"
    with pytest.raises(RequestRefused, match="cannot_update_voice"):
        updated(SESSION, change, voice_fixed=True)
    same = {"type": "realtime", "audio": {"output": {"voice": "marin"}}}
    updated(SESSION, same, voice_fixed=True)
    traced = updated(SESSION, {"type": "realtime", "tracing": "auto"})
    updated(traced, {"type": "realtime", "tracing": "auto"})
    with pytest.raises(RequestRefused, match="tracing"):
        updated(traced, {"type": "realtime", "tracing": None})
