"""The application on a real socket, before and around a session."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from support.served import Served, nothing_breaks, served, sessions_of
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from pipeline.serve.access import SUBPROTOCOL_KEY, Access
from pipeline.serve.app import SESSIONS_A_KEY
from pipeline.serve.connection import Connection
from pipeline.serve.link import Link, Opening
from pipeline.serve.metrics import Metrics

pytestmark = pytest.mark.usefixtures(nothing_breaks.__name__)

TOKEN = "0123456789abcdefghij"
SOON_S = 20.0


async def told(link: Link, opening: Opening) -> None:
    """A session that tells how it was opened, and stays."""
    link.send(json.dumps([opening.model, opening.intent, dict(opening.session)]))
    await asyncio.Event().wait()


async def opened(server: Served, query: str = "", **more: Any) -> list[Any]:
    async with asyncio.timeout(SOON_S), connect(server.url + query, **more) as client:
        found: list[Any] = json.loads(await client.recv())
        return found


async def refused(server: Served, query: str = "", **more: Any) -> tuple[int, dict[str, Any]]:
    """The status and the error with which a WebSocket is refused before its upgrade."""
    with pytest.raises(InvalidStatus) as failed:
        await opened(server, query, **more)
    response = failed.value.response
    assert response.headers["Content-Type"] == "application/json"
    error = json.loads(response.body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    error["retry_after"] = response.headers.get("Retry-After")
    return response.status_code, error


async def key_for(server: Served, body: Any = None, token: str = "") -> httpx2.Response:
    async with httpx2.AsyncClient(base_url=server.http) as client:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return await client.post("/v1/realtime/client_secrets", json=body or {}, headers=headers)


async def test_what_a_client_asks_for_when_it_connects() -> None:
    async with served(told) as server:
        assert await opened(server) == ["", "realtime", {}]
        assert await opened(server, "?model=gpt-realtime-2.1") == [
            "gpt-realtime-2.1",
            "realtime",
            {},
        ]
        found = await opened(server, "?intent=transcription")
        assert found == ["", "transcription", {}]
        for query in ("?intent=world-peace", "?call_id=rtc_1"):
            status, error = await refused(server, query)
            assert (status, error["code"]) == (400, "invalid_value")


async def test_a_subprotocol_is_answered_to_those_who_offer_one() -> None:
    async with served(told) as server:
        async with connect(server.url) as client:
            assert client.subprotocol is None
        offered = ["openai-agents-sdk.0.20", "realtime", SUBPROTOCOL_KEY + "none"]
        async with connect(server.url, subprotocols=offered) as client:  # type: ignore[arg-type]
            assert client.subprotocol == "realtime"
        other = ["openai-agents-sdk.0.20"]
        async with connect(server.url, subprotocols=other) as client:  # type: ignore[arg-type]
            assert client.subprotocol is None


async def test_messages_are_not_compressed_whatever_a_client_offers() -> None:
    async with served(told) as server, connect(server.url, compression="deflate") as client:
        assert client.response is not None
        assert "Sec-WebSocket-Extensions" not in client.response.headers


async def test_who_may_not_come_in_is_told_so_before_the_upgrade(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "uvicorn")
    async with served(told, Access(TOKEN)) as server:
        assert (await refused(server))[0] == 401
        wrong = {"Authorization": "Bearer wrong"}
        status, error = await refused(server, additional_headers=wrong)
        assert (status, error["code"]) == (401, "invalid_api_key")
        status, error = await refused(server, f"?api_key={TOKEN}")
        assert (status, error["code"]) == (401, "invalid_api_key")
        assert "URL" in error["message"]
        offered = ["realtime", SUBPROTOCOL_KEY + TOKEN]
        assert await opened(server, subprotocols=offered)
        assert await opened(server, additional_headers={"Authorization": f"Bearer {TOKEN}"})
    assert TOKEN not in caplog.text
    async with served(told) as server:
        status, error = await refused(server, origin="http://evil.example")
        assert (status, error["code"]) == (403, "forbidden_origin")
        assert await opened(server, origin=server.http)
        host = {"Host": f"evil.example:{server.port}"}
        async with httpx2.AsyncClient(base_url=server.http) as client:
            assert (await client.get("/v1/models", headers=host)).status_code == 403


async def test_an_event_waits_for_no_acknowledgement_of_the_one_before() -> None:
    nodelay: list[int] = []

    async def talk(link: Connection, opening: Opening) -> None:
        assert link._transport is not None
        connection = link._transport.get_extra_info("socket")
        nodelay.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        await told(link, opening)

    async with served(talk) as server:
        await opened(server)
    assert nodelay[0] != 0


async def test_other_paths_and_methods_are_told_what_is_wrong(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served(told) as server:
        status, error = await refused(server, "/else")
        assert (status, error["code"]) == (404, "not_found")
        assert "/v1/realtime" in error["message"]
        async with httpx2.AsyncClient(base_url=server.http) as client:
            for path, method, wanted in (
                ("/v1/realtime", "GET", 426),
                ("/nowhere", "GET", 404),
                ("/v1/realtime/client_secrets", "GET", 405),
                ("/healthz", "POST", 405),
                ("/healthz/", "GET", 404),
            ):
                response = await client.request(method, path)
                assert response.status_code == wanted
                assert response.json()["error"]["type"] == "invalid_request_error"
    # No failure of the server: whoever asks for nothing fills no log.
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_one_session_too_many_is_told_when_to_come_again() -> None:
    metrics = Metrics()
    sessions = sessions_of(told, 2, metrics=metrics)

    async def count(server: Served, line: str) -> None:
        """Wait until the metrics have it."""
        async with httpx2.AsyncClient(base_url=server.http) as client:
            async with asyncio.timeout(SOON_S):
                while line not in (await client.get("/metrics")).text.splitlines():
                    await asyncio.sleep(0.01)

    async with served(sessions, public=metrics.routes()) as server:
        async with connect(server.url) as first:
            async with connect(server.url):
                status, error = await refused(server)
                assert (status, error["code"]) == (503, "server_overloaded")
                assert error["type"] == "server_error"
                assert int(error["retry_after"]) > 0
                # A browser does not tell its page why; the page asks again, plainly.
                async with httpx2.AsyncClient(base_url=server.http) as client:
                    plain = await client.get("/v1/realtime")
                assert plain.json()["error"]["code"] == "server_overloaded"
                assert plain.headers["Retry-After"] == error["retry_after"]
                await count(server, "cascade_sessions_open 2.0")
            await count(server, "cascade_sessions_open 1.0")
            assert await opened(server)
            await first.send("still here")
        await count(server, "cascade_sessions_open 0.0")
        await count(server, "cascade_sessions_opened_total 3.0")
        await count(server, 'cascade_refusals_total{reason="server_overloaded"} 1.0')


async def test_one_address_may_have_so_many_sessions() -> None:
    async with served(sessions_of(told, each=1)) as server:
        key = {"Authorization": f"Bearer {(await key_for(server)).json()['value']}"}
        async with connect(server.url):
            status, error = await refused(server)
            assert (status, error["code"]) == (429, "too_many_sessions")
            assert error["retry_after"] is not None
            assert await opened(server, additional_headers=key)  # it counts by itself
        async with asyncio.timeout(SOON_S):
            while len(server.sessions):
                await asyncio.sleep(0.01)
        assert await opened(server)


async def test_an_ephemeral_key_opens_the_session_that_it_was_made_for() -> None:
    async with served(told, Access(TOKEN)) as server:
        assert (await key_for(server)).status_code == 401
        session = {
            "type": "realtime",
            "model": "gpt-realtime-2.1",
            "instructions": "Be brief.",
            "audio": {"output": {"voice": "cedar"}},
        }
        made = await key_for(server, {"session": session}, TOKEN)
        assert made.status_code == 200
        secret = made.json()
        assert set(secret) == {"value", "expires_at", "session"}
        assert secret["session"]["instructions"] == "Be brief."
        assert secret["session"]["audio"]["output"]["voice"] == "cedar"
        assert secret["session"]["audio"]["output"]["speed"] == 1.0
        assert secret["session"]["model"] == "gpt-realtime-2.1"
        offered = ["realtime", SUBPROTOCOL_KEY + secret["value"]]
        origin = "https://elsewhere.example"
        model, intent, given = await opened(server, subprotocols=offered, origin=origin)
        assert (model, intent) == ("gpt-realtime-2.1", "realtime")
        assert given == {name: session[name] for name in ("type", "instructions", "audio")}
        # What it is for is not the client's to say, and it is no token.
        found = await opened(server, "?model=gpt-9&intent=transcription", subprotocols=offered)
        assert found[:2] == ["gpt-realtime-2.1", "realtime"]
        assert (await key_for(server, token=secret["value"])).status_code == 401


async def test_what_a_session_has_by_default_is_told_with_its_key() -> None:
    async with served(told, instructions="Speak like a pirate.") as server:
        session = (await key_for(server)).json()["session"]
        assert session["instructions"] == "Speak like a pirate."
        own = {"type": "realtime", "instructions": ""}
        assert (await key_for(server, {"session": own})).json()["session"]["instructions"] == ""


async def test_a_key_may_be_for_a_transcription() -> None:
    async with served(told) as server:
        session = {"type": "transcription", "audio": {"input": {"turn_detection": None}}}
        secret = (await key_for(server, {"session": session})).json()
        assert secret["session"]["type"] == "transcription"
        assert secret["session"]["audio"]["input"]["turn_detection"] is None
        headers = {"Authorization": f"Bearer {secret['value']}"}
        assert await opened(server, additional_headers=headers) == ["", "transcription", session]


async def test_a_key_is_for_one_browser() -> None:
    async with served(told) as server, contextlib.AsyncExitStack() as stack:
        secret = (await key_for(server)).json()["value"]
        headers = {"Authorization": f"Bearer {secret}"}
        for _ in range(SESSIONS_A_KEY):
            await stack.enter_async_context(connect(server.url, additional_headers=headers))
        status, error = await refused(server, additional_headers=headers)
        assert (status, error["code"]) == (429, "too_many_sessions")
        assert error["retry_after"] is not None
        assert await opened(server)  # others have room


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"expires_after": {"anchor": "created_at", "seconds": 9}}, "expires_after.seconds"),
        ({"expires_after": {"anchor": "created_at", "seconds": 7201}}, "expires_after.seconds"),
        ({"expires_after": {"anchor": "yesterday", "seconds": 60}}, "expires_after.anchor"),
        ({"session": {"audio": {"output": {"speed": 99}}}}, "session.audio.output.speed"),
        ({"session": {"type": "telepathy"}}, "session.type"),
        ({"session": {"model": 5}}, "session.model"),
        ({"session": []}, "session"),
        ({"unknown": 1}, "unknown"),
        ([0], None),
        ("text", None),
        (b"{", None),
        (b"\xff", None),
        (b"[" * 50_000, None),
        ({"session": {"type": "realtime", "instructions": "x" * 65536}}, None),
    ],
)
async def test_no_key_is_made_for_what_cannot_be(body: Any, param: str | None) -> None:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with served(told) as server, httpx2.AsyncClient(base_url=server.http) as client:
        response = await client.post("/v1/realtime/client_secrets", content=sent)
    assert response.status_code == (400 if len(sent) < 65536 else 413)
    error = response.json()["error"]
    assert error["message"] and error["param"] == param


async def test_openais_client_makes_keys() -> None:
    async with served(told, Access(TOKEN)) as server:
        sdk = AsyncOpenAI(api_key=TOKEN, base_url=f"{server.http}/v1")
        secret = await sdk.realtime.client_secrets.create(
            expires_after={"anchor": "created_at", "seconds": 30},
            session={"type": "realtime", "instructions": "Be brief."},
        )
        assert secret.session.type == "realtime"
        assert secret.session.instructions == "Be brief."
        other = AsyncOpenAI(api_key="wrong", base_url=f"{server.http}/v1", max_retries=0)
        with pytest.raises(openai.AuthenticationError):
            await other.realtime.client_secrets.create()
        for each in (sdk, other):
            await each.close()


async def test_it_is_alive_before_it_is_ready_and_serves_when_it_is() -> None:
    sessions = sessions_of(told)
    sessions.state = "loading"
    async with served(sessions) as server, httpx2.AsyncClient(base_url=server.http) as client:
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz")).status_code == 503
        status, error = await refused(server)
        assert (status, error["code"], error["retry_after"]) == (503, "loading", "1")
        sessions.state = "ready"
        assert (await client.get("/readyz")).status_code == 200
        assert await opened(server)
        await sessions.drain()
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz")).status_code == 503
        status, error = await refused(server)
        assert (status, error["code"]) == (503, "draining")


async def test_what_is_public_needs_no_token_and_health_needs_none() -> None:
    page = Route("/", lambda _: PlainTextResponse("welcome"))
    async with (
        served(told, Access(TOKEN), public=[page]) as server,
        httpx2.AsyncClient(base_url=server.http) as client,
    ):
        for path, status in (("/", 200), ("/healthz", 200), ("/readyz", 200), ("/v1/models", 401)):
            assert (await client.get(path)).status_code == status


async def test_a_request_that_fails_is_logged_and_its_client_told_no_more_than_that(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("what only the log may say")

    async with (
        served(told, routes=[Route("/v1/models", fail)]) as server,
        httpx2.AsyncClient(base_url=server.http) as client,
    ):
        response = await client.get("/v1/models?secret=5")
        assert response.status_code == 500
        assert response.json()["error"]["code"] == "server_error"
        assert "log" not in response.text
    [record] = [record for record in caplog.records if record.levelno >= 40]
    assert record.getMessage() == "a request failed: RuntimeError: what only the log may say"
    caplog.clear()
