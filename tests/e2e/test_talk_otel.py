"""`cascade talk` with OpenTelemetry: each turn's spans reach who is named in the environment.

Whatever is wrong there, the conversation is held.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from servers.llm_server import reply, status
from support.cli_child import ROOT, Outcome, read_trace, recording, run, scripted
from support.sound import in_a_row

from pipeline.trace import Timeline


def _installed() -> bool:
    with contextlib.suppress(ModuleNotFoundError):
        return importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    return False


OTEL = pytest.mark.skipif(
    not _installed(), reason="OpenTelemetry is not installed: pip install 'voice-cascade[otel]'"
)

CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.output.type": "text",
    "gen_ai.request.stream": True,
    "gen_ai.usage.input_tokens": 7,
    "gen_ai.usage.output_tokens": 1,
    "gen_ai.usage.cache_read.input_tokens": 5,
}
"""What is known of a request to the scripted server, save the time that it took."""

LONG = "The train leaves at nine in the morning, from platform four, and it takes three hours. " * 2

STAGES = {"endpoint", "recognise whisper-mini-en", "chat", "speak en_US-mini", "play"}


@pytest.fixture(autouse=True)
def _nothing_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


def talk(folder: Path, llm: str, *inputs: Path, **env: str) -> Outcome:
    """Hold a conversation between files, at full speed."""
    return run(
        *("talk", "--fast", "--mode", "overlapped", "--llm", llm),
        *(f"--input={path}" for path in inputs),
        *(f"--output={folder / 'out.wav'}", f"--trace={folder / 'trace'}"),
        env=env,
    )


class Collector:
    """Takes spans over OTLP on a real socket."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.services: set[str] = set()
        self.paths: set[str] = set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.take(self.path, self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def take(self, path: str, body: bytes) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTraceServiceRequest,
        )

        self.paths.add(path)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.services.add(told(resource.resource)["service.name"])
            for scope in resource.scope_spans:
                self.spans += scope.spans

    def __enter__(self) -> Collector:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def told(span: Any) -> dict[str, Any]:
    """A span's or a resource's attributes."""
    return {
        each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes
    }


@OTEL
def test_a_collector_gets_every_turn(tmp_path: Path) -> None:
    with Collector() as collector, scripted(otherwise=reply("It is open until nine.")) as llm:
        done = talk(
            tmp_path, llm.url, recording(5), recording(2), OTEL_EXPORTER_OTLP_ENDPOINT=collector.url
        )
    assert done.code == 0, done.err
    assert not done.warnings
    assert collector.paths == {"/v1/traces"}
    assert collector.services == {"voice-cascade"}
    first, traced = read_trace(tmp_path / "trace")
    turns = {told(span)["cascade.turn"]: span for span in collector.spans if span.name == "turn"}
    assert sorted(turns) == sorted(traced) == [1, 2]
    assert len(collector.spans) == 2 * (1 + len(STAGES))
    for number, turn in turns.items():
        marks = traced[number]
        timeline = Timeline.from_marks(marks)
        assert timeline is not None
        assert told(turn)["cascade.voice_to_voice_ms"] == timeline.total_ns / 1e6
        assert told(turn)["gen_ai.conversation.id"] == first["session"]
        stages = {
            span.name: span for span in collector.spans if span.parent_span_id == turn.span_id
        }
        assert set(stages) == STAGES
        chat = stages["chat"]
        waited = (marks["llm.first_token"] - marks["llm.request"]) / 1e9
        assert told(chat) == {
            **CHAT,
            "gen_ai.conversation.id": first["session"],
            "gen_ai.response.time_to_first_chunk": waited,
        }
        took = marks["llm.last_token"] - marks["llm.request"]
        assert chat.end_time_unix_nano - chat.start_time_unix_nano == took
    assert "museum" not in str(collector.spans)


@OTEL
def test_turns_that_were_interrupted_or_failed_are_told_once(tmp_path: Path) -> None:
    spoken = in_a_row(tmp_path / "spoken.wav", recording(5), recording(10), pause_s=2.5)
    with scripted(reply("Ready."), reply(LONG), otherwise=status(500, "overloaded")) as llm:
        done = talk(tmp_path, llm.url, spoken, OTEL_TRACES_EXPORTER="console")
    assert done.code == 1
    spans = [*objects(done.out)]
    interrupted, failed = (span for span in spans if span["name"] == "turn")
    assert [one["attributes"]["cascade.turn"] for one in (interrupted, failed)] == [1, 2]
    events = [{event["name"] for event in turn["events"]} for turn in (interrupted, failed)]
    assert ["interrupted" in names for names in events] == [True, False]
    assert failed["status"]["status_code"] == "ERROR"
    of_failed = {span["name"]: span for span in spans if span["parent_id"] == id_of(failed)}
    assert set(of_failed) == {"endpoint", "recognise whisper-mini-en", "chat"}
    assert "gen_ai.usage.output_tokens" not in of_failed["chat"]["attributes"]


def id_of(span: dict[str, Any]) -> str:
    """What the spans inside a span call it."""
    return str(span["context"]["span_id"])


@OTEL
def test_a_collector_that_never_answers_costs_no_turn(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as deaf,
        scripted(otherwise=reply("It is open until nine.")) as llm,
    ):
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        done = talk(tmp_path, llm.url, recording(5), OTEL_EXPORTER_OTLP_ENDPOINT=url)
    assert done.code == 0, done.err
    assert "It is open until nine." in done.err
    (warning,) = done.warnings
    assert warning.startswith("the last turns' spans could not be sent within 3 s")


def test_without_the_extra_it_is_named_and_the_conversation_is_held(tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "opentelemetry"
    missing.mkdir(parents=True)
    (missing / "__init__.py").write_text("raise ImportError('not here')")
    path = os.pathsep.join([str(missing.parent), str(ROOT)])
    with scripted(otherwise=reply("It is open until nine.")) as llm:
        done = talk(tmp_path, llm.url, recording(5), OTEL_TRACES_EXPORTER="otlp", PYTHONPATH=path)
    assert done.code == 0, done.err
    assert "It is open until nine." in done.err
    assert done.warnings == [
        "no spans of the turns: OpenTelemetry is not installed; "
        "pip install 'voice-cascade[otel]' brings it"
    ]


def objects(text: str) -> Iterator[dict[str, Any]]:
    """JSON objects that follow each other."""
    decoder = json.JSONDecoder()
    while text := text.lstrip():
        found, end = decoder.raw_decode(text)
        yield found
        text = text[end:]
