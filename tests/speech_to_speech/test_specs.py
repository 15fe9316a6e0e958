"""Paths as the command line gives them, and the way to their servers."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.clock import Clock
from pipeline.errors import BadInput
from pipeline.speech_to_speech import specs
from pipeline.speech_to_speech.brief import Brief, SystemSpec
from pipeline.speech_to_speech.openai_realtime import RealtimeSession
from pipeline.speech_to_speech.openai_server import PLACEHOLDER, server_of
from pipeline.speech_to_speech.specs import check, parse, round_trips
from pipeline.trace import Trace

OPENAI = {"OPENAI_API_KEY": "sk-1"}


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("cascade", SystemSpec("", "cascade")),
        (
            "cascade,llm.model=ollama:x,turns.hold_ms=400",
            SystemSpec("", "cascade", options={"llm.model": "ollama:x", "turns.hold_ms": "400"}),
        ),
        ("openai", SystemSpec("", "openai")),
        ("openai:gpt-x#one", SystemSpec("", "openai", "gpt-x#one")),
        (
            "mine=openai:gpt-x,turns=manual",
            SystemSpec("mine", "openai", "gpt-x", options={"turns": "manual"}),
        ),
        ("openai-live:gpt-live-1", SystemSpec("", "openai-live", "gpt-live-1")),
        ("gemini", SystemSpec("", "gemini")),
        (
            "ws://h:1/v1/realtime?model=m#one",
            SystemSpec("", "realtime", "m#one", "ws://h:1/v1/realtime"),
        ),
        (
            "a=wss://me:pw@h/v1?token=t&x=1,model=m,voice=v",
            SystemSpec("a", "realtime", "m", "wss://me:pw@h/v1?token=t&x=1", {"voice": "v"}),
        ),
        (
            "audio-llm:http://h:1/v1,model=m",
            SystemSpec("", "audio-llm", "m", "http://h:1/v1", {"model": "m"}),
        ),
        (
            "mybot=map:my maps/b.yaml,url=wss://me:pw@h:1/a?x=1,rate=8000",
            SystemSpec("mybot", "map", "my maps/b.yaml", "wss://me:pw@h:1/a?x=1", {"rate": "8000"}),
        ),
        (
            "map:twilio,url=wss://me:pw@h/a?token=t",
            SystemSpec("map:twilio,url=wss://h/a", "map", "twilio", "wss://me:pw@h/a?token=t"),
        ),
        (
            "simulated:gpt-realtime-2.1,turns=manual",
            SystemSpec("", "simulated", "gpt-realtime-2.1", options={"turns": "manual"}),
        ),
        (
            "mine=reference:latency=500,coughs=no",
            SystemSpec("mine", "reference", options={"latency": "500", "coughs": "no"}),
        ),
        (
            "cascade,llm.instructions=Hello, you.",
            SystemSpec("", "cascade", options={"llm.instructions": "Hello, you."}),
        ),
    ],
)
def test_paths(text: str, spec: SystemSpec) -> None:
    """Where no name is given, the text is the name."""
    assert parse(text) == replace(spec, name=spec.name or text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a path; give cascade, openai:MODEL"),
        ("whisper", "not a path"),
        ("cascade:x", "not a path"),
        ("openai:", "which one"),
        ("simulated", "which one"),
        ("=openai", "the name before"),
        ("openai:m,manual", "key=value"),
        ("openai,turns=a,turns=b", "turns is given twice"),
        ("ws://", "not a usable URL"),
        ("ws://h:0/", "not a usable URL"),
        ("ws://h:x/", "not a usable URL"),
        ("audio-llm:ws://h", "audio-llm:http"),
    ],
)
def test_what_is_no_path(text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "wss://me:SECRET@host/v1/realtime",
        "wss://host/v1?api_key=SECRET&model=m",
        "wss://host/v1?access_token=SECRET",
        "cascade,llm.api_key=SECRET",
        "cascade,llm=https://u:SECRET@host/v1,stt=base",
        "audio-llm:https://u:SECRET@host/v1",
        "wss://u:SECRET@host:bad/",
        "x y=wss://u:SECRET@[/",
    ],
)
def test_names_and_messages_hold_no_secret(text: str) -> None:
    try:
        said = parse(text).name
    except BadInput as error:
        said = str(error)
    assert "SECRET" not in said


@given(st.text(max_size=40) | st.sampled_from(["openai:", "ws://", "a=b", ",x=1"]))
def test_any_text_is_a_path_or_refused(text: str) -> None:
    try:
        target = parse(text)
    except BadInput:
        return
    assert target.kind in (
        *("cascade", "openai", "openai-live", "gemini"),
        *("realtime", "audio-llm", "simulated"),
    )


@pytest.mark.parametrize(
    ("text", "environ", "said"),
    [
        ("openai", {}, "there is no key; set OPENAI_API_KEY"),
        ("openai", {"OPENAI_API_KEY": "  "}, "there is no key"),
        ("openai", {"OPENAI_API_KEY": "käse"}, "characters that cannot be in a key"),
        ("openai", {**OPENAI, "OPENAI_BASE_URL": "nowhere"}, "OPENAI_BASE_URL is not a usable URL"),
        ("openai,turns=never", OPENAI, "turns is one of"),
        ("openai-live", {}, "there is no key; set OPENAI_API_KEY"),
        ("openai-live", {"OPENAI_API_KEY": "käse"}, "characters that cannot be in a key"),
        ("openai-live,turns=server", OPENAI, "no option 'turns'"),
        ("openai-live,delegation=me", OPENAI, "delegation is one of responses, client"),
        ("gemini", {}, "there is no key; set GEMINI_API_KEY or GOOGLE_API_KEY"),
        ("gemini", {"GOOGLE_API_KEY": "käse"}, "characters that cannot be in a key"),
        ("gemini", {"CASCADE_GEMINI_URL": "ws://h"}, "write it as wss://HOST:PORT"),
        ("gemini,speed=2", {"GEMINI_API_KEY": "k"}, "no option 'speed'"),
        ("gemini,scheduling=never", {"GEMINI_API_KEY": "k"}, "one of interrupt, when_idle, silent"),
        ("gemini,silence_ms=long", {"GEMINI_API_KEY": "k"}, "silence_ms is a number from 1 to"),
        ("ws://h/,voise=x", {}, "no option 'voise'"),
        ("simulated:x,voise=x", {}, "no option 'voise'"),
        ("audio-llm:http://h/v1,what=ever", {}, "what"),
    ],
)
def test_what_cannot_run(text: str, environ: dict[str, str], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        check(parse(text), environ)


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        ("cascade", {}),
        ("openai:m,turns=semantic,eagerness=low", OPENAI),
        ("openai-live,voice=x,delegation=client", OPENAI),
        ("gemini", {"GOOGLE_API_KEY": "k"}),
        ("gemini", {"CASCADE_GEMINI_URL": "wss://h:1"}),
        ("wss://h/v1", {}),
        ("simulated:x,turns=manual", {}),
        ("simulated:x,protocol=realtime", {}),
        ("audio-llm:http://h/v1,keep=3", {}),
    ],
)
def test_what_can_run(text: str, environ: dict[str, str]) -> None:
    check(parse(text), environ)


@pytest.mark.parametrize(
    ("url", "environ", "key"),
    [
        ("wss://api.openai.com/v1", OPENAI, "sk-1"),
        ("wss://eu.api.openai.com/v1", OPENAI, "sk-1"),
        ("ws://api.openai.com/v1", OPENAI, PLACEHOLDER),
        ("wss://openai.com.evil.org/v1", OPENAI, PLACEHOLDER),
        ("wss://notopenai.com/v1", OPENAI, PLACEHOLDER),
        ("wss://host/v1", {**OPENAI, "CASCADE_REALTIME_KEY": "other"}, "other"),
        ("wss://api.openai.com/v1", {"CASCADE_REALTIME_KEY": "other"}, "other"),
    ],
)
def test_whose_key_goes_where(url: str, environ: dict[str, str], key: str) -> None:
    where = server_of(SystemSpec("x", "realtime", url=url), environ)
    assert where.key == key
    assert key == PLACEHOLDER or key not in repr(where)


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("ws://h:1", "ws://h:1/v1"),
        ("ws://h:1/", "ws://h:1/v1"),
        ("ws://h/v1", "ws://h/v1"),
        ("ws://h/v1/realtime", "ws://h/v1"),
        ("ws://h/realtime?a=1", "ws://h?a=1"),
        ("ws://h/my/server/", "ws://h/my/server"),
    ],
)
def test_where_a_url_leads(url: str, base: str) -> None:
    assert server_of(SystemSpec("x", "realtime", url=url), {}).base == base


def test_where_the_servers_are() -> None:
    assert specs.address(parse("openai"), {}) == "https://api.openai.com/v1"
    assert specs.address(parse("openai"), {"OPENAI_BASE_URL": "http://h/v1"}) == "http://h/v1"
    assert specs.address(parse("gemini"), {}).startswith("https://generativelanguage")
    assert specs.address(parse("ws://h/v1"), {}) == "ws://h/v1"
    assert specs.address(parse("cascade"), {}) == ""


def test_sessions_by_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    monkeypatch.setenv("GEMINI_API_KEY", "g")
    for text in ("openai", "ws://h/v1"):
        session = specs.connect(parse(text), Brief(), Trace(), Clock())
        assert isinstance(session, RealtimeSession)
    for text in ("openai-live", "gemini"):
        assert specs.connect(parse(text), Brief(), Trace(), Clock()).reconnects == 0
    with pytest.raises(ValueError, match="cascade"):
        specs.connect(parse("cascade"), Brief(), Trace(), Clock())


async def test_round_trips() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = await round_trips(f"ws://127.0.0.1:{port}/v1", 3)
        assert len(found) == 3
        assert all(ms > 0 for ms in found)
    assert await round_trips(f"ws://127.0.0.1:{port}/v1", 3) == ()


@pytest.mark.parametrize("url", ["", "ws://", "ws://h:x", "ws://[", "http://no.such.invalid/", "x"])
async def test_round_trips_to_nowhere(url: str) -> None:
    assert await round_trips(url) == ()
