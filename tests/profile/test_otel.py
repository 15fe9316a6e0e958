"""Turns as OpenTelemetry spans: their shape, their names, and where they go."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import BadInput
from pipeline.events import Usage
from pipeline.timeline import Timeline

sdk = pytest.importorskip("opentelemetry.sdk.trace", reason="the extra otel is not installed")

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import (  # noqa: E402
    InMemorySpanExporter,
)
from opentelemetry.trace import SpanKind, StatusCode  # noqa: E402

from pipeline.profile.otel import LOCAL, TurnSpans, exported  # noqa: E402

MS = 1_000_000
OFFSET = 1_700_000_000_000_000_000
MODELS = {"stt": "whisper-mini-en", "llm": "qwen3:4b", "tts": "en_US-mini"}
MARKS = {
    name: at * MS
    for name, at in {
        "speech.start": 100,
        "speech.end": 1000,
        "committed": 1500,
        "stt.start": 1502,
        "stt.final": 1550,
        "llm.request": 1552,
        "llm.first_token": 1652,
        "llm.last_token": 1900,
        "clause.first": 1700,
        "tts.start": 1701,
        "tts.first_audio": 1740,
        "tts.last_audio": 2100,
        "playout.first": 1760,
        "heard.first": 1770,
        "playout.last": 4000,
        "heard.last": 3990,
    }.items()
}


def spans_of(
    marks: Mapping[str, int], usage: Usage | None = None, provider: str = LOCAL
) -> dict[str, ReadableSpan]:
    memory = InMemorySpanExporter()
    tracer_provider = TracerProvider()
    tracer_provider.add_span_processor(SimpleSpanProcessor(memory))
    spans = TurnSpans(tracer_provider, "abc", MODELS, OFFSET, provider)
    spans.turn(3, marks, usage)
    return {span.name: span for span in memory.get_finished_spans()}


def told(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_turn_is_a_span_with_its_stages_in_it() -> None:
    found = spans_of(MARKS)
    turn = found["turn"]
    assert turn.start_time == OFFSET + 100 * MS
    assert turn.end_time == OFFSET + 4000 * MS
    assert turn.parent is None
    stages = ["endpoint", "recognise whisper-mini-en", "chat qwen3:4b", "speak en_US-mini", "play"]
    assert set(found) == {"turn", *stages}
    for name in stages:
        parent = found[name].parent
        assert parent is not None
        assert parent.span_id == turn.get_span_context().span_id
    chat = found["chat qwen3:4b"]
    assert (chat.start_time, chat.end_time) == (OFFSET + 1552 * MS, OFFSET + 1900 * MS)
    assert [event.name for event in turn.events] == ["committed", "clause.first", "heard.first"]
    assert turn.status.status_code is StatusCode.UNSET


def test_the_parts_of_a_turn_sum_to_its_latency() -> None:
    attributes = told(spans_of(MARKS)["turn"])
    timeline = Timeline.from_marks(MARKS)
    assert timeline is not None
    assert attributes["cascade.voice_to_voice_ms"] == timeline.total_ns / 1e6 == 770
    parts = [value for name, value in attributes.items() if name.startswith("cascade.part.")]
    assert sum(parts) == pytest.approx(770)
    assert attributes["gen_ai.conversation.id"] == "abc"


def test_the_model_is_told_of_as_the_conventions_say() -> None:
    chat = spans_of(MARKS, Usage(3, 40, 30, 12), provider="openai")["chat qwen3:4b"]
    assert chat.kind is SpanKind.CLIENT
    assert told(chat) == {
        "gen_ai.conversation.id": "abc",
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "qwen3:4b",
        "gen_ai.request.stream": True,
        "gen_ai.output.type": "text",
        "gen_ai.response.time_to_first_chunk": 0.1,
        "gen_ai.usage.input_tokens": 40,
        "gen_ai.usage.output_tokens": 12,
        "gen_ai.usage.cache_read.input_tokens": 30,
    }
    assert spans_of(MARKS)["chat qwen3:4b"].kind is SpanKind.INTERNAL


def test_a_turn_that_was_stopped_or_failed_has_spans_too() -> None:
    stopped = {name: at for name, at in MARKS.items() if "last" not in name}
    found = spans_of({**stopped, "interrupted": 2500 * MS})
    assert found["chat qwen3:4b"].end_time == OFFSET + 2500 * MS
    assert "interrupted" in [event.name for event in found["turn"].events]
    failed = spans_of({"speech.end": 0, "committed": 1, "llm.request": 2, "failed": 3})
    assert failed["turn"].status.status_code is StatusCode.ERROR
    assert set(failed) == {"turn", "endpoint", "chat qwen3:4b"}
    assert "cascade.voice_to_voice_ms" not in told(failed["turn"])
    assert spans_of({}) == {}


EXPORT = """
from test_otel import MARKS, MODELS, OFFSET
from pipeline.profile.otel import exported

with exported("abc", MODELS, OFFSET) as spans:
    spans.turn(1, MARKS)
"""


def test_the_environment_says_where_they_go(monkeypatch: pytest.MonkeyPatch) -> None:
    # A process of its own: the SDK's exporter writes to what was stdout when it was imported.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none, console")
    child = [sys.executable, "-c", EXPORT]
    out = subprocess.run(child, capture_output=True, text=True, check=True).stdout
    assert '"name": "chat qwen3:4b"' in out
    assert '"service.name": "voice-cascade"' in out


def test_an_exporter_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "pigeon")
    with pytest.raises(BadInput, match="pigeon: there is no such exporter"), exported("a", {}, 0):
        pass
