"""What a server tells Prometheus: where its turns' time went, who came, what was refused."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.events import Usage
from pipeline.trace import Timeline

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10)
"""Upper bounds (s): finest where a conversation is good or no longer good."""

NO_ROUTE = "none"
"""The route of a request that none answers."""


class Metrics:
    """A server's metrics, in a registry of their own. Not thread-safe: for the event loop."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self._voice_to_voice = Histogram(
            "cascade_voice_to_voice_seconds",
            "From the user's last voiced sample to the first audible sample of the reply",
            buckets=BUCKETS_S,
            registry=registry,
        )
        self._parts = Histogram(
            "cascade_turn_part_seconds",
            "What each part of a turn has of its voice-to-voice latency",
            ["part"],
            buckets=BUCKETS_S,
            registry=registry,
        )
        self._turns = Counter(
            "cascade_turns", "Turns that are over, by how they ended", ["end"], registry=registry
        )
        self._tokens = Counter(
            "cascade_llm_tokens",
            "Tokens that the model read and wrote",
            ["kind"],
            registry=registry,
        )
        self._open = Gauge("cascade_sessions_open", "Conversations under way", registry=registry)
        self._opened = Counter("cascade_sessions_opened", "Conversations begun", registry=registry)
        self._closed = Counter("cascade_sessions_closed", "Conversations over", registry=registry)
        self._refused = Counter(
            "cascade_refusals", "Who was not let in, by the reason", ["reason"], registry=registry
        )
        self._requests = Counter(
            "cascade_requests",
            "Answered, by route and status",
            ["route", "status"],
            registry=registry,
        )
        self._bytes = Counter(
            "cascade_bytes",
            "Of messages and bodies, by direction",
            ["direction"],
            registry=registry,
        )

    def over(self, turn: int, marks: Mapping[str, int], usage: Usage | None) -> None:
        """Take a turn that is over (`pipeline.driver.Over`)."""
        timeline = Timeline.from_marks(marks)
        ends = [end for end in ("failed", "interrupted") if end in marks]
        self._turns.labels(ends[0] if ends else "heard" if timeline else "silent").inc()
        if timeline is not None:
            self._voice_to_voice.observe(timeline.total_ns / 1e9)
            for part, ns in timeline.parts.items():
                self._parts.labels(part).observe(ns / 1e9)
        if usage is not None:
            self._tokens.labels("input").inc(usage.input_tokens)
            self._tokens.labels("cached").inc(usage.cached_tokens)
            self._tokens.labels("output").inc(usage.output_tokens)

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """A conversation is under way."""
        self._opened.inc()
        self._open.inc()
        try:
            yield
        finally:
            self._open.dec()
            self._closed.inc()

    def refused(self, reason: str) -> None:
        """Somebody was not let in; `reason` is one of few codes, such as `invalid_api_key`."""
        self._refused.labels(reason).inc()

    def counted(self, app: ASGIApp) -> ASGIApp:
        """An application whose requests, and the bytes of all that it gets and sends, are counted.

        A route is counted by its pattern, for a client chooses the path.
        """
        came, went = self._bytes.labels("in"), self._bytes.labels("out")

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            async def received() -> Message:
                message = await receive()
                came.inc(_size(message))
                return message

            async def sent(message: Message) -> None:
                if "status" in message:
                    route = getattr(scope.get("route"), "path", "") or NO_ROUTE
                    self._requests.labels(route, message["status"]).inc()
                went.inc(_size(message))
                await send(message)

            await app(scope, received, sent)

        return application

    def routes(self) -> list[Route]:
        """`GET /metrics`, in Prometheus' text format."""

        async def metrics(request: Request) -> Response:
            return Response(
                generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
            )

        return [Route("/metrics", metrics)]


def _size(message: Message) -> int:
    """The bytes of what a message of HTTP or a WebSocket carries."""
    return sum(len(message.get(key) or b"") for key in ("body", "bytes", "text"))
