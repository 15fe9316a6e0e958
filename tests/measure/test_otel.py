"""Turns as OpenTelemetry spans: their shape, their names, and where they go."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping
from typing import Any

import pytest
from support.known_turns import MS, PLAIN, marks

from pipeline.clock import Clock
from pipeline.config import LlmSettings
from pipeline.events import Usage

sdk = pytest.importorskip("opentelemetry.sdk.trace", reason="the extra otel is not installed")

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import (  # noqa: E402
    InMemorySpanExporter,
)
from opentelemetry.trace import SpanKind, StatusCode  # noqa: E402

from pipeline.measure.otel import LOCAL, TurnSpans, exported, wanted  # noqa: E402

OFFSET = 1_700_000_000_000_000_000
MODELS = {"stt": "whisper-mini-en", "llm": "qwen3:4b", "tts": "en_US-mini"}
MARKS = marks(PLAIN) | {
    "llm.last_token": 6100 * MS,
    "tts.last_audio": 7000 * MS,
    "playout.last": 8000 * MS,
    "heard.last": 7990 * MS,
}


@pytest.fixture(autouse=True)
def _nothing_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


def spans_of(
    marks: Mapping[str, int], usage: Usage | None = None, provider: str = LOCAL
) -> dict[str, ReadableSpan]:
    memory = InMemorySpanExporter()
    tracer_provider = TracerProvider()
    tracer_provider.add_span_processor(SimpleSpanProcessor(memory))
    spans = TurnSpans(tracer_provider, "abc", MODELS, provider, OFFSET)
    spans.turn(3, marks, usage)
    return {span.name: span for span in memory.get_finished_spans()}


def told(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_turn_is_a_span_with_its_stages_in_it() -> None:
    found = spans_of(MARKS)
    turn = found["turn"]
    assert turn.start_time == OFFSET + MARKS["speech.start"]
    assert turn.end_time == OFFSET + MARKS["playout.last"]
    assert turn.parent is None
    stages = ["endpoint", "recognise whisper-mini-en", "chat qwen3:4b", "speak en_US-mini", "play"]
    assert set(found) == {"turn", *stages}
    for name in stages:
        parent = found[name].parent
        assert parent is not None
        assert parent.span_id == turn.get_span_context().span_id
    chat = found["chat qwen3:4b"]
    for at, mark in ((chat.start_time, "llm.request"), (chat.end_time, "llm.last_token")):
        assert at == OFFSET + MARKS[mark]
    assert [event.name for event in turn.events] == ["committed", "clause.first", "heard.first"]
    assert turn.status.status_code is StatusCode.UNSET


def test_a_turn_tells_its_parts() -> None:
    attributes = told(spans_of(MARKS)["turn"])
    parts = {f"cascade.part.{name}_ms": ms for name, ms in PLAIN.items()}
    assert parts.items() <= attributes.items()
    assert attributes["cascade.voice_to_voice_ms"] == sum(PLAIN.values())
    assert (attributes["cascade.turn"], attributes["gen_ai.conversation.id"]) == (3, "abc")


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
    found = spans_of({**stopped, "interrupted": 7500 * MS})
    assert found["chat qwen3:4b"].end_time == OFFSET + 7500 * MS
    assert "interrupted" in [event.name for event in found["turn"].events]
    failed = spans_of({"speech.end": 0, "committed": 1, "llm.request": 2, "failed": 3})
    assert failed["turn"].status.status_code is StatusCode.ERROR
    assert set(failed) == {"turn", "endpoint", "chat qwen3:4b"}
    assert "cascade.voice_to_voice_ms" not in told(failed["turn"])
    assert spans_of({}) == {}


@pytest.mark.parametrize(
    ("env", "asked"),
    [
        ({}, False),
        ({"OTEL_TRACES_EXPORTER": ""}, False),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_TRACES_EXPORTER": "none, console"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, False),
        ({"OTEL_TRACES_EXPORTER": "console", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
async def test_there_are_spans_where_they_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str], asked: bool
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert wanted() is asked
    if not asked:
        async with exported("a", LlmSettings(), MODELS, Clock()) as spans:
            assert spans is None


@pytest.mark.parametrize(
    ("model", "provider", "name"),
    [
        ("embedded", LOCAL, "chat qwen3:4b"),
        ("some/model.gguf", LOCAL, "chat qwen3:4b"),
        ("ollama:qwen3:4b", "ollama", "chat qwen3:4b"),
        ("openai:gpt-5-mini", "openai", "chat gpt-5-mini"),
        ("http://user:secret@127.0.0.1:1", "openai", "chat"),
    ],
)
async def test_who_runs_the_model_is_told(model: str, provider: str, name: str) -> None:
    memory = InMemorySpanExporter()
    llm = LlmSettings(model=model, api_key="key")
    async with exported("a", llm, MODELS, Clock(), exporters=lambda: [memory]) as spans:
        assert spans is not None
        spans.turn(1, MARKS)
    chat = {span.name: span for span in memory.get_finished_spans()}[name]
    assert told(chat)["gen_ai.provider.name"] == provider
    assert "secret" not in "".join(span.to_json() for span in memory.get_finished_spans())


async def test_an_exporter_that_is_not_there_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "pigeon")
    async with exported("a", LlmSettings(), MODELS, Clock()) as spans:
        assert spans is None
    assert "pigeon: there is no such exporter" in caplog.text


async def test_an_exporter_that_breaks_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(InMemorySpanExporter):
        def export(self, spans: Any) -> Any:
            raise OSError("no line")

    exporters = lambda: [Broken()]  # noqa: E731
    async with exported("a", LlmSettings(), MODELS, Clock(), exporters=exporters) as spans:
        assert spans is not None
        spans.turn(1, MARKS)
        spans.turn(2, {**MARKS, "speech.end": "no time"})  # type: ignore[dict-item]
    assert "turn 2 has no spans" in caplog.text
    assert "turn 1" not in caplog.text


async def test_the_loop_goes_on_while_an_exporter_hangs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    arrived, answer = threading.Event(), threading.Event()

    class Hanging(InMemorySpanExporter):
        def export(self, spans: Any) -> Any:
            arrived.set()
            answer.wait()
            return super().export(spans)

    memory = Hanging()
    settings = LlmSettings()

    async def export() -> None:
        async with exported(
            "a", settings, MODELS, Clock(), exporters=lambda: [memory], close_s=0.2
        ) as spans:
            assert spans is not None
            spans.turn(1, MARKS)

    ticks = 0
    exporting = asyncio.create_task(export())
    while not exporting.done():
        await asyncio.sleep(0.001)
        ticks += arrived.is_set()
    await exporting
    assert ticks > 1
    assert memory.get_finished_spans() == ()
    assert "could not be sent" in caplog.text
    answer.set()
