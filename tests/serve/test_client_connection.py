"""Clients that misbehave, over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.responses import StreamingResponse
from starlette.routing import Route
from support.served import Served, certified, served
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from pipeline.serve import app, connection, listening
from pipeline.serve.link import LARGEST, Link, Opening

SOON_S = 20.0
LONG = "x" * 100_000


def frame(opcode: int, content: bytes, fin: bool = True) -> bytes:
    """A client's frame; it is masked, by zeros."""
    length = len(content)
    size = bytes([0x80 | length]) if length < 126 else b"\xfe" + length.to_bytes(2, "big")
    return bytes([fin << 7 | opcode]) + size + bytes(4) + content


FRAMES = st.builds(frame, st.integers(0, 15), st.binary(max_size=200), st.booleans())


class Talk:
    """Sessions that answer every message, and of which is known how they end."""

    def __init__(self) -> None:
        self.here = 0
        self.left = asyncio.Event()
        self.heard: list[tuple[int, str | bytes]] = []

    async def __call__(self, link: Link, opening: Opening) -> None:
        self.here += 1
        try:
            await self.hold(link)
        finally:
            self.here -= 1
            self.left.set()

    async def hold(self, link: Link) -> None:
        async for message in link.messages():
            self.heard.append(message)
            link.send(str(message[1]))


class Flood(Talk):
    """It never stops to speak, some 100 MB/s."""

    async def hold(self, link: Link) -> None:
        while True:
            link.send(LONG)
            await asyncio.sleep(0.001)


