"""A session's turns as OpenTelemetry spans (extra `otel`), for whoever watches many of them.

A turn is a span, and each stage a span in it. What the GenAI semantic conventions have a name for
bears that name: the request to the language model is a `chat`, with its model and its tokens. They
know no name for a recognition or a voice, so these are called what they are, with the model in
`gen_ai.request.model` all the same. No span holds anything that was said.

    async with exported(trace.session, settings.llm, engines.names, clock) as spans:
        if spans is not None:
            spans.turn(1, trace.marks(1), usage)

Spans are sent by a thread of their own. Whatever goes wrong there is a warning, never an error of
the conversation's.

Conventions: OpenTelemetry semantic conventions 1.41, `gen-ai-spans` (in development, so that names
may still change): https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from pipeline.clock import Clock
from pipeline.config import LlmSettings
from pipeline.engines.servers import chat_server
from pipeline.errors import BadInput
from pipeline.events import Usage
from pipeline.trace import Timeline

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

SCOPE = "voice-cascade"
"""The instrumentation's name, and the service's where the environment gives none."""

GROUP = "opentelemetry_traces_exporter"
"""Where exporters register themselves."""

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""Variables that name a collector, and so ask for spans."""

CLOSE_S = 3.0
"""How long the end of a conversation waits for the last spans to be sent. The SDK itself would wait
for half a minute where nobody answers."""

LOCAL = "voice_cascade"
"""`gen_ai.provider.name` of a model inside this process, which has no provider."""

STAGES = (
    ("endpoint", "", "speech.end", "committed"),
    ("recognise", "stt", "stt.start", "stt.final"),
    ("chat", "llm", "llm.request", "llm.last_token"),
    ("speak", "tts", "tts.start", "tts.last_audio"),
    ("play", "", "playout.first", "playout.last"),
)
"""The spans within a turn: name, kind of model, first mark, last mark."""

MOMENTS = ("vad.stop", "provisional", "committed", "clause.first", "heard.first", "interrupted")
"""Marks that are events of a turn's span."""

log = logging.getLogger(__name__)


class TurnSpans:
    """Makes spans of turns that are over."""

    def __init__(
        self,
        provider: TracerProvider,
        session: str,
        models: Mapping[str, str],
        llm_provider: str,
        offset_ns: int,
    ) -> None:
        """Prepare.

        Args:
            provider: Takes the spans.
            session: The session's name (`Trace.session`).
            models: Names by kind (`stt`, `llm`, `tts`).
            llm_provider: Who runs the language model, in the words of the conventions.
            offset_ns: From the session's clock to the time since 1970 (ns).
        """
        self._tracer = provider.get_tracer(SCOPE)
        self._session = session
        self._models = models
        self._offset_ns = offset_ns
        self._llm_provider = llm_provider

    def turn(self, turn: int, marks: Mapping[str, int], usage: Usage | None = None) -> None:
        """Make the spans of a turn. If that fails there is a warning, and no error.

        Args:
            turn: Its number.
            marks: Its marks (ns, on the session's clock); without any there is no span.
            usage: What its reply cost, if that is known.
        """
        try:
            self._make(turn, marks, usage)
        except Exception as error:
            log.warning("turn %d has no spans: %s: %s", turn, type(error).__name__, error)

    def _make(self, turn: int, marks: Mapping[str, int], usage: Usage | None) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        if not marks:
            return
        begin, end = min(marks.values()), max(marks.values())
        root = self._tracer.start_span(
            "turn",
            kind=SpanKind.INTERNAL,
            start_time=begin + self._offset_ns,
            attributes=self._of_turn(turn, marks),
        )
        for name in MOMENTS:
            if name in marks:
                root.add_event(name, timestamp=marks[name] + self._offset_ns)
        if "failed" in marks:
            root.set_status(Status(StatusCode.ERROR))
        inside = set_span_in_context(root)
        for name, kind, first, last in STAGES:
            if first not in marks:
                continue
            model = self._models.get(kind, "")
            # What was stopped in the middle has no last mark.
            over = max(marks[first], marks.get(last, end))
            remote = kind == "llm" and self._llm_provider != LOCAL
            child = self._tracer.start_span(
                f"{name} {model}".rstrip(),
                context=inside,
                kind=SpanKind.CLIENT if remote else SpanKind.INTERNAL,
                start_time=marks[first] + self._offset_ns,
                attributes=self._of_stage(name, model, marks, usage),
            )
            child.end(over + self._offset_ns)
        root.end(end + self._offset_ns)

    def _of_turn(self, turn: int, marks: Mapping[str, int]) -> dict[str, Any]:
        told: dict[str, Any] = {"gen_ai.conversation.id": self._session, "cascade.turn": turn}
        timeline = Timeline.from_marks(marks)
        if timeline is not None:
            told["cascade.voice_to_voice_ms"] = timeline.total_ns / 1e6
            for part, ns in timeline.parts.items():
                told[f"cascade.part.{part}_ms"] = ns / 1e6
            for part, ns in timeline.hidden.items():
                told[f"cascade.hidden.{part}_ms"] = ns / 1e6
        return told

    def _of_stage(
        self, name: str, model: str, marks: Mapping[str, int], usage: Usage | None
    ) -> dict[str, Any]:
        told: dict[str, Any] = {"gen_ai.conversation.id": self._session}
        if model:
            told["gen_ai.request.model"] = model
        if name != "chat":
            return told
        told |= {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": self._llm_provider,
            "gen_ai.output.type": "text",
            "gen_ai.request.stream": True,
        }
        if "llm.first_token" in marks:
            waited = marks["llm.first_token"] - marks["llm.request"]
            told["gen_ai.response.time_to_first_chunk"] = waited / 1e9
        if usage is not None:
            told["gen_ai.usage.input_tokens"] = usage.input_tokens
            told["gen_ai.usage.output_tokens"] = usage.output_tokens
            told["gen_ai.usage.cache_read.input_tokens"] = usage.cached_tokens
        return told


