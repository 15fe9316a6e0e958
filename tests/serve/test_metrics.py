"""What Prometheus is told, as Prometheus reads it."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.types import Message
from starlette.websockets import WebSocket

from pipeline.driver import Over
from pipeline.events import Usage
from pipeline.serve.metrics import Metrics
from pipeline.trace import PARTS

MS = 1_000_000
MARKS = {
    "speech.end": 0,
    "committed": 300 * MS,
    "stt.start": 310 * MS,
    "stt.final": 410 * MS,
    "llm.request": 410 * MS,
    "llm.first_token": 600 * MS,
    "clause.first": 630 * MS,
    "tts.start": 630 * MS,
    "tts.first_audio": 700 * MS,
    "playout.first": 700 * MS,
    "heard.first": 720 * MS,
}


def transport(app: Any) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://here")


async def told(metrics: Metrics) -> dict[tuple[str, str], float]:
    """All samples, by name and labels."""
    async with transport(Starlette(routes=metrics.routes())) as client:
        answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def test_where_the_time_of_a_turn_went() -> None:
    metrics = Metrics()
    over: Over = metrics.over
    over(1, MARKS, Usage(1, 100, 40, 7))
    over(2, {**MARKS, "interrupted": 800 * MS}, None)
    over(3, {"speech.end": 0, "committed": 1, "failed": 2}, None)
    over(4, {"speech.end": 0, "committed": 1}, None)
    found = await told(metrics)
    for part in PARTS:
        assert found["cascade_turn_part_seconds_count", part] == 2
    assert found["cascade_turn_part_seconds_sum", "endpoint"] == pytest.approx(0.6)
    assert found["cascade_turn_part_seconds_sum", "llm_first_token"] == pytest.approx(0.38)
    assert found["cascade_voice_to_voice_seconds_sum", ""] == pytest.approx(1.44)
    assert found["cascade_voice_to_voice_seconds_bucket", "0.75"] == 2
    assert found["cascade_voice_to_voice_seconds_bucket", "0.5"] == 0
    ends = {end: found["cascade_turns_total", end] for end in ("heard", "interrupted")}
    assert ends == {"heard": 1, "interrupted": 1}
    assert found["cascade_turns_total", "failed"] == found["cascade_turns_total", "silent"] == 1
    kinds = {kind: found["cascade_llm_tokens_total", kind] for kind in ("input", "output")}
    assert kinds == {"input": 100, "output": 7}


async def test_sessions_and_refusals() -> None:
    metrics = Metrics()
    with metrics.session(), pytest.raises(ValueError, match="x"), metrics.session():
        assert (await told(metrics))["cascade_sessions_open", ""] == 2
        raise ValueError("x")
    metrics.refused("invalid_api_key")
    found = await told(metrics)
    assert found["cascade_sessions_open", ""] == 0
    assert found["cascade_sessions_opened_total", ""] == 2
    assert found["cascade_sessions_closed_total", ""] == 2
    assert found["cascade_refusals_total", "invalid_api_key"] == 1


async def test_requests_are_counted_by_route_whatever_the_path() -> None:
    metrics = Metrics()

    async def item(request: Request) -> Response:
        await request.body()
        return PlainTextResponse("four")

    app = metrics.counted(
        Starlette(
            routes=[Mount("/", Starlette(routes=[Route("/items/{id}", item, methods=["POST"])]))]
        )
    )
    async with transport(app) as client:
        for name in ("a", "b", "c"):
            assert (await client.post(f"/items/{name}", content=b"123")).text == "four"
        await client.get("/items/a")
        await client.get("/nowhere/secret")
    found = await told(metrics)
    assert found["cascade_requests_total", "/items/{id},200"] == 3
    assert found["cascade_requests_total", "/items/{id},405"] == 1
    assert found["cascade_requests_total", "none,404"] == 1
    assert found["cascade_bytes_total", "in"] == 9
    assert found["cascade_bytes_total", "out"] >= 12
    assert "secret" not in str(found)


async def test_the_bytes_of_a_socket_are_counted() -> None:
    metrics = Metrics()

    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(await socket.receive_text() * 2)

    coming: list[Message] = [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": "abc"},
    ]

    async def receive() -> Message:
        return coming.pop(0)

    async def send(message: Message) -> None:
        pass

    scope = {
        "type": "websocket",
        "path": "/",
        "headers": [],
        "query_string": b"",
        "subprotocols": [],
    }
    await metrics.counted(Starlette(routes=[WebSocketRoute("/", echo)]))(scope, receive, send)
    found = await told(metrics)
    assert (found["cascade_bytes_total", "in"], found["cascade_bytes_total", "out"]) == (3, 6)
