"""Whatever a client sends, in whatever order: the server's side goes on, and tells it in order."""

from __future__ import annotations

import base64
import itertools
import json
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support.realtime_grammar import Grammar

from pipeline.serve.author import Author
from pipeline.serve.link import Opening
from pipeline.serve.protocol import ServerSide
from pipeline.serve.responses import RealtimeResponse
from pipeline.serve.session_object import JsonObject
from pipeline.serve.sound import RATE

WORDS = st.text(st.characters(codec="utf-8"), max_size=8)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=4,
)
SOUND = st.integers(0, 9601).map(lambda n: base64.b64encode(bytes(n)).decode())
FORMATS = st.sampled_from(
    [
        {"type": "audio/pcm", "rate": 24_000},
        {"type": "audio/pcm", "rate": 16_000},
        {"type": "audio/pcm", "rate": 48_000},
        {"type": "audio/pcmu"},
        {"type": "audio/pcma"},
    ]
)
# Ids are places: the test puts in those that there are.
IDS = st.integers(0, 12).map(lambda place: f"<{place}>") | WORDS
TOOLS = st.just([]) | st.just([{"type": "function", "name": "f", "parameters": {}}])
CHOICE = st.sampled_from(["auto", "none", "required", {"type": "function", "name": "f"}])
MODALITIES = st.sampled_from([["audio"], ["text"]])
DETECTION = st.sampled_from(
    [None, {"type": "server_vad", "idle_timeout_ms": 5000}, {"type": "semantic_vad"}]
)


def _some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[JsonObject]:
    return st.fixed_dictionaries({}, optional=fields)


