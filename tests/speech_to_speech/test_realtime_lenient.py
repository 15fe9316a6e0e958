"""Sessions with servers that nobody here wrote: some leave out much, some are no such servers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import numpy as np
import pytest
import trustme
from support import direct_talk
from support.direct_talk import Talk, only
from websockets.asyncio.server import ServerConnection, serve

from pipeline.clock import Clock
from pipeline.engines.tools import Tool
from pipeline.errors import StageError
from pipeline.events import Failure, ReplyAudio, ReplyDone, ReplyText, ToolCall, Transcript
from pipeline.speech_to_speech.brief import Brief, SystemSpec
from pipeline.speech_to_speech.encoding import Encoding
from pipeline.speech_to_speech.openai_realtime import RealtimeSession, RealtimeWaits
from pipeline.trace import Trace

HURRIED = RealtimeWaits(connect_s=1.0, ready_s=1.0, grace_s=0.1)

talking = functools.partial(direct_talk.talking, waits=HURRIED)

Act = Callable[["Peer"], Awaitable[None]]


class Peer:
    """The server's end of a connection."""

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection
        self.got: list[dict[str, Any]] = []

    async def tell(self, kind: str, **fields: Any) -> None:
        await self.connection.send(json.dumps({"type": kind, **fields}))

    async def next(self, kind: str) -> dict[str, Any]:
        """The client's next message of a kind; those before it are kept in `got`."""
        while True:
            message: dict[str, Any] = json.loads(await self.connection.recv())
            self.got.append(message)
            if message["type"] == kind:
                return message

    async def greet(self, **session: Any) -> dict[str, Any]:
        await self.tell("session.created", session={"model": "theirs", **session})
        return await self.next("session.update")

    async def answer(self, words: str = "Hello.", rate: int = 24_000) -> None:
        """Without naming anything."""
        sound = base64.b64encode(np.full(rate // 10, 500, "<i2").tobytes()).decode()
        await self.tell("response.output_audio.delta", delta=sound)
        await self.tell("response.output_audio_transcript.done", transcript=words)
        await self.tell("response.done", response={"status": "completed"})

    async def hear_on(self) -> None:
        """Take whatever comes, until the client is gone."""
        async for message in self.connection:
            self.got.append(json.loads(message))


@contextlib.asynccontextmanager
async def peer(*acts: Act, **options: Any) -> AsyncIterator[tuple[SystemSpec, list[Peer]]]:
    """A server that does this with its first client, that with its second, and so on."""
    peers: list[Peer] = []

    async def handle(connection: ServerConnection) -> None:
        one = Peer(connection)
        peers.append(one)
        with contextlib.suppress(Exception):
            await acts[min(len(peers), len(acts)) - 1](one)

    async with serve(handle, "127.0.0.1", 0, max_size=None, **options) as server:
        port = server.sockets[0].getsockname()[1]
        yield SystemSpec("it", "realtime", "", f"ws://127.0.0.1:{port}/v1/realtime"), peers


def enter(spec: SystemSpec) -> Awaitable[RealtimeSession]:
    return RealtimeSession(spec, Brief(), Trace(), Clock(), waits=HURRIED).__aenter__()


async def test_a_server_that_never_confirms_and_names_nothing() -> None:
    async def act(peer: Peer) -> None:
        await peer.greet()
        await peer.next("input_audio_buffer.append")
        await peer.answer()
        await peer.hear_on()

    async with peer(act) as (target, _), talking(target) as talk:
        await talk.answered()
        assert talk.session.facts.model == "theirs"
        assert talk.session.facts.simulated is None
        assert [t.delta for t in talk.of(ReplyText)] == ["Hello."]
        assert talk.of(ReplyDone)[0].status == "completed"
        # An error that names no message is no refusal any more.


async def test_tools_of_a_server_that_sends_arguments_only() -> None:
    async def act(peer: Peer) -> None:
        await peer.greet()
        await peer.tell("input_audio_buffer.speech_started", item_id="i")
        await peer.tell("input_audio_buffer.speech_stopped", item_id="i")
        fields = {"call_id": "c", "name": "sum", "arguments": "{}"}
        await peer.tell("response.function_call_arguments.done", response_id="r", **fields)
        await peer.tell("response.done", response={"id": "r", "status": "completed"})
        await peer.next("response.create")
        await peer.answer("Four.")
        await peer.hear_on()

    brief = Brief("", (Tool("sum"),))
    async with peer(act) as (target, peers), talking(target, brief, tool=lambda _: "4") as talk:
        await talk.answered()
        assert len(talk.of(ToolCall)) == len(talk.of(ReplyDone)) == 1
        sent = [m for m in peers[0].got if m["type"] == "conversation.item.create"]
        assert [m["item"]["output"] for m in sent] == ["4"]


async def test_a_server_that_refuses_what_it_does_not_know_is_asked_for_less() -> None:
    async def act(peer: Peer) -> None:
        first = await peer.greet()
        error = {"message": "what is transcription?", "event_id": first["event_id"]}
        await peer.tell("error", error=error)
        second = await peer.next("session.update")
        await peer.tell("session.updated", session=second["session"])
        await peer.hear_on()

    async with peer(act) as (target, peers):
        async with talking(target, Brief("Be kind.")):
            pass
        wanted = [m["session"] for m in peers[0].got if m["type"] == "session.update"]
        assert wanted[1] == {"type": "realtime", "instructions": "Be kind.", "tools": []}


async def test_a_server_that_refuses_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(peer: Peer) -> None:
        await peer.greet()
        await peer.tell("error", error={"message": "no such voice", "code": "invalid_value"})
        await peer.next("session.update")
        await peer.tell("error", error={"message": "no means no"})
        await peer.hear_on()

    before = asyncio.all_tasks()
    async with peer(act) as (target, _):
        with pytest.raises(StageError, match="refuses the session: no means no"):
            await enter(target)
        # OpenAI itself is taken at its word.
        monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
        url = target.url.replace("ws://", "http://").removesuffix("/realtime")
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        with pytest.raises(StageError, match="no such voice"):
            await enter(SystemSpec("it", "openai"))
    await only(before)


async def test_a_server_that_closes_with_a_reason_instead_of_a_session() -> None:
    async def act(peer: Peer) -> None:
        said = "Incorrect API key provided: sk-abcdef0123"
        await peer.tell("error", error={"message": said, "code": "invalid_api_key"})
        await peer.connection.close(3000, "invalid_request_error.invalid_api_key")

    async with peer(act) as (target, _):
        with pytest.raises(StageError) as caught:
            await enter(target)
    assert "Incorrect API key" in str(caught.value)
    assert "set CASCADE_REALTIME_KEY" in str(caught.value)
    assert "abcdef" not in str(caught.value)


async def test_a_server_that_sends_nothing() -> None:
    before = asyncio.all_tasks()
    async with peer(Peer.hear_on) as (target, _):
        with pytest.raises(StageError, match="takes the connection but sends nothing"):
            await enter(target)
    await only(before)


async def test_garbage_of_every_kind() -> None:
    async def act(peer: Peer) -> None:
        await peer.greet()
        for junk in (b"\xff\xfe\x00", "{", "[1]", "null", '"x"', '{"type": 5}', "[" * 20_000):
            await peer.connection.send(junk)
        await peer.tell("response.output_audio.delta", delta="!!!")
        await peer.tell("response.output_audio.delta", delta=7)
        await peer.tell("session.updated", session=[])
        await peer.tell("error", error="broken")
        await peer.answer()
        await peer.hear_on()

    async with peer(act) as (target, _), talking(target) as talk:
        await talk.answered()
        assert talk.of(ReplyDone)[-1].status == "completed"
        assert not any(failure.fatal for failure in talk.of(Failure))


@pytest.mark.parametrize(("kind", "name"), [("pcmu", "audio/pcmu"), ("pcma", "audio/pcma")])
async def test_g711_both_ways(kind: Any, name: str) -> None:
    encoding = Encoding(kind, 8000)
    tone = (8000 * np.cos(np.arange(800) * 0.3)).astype(np.int16)
    heard: list[bytes] = []

    async def act(peer: Peer) -> None:
        await peer.greet()
        audio = {side: {"format": {"type": name}} for side in ("input", "output")}
        await peer.tell("session.updated", session={"audio": audio})
        while sum(map(len, heard)) < 4000:
            message = await peer.next("input_audio_buffer.append")
            heard.append(base64.b64decode(message["audio"]))
        sound = base64.b64encode(encoding.encode(tone)).decode()
        await peer.tell("response.output_audio.delta", delta=sound)
        await peer.tell("response.done", response={})
        await peer.hear_on()

    async with peer(act) as (target, _), talking(target) as talk:
        talk.say(0.5)
        await talk.answered()
        frame = talk.of(ReplyAudio)[0].frame
        assert (frame.rate, len(frame.samples)) == (8000, 800)
        assert np.corrcoef(frame.samples, tone)[0, 1] > 0.99
    loudness = np.abs(encoding.decode(b"".join(heard)).astype(float))
    assert 4000 < np.mean(loudness[1000:3000]) < 6000


async def test_a_session_that_has_expired_is_renewed_with_its_history() -> None:
    async def first(peer: Peer) -> None:
        await peer.greet()
        kind = "conversation.item.input_audio_transcription.completed"
        await peer.tell(kind, item_id="i", transcript="Hi.")
        await peer.answer("Hello.")
        await peer.tell("error", error={"code": "session_expired", "message": "60 minutes"})
        await peer.hear_on()

    async def second(peer: Peer) -> None:
        await peer.greet()
        for _ in range(2):
            await peer.next("conversation.item.create")
        await peer.answer("Back.")
        await peer.hear_on()

    async with peer(first, second) as (target, peers), talking(target) as talk:
        await talk.answered(2)
        assert talk.session.reconnects == 1
        assert not talk.of(Failure)
        items = [m["item"] for m in peers[1].got if m["type"] == "conversation.item.create"]
        assert [(i["role"], i["content"][0]["text"]) for i in items] == [
            ("user", "Hi."),
            ("assistant", "Hello."),
        ]
        assert [t.text for t in talk.of(Transcript)] == ["Hi."]


async def test_a_server_that_is_gone_for_good() -> None:
    async def act(peer: Peer) -> None:
        await peer.greet()
        await peer.tell("session.updated", session={})
        server.close(close_connections=False)
        await peer.tell("input_audio_buffer.speech_started", item_id="i")
        peer.connection.transport.abort()

    async with serve(lambda connection: act(Peer(connection)), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with talking(SystemSpec("it", "realtime", "", f"ws://127.0.0.1:{port}")) as talk:
            await talk.until(lambda t: t.ended)
            assert talk.of(Failure)[-1].fatal
            assert "the connection broke" in talk.of(Failure)[-1].message
            assert "cannot be reached" in talk.of(Failure)[-1].message


async def test_what_another_server_is_told_of_us(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, f"private-{name}")
    monkeypatch.delenv("CASCADE_REALTIME_KEY", raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "ws_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def act(peer: Peer) -> None:
        await peer.greet()
        await peer.hear_on()

    async with peer(act) as (target, peers):
        async with talking(target):
            pass
        named = target.url.replace("ws://", "ws://me:pw@")
        async with talking(SystemSpec("it", "realtime", "m#n", named)) as talk:
            assert "pw" not in repr(talk.session.facts)
    for one in peers:
        assert one.connection.request is not None
        assert "private" not in str(one.connection.request.headers)
    first, second = (one.connection.request for one in peers)
    assert first is not None
    assert second is not None
    assert first.headers.get_all("Authorization") == ["Bearer none"]
    assert first.path == "/v1/realtime"
    basic = base64.b64encode(b"me:pw").decode()
    assert second.headers.get_all("Authorization") == [f"Basic {basic}"]
    assert second.path == "/v1/realtime?model=m%23n"


@contextlib.asynccontextmanager
async def tcp(answer: bytes | None) -> AsyncIterator[str]:
    """A server that answers anything with this, or with nothing."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        if answer is not None:
            writer.write(answer)
        else:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("scheme", "answer", "said"),
    [
        ("ws", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "answers 200"),
        ("ws", b"220 smtp ready\r\n", "does not speak WebSocket"),
        ("ws", b"", "does not speak WebSocket"),
        ("ws", None, "did not answer within 1 s"),
        ("wss", b"HTTP/1.1 200 OK\r\n\r\n", "no secure connection"),
        ("ws", b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "answers 503"),
    ],
)
async def test_servers_that_are_none(scheme: str, answer: bytes | None, said: str) -> None:
    before = asyncio.all_tasks()
    async with tcp(answer) as host:
        with pytest.raises(StageError, match=said) as caught:
            await enter(SystemSpec("it", "realtime", "", f"{scheme}://{host}/v1"))
        assert host in str(caught.value)
    await only(before)


async def test_a_certificate_that_nobody_trusts() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    async with peer(Peer.hear_on, ssl=context) as (target, _):
        with pytest.raises(StageError, match="no secure connection"):
            await enter(SystemSpec("it", "realtime", "", target.url.replace("ws://", "wss://")))


async def test_hosts_that_are_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(StageError, match="cannot be reached"):
        await enter(SystemSpec("it", "realtime", "", f"ws://127.0.0.1:{port}/v1"))
    with pytest.raises(StageError, match=r"no\.such\.invalid.* cannot be reached"):
        await enter(SystemSpec("it", "realtime", "", "ws://no.such.invalid/v1"))


async def test_events_that_nobody_reads_do_not_pile_up() -> None:
    sent = asyncio.Event()

    async def act(peer: Peer) -> None:
        await peer.greet()
        await peer.tell("session.updated", session={})
        for number in range(50):
            await peer.tell("error", error={"message": f"number {number}"})
        sent.set()
        await peer.hear_on()

    async with peer(act) as (target, _):
        trace = Trace()
        async with RealtimeSession(target, Brief(), trace, Clock(), ahead=5) as session:
            await sent.wait()
            while len(session._events) < 5:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            assert len(session._events) == 5
            talk = Talk(session, trace, None)
            follow = asyncio.create_task(talk.follow())
            await talk.until(lambda t: len(t.of(Failure)) == 50)
            follow.cancel()
        told = [f"the server reports: number {number}" for number in range(50)]
        assert [failure.message for failure in talk.of(Failure)] == told


async def test_leaving_a_server_that_neither_reads_nor_closes() -> None:
    leave = asyncio.Event()

    async def act(peer: Peer) -> None:
        await peer.greet()
        peer.connection.transport.pause_reading()
        await leave.wait()
        peer.connection.transport.abort()

    async def fill(talk: Talk) -> None:
        """More than any buffer on the way takes."""
        for number in range(20):
            await talk.session.tool_result(f"c{number}", "x" * 1_000_000)

    async def calling(peer: Peer) -> None:
        await peer.greet()
        for number in range(20):
            call = {"type": "function_call", "call_id": f"c{number}", "name": "n", "id": "i"}
            await peer.tell("response.output_item.done", response_id="r", item=call)
        await peer.tell("response.done", response={"id": "r", "status": "completed"})
        peer.connection.transport.pause_reading()
        await leave.wait()
        peer.connection.transport.abort()

    for one in (act, calling):
        leave.clear()
        async with peer(one) as (target, _):
            trace = Trace()
            session = RealtimeSession(target, Brief(), trace, Clock())
            async with asyncio.timeout(8), session as entered:
                line = entered._connection._connection.transport.get_extra_info("socket")
                if one is calling:
                    talk = Talk(entered, trace, None)
                    follow = asyncio.create_task(talk.follow())
                    await talk.until(lambda t: len(t.of(ToolCall)) == 20)
                    await fill(talk)
                    follow.cancel()
            leave.set()
        # The socket is let go of, though nobody closed its other end then.
        assert line.fileno() == -1
