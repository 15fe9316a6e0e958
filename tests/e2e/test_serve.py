"""`cascade serve` as people start it, and how it is stopped."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from servers.llm_server import ROLE, Answer, LlmServer, delta, hang, reply
from support.cli_child import (
    Child,
    recording,
    run_here,
    scripted,
    with_endless_loading,
    with_stub,
)
from support.realtime_client import RATE, Client, connected, silence
from support.serve_child import ServeChild, cascade_serve, free_port
from support.served import certified
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from pipeline.audio.files import read_audio
from pipeline.errors import INTERRUPTED

TOKEN = "0123456789abcdefghij"
QUESTION = np.concatenate([*read_audio(recording(5), RATE)])


SHORT = reply("The museum leaves on foot.")
ENDLESS = Answer([ROLE, delta("The museum leaves on foot. It is late. And then"), hang])


@dataclass(frozen=True)
class Server:
    """A `cascade serve` that listens, and its language model."""

    there: ServeChild
    llm: LlmServer

    @property
    def child(self) -> Child:
        return self.there.child

    @property
    def http(self) -> str:
        return self.there.http

    @property
    def realtime(self) -> str:
        return self.there.realtime

    @property
    def url(self) -> str:
        """The base URL, as the simulated server has it."""
        return self.realtime.removesuffix("/realtime")


@asynccontextmanager
async def serving(
    *options: str, answer: Answer = SHORT, env: dict[str, str] | None = None
) -> AsyncIterator[Server]:
    """With a language model that gives this answer, unless the options name another."""
    with (
        scripted(reply("Hello."), otherwise=answer) as llm,
        cascade_serve("--llm", llm.url, *options, env=env) as there,
    ):
        yield Server(there, llm)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
async def test_it_serves_until_it_is_told_to_stop(sign: signal.Signals) -> None:
    """Whatever its clients do; all that it says are two lines for people and one for programs."""
    async with serving("--llm", "embedded") as server:
        async with httpx2.AsyncClient(base_url=server.http) as client:
            assert (await client.get("/healthz")).status_code == 200
            assert (await client.get("/readyz")).status_code == 200
            assert "<html" in (await client.get("/")).text
            assert (await client.get("/v1/models")).json()["object"] == "list"
            assert "cascade_sessions_open" in (await client.get("/metrics")).text
        async with connect(server.realtime) as client:
            assert json.loads(await client.recv())["type"] == "session.created"
            began = time.monotonic()
            server.child.signal(sign)
            with pytest.raises(ConnectionClosed):
                while True:
                    await client.recv()
            assert (client.close_code, client.close_reason) == (1001, "The server stops.")
        outcome = await asyncio.to_thread(server.child.finish)
        assert time.monotonic() - began < 2 + 3, "2 s, and the end of a Python"
        assert outcome.code == 0
        assert outcome.out.count("\n") == 1
        loading, listening = outcome.err.splitlines()
        assert loading.startswith("loading whisper-mini-en, ")
        assert server.http in listening


async def test_a_spoken_conversation_over_the_public_command() -> None:
    async with serving() as server, connected(server) as client:  # type: ignore[arg-type]
        await client.setup()
        await client.hear(QUESTION, silence(2.0))
        done = (await client.event("response.done"))["response"]
        assert done["status"] == "completed"
        said = client.of("conversation.item.input_audio_transcription.completed")
        assert "museum" in said[0]["transcript"].lower()
        assert done["output"][0]["content"][0]["transcript"] == "The museum leaves on foot."
        assert len(client.heard()) > RATE
        assert client.grammar.finish() == []


@asynccontextmanager
async def mid_reply(server: Server) -> AsyncIterator[Client]:
    """A client that hears a reply whose end the language model never writes."""
    async with connected(server) as client:  # type: ignore[arg-type]
        await client.setup()
        await client.hear(QUESTION, silence(2.0))
        await client.event("response.output_audio.delta")
        yield client


async def test_a_client_that_leaves_mid_reply_frees_everything() -> None:
    async with serving(answer=ENDLESS) as server:
        async with mid_reply(server) as client:
            request = server.llm.requests[-1]
            assert not request.fate.done()
            client.sdk._connection.transport.abort()
            assert await asyncio.wait_for(asyncio.wrap_future(request.fate), 5) == "abandoned"
        async with httpx2.AsyncClient(base_url=server.http) as other:
            metrics = (await other.get("/metrics")).text.splitlines()
        assert "cascade_sessions_opened_total 1.0" in metrics
        assert "cascade_sessions_open 0.0" in metrics


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
async def test_it_stops_in_the_middle_of_a_reply() -> None:
    async with serving(answer=ENDLESS) as server, mid_reply(server) as client:
        began = time.monotonic()
        server.child.signal(signal.SIGTERM)
        closed = await client.end()
        assert closed.rcvd is not None
        assert closed.rcvd.code == 1001
        assert (await asyncio.to_thread(server.child.finish)).code == 0
        assert time.monotonic() - began < 2 + 3, "2 s, and the end of a Python"


async def test_a_token_in_the_environment_is_what_clients_present_and_is_never_logged() -> None:
    async with serving("--debug", env={"CASCADE_SERVE__TOKEN": TOKEN}) as server:
        with pytest.raises(InvalidStatus) as failed:
            async with connect(server.realtime):
                pass
        assert failed.value.response.status_code == 401
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with connect(server.realtime, additional_headers=headers) as client:
            assert json.loads(await client.recv())["type"] == "session.created"
        offered = ["realtime", f"openai-insecure-api-key.{TOKEN}"]
        async with connect(server.realtime, subprotocols=offered) as client:  # type: ignore[arg-type]
            assert json.loads(await client.recv())["type"] == "session.created"
        with pytest.raises(InvalidStatus):
            await connect(f"{server.realtime}?token={TOKEN}", additional_headers=headers)
        async with httpx2.AsyncClient(base_url=server.http, headers=headers) as client:
            assert (await client.get("/v1/models")).status_code == 200
            assert (await client.get(f"/v1/models?token={TOKEN}")).status_code == 401
        server.child.signal(signal.SIGTERM)
        outcome = await asyncio.to_thread(server.child.finish)
        assert TOKEN not in outcome.out + outcome.err


async def test_with_a_certificate_it_speaks_tls(tmp_path: Path) -> None:
    (cert, key), trusted = certified(tmp_path)
    async with serving("--tls", str(cert), str(key)) as server:
        assert server.realtime.startswith("wss://")
        async with connect(server.realtime, ssl=trusted) as client:
            assert json.loads(await client.recv())["type"] == "session.created"


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
async def test_it_can_be_stopped_while_its_models_load(tmp_path: Path) -> None:
    port = free_port()
    child = Child("serve", "--port", str(port), env=with_endless_loading(tmp_path))
    await asyncio.to_thread(child.wait_for, "loading")
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz")).json()["error"]["code"] == "loading"
    child.signal(signal.SIGTERM)
    assert (await asyncio.to_thread(child.finish)).code == INTERRUPTED


async def test_what_is_spoken_when_it_stops_is_cut_off() -> None:
    body = {"input": "This is said to nobody in particular. " * 100, "response_format": "pcm"}
    async with serving() as server, httpx2.AsyncClient() as client:
        url = f"{server.http}/v1/audio/speech"
        async with client.stream("POST", url, json=body) as answer:
            blocks = answer.aiter_bytes()
            await anext(blocks)
            server.child.signal(signal.SIGTERM)
            outcome = await asyncio.to_thread(server.child.finish)
            with pytest.raises(httpx2.HTTPError):
                while True:
                    await anext(blocks)
    assert outcome.code == 0
    assert len(outcome.err.splitlines()) == 2, outcome.err


def _one(*words: str, **more: Any) -> tuple[int, str]:
    """The exit code, and the one or two lines that say what is wrong."""
    outcome = run_here("serve", *words, **more)
    assert len(outcome.err.splitlines()) <= 2
    return outcome.code, outcome.err


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        code, said = _one("--port", str(other.getsockname()[1]))
    assert code == 2
    assert "address already in use: name another with --port" in said


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_address_that_others_reach_needs_a_token(host: str) -> None:
    code, said = _one("--host", host, "--port", "0")
    assert code == 2
    assert "CASCADE_SERVE__TOKEN" in said


def test_a_host_that_there_is_not() -> None:
    code, said = _one("--host", "nowhere.invalid")
    assert code == 2
    assert "nowhere.invalid: there is no such host" in said


def test_a_token_is_not_told_even_if_it_is_wrong() -> None:
    code, said = _one(env={"CASCADE_SERVE__TOKEN": "too short"})
    assert code == 2
    assert "serve.token" in said
    assert "too short" not in said


def test_a_certificate_that_is_none(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("no certificate")
    for cert in (file, tmp_path / "nothing"):
        code, said = _one("--port", "0", "--tls", str(cert), str(file))
        assert code == 2
        assert said.startswith("error: --tls")
    assert "no such file" in said.lower()
    assert "in PEM" in _one("--port", "0", "--tls", str(file), str(file))[1]


def test_without_its_packages_it_says_how_to_get_them(tmp_path: Path) -> None:
    stub = with_stub(tmp_path, "uvicorn", "raise ModuleNotFoundError('', name='uvicorn')")
    outcome = Child("serve", env=stub).finish()
    assert outcome.code == 2
    assert outcome.errors == [
        "error: serve: needs uvicorn: pip install 'voice-cascade[serve]' brings it"
    ]
