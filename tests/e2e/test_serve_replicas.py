"""Several `cascade serve` behind nginx, with the configuration that the documentation prints."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai import AsyncOpenAI
from servers.llm_server import ROLE, Answer, LlmServer, Request, delta, hang, reply
from support import api_talk, nginx
from support.api_talk import talking
from support.cli_child import Child, part_of_corpus, run, scripted
from support.replicas import KEY, TOKEN, WAIT_S, asked, blocks, room, told
from support.serve_child import free_port
from support.served import certified, served
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from pipeline.compare.record import CONVERSATIONS
from pipeline.events import ReplyAudio, ReplyDone
from pipeline.serve import listening
from pipeline.serve.link import Link, Opening
from pipeline.speech_to_speech.brief import SystemSpec

ANSWER = "It is open until nine."


@dataclass
class Replica:
    """A place where a `cascade serve` is, or was, or will be."""

    llm: LlmServer
    options: dict[str, str]
    port: int = field(default_factory=free_port)
    child: Child | None = None

    def start(self) -> None:
        """Start it, and wait until it serves."""
        self.child = Child(
            *("serve", "--port", str(self.port), "--llm", self.llm.url, "--json"),
            env={"CASCADE_SERVE__TOKEN": TOKEN, **self.options},
        )
        self.child.wait_for('"url"', "out")

    def kill(self) -> None:
        """It is gone from one moment to the next."""
        assert self.child is not None
        self.child.finish(kill=True)
        self.child = None

    def stop(self) -> None:
        """Tell it to stop, as a service manager does."""
        assert self.child is not None
        self.child.signal(signal.SIGTERM)
        assert self.child.finish().code == 0
        self.child = None


@dataclass
class Site:
    """Two replicas behind nginx.

    Attributes:
        replicas: Whether they run or not.
        llm: The language model of both.
        port: Where nginx listens.
        held: The model stops in the middle of its replies.
    """

    replicas: list[Replica]
    llm: LlmServer
    port: int
    held: bool = False

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/realtime"

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def session(self, **more: Any) -> connect:
        return connect(self.url, additional_headers=KEY, max_size=None, **more)


@contextlib.contextmanager
def site(
    folder: Path, *, places: Mapping[str, str] | None = None, **options: str
) -> Iterator[Site]:
    """Two replicas that are still to be started, behind nginx.

    Args:
        folder: For nginx.
        places: See `nginx.running`.
        options: Settings of the replicas, as environment variables.
    """
    nginx.found()
    here: Site

    def answer(_: Request) -> Answer:
        return Answer([ROLE, delta(f"{ANSWER} "), hang]) if here.held else reply(ANSWER)

    with scripted(otherwise=answer) as llm:
        both = [Replica(llm, options), Replica(llm, options)]
        port = free_port()
        here = Site(both, llm, port)
        own = {
            "listen 80;": f"listen 127.0.0.1:{port};",
            **{f"10.0.0.1{i}:8765": f"127.0.0.1:{both[i - 1].port}" for i in (1, 2)},
        }
        try:
            with nginx.running(folder, blocks("nginx")[0], {**own, **(places or {})}):
                yield here
        finally:
            for one in both:
                if one.child is not None:
                    one.stop()


async def off_loop(work: Any) -> None:
    await asyncio.to_thread(work)


async def test_a_conversation_goes_on_where_its_server_is_killed_or_told_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The project's own client: it tells the next server what was said."""
    monkeypatch.setenv("CASCADE_REALTIME_KEY", TOKEN)
    monkeypatch.setattr(api_talk, "WAIT_S", WAIT_S)
    with site(tmp_path) as here:
        first, second = here.replicas
        await off_loop(first.start)
        async with talking(SystemSpec("site", "realtime", "cascade", here.url)) as talk:
            await talk.say()
            assert (await talk.see(ReplyDone)).status == "completed"
            before = [*asked(here.llm)[1:], ("assistant", ANSWER)]
            await off_loop(second.start)
            # In the middle of the next reply.
            here.held = True
            await talk.say()
            await talk.see(ReplyAudio, len(talk.of(ReplyAudio)) + 1)
            await off_loop(first.kill)
            assert (await talk.see(ReplyDone, 2)).status == "failed"
            here.held = False
            await talk.until(lambda: talk.session.reconnects == 1)
            await talk.say()
            assert (await talk.see(ReplyDone, 3)).status == "completed"
            said = asked(here.llm)[1:]
            assert said[:2] == before
            assert [role for role, _ in said if role == "user"] == ["user"] * 3
            # Between two replies.
            await off_loop(first.start)
            await off_loop(second.stop)
            await talk.until(lambda: talk.session.reconnects == 2)
            await talk.say()
            assert (await talk.see(ReplyDone, 4)).status == "completed"
            assert asked(here.llm)[1:-1] == [*said, ("assistant", ANSWER)]


async def test_the_sdk_reconnects_to_the_other_server_and_tells_it_again(tmp_path: Path) -> None:
    """OpenAI's own client, which connects again where it is told to."""
    said = {"type": "message", "role": "user", "content": []}
    said["content"] = [{"type": "input_text", "text": "Where is the museum?"}]
    remember: Any = {"type": "conversation.item.create", "item": said}
    with site(tmp_path) as here:
        first, second = here.replicas
        await off_loop(first.start)
        events: list[str] = []
        codes: list[int] = []

        def again(about: Any) -> Any:
            codes.append(about.close_code)
            return {}

        client = AsyncOpenAI(api_key=TOKEN, base_url=f"{here.http}/v1")
        async with client.realtime.connect(model="cascade", on_reconnecting=again) as connection:
            async with asyncio.timeout(WAIT_S):
                async for event in connection:
                    events.append(event.type)
                    if event.type == "session.created":
                        await connection.send(remember)
                        await connection.response.create()
                    elif event.type == "response.done" and events.count(event.type) == 1:
                        await off_loop(second.start)
                        await off_loop(first.kill)
                    elif event.type == "response.done":
                        break
        assert codes == [1006]
        assert events.count("session.created") == 2
        assert ("user", "Where is the museum?") in asked(here.llm)