class Deaf(Talk):
    """It reads only when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.may = asyncio.Event()

    async def hold(self, link: Link) -> None:
        await self.may.wait()
        async for message in link.messages():
            self.heard.append(message)


async def soon(event: asyncio.Event) -> None:
    async with asyncio.timeout(SOON_S):
        await event.wait()


async def echo(server: Served, text: str = "hello") -> None:
    """Another client is served."""
    async with asyncio.timeout(SOON_S), connect(server.url, ssl=server.trusted) as client:
        await client.send(text)
        assert await client.recv() == text


async def test_messages_keep_their_order_and_have_the_time_of_their_arrival() -> None:
    talk = Talk()
    async with served(talk) as server, connect(server.url) as client:
        before = time.monotonic_ns()
        for number in range(500):
            await client.send(str(number))
        assert [int(await client.recv()) for _ in range(500)] == [*range(500)]
    times = [t_ns for t_ns, _ in talk.heard]
    assert before < times[0]
    assert times == sorted(times)
    assert times[-1] < time.monotonic_ns()


async def test_a_binary_message_is_the_sessions_to_refuse() -> None:
    async with served(Talk()) as server, connect(server.url) as client:
        await client.send(b"\0\1")
        assert await client.recv() == str(b"\0\1")


async def test_22_mib_are_taken_and_more_are_not() -> None:
    talk = Talk()
    async with served(talk) as server:
        async with connect(server.url, max_size=None) as client:
            await client.send("y" * LARGEST)
            # It waits until the session has read it.
            await client.send("more")
            async with asyncio.timeout(SOON_S):
                while len(talk.heard) < 2:
                    await asyncio.sleep(0.01)
        assert len(talk.heard[0][1]) == LARGEST
        async with connect(server.url) as client:
            with pytest.raises(ConnectionClosed) as closed:
                await client.send("y" * (LARGEST + 1))
                await client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
        await echo(server)


@pytest.mark.parametrize("how", ["close", "end", "reset", "vanish"])
async def test_a_client_that_leaves_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """In whichever way, and though its session reads nothing."""
    monkeypatch.setattr(listening, "PING_S", 0.2)
    talk = Deaf()
    async with served(talk) as server:
        _, writer = await server.raw()
        while not talk.here:
            await asyncio.sleep(0.01)
        tasks = asyncio.all_tasks()
        match how:
            case "close":
                writer.write(frame(8, bytes([3, 232])))
            case "end":
                writer.write_eof()
            case "reset":
                writer.transport.abort()
            case "vanish":
                pass  # it answers nothing any more, such as a ping
        await soon(talk.left)
        assert talk.here == 0
        async with asyncio.timeout(SOON_S):
            while len(server.sessions) > 0:
                await asyncio.sleep(0.01)
        assert not [task for task in tasks if "Connection" in repr(task) and not task.done()]
        writer.close()


@pytest.mark.parametrize("secure", [False, True])
async def test_a_client_that_does_not_read_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, secure: bool
) -> None:
    """After the deadline of a send; all the while others are served."""
    monkeypatch.setattr(connection, "MOST_UNSENT", 10**9)
    talks = iter([flood := Flood(), Talk()])
    monkeypatch.setattr(app, "Connection", _impatient)
    tls = certified(tmp_path) if secure else None
    async with served(lambda *args: next(talks)(*args), tls=tls) as server:
        _, writer = await server.raw()
        await asyncio.sleep(0.1)
        await echo(server)
        await soon(flood.left)
        assert flood.here == 0
        writer.close()


async def test_a_client_that_is_far_behind_is_cut_off() -> None:
    """Before its deadline: what waits for it is bounded."""
    talk = Flood()
    async with served(talk) as server:
        _, writer = await server.raw()
        await soon(talk.left)
        writer.close()


async def test_a_session_that_does_not_read_holds_up_its_client() -> None:
    """What waits is bounded, and nothing of it is lost."""
    talk, sent = Deaf(), 0
    async with served(talk) as server, connect(server.url) as client:
        with pytest.raises(TimeoutError):
            while True:
                async with asyncio.timeout(4):
                    await client.send(f"{sent:04}" + "z" * 1_000_000)
                sent += 1
        # The queue, a message more, and what the operating system holds.
        assert 22 < sent < 50
        talk.may.set()
        async with asyncio.timeout(SOON_S):
            while len(talk.heard) < sent:
                await asyncio.sleep(0.01)
        for number in range(sent):
            assert str(talk.heard[number][1]).startswith(f"{number:04}")


async def test_a_client_that_sends_much_at_once_takes_turns_with_others() -> None:
    """One message of each is done at a time."""
    talks = iter([flooded := Talk(), other := Talk()])
    async with (
        served(lambda *args: next(talks)(*args)) as server,
        connect(server.url) as many,
        connect(server.url) as one,
    ):
        many.transport.write(frame(1, b"a") * 3_000)
        async with asyncio.timeout(SOON_S):
            while not flooded.heard:
                await asyncio.sleep(0)
        await one.send("me too")
        assert await one.recv() == "me too"
        assert len(flooded.heard) < 3_000
        async with asyncio.timeout(SOON_S):
            while len(flooded.heard) < 3_000:
                await many.recv()
    assert len(other.heard) == 1


@given(st.lists(FRAMES, max_size=8), st.binary(max_size=40))
@settings(max_examples=40, deadline=None)
def test_whatever_a_client_sends_others_are_served(frames: list[bytes], rest: bytes) -> None:
    """Frames in any order, of any kind and content, and what is none."""

    async def play() -> None:
        talk = Talk()
        async with served(talk) as server, connect(server.url) as other:
            reader, writer = await server.raw()
            writer.write(b"".join(frames) + rest)
            writer.write_eof()
            async with asyncio.timeout(SOON_S):
                while await reader.read(1024):
                    pass
            writer.close()
            await other.send("hello")
            assert await other.recv() == "hello"
            await echo(server)

    said: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    try:
        asyncio.run(play())
    finally:
        logging.getLogger().removeHandler(handler)
    assert said == []


async def test_a_message_of_endless_fragments_is_not_kept() -> None:
    talk = Talk()
    async with served(talk) as server:
        _, writer = await server.raw()
        writer.write(frame(1, b"", fin=False))
        empty = frame(0, b"", fin=False) * 1000
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(SOON_S):
                while True:
                    writer.write(empty)
                    await writer.drain()
        await soon(talk.left)


async def test_a_session_that_fails_ends_alone(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Talk):
        async def hold(self, link: Link) -> None:
            async for _, message in link.messages():
                if message == "fail":
                    link.send("before")
                    async with asyncio.TaskGroup():
                        raise RuntimeError("what only the log may say")
                link.send(str(message))

    talk = Failing()
    async with served(talk) as server, connect(server.url) as other:
        async with connect(server.url) as client:
            await client.send("fail")
            assert await client.recv() == "before"
            with pytest.raises(ConnectionClosed) as closed:
                await client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1011
        assert "log" not in closed.value.rcvd.reason
        await other.send("still here")
        assert await other.recv() == "still here"
    assert "a session failed: RuntimeError: what only the log may say" in caplog.text


async def test_a_session_that_cannot_be_ended_properly_is_told_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Clinging(Talk):
        async def hold(self, link: Link) -> None:
            try:
                await super().hold(link)
            finally:
                raise RuntimeError("it does not let go")

    talk = Clinging()
    async with served(talk) as server:
        async with connect(server.url):
            pass
        await soon(talk.left)
    assert "a session failed: RuntimeError: it does not let go" in caplog.text


async def test_a_session_that_is_over_says_all_that_it_had_to_say() -> None:
    class Brief(Talk):
        async def hold(self, link: Link) -> None:
            for number in range(100):
                link.send(str(number))

    async with served(Brief()) as server, connect(server.url) as client:
        assert [int(message) async for message in client] == [*range(100)]
        assert client.close_code == 1000


async def test_what_a_session_says_after_it_closed_is_not_sent() -> None:
    class Talkative(Talk):
        async def hold(self, link: Link) -> None:
            link.send("last")
            link.close(4000, "enough")
            link.send("one more")
            link.close(1000, "really")

    async with served(Talkative()) as server, connect(server.url) as client:
        assert [message async for message in _until_closed(client)] == ["last"]
        assert (client.close_code, client.close_reason) == (4000, "enough")


async def _until_closed(client: Any) -> AsyncIterator[str]:
    while True:
        try:
            yield await client.recv()
        except ConnectionClosed:
            return


def _impatient(*args: Any) -> connection.Connection:
    return connection.Connection(*args, send_s=0.3)


async def _endless() -> AsyncIterator[str]:
    while True:
        yield LONG


@pytest.mark.parametrize("kind", [Talk, Flood])
@pytest.mark.parametrize("secure", [False, True])
async def test_the_server_stops_whatever_clients_do(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, kind: type[Talk], secure: bool
) -> None:
    """None of these reads; none answers a close, or even its TCP connection's end."""
    talk = kind()
    endless = Route("/", lambda _: StreamingResponse(_endless()))
    tls = certified(tmp_path) if secure else None
    async with served(talk, public=[endless], tls=tls) as server:
        clients = [await server.raw() for _ in range(3)]
        clients[1][1].write(b"\x81")  # the beginning of a message
        if not secure:
            clients[2][1].write_eof()
        half, quarter = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
        half[1].write(b"GET /v1/realtime HTTP/1.1\r\nHost: 127")
        quarter[1].write(b"G")
        await asyncio.sleep(0.2)
        began = time.monotonic()
    assert time.monotonic() - began < SOON_S, "who is waited for is waited for without end"
    assert talk.here == 0
    assert app.DRAIN_S + listening.STOP_S < 2
    for _, writer in clients:
        writer.close()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_clients_are_told_that_the_server_stops() -> None:
    async with served(Talk()) as server:
        client = await connect(server.url)
    with pytest.raises(ConnectionClosed):
        await client.recv()
    assert (client.close_code, client.close_reason) == (1001, "The server stops.")


