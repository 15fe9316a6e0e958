"""A session's turns as OpenTelemetry spans (extra `otel`), for whoever watches many of them.

A turn is a span, and each stage a span in it. What the GenAI semantic conventions have a name for
bears that name: the request to the language model is a `chat`, with its model and its tokens. They
know no name for a recognition or a voice, so these are called what they are, with the model in
`gen_ai.request.model` all the same. No span holds anything that was said.

    with exported(session, models, offset_ns) as spans:
        spans.turn(1, trace.marks(1), usage)

Conventions: OpenTelemetry semantic conventions 1.41, `gen-ai-spans` (in development, so that names
may still change): https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from pipeline.errors import BadInput
from pipeline.events import Usage
from pipeline.timeline import Timeline

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

SCOPE = "voice-cascade"
"""The instrumentation's name, and the service's where the environment gives none."""

GROUP = "opentelemetry_traces_exporter"
"""Where exporters register themselves."""

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


class TurnSpans:
    """Makes spans of turns that are over."""

    def __init__(
        self,
        provider: TracerProvider,
        session: str,
        models: Mapping[str, str],
        offset_ns: int,
        llm_provider: str = LOCAL,
    ) -> None:
        """Prepare.

        Args:
            provider: Takes the spans.
            session: The session's name (`Trace.session`).
            models: Names by kind (`stt`, `llm`, `tts`), as in a trace's first line.
            offset_ns: From the session's clock to the time since 1970 (ns).
            llm_provider: Who runs the language model, in the words of the conventions.
        """
        self._tracer = provider.get_tracer(SCOPE)
        self._session = session
        self._models = models
        self._offset_ns = offset_ns
        self._llm_provider = llm_provider

    def turn(self, turn: int, marks: Mapping[str, int], usage: Usage | None = None) -> None:
        """Make the spans of a turn.

        Args:
            turn: Its number.
            marks: Its marks (ns, on the session's clock); without any there is no span.
            usage: What its reply cost, if that is known.
        """
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


@contextlib.contextmanager
def exported(
    session: str, models: Mapping[str, str], offset_ns: int, llm_provider: str = LOCAL
) -> Iterator[TurnSpans]:
    """Spans that go where the environment says (`OTEL_TRACES_EXPORTER` and what it names).

    Args:
        session: As for `TurnSpans`, like the rest.
        models: Names by kind.
        offset_ns: From the session's clock to the time since 1970 (ns).
        llm_provider: Who runs the language model.

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
    provider = TracerProvider(resource=Resource.create(named))
    for exporter in _exporters():
        provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        yield TurnSpans(provider, session, models, offset_ns, llm_provider)
    finally:
        provider.shutdown()


def _exporters() -> list[SpanExporter]:
    """Those that `OTEL_TRACES_EXPORTER` names, `otlp` if it names none."""
    wanted = os.environ.get("OTEL_TRACES_EXPORTER") or "otlp"
    found: list[SpanExporter] = []
    for name in (name.strip() for name in wanted.split(",")):
        if name == "none":
            continue
        registered = {point.name: point for point in entry_points(group=GROUP)}
        point = registered.get(_otlp() if name == "otlp" else name)
        if point is None:
            there = ", ".join(sorted(registered)) or "none"
            raise BadInput(
                f"OTEL_TRACES_EXPORTER={name}: there is no such exporter; installed are: {there}"
            )
        found.append(point.load()())
    return found


def _otlp() -> str:
    """The name under which the exporter for the wanted protocol is registered."""
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"
    )
    return "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"