async def test_what_one_server_has_no_room_for_the_other_takes(tmp_path: Path) -> None:
    with site(tmp_path, CASCADE_SERVE__SESSIONS="2") as here:
        for one in here.replicas:
            await off_loop(one.start)
        async with contextlib.AsyncExitStack() as stack:
            # The first is full, of which nginx knows nothing: it has no connection there.
            direct = f"ws://127.0.0.1:{here.replicas[0].port}/v1/realtime"
            for _ in range(2):
                await stack.enter_async_context(connect(direct, additional_headers=KEY))
            await stack.enter_async_context(here.session())
            mine = await stack.enter_async_context(here.session())
            # Both are full: the server's own refusal, and no matter how often.
            for _ in range(3):
                with pytest.raises(InvalidStatus) as refused:
                    await here.session()
                response = refused.value.response
                assert response.status_code == 503
                assert response.headers["Retry-After"]
                assert json.loads(response.body or b"")["error"]["code"] == "server_overloaded"
            await mine.close()
            await stack.enter_async_context(await room(here.session))


async def test_nginx_changes_nothing_of_what_passes(tmp_path: Path) -> None:
    """Keys, origins, codes and long messages are as without it; an address has its limit."""
    with site(tmp_path, places={"cascade_clients 8;": "cascade_clients 3;"}) as here:
        for one in here.replicas:
            await off_loop(one.start)
        with pytest.raises(InvalidStatus) as refused:
            await connect(here.url)
        assert refused.value.response.status_code == 401
        async with httpx2.AsyncClient(base_url=here.http, headers=KEY) as http:
            assert (await http.get("/readyz")).status_code == 200
            assert (await http.get("/metrics")).status_code == 404
            made = await http.post("/v1/realtime/client_secrets", json={})
        offers: Any = ["realtime", f"openai-insecure-api-key.{made.json()['value']}"]
        # A browser's key of one server, on both of them.
        async with (
            connect(here.url, subprotocols=offers, origin="https://voice.example.org") as one,
            connect(here.url, subprotocols=offers, origin="https://voice.example.org") as two,
        ):
            assert one.subprotocol == two.subprotocol == "realtime"
            await told(one)
            await told(two)
            await one.send(json.dumps({"type": "nonsense", "event_id": "x" * 3_000_000}))
            await told(one, "error")
            async with here.session():
                with pytest.raises(InvalidStatus) as refused:
                    await here.session()
                assert refused.value.response.status_code == 429
            for replica in here.replicas:
                await off_loop(replica.stop)
            for connection in (one, two):
                with pytest.raises(ConnectionClosed) as closed:
                    await told(connection, "nothing more")
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1001
        # Nobody is left; nginx says so itself.
        with pytest.raises(InvalidStatus) as refused:
            await here.session()
        assert refused.value.response.status_code == 502


async def test_a_session_may_be_quiet_for_longer_than_nginx_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's pings are what nginx sees of it: they come more often than it looks."""
    wait = "proxy_read_timeout 60s;"
    assert wait in blocks("nginx")[0] and 2 * listening.PING_S < 60
    monkeypatch.setattr(listening, "PING_S", 0.4)

    async def talk(link: Link, opening: Opening) -> None:
        async for _, message in link.messages():
            link.send(str(message))

    with site(tmp_path, places={wait: "proxy_read_timeout 1s;"}) as here:
        async with (
            served(talk, port=here.replicas[0].port),
            here.session(ping_interval=None) as connection,
        ):
            await asyncio.sleep(3)
            await connection.send("still here")
            async with asyncio.timeout(WAIT_S):
                assert await connection.recv() == "still here"


async def test_with_tls(tmp_path: Path) -> None:
    (pem, key), context = certified(tmp_path)
    port = free_port()
    secure = {
        "listen 80;": blocks("nginx")[1],
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        "/etc/ssl/voice.example.org.pem": str(pem),
        "/etc/ssl/voice.example.org.key": str(key),
    }
    with site(tmp_path, places=secure) as here:
        await off_loop(here.replicas[0].start)
        url = f"wss://127.0.0.1:{port}/v1/realtime"
        async with connect(url, ssl=context, additional_headers=KEY) as connection:
            await told(connection)


def test_a_comparison_reaches_them_through_nginx(tmp_path: Path) -> None:
    with site(tmp_path) as here:
        here.replicas[0].start()
        outcome = run(
            *("compare", part_of_corpus(tmp_path / "corpus", 1), "--path", here.url),
            *("--repeat", "1", "--reply-seconds", "0.3", "--out", tmp_path / "out"),
            env={"CASCADE_REALTIME_KEY": TOKEN},
        )
        assert outcome.code == 0, outcome.err
        made = CONVERSATIONS.read(tmp_path / "out" / CONVERSATIONS.name)[1]
        for one in made:
            assert one.status == "ok"
            (turn,) = one.turns
            assert turn.record.reply == ANSWER
            assert turn.record.timeline is not None
        assert made