async def test_a_head_that_does_not_come_to_its_end_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listening, "HEAD_S", 0.5)
    whole = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with served(Talk()) as server:

        async def slow(begin: bytes, drips: bool = True) -> bytes:
            """What a client is told that sends a byte of a header now and then, or nothing more."""
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(begin)

            async def drip() -> None:
                while drips:
                    await asyncio.sleep(0.05)
                    writer.write(b"x")

            dripping, answer = asyncio.create_task(drip()), b""
            # What is sent to a closed connection resets it, and the answer may be lost.
            with contextlib.suppress(ConnectionResetError):
                async with asyncio.timeout(SOON_S):
                    answer = await reader.read()
            dripping.cancel()
            await asyncio.gather(dripping, return_exceptions=True)
            writer.close()
            return answer

        before = time.monotonic()
        # From the first byte on, without any, and after a request that was answered.
        told, *_ = await asyncio.gather(
            slow(b"", drips=False), slow(whole[:-4]), slow(whole + whole[:-4])
        )
        assert time.monotonic() - before > 0.4
        assert told.startswith(b"HTTP/1.1 408 ")
        # Who has asked in time may be served for as long as that takes.
        async with connect(server.url) as client:
            await asyncio.sleep(0.8)
            await client.send("hello")
            assert await client.recv() == "hello"


async def test_all_addresses_are_those_of_both_families() -> None:
    if not (socket.has_ipv6 and socket.has_dualstack_ipv6()):
        pytest.skip("this machine has no IPv6")
    with listening.bound("::", 0) as listener:
        for host in ("127.0.0.1", "::1"):
            with socket.create_connection((host, listener.getsockname()[1]), 5):
                listener.accept()[0].close()


async def test_a_head_that_is_too_long_is_answered() -> None:
    async with served(Talk()) as server:
        async with asyncio.timeout(SOON_S):
            reader, writer = await server.raw(f"X-Long: {'x' * 20_000}")
            assert await reader.read() == b""
        writer.close()