def wanted() -> bool:
    """Whether the environment asks for spans: it names an exporter, or a collector for them."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    return bool(_named()) or (
        not os.environ.get("OTEL_TRACES_EXPORTER", "").strip()
        and any(os.environ.get(name) for name in ENDPOINTS)
    )


@contextlib.asynccontextmanager
async def exported(
    session: str,
    llm: LlmSettings,
    names: Mapping[str, str],
    clock: Clock,
    *,
    exporters: Callable[[], Sequence[SpanExporter]] | None = None,
    close_s: float = CLOSE_S,
) -> AsyncGenerator[TurnSpans | None]:
    """Spans that go where the environment says (`OTEL_TRACES_EXPORTER` and what it names).

    None where it asks for no spans, or, with a warning, where there can be none.

    Args:
        session: The session's name (`Trace.session`).
        llm: Settings of the language model.
        names: Names of the models by kind, as in a trace's first line.
        clock: The session's. Where it is put forward (`--fast`), spans are ahead of the time.
        exporters: Makes what sends them, whatever the environment says; None: as it says.
        close_s: How long the last spans may take to be sent, at the end (s).
    """
    if exporters is None and not wanted():
        yield None
        return
    try:
        # What it imports takes its time, and exporters may do anything.
        provider = await asyncio.to_thread(_provider, exporters or _exporters)
        spans = TurnSpans(provider, session, *_models(llm, names), time.time_ns() - clock.now_ns())
    except Exception as error:
        log.warning("no spans of the turns: %s", error)
        yield None
        return
    try:
        yield spans
    finally:
        # A thread that nobody has to wait for: not the loop, and not the end of the process.
        closing = threading.Thread(target=provider.shutdown, name="otel-close", daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, close_s)
        if closing.is_alive():
            log.warning("the last turns' spans could not be sent within %g s", close_s)


def _models(llm: LlmSettings, names: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """Names of the models by kind, and who runs the language model."""
    if llm.runs_here:
        return dict(names), LOCAL
    # What messages call a server is no model's name; without one it takes what it has.
    models = {**names, "llm": chat_server(llm).model}
    # By the conventions it is whose API is spoken that counts.
    return models, "ollama" if llm.model.startswith("ollama:") else "openai"


def _provider(exporters: Callable[[], Sequence[SpanExporter]]) -> TracerProvider:
    """Takes spans, and sends them in a thread of its own.

    Raises:
        BadInput: OpenTelemetry is not installed, or there is no such exporter.
    """
    try:
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise BadInput(
            "OpenTelemetry is not installed; pip install 'voice-cascade[otel]' brings it"
        ) from None
    # What the environment calls the service goes before.
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: SCOPE}
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    for exporter in exporters():
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _named() -> list[str]:
    """The exporters that `OTEL_TRACES_EXPORTER` names, without `none`."""
    names = os.environ.get("OTEL_TRACES_EXPORTER", "").split(",")
    return [name.strip() for name in names if name.strip() not in ("", "none")]


def _exporters() -> list[SpanExporter]:
    """Those that `OTEL_TRACES_EXPORTER` names, `otlp` if it names none.

    Raises:
        BadInput: One is not installed.
    """
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"
    )
    otlp = "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"
    registered = {point.name: point for point in entry_points(group=GROUP)}
    found: list[SpanExporter] = []
    for name in _named() or ["otlp"]:
        point = registered.get(otlp if name == "otlp" else name)
        if point is None:
            there = ", ".join(sorted(registered)) or "none"
            raise BadInput(
                f"OTEL_TRACES_EXPORTER={name}: there is no such exporter; installed are: {there}"
            )
        found.append(point.load()())
    return found
