"""Sessions with systems that a map describes, over real sockets."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from servers.foreign import Doing, ForeignServer, Visit
from support.api_talk import Talk, silence, speech, talking
from support.lawful import lawful

from pipeline.audio.encoding import Encoding
from pipeline.clock import Clock
from pipeline.errors import BadInput, CascadeError, StageError
from pipeline.events import (
    Failure,
    ReplyAudio,
    ReplyDone,
    ReplyInterrupted,
    Samples,
    SpeechStarted,
    SpeechStopped,
    Transcript,
)
from pipeline.speech_to_speech import specs
from pipeline.speech_to_speech.brief import Brief, SystemSpec
from pipeline.speech_to_speech.mapped import MappedSession
from pipeline.trace import Trace

MULAW = Encoding("pcmu", 8_000)
SECRET = "a-secret-that-nobody-reads"


def at(server: ForeignServer, which: str = "json", **options: str) -> SystemSpec:
    return SystemSpec("mine", "map", which, f"ws://{server.host}/talk", options)


def written(folder: Path, text: str) -> str:
    file = folder / "mybot.yaml"
    file.write_text(text)
    return str(file)


def hum(seconds: float, rate: int) -> Samples:
    return np.resize(np.array([5000, -5000], np.int16), round(seconds * rate))


def base64_of(sound: bytes) -> str:
    return base64.b64encode(sound).decode()


async def has_spoken(visit: Visit, seconds: float) -> None:
    """So much sound has come, whatever it is in."""
    chunks = round(seconds / 0.02)
    await visit.until(lambda got: sum("audio" in str(one)[:40] for one in got) >= chunks)


async def a_turn(talk: Talk, number: int = 1) -> None:
    await talk.say()
    await talk.see(ReplyDone, number)


async def test_a_conversation_in_json(tmp_path: Path) -> None:
    async def script(visit: Visit) -> None:
        for number in (1, 2):
            await talked[number].wait()
            await visit.tell(
                {"type": "transcript", "text": "What time is it?"},
                {"type": "text", "text": "Five."},
                {"type": "audio", "audio": base64_of(hum(0.5, 16_000).tobytes())},
            )

    talked = {1: asyncio.Event(), 2: asyncio.Event()}
    async with ForeignServer(script) as server, talking(at(server), Brief("Be kind.")) as talk:
        for number in (1, 2):
            await talk.say()
            await talk.see(SpeechStopped, number)
            talked[number].set()
            await talk.see(ReplyDone, number)
        [visit] = server.visits
        facts, session = talk.session.facts, talk.session
    assert visit.got[0] == {
        "type": "start",
        "sample_rate": 16000,
        "instructions": "Be kind.",
        "language": "en",
    }
    assert visit.got[-1] == {"type": "stop"}
    assert {one["type"] for one in visit.got[1:-1]} == {"audio"}
    assert (facts.model, facts.host, facts.calls, facts.duplex) == (
        "json",
        server.host,
        False,
        False,
    )
    assert session.history is None and session.unheard == "" and session.reconnects == 0
    with pytest.raises(CascadeError, match="no tool call 'x' is open"):
        await session.tool_result("x", "")
    with pytest.raises(CascadeError, match="ends turns itself"):
        await session.commit()
    lawful(talk.events)
    assert talk.done() == [(1, "completed"), (2, "completed")]
    finals = [one.text for one in talk.of(Transcript) if one.final]
    assert finals == ["What time is it?"] * 2
    assert {one.frame.rate for one in talk.of(ReplyAudio)} == {16_000}


async def test_this_side_of_twilio() -> None:
    async def script(visit: Visit) -> None:
        await stopped.wait()
        media = {"event": "media", "streamSid": "x", "media": {"payload": base64_of(sound)}}
        await visit.tell(media, {"event": "mark", "streamSid": "x", "mark": {"name": "first"}})

    stopped, sound = asyncio.Event(), MULAW.encode(hum(0.6, 8_000))
    async with ForeignServer(script) as server, talking(at(server, "twilio")) as talk:
        await talk.say(speech(), silence(1.5))
        await talk.see(SpeechStopped)
        stopped.set()
        await talk.see(ReplyDone)
        [visit] = server.visits
    connected, start, *rest, stop = visit.got
    assert connected == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    call = start["streamSid"].removeprefix("MZ")
    assert len(call) == 32 and int(call, 16)
    assert start == {
        "event": "start",
        "sequenceNumber": "1",
        "streamSid": f"MZ{call}",
        "start": {
            "accountSid": f"AC{call}",
            "streamSid": f"MZ{call}",
            "callSid": f"CA{call}",
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {},
        },
    }
    media = [one for one in rest if one["event"] == "media"]
    for number, one in enumerate(media, 1):
        assert one["media"].keys() == {"track", "chunk", "timestamp", "payload"}
        assert (one["media"]["chunk"], one["media"]["timestamp"]) == (
            str(number),
            str(20 * (number - 1)),
        )
        assert len(base64.b64decode(one["media"]["payload"])) == 160
    numbers = [int(one["sequenceNumber"]) for one in visit.got[1:]]
    assert numbers == [*range(1, len(numbers) + 1)]
    [mark] = [one for one in rest if one["event"] == "mark"]
    assert mark["mark"] == {"name": "first"} and mark["streamSid"] == f"MZ{call}"
    assert stop["event"] == "stop"
    assert stop["stop"] == {"accountSid": f"AC{call}", "callSid": f"CA{call}"}
    heard = MULAW.decode(b"".join(base64.b64decode(one["media"]["payload"]) for one in media))
    said = speech()
    loudest = np.abs(said.astype(int)).max()
    assert np.abs(heard.astype(int)).max() == pytest.approx(loudest, rel=0.2)
    assert {one.frame.rate for one in talk.of(ReplyAudio)} == {8_000}


async def test_what_lets_it_in_comes_from_the_environment_and_is_written_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    which = written(
        tmp_path,
        "headers: {Authorization: 'Bearer ${MYBOT_TOKEN}', X-Agent: demo}\n"
        "query: {key: '${MYBOT_KEY}'}\nsubprotocol: audio.v1\n"
        "receive: {error: {at: why}}\n",
    )

    async def script(visit: Visit) -> None:
        await visit.tell({"why": f"I do not like {SECRET}"})

    async with ForeignServer(script, subprotocol="audio.v1") as server:
        spec = at(server, which)
        with pytest.raises(BadInput, match="mine: the map mybot needs MYBOT_KEY; set it"):
            specs.check(spec, {"MYBOT_TOKEN": SECRET})
        monkeypatch.setenv("MYBOT_TOKEN", f" {SECRET}\n")
        monkeypatch.setenv("MYBOT_KEY", f"{SECRET}&2")
        async with talking(spec, trace=tmp_path / "trace") as talk:
            failure = await talk.see(Failure)
            shown = repr(talk.session) + repr(talk.session.facts) + repr(talk.events)
        [request], [visit] = server.requests, server.visits
    assert request.headers["Authorization"] == f"Bearer {SECRET}"
    assert request.headers["X-Agent"] == "demo"
    assert request.path == f"/talk?key={SECRET}%262"
    assert visit.socket.subprotocol == "audio.v1"
    assert failure.message == "I do not like [key]"
    ours = [r.getMessage() for r in caplog.records if r.name != "websockets.server"]
    assert SECRET not in "\n".join([*ours, shown, (tmp_path / "trace").read_text()])


async def fails(spec: SystemSpec, **more: Any) -> str:
    with pytest.raises(StageError) as told:
        async with talking(spec, **more):
            pytest.fail("it began")
    assert told.value.fatal
    return str(told.value)


async def test_who_is_not_let_in_is_told_which_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MYBOT_TOKEN", SECRET)
    which = written(tmp_path, "headers: {Authorization: '${MYBOT_TOKEN}'}")
    async with ForeignServer(status=401) as server:
        assert await fails(at(server, which)) == (
            f"{server.host} refuses the key (401); set MYBOT_TOKEN"
        )


async def test_a_connection_that_ends_ends_the_conversation() -> None:
    async def script(visit: Visit) -> None:
        await has_spoken(visit, 1.0)
        await visit.tell({"type": "audio", "audio": base64_of(hum(0.5, 16_000).tobytes())})
        await visit.socket.close(1000, "bye")

    async with ForeignServer(script) as server, talking(at(server)) as talk:
        failure = await talk.see(Failure)
    assert failure.fatal and failure.message == f"{server.host} closed the connection (1000: bye)"
    assert talk.over and len(server.visits) == 1
    lawful(talk.events)


async def test_over_what_is_cleared_is_an_interruption() -> None:
    async def script(visit: Visit) -> None:
        await told.wait()
        await visit.tell(hum(8, 16_000).tobytes())
        await over.wait()
        await visit.tell({"type": "clear"})

    told, over = asyncio.Event(), asyncio.Event()
    async with ForeignServer(script) as server, talking(at(server, "pcm"), hears=False) as talk:
        await talk.say()
        await talk.see(SpeechStopped)
        told.set()
        await talk.see(ReplyAudio)
        await talk.say()
        await talk.see(SpeechStarted, 2)
        over.set()
        await talk.see(ReplyInterrupted)
    assert talk.done()[0] == (1, "interrupted")


def greeting(seconds: float) -> Doing:
    async def script(visit: Visit) -> None:
        await visit.until(lambda got: sum(isinstance(one, bytes) for one in got) >= 10)
        if seconds:
            await visit.tell({"type": "hello"}, hum(seconds, 16_000).tobytes())

    return script


async def test_a_greeting_is_waited_for(tmp_path: Path) -> None:
    which = written(tmp_path, "greets: true")
    async with ForeignServer(greeting(0.5)) as server, talking(at(server, which)) as talk:
        [visit] = server.visits
        silent_s = sum(len(one) for one in visit.got) / 32_000
    assert 2.0 < silent_s < 4.0 and not any(any(one) for one in visit.got)
    assert not talk.of(ReplyAudio)


async def test_a_greeting_that_never_comes(tmp_path: Path) -> None:
    which = written(tmp_path, "greets: true")
    async with ForeignServer(greeting(0)) as server:
        told = await fails(at(server, which), greeting_s=0.5)
    why = "it does not greet, as the map mybot says it does; what came: nothing at all"
    assert told == f"{server.host}: {why}"


@pytest.fixture
def trace() -> Iterator[Trace]:
    with Trace() as trace:
        yield trace


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("map:nothing,url=ws://h", "nothing: there is no such file or map"),
        ("map:json", r"map:json: where is it\? Write map:json,url=ws://HOST:PORT"),
        ("map:json,url=http://h", "not a usable URL; write it as ws://"),
        ("map:json,url=ws://h,voice=x", "no option 'voice'; there are rate"),
        ("map:pcm,url=ws://h,rate=800", "rate is a number from 8000 to 48000"),
        ("map:pcm,url=ws://h,rate=11025", "11025: chunk_ms: 20 ms are no whole samples .* rate$"),
    ],
)
def test_what_cannot_be(text: str, complaint: str, trace: Trace) -> None:
    with pytest.raises(BadInput, match=complaint):
        specs.check(specs.parse(text), {})
    with pytest.raises(BadInput, match=complaint):
        MappedSession(specs.parse(text), Brief(), trace, Clock())


def test_a_rate_on_the_command_line_is_that_of_both_sides(trace: Trace, tmp_path: Path) -> None:
    which = written(tmp_path, "receive: {rate: 8000}")
    spec = specs.parse(f"mine=map:{which},url=ws://me:pw@h:1/a?x=1,rate=24000")
    assert (spec.name, spec.url, specs.address(spec)) == ("mine", *["ws://me:pw@h:1/a?x=1"] * 2)
    session = specs.connect(spec, Brief(), trace, Clock())
    assert isinstance(session, MappedSession)
    assert session._map.sent.rate == session._map.received.rate == 24_000
    assert specs.address(specs.parse(f"map:{written(tmp_path, 'url: ws://there')}")) == "ws://there"
