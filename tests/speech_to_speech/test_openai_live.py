"""What is particular to sessions with the Live API."""

from __future__ import annotations

import re

import pytest
from servers.api_server import ApiServer, Call, idle
from support.api_talk import talking
from support.dialects import RATE, Live

from pipeline.engines.tools import Tool
from pipeline.errors import StageError
from pipeline.events import Failure, Usage
from pipeline.speech_to_speech.brief import Brief

WEATHER = Tool("weather", "Tells the weather.", {"type": "object", "properties": {"city": {}}})


@pytest.fixture(autouse=True)
def key(hermetic: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-nobody")


async def test_what_the_session_is_started_with() -> None:
    options = {"voice": "cedar", "backend": "b-1"}
    brief = Brief("Be short.", (WEATHER,))
    async with ApiServer(Live) as server, talking(server, brief, options=options):
        pass
    config = server.calls[0].opening["session"]
    assert config["model"] == "m"
    assert config["instructions"] == "Be short."
    assert config["audio"] == {
        "format": {"type": "audio/pcm", "rate": RATE},
        "output": {"voice": "cedar"},
    }
    backend = config["delegation"]["responses"]
    assert backend["model"] == "b-1"
    assert backend["instructions"] == "Be short."
    [tool] = backend["tools"]
    parameters = dict(WEATHER.parameters)
    assert (tool["type"], tool["name"], tool["parameters"]) == ("function", "weather", parameters)
    assert server.requests[0].path == "/v1/live/sessions"


async def test_without_tools_nothing_is_delegated_to_a_backend() -> None:
    async with ApiServer(Live) as server, talking(server):
        pass
    assert "delegation" not in server.calls[0].opening["session"]


async def test_the_last_of_the_usage_is_told_at_the_end() -> None:
    async def script(call: Call) -> None:
        await call.event("session.usage.updated", usage={"seconds": 15.0})

    async with ApiServer(Live, script) as server, talking(server) as talk:
        await talk.see(Usage)
    assert [(u.kind, u.seconds) for u in talk.of(Usage)] == [("session", 15.0), ("session", 16.0)]
    assert server.calls[0].of("session.close")


@pytest.mark.parametrize(
    ("code", "said", "why"),
    [
        ("model_not_found", "Gone.", r"has no model 'm'.*Gone\."),
        ("invalid_value", "Too long.", r"refuses the session: Too long\. \(invalid_value\)"),
        ("", "", r"closed the connection at once \(1011: no room\)"),
    ],
)
async def test_a_session_that_is_refused(code: str, said: str, why: str) -> None:
    async def script(call: Call) -> None:
        if code:
            error = {"type": "invalid_request_error", "code": code, "message": said}
            await call.event("error", error=error)
        else:
            await call.close(1011, "no room")

    async with ApiServer(Live, script, greets=False) as server:
        with pytest.raises(StageError) as raised:
            async with talking(server):
                pytest.fail("it began")
    assert raised.value.fatal
    assert re.search(why, str(raised.value))


async def test_a_session_that_the_server_ends_for_what_was_said() -> None:
    async def script(call: Call) -> None:
        await call.event("session.closed", reason="content", usage={"seconds": 9})

    async with ApiServer(Live, script, idle) as server, talking(server) as talk:
        failure = await talk.see(Failure)
        assert talk.session.reconnects == 0
    assert failure.fatal and "the session ended (content)" in failure.message
    assert talk.of(Usage)[0].seconds == 9
