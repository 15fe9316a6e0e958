"""Whatever a client sends, in whatever order: the server's side goes on, and tells it in order."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import hypothesis
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support import virtual_time
from support.realtime_events import (
    ANY_JSON,
    APPEND,
    ASIDE,
    COMMIT,
    CREATE,
    DELETE,
    HEAR,
    MEANT,
    REFER,
    RETRIEVE,
    TRUNCATE,
    WRITE,
    spoilt,
    with_ids,
)
from support.realtime_grammar import Grammar
from support.realtime_talk import Client
from support.scripted import Engines, Model

from pipeline.config import Settings
from pipeline.serve.link import Author, Opening
from pipeline.serve.protocol import ServerSide
from pipeline.serve.realtime import RealtimeConversation
from pipeline.serve.responses import RealtimeResponse
from pipeline.serve.session_object import JsonObject
from pipeline.serve.sound import RATE

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
                assert all(piece.dtype == np.int16 for piece, _ in event["audio"])
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


SENSE = st.sampled_from(
    [
        [HEAR, "speech", APPEND, "silence", "understood"],
        [APPEND, COMMIT, "misunderstood"],
        [CREATE, "open", "text", "audio", "text", "close", "end"],
        [CREATE, "open", "text", "audio"],
        [CREATE, "call", "arguments", "close", "end"],
        [ASIDE, "call", "arguments"],
        [ASIDE, "open", "text", "audio"],
        [WRITE, CREATE, "open", "text", "end"],
        [CREATE, "open", "text", "audio", TRUNCATE, "text", "end", RETRIEVE],
        [HEAR, "speech", APPEND, "silence", RETRIEVE, DELETE, "understood", RETRIEVE],
        [REFER],
    ]
)
"""What may be expected; without it nothing but refusals would be tried."""

ONE = (MEANT | spoilt() | WHAT_A_BRAIN_DOES).map(lambda act: [act])
ACTS = st.lists(SENSE | SENSE | ONE, min_size=12, max_size=24)


@given(st.sampled_from(["realtime", "realtime", "transcription"]), ACTS)
def test_any_events_in_any_order(intent: Any, acts: list[list[Any]]) -> None:
    talk = _Talk(Opening("m", intent))
    for act in itertools.chain(*acts):
        if isinstance(act, str):
            talk.do(act)
        else:
            talk.receive(with_ids(act, talk.told))
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


EVENTS = st.lists(
    st.sampled_from([HEAR, APPEND, COMMIT, CREATE, ASIDE, WRITE, TRUNCATE, DELETE, RETRIEVE, REFER])
    | MEANT
    | spoilt(),
    min_size=8,
    max_size=30,
)


@hypothesis.settings(max_examples=15)
@given(EVENTS, st.binary(max_size=20))
def test_no_client_breaks_the_cascade_of_another(events: list[JsonObject], junk: bytes) -> None:
    texts = ("What time is it?", "And now?")
    engines = Engines(texts, Model(["It is nine."] * 200))

    async def talk() -> tuple[Client, Client]:
        clock = virtual_time.VirtualClock()
        good, bad = Client(), Client()

        async def misbehave() -> None:
            for event in events:
                bad.raw(with_ids(event, bad.events))
                await asyncio.sleep(0.1)
            bad.raw(junk)
            bad.detect(None)
            await bad.until("error")
            bad.leave()

        async def behave() -> None:
            good.detect({"type": "server_vad"})
            for _ in texts:
                await good.quiet(0.5)
                await good.speak(1.2)
                await good.quiet(3)
            good.leave()

        async with asyncio.TaskGroup() as tasks:
            for client in (good, bad):
                held = RealtimeConversation(engines, Settings(), clock, client, Opening())
                tasks.create_task(held.run())
            tasks.create_task(misbehave())
            tasks.create_task(behave())
        return good, bad

    good, bad = virtual_time.run(talk())
    assert good.ends == [("completed", None)] * 2 and good.of("error") == []
    good.finish()
    assert bad.closed is None