def _event(kind: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[JsonObject]:
    told = {"type": st.just(kind), **fields}
    return st.fixed_dictionaries(told, optional={"event_id": WORDS})


MESSAGES = st.builds(
    lambda role, part, more: {"type": "message", "role": role, "content": [part], **more},
    st.sampled_from(["user", "system", "assistant"]),
    st.builds(lambda kind, text: {"type": kind, "text": text}, WORDS, WORDS)
    | st.builds(lambda text: {"type": "input_text", "text": text}, WORDS)
    | st.builds(lambda text: {"type": "output_text", "text": text}, WORDS)
    | st.builds(lambda text: {"type": "output_audio", "transcript": text}, WORDS)
    | st.builds(lambda audio: {"type": "input_audio", "audio": audio}, SOUND)
    | st.just({"type": "input_image", "image_url": "data:image/png;base64,AAAA"}),
    _some(id=IDS),
)
ITEMS = (
    MESSAGES
    | st.builds(
        lambda kind, call: {"type": kind, "call_id": call, "output": "1", "name": "f"} | {},
        st.sampled_from(["function_call_output", "function_call", "mcp_call"]),
        WORDS,
    )
    | st.builds(lambda name: {"type": "item_reference", "id": name}, IDS)
)
HEARING = _some(
    format=FORMATS,
    turn_detection=DETECTION,
    transcription=st.sampled_from([None, {"model": "m"}]),
)
SPEAKING = _some(
    format=FORMATS, voice=st.sampled_from(["cedar", {"id": "v"}]), speed=st.sampled_from([1, 1.2])
)
SESSIONS = _some(
    instructions=WORDS,
    tools=TOOLS,
    tool_choice=CHOICE,
    output_modalities=MODALITIES,
    tracing=st.sampled_from([None, "auto", {"workflow_name": "w"}]),
    audio=_some(input=HEARING, output=SPEAKING),
).map(lambda fields: {"type": "realtime", **fields})
RESPONSES = _some(
    conversation=st.sampled_from(["auto", "none"]),
    input=st.lists(ITEMS, max_size=2),
    metadata=st.dictionaries(WORDS, WORDS, max_size=2),
    output_modalities=MODALITIES,
    tools=TOOLS,
    tool_choice=CHOICE,
    audio=_some(output=_some(format=FORMATS, voice=st.just({"id": "v"}))),
)
MEANT = st.one_of(
    _event("session.update", session=SESSIONS),
    _event("input_audio_buffer.append", audio=SOUND),
    _event("input_audio_buffer.commit"),
    _event("input_audio_buffer.clear"),
    _event("conversation.item.create", item=ITEMS),
    _event("conversation.item.create", item=ITEMS, previous_item_id=IDS),
    _event("conversation.item.retrieve", item_id=IDS),
    _event("conversation.item.delete", item_id=IDS),
    _event(
        "conversation.item.truncate",
        item_id=IDS,
        content_index=st.integers(0, 1),
        audio_end_ms=st.integers(0, 300),
    ),
    _event("response.create", response=RESPONSES),
    _event("response.create"),
    _event("response.cancel"),
    _event("response.cancel", response_id=IDS),
    _event("output_audio_buffer.clear"),
)


@st.composite
def _spoilt(draw: st.DrawFn) -> JsonObject:
    """An event with nonsense somewhere in it."""
    event = draw(MEANT)
    at: Any = event
    while isinstance(at, dict) and at:
        name = draw(st.sampled_from(sorted(at)))
        if not isinstance(at[name], dict) or draw(st.booleans()):
            at[name] = draw(ANY_JSON)
            break
        at = at[name]
    return event


BRAIN = (
    ["speech", "silence", "understood", "misunderstood", "timeout"],
    ["open", "text", "audio", "call", "arguments", "close", "end", "fail"],
)
WHAT_A_BRAIN_DOES = st.sampled_from([act for acts in BRAIN for act in acts])


class _Talk:
    """A session with a brain that does as it is told, and a client that checks all it gets."""

    def __init__(self, opening: Opening) -> None:
        self.grammar = Grammar()
        self.wrong: list[str] = []
        self.told: list[JsonObject] = []
        self.making: list[RealtimeResponse] = []
        self.side = ServerSide(Author("t", self._send), "m", 0, opening, ears=16_000)
        self.side.begin()

    def _send(self, event: JsonObject) -> None:
        # As it goes over the wire: it may still grow.
        event = json.loads(json.dumps(event))
        self.wrong += self.grammar.feed(event)
        self.told.append(event)

    def receive(self, message: str | bytes) -> None:
        before = len(self.told)
        event = self.side.receive(message)
        if event is None:
            (error,) = [each["error"] for each in self.told[before:]]
            assert error["code"] and error["message"]
            assert error["event_id"] == _event_id(message)
            return
        match event["type"]:
            case "input_audio_buffer.append":
                assert event["audio"].dtype == np.int16
            case "input_audio_buffer.commit":
                speaks = self.side.speech is not None
                self.side.speech_stopped() if speaks else self.side.commit()
            case "response.create":
                self.making.append(self.side.respond(event["response"]))
                self.making[-1].begin()
            case "response.cancel":
                self.end(self.side.responses[event["response_id"]], "cancelled")

    def end(self, response: RealtimeResponse, status: Any) -> None:
        self.making.remove(response)
        reason = {"cancelled": "client_cancelled", "incomplete": "max_output_tokens"}.get(status)
        self.side.end(response, status, **({"reason": reason} if reason else {}))

    def do(self, what: str) -> None:
        """Do something that a brain does, where it can be done."""
        side, heard = self.side, [item for item in self.side.items.kept if item.sounds]
        match what:
            case "speech" if side.speech is None and side.detection is not None:
                side.speech_started(side.buffer.start)
                side.transcribing(side.speech or "", "a")
            case "silence" if side.speech is not None:
                side.speech_stopped(side.buffer.end - 10)
            case "timeout" if side.speech is None:
                side.timed_out(side.buffer.start)
        users = [each for each in heard if each.about["role"] == "user"]
        known = [
            each["item_id"]
            for each in self.told
            if "transcription" in each["type"] and not each["type"].endswith("delta")
        ]
        for item in [each for each in users if each.id not in known][:1]:
            if what == "understood":
                side.transcribed(item, "a b")
            elif what == "misunderstood":
                side.transcription_failed(item, "the recogniser failed")
        if self.making:
            self._make(self.making[-1], what)

    def _make(self, response: RealtimeResponse, what: str) -> None:
        item = response.output[-1].about if response.output else {"status": "none"}
        is_open = item["status"] == "in_progress"
        match what:
            case "open":
                _close(response)
                response.open()
            case "text" if is_open and item["type"] == "message":
                response.text("word ")
            case "audio" if is_open and item["type"] == "message" and response.speaks:
                response.audio(np.ones(RATE // 20, np.int16))
                self.side.spoke = True
            case "call":
                _close(response)
                response.open_call("f", "call_1")
            case "arguments" if is_open and item["type"] == "function_call":
                response.arguments("1")
            case "close":
                _close(response)
            case "end":
                self.end(response, "incomplete" if is_open else "completed")
            case "fail":
                self.making.remove(response)
                error = {"type": "server_error", "code": "e", "message": "broken"}
                self.side.end(response, "failed", error=error)


def _close(response: RealtimeResponse) -> None:
    """End what is open; a whole call has whole arguments."""
    said = response.output[-1].about.get("arguments") if response.output else None
    response.close("incomplete" if said == "" else "completed")


def _event_id(message: str | bytes) -> str | None:
    """The id that the client gave its event, if it can be read."""
    try:
        # There is no infinity in JSON.
        event = json.loads(message, parse_constant=int) if isinstance(message, str) else None
    except ValueError:
        return None
    given = event.get("event_id") if isinstance(event, dict) else None
    return given if isinstance(given, str) else None


def _with_ids(event: JsonObject, told: list[JsonObject]) -> str:
    """The event with the ids of things that there are."""
    text = json.dumps(event)
    added = [each["item"]["id"] for each in told if each["type"] == "conversation.item.added"]
    if added:
        text = text.replace("<newest>", added[-1])
    known = added + [each["response"]["id"] for each in told if each["type"] == "response.created"]
    text = text.replace("<sound>", base64.b64encode(bytes(9600)).decode())
    for place in range(13):
        if known:
            text = text.replace(f"<{place}>", known[place % len(known)])
    return text


APPEND = {"type": "input_audio_buffer.append", "audio": "<sound>"}
CREATE = {"type": "response.create"}
HEARD = {"input": {"transcription": {"model": "m"}}}
HEAR = {"type": "session.update", "session": {"type": "realtime", "audio": HEARD}}
NEWEST = {"item_id": "<newest>"}
TRUNCATE = {"type": "conversation.item.truncate", "content_index": 0, "audio_end_ms": 20, **NEWEST}
RETRIEVE = {"type": "conversation.item.retrieve", **NEWEST}
DELETE = {"type": "conversation.item.delete", **NEWEST}
REFER = {
    "type": "response.create",
    "response": {"conversation": "none", "input": [{"type": "item_reference", "id": "<newest>"}]},
}
WRITE = {"type": "session.update", "session": {"type": "realtime", "output_modalities": ["text"]}}
ASIDE = {"type": "response.create", "response": {"conversation": "none"}}
SENSE = st.sampled_from(
    [
        [HEAR, "speech", APPEND, "silence", "understood"],
        [APPEND, {"type": "input_audio_buffer.commit"}, "misunderstood"],
        [CREATE, "open", "text", "audio", "text", "close", "end"],
        [CREATE, "open", "text", "audio"],
        [CREATE, "call", "arguments", "close", "end"],
        [ASIDE, "call", "arguments"],
        [ASIDE, "open", "text", "audio"],
        [
            {
                "type": "session.update",
                "session": {"type": "realtime", "output_modalities": ["text"]},
            }
        ],
        [{"type": "session.update", "session": {"type": "realtime", "tracing": "auto"}}],
        [CREATE, "open", "text", "audio", TRUNCATE, "text", "end", RETRIEVE],
        [HEAR, "speech", APPEND, "silence", RETRIEVE, DELETE, "understood", RETRIEVE],
        [REFER],
    ]
)
"""What may be expected; without it nothing but refusals would be tried."""

ONE = (MEANT | _spoilt() | WHAT_A_BRAIN_DOES).map(lambda act: [act])
ACTS = st.lists(SENSE | SENSE | ONE, min_size=12, max_size=24)


@given(st.sampled_from(["realtime", "realtime", "transcription"]), ACTS)
def test_any_events_in_any_order(intent: Any, acts: list[list[Any]]) -> None:
    talk = _Talk(Opening("m", intent))
    for act in itertools.chain(*acts):
        if isinstance(act, str):
            talk.do(act)
        else:
            talk.receive(_with_ids(act, talk.told))
        assert talk.wrong == []
    for response in list(talk.making):
        talk.end(response, "cancelled")
    assert talk.wrong + talk.grammar.finish() == []


@given(st.lists(st.text(max_size=60) | st.binary(max_size=60) | ANY_JSON.map(json.dumps)))
def test_what_is_no_event_is_refused(messages: list[str | bytes]) -> None:
    talk = _Talk(Opening())
    for message in messages:
        talk.receive(message)
    assert talk.wrong == []
    assert len([each for each in talk.told if each["type"] == "error"]) == len(messages)
