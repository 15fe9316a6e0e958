"""A telephone call as a client of the server: what it says, and does with what it is told."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import Mock

import hypothesis.strategies as st
import pytest
from hypothesis import given
from support.served import Served, nothing_breaks, served
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from pipeline.clock import NS_PER_S
from pipeline.serve.access import Access
from pipeline.serve.app import MOST_RINGING
from pipeline.serve.link import Link, Opening
from pipeline.serve.phone import (
    DIALLED_S,
    LARGEST,
    NO_FUNCTIONS,
    PATH,
    RATE,
    Call,
    Caller,
    hang_up,
)
from pipeline.serve.refused import RequestRefused

pytestmark = pytest.mark.usefixtures(nothing_breaks.__name__)

TOKEN = "0123456789abcdefghij"
CONNECTED = {"event": "connected", "protocol": "Call", "version": "1.0.0"}
SILENCE = base64.b64encode(b"\xff" * 160).decode()
MEDIA = {"event": "media", "streamSid": "MZ1", "media": {"track": "inbound", "payload": SILENCE}}


def start(**parameters: str) -> dict[str, Any]:
    about = {"streamSid": "MZ1", "callSid": "CA1", "customParameters": parameters}
    return {"event": "start", "sequenceNumber": "1", "streamSid": "MZ1", "start": about}


class Line:
    """A call between Twilio and a server, each of which does as a test says."""

    def __init__(self, **parameters: str) -> None:
        self._said: list[dict[str, Any]] = []
        self._played: list[dict[str, Any]] = []
        self.call = Call(Caller("MZ1", parameters), self._said.append, self._played.append)
        self.now_s = 0.0

    def twilio(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """Twilio says something; gives what the client says to the server."""
        self.call.hear({"event": event, "streamSid": "MZ1", **fields}, int(self.now_s * NS_PER_S))
        return self.said()

    def key(self, digit: str) -> list[dict[str, Any]]:
        return self.twilio("dtmf", dtmf={"track": "inbound_track", "digit": digit})

    def server(self, kind: str, **fields: Any) -> list[dict[str, Any]]:
        """The server says something; gives what Twilio is told."""
        self.call.tell({"type": kind, **fields})
        return self.played()

    def speaks(self, item: str, seconds: float) -> list[dict[str, Any]]:
        delta = base64.b64encode(b"\x00" * round(seconds * RATE)).decode()
        return self.server("response.output_audio.delta", item_id=item, delta=delta)

    def done(self, status: str) -> None:
        assert self.server("response.done", response={"status": status}) == []

    def configured(self, detection: dict[str, Any] | None) -> None:
        session = {"audio": {"input": {"turn_detection": detection}}}
        assert self.server("session.updated", session=session) == []

    def said(self) -> list[dict[str, Any]]:
        said, self._said[:] = [*self._said], []
        return said

    def played(self) -> list[dict[str, Any]]:
        played, self._played[:] = [*self._played], []
        assert all(message["streamSid"] == "MZ1" for message in played)
        return played


def marks(played: list[dict[str, Any]]) -> list[str]:
    return [message["mark"]["name"] for message in played if message["event"] == "mark"]


def test_a_call_begins_with_the_sound_of_telephones_and_its_prompt() -> None:
    (update,) = Line().said()
    session = update["session"]
    assert update["type"] == "session.update" and "prompt" not in session
    assert session["audio"]["input"] == session["audio"]["output"]
    assert session["audio"]["input"] == {"format": {"type": "audio/pcmu"}}
    (update,) = Line(token=TOKEN, prompt="reception", day="Monday").said()
    prompt = {"id": "reception", "variables": {"day": "Monday"}}
    assert update["session"]["prompt"] == prompt
    (newer,) = Line(prompt="reception@2", day="Monday").said()
    assert newer["session"]["prompt"] == {**prompt, "version": "2"}
    assert TOKEN not in json.dumps(update)
    assert TOKEN not in repr(Caller("MZ1", {"token": TOKEN}))


def test_what_the_caller_says_goes_on_as_it_is() -> None:
    line = Line()
    line.said()
    media = {"track": "inbound", "chunk": "1", "timestamp": "20", "payload": SILENCE}
    assert line.twilio("media", media=media) == [
        {"type": "input_audio_buffer.append", "audio": SILENCE}
    ]
    for message in ({"event": "media"}, {"event": "mark"}, {"event": "x"}, {}, {"event": 1}):
        line.call.hear(message, 0)
    assert line.said() == []


def test_an_interruption_tells_what_was_played() -> None:
    line = Line()
    line.configured({"type": "server_vad", "interrupt_response": True})
    line.said()
    played = line.speaks("item_1", 0.5)
    assert [message["event"] for message in played] == ["media", "mark"] * 3
    sound = [m["media"]["payload"] for m in played if m["event"] == "media"]
    assert [len(base64.b64decode(each)) for each in sound] == [1600, 1600, 800]
    later = marks(line.speaks("item_2", 0.2))
    assert line.twilio("mark", mark={"name": marks(played)[0]}) == []
    assert [m["event"] for m in line.server("input_audio_buffer.speech_started")] == ["clear"]
    cut = {"type": "conversation.item.truncate", "content_index": 0}
    assert line.said() == [
        {**cut, "item_id": "item_1", "audio_end_ms": 200},
        {**cut, "item_id": "item_2", "audio_end_ms": 0},
    ]
    # The marks of what was cleared come back too, and mean nothing; an end is told once.
    for name in [*marks(played)[1:], *later, "another's"]:
        assert line.twilio("mark", mark={"name": name}) == []
    assert line.server("input_audio_buffer.speech_started") == []
    assert line.said() == []


@pytest.mark.parametrize("detection", [None, {"type": "server_vad", "interrupt_response": False}])
def test_where_speech_does_not_interrupt_the_reply_is_played_on(detection: Any) -> None:
    line = Line()
    line.configured(detection)
    line.said()
    line.speaks("item_1", 0.4)
    assert line.server("input_audio_buffer.speech_started") == []
    assert line.said() == []


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("speak"), st.integers(1, 3), st.integers(1, 9000)),
            st.tuples(st.just("play"), st.integers(1, 5)),
            st.just(("interrupt",)),
        )
    )
)
def test_no_more_is_told_to_be_heard_than_was_played(acts: list[Any]) -> None:
    line = Line()
    line.configured({"type": "server_vad", "interrupt_response": True})
    line.said()
    sent: dict[str, int] = {}
    played: dict[str, int] = {}
    queue: list[tuple[str, int, str]] = []
    for act in acts:
        match act:
            case ("speak", item, size):
                told = line.speaks(f"i{item}", size / RATE)
                for media, mark in zip(told[::2], told[1::2], strict=True):
                    size = len(base64.b64decode(media["media"]["payload"]))
                    queue.append((f"i{item}", size, mark["mark"]["name"]))
                    sent[f"i{item}"] = sent.get(f"i{item}", 0) + size
            case ("play", count):
                for item, size, name in queue[:count]:
                    played[item] = played.get(item, 0) + size
                    line.twilio("mark", mark={"name": name})
                del queue[:count]
            case _:
                line.server("input_audio_buffer.speech_started")
                cut = line.said()
                assert {each["item_id"] for each in cut} == {item for item, _, _ in queue}
                queue.clear()
                for each in cut:
                    item = each["item_id"]
                    assert each["audio_end_ms"] <= sent[item] * 1000 // RATE
                    # What was sent of it once was cleared before counts as sent.
                    assert each["audio_end_ms"] >= played.get(item, 0) * 1000 // RATE


def test_keys_are_what_the_caller_says() -> None:
    line = Line()
    line.said()
    assert line.key("4") == line.key("2") == []
    line.now_s += DIALLED_S - 0.1
    assert line.key("*") == []
    line.now_s += DIALLED_S + 0.1
    _, item, respond = line.twilio("media", media={"payload": SILENCE})
    assert item["item"]["role"] == "user"
    assert item["item"]["content"] == [{"type": "input_text", "text": "[keys pressed: 42*]"}]
    assert respond == {"type": "response.create"}
    assert line.key("7") == []
    item, _ = line.key("#")
    assert item["item"]["content"][0]["text"] == "[keys pressed: 7]"
    assert line.key("#") == [], "a number of its own"


def test_a_key_ends_the_reply() -> None:
    line = Line()
    line.said()
    line.server("response.created")
    (first, _) = marks(line.speaks("item_1", 0.4))
    line.twilio("mark", mark={"name": first})
    cancel, truncate = line.key("1")
    assert cancel == {"type": "response.cancel"}
    assert truncate["audio_end_ms"] == 200
    assert [m["event"] for m in line.played()] == ["clear"]
    line.done("cancelled")
    assert line.key("2") == [], "nobody answers any more"


def test_keys_are_answered_whatever_is_said_meanwhile() -> None:
    """Words before the keys may be answered while nobody knows yet that all were pressed."""
    line = Line()
    line.said()
    line.key("4")
    line.server("response.created")
    line.speaks("item_1", 0.2)
    line.now_s += DIALLED_S + 0.1
    told = [event["type"] for event in line.twilio("media", media={"payload": SILENCE})]
    end = ["response.cancel", "conversation.item.truncate"]
    assert told[1:] == [*end, "conversation.item.create"]
    assert [message["event"] for message in line.played()] == ["clear"]
    # The server answers one thing at a time.
    line.done("cancelled")
    assert line.said() == [{"type": "response.create"}]
    line.key("7")
    line.server("response.created")
    told = [event["type"] for event in line.key("#")]
    assert told == ["response.cancel", "conversation.item.create"]
    line.done("completed")
    assert line.said() == [{"type": "response.create"}]
    line.done("completed")
    assert line.said() == []


def test_nobody_runs_functions_or_allows_a_call() -> None:
    line = Line()
    line.said()
    line.server("response.created")
    item = {"type": "function_call", "call_id": "call_1", "status": "completed"}
    assert line.server("response.output_item.done", item=item) == []
    (output,) = line.said()
    assert output["item"] == {
        "type": "function_call_output",
        "call_id": "call_1",
        "output": NO_FUNCTIONS,
    }
    line.done("completed")
    assert line.said() == [{"type": "response.create"}]
    line.done("completed")
    assert line.said() == []
    # Who spoke over it is answered anyway.
    line.server("response.output_item.done", item=item)
    line.done("cancelled")
    assert [event["type"] for event in line.said()] == ["conversation.item.create"]
    line.done("completed")
    assert line.said() == []
    line.server("conversation.item.done", item={"type": "mcp_approval_request", "id": "m1"})
    (answer,) = line.said()
    assert answer["item"]["approval_request_id"] == "m1" and answer["item"]["approve"] is False


def test_what_cannot_be_set_ends_the_call(caplog: pytest.LogCaptureFixture) -> None:
    line = Line(prompt="nobody")
    error = {"code": "prompt_not_found", "message": "There is none.", "param": "session.prompt"}
    with pytest.raises(RequestRefused, match="There is none"):
        line.server("error", error=error)
    line.configured(None)
    assert line.server("error", error={**error, "message": "Later."}) == []
    assert "Later." in caplog.text


@pytest.mark.parametrize(
    ("message", "why"),
    [("There is no prompt \ud83d.", "There is no prompt ?."), ("é" * 99, "é" * 61)],
)
def test_the_reason_for_hanging_up_is_one_that_can_be_sent(message: str, why: str) -> None:
    link = Mock()
    hang_up(link, RequestRefused("x", message))
    link.close.assert_called_once_with(1008, why)


# --- on a real socket ---


async def told(link: Link, opening: Opening) -> None:
    """A session that tells as a fault what it is opened with: the call ends with that reason."""
    message = json.dumps([opening.intent, dict(opening.session)])
    async for _, said in link.messages():
        kind = json.loads(said)["type"]
        error = {"code": "x", "message": f"{kind} {message}", "param": None}
        link.send(json.dumps({"type": "error", "error": error}))


async def ended(server: Served, *messages: Any, **options: Any) -> tuple[int, str]:
    """With which code and reason a call ends that says this."""
    url = server.url.replace("/v1/realtime", PATH)
    async with connect(url, **options) as client:
        with pytest.raises(ConnectionClosed):
            for message in messages:
                await client.send(message if isinstance(message, str) else json.dumps(message))
            await client.recv()
        return client.close_code or 0, client.close_reason or ""


async def test_who_may_call() -> None:
    async with served(told) as server:
        begun = 1008, 'session.update ["realtime", {}]'
        assert await ended(server, CONNECTED, start()) == begun
        page = {"Origin": "https://example.org"}
        code, why = await ended(server, CONNECTED, start(), additional_headers=page)
        assert (code, why.split()[:4]) == (1008, ["This", "web", "page", "may"])
    access = Access(TOKEN)
    async with served(told, access) as server:
        wrong = 1008, "Incorrect API key provided."
        assert await ended(server, CONNECTED, start()) == wrong
        for token in ("x" * 20, "\u043a" * 20, "\ud83d" * 20):
            assert await ended(server, CONNECTED, start(token=token)) == wrong
        expired = "The ephemeral key is not valid, or has expired."
        for token in ("ek_x", "ek_\u043a.\ud83d"):
            assert await ended(server, start(token=token)) == (1008, expired)
        assert await ended(server, CONNECTED, start(token=TOKEN)) == begun
        key = access.sealed({"voice": "a"}, 2**40)
        sealed = 1008, 'session.update ["realtime", {"voice": "a"}]'
        assert await ended(server, CONNECTED, start(token=key)) == sealed
        server.sessions.state = "draining"
        assert await ended(server, start()) == (1008, "The server is about to stop.")


@pytest.mark.parametrize(
    "message",
    ["", "[" * 10_000, "7", MEDIA, {"event": "start"}, {"event": "start", "start": {"x": 1}}],
)
async def test_what_is_no_call_is_refused(message: Any) -> None:
    async with served(told, Access(TOKEN)) as server:
        why = "This is for streams of Twilio's: no start came."
        assert await ended(server, CONNECTED, message) == (1008, why)


async def test_who_does_not_say_who_calls_keeps_few_out() -> None:
    async with served(told, Access(TOKEN)) as server:
        url = server.url.replace("/v1/realtime", PATH)
        waiting = [await connect(url) for _ in range(MOST_RINGING)]
        why = "Too many calls have not said yet who they are."
        assert await ended(server, start(token=TOKEN)) == (1008, why)
        for each in waiting:
            await each.close()
        _, why = await ended(server, start(token=TOKEN))
        assert why.startswith("session.update")


@pytest.mark.parametrize("path", [PATH, PATH.replace("phone", "ph%6Fne")])
async def test_who_does_not_say_who_calls_keeps_little_in_memory(path: str) -> None:
    async def endless() -> AsyncIterator[str]:
        while True:
            yield "{" * LARGEST

    async with served(told, Access(TOKEN)) as server:
        client = await connect(server.url.replace("/v1/realtime", path))
        with pytest.raises(ConnectionClosed):
            await client.send(endless())
        assert client.close_code == 1006, "whatever else would come"


async def test_who_hangs_up_is_gone() -> None:
    async with served(told) as server:
        url = server.url.replace("/v1/realtime", PATH)
        async with connect(url) as client:
            for message in (CONNECTED, {"event": "stop", "streamSid": "MZ1"}):
                await client.send(json.dumps(message))
            with pytest.raises(ConnectionClosed):
                await client.recv()
        assert len(server.sessions) == 0
