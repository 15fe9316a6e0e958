"""What is particular to sessions with Gemini: the optional client, TLS, going on with a handle."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from servers.api_server import ApiServer, Call, idle
from support.api_talk import silence, talking, tone
from support.dialects import Gemini, Message

from pipeline.clock import Clock
from pipeline.engines.tools import Tool
from pipeline.errors import BadInput, StageError
from pipeline.events import Failure, ReplyDone
from pipeline.speech_to_speech import gemini, specs
from pipeline.speech_to_speech.brief import Brief, SystemSpec
from pipeline.speech_to_speech.gemini import GeminiSession
from pipeline.trace import Trace


@pytest.fixture(autouse=True)
def key(hermetic: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "AIzaNobody")


def session(spec: SystemSpec) -> GeminiSession:
    return GeminiSession(spec, Brief(), Trace(), Clock())


async def test_server_and_certificate_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ApiServer(Gemini) as server:
        monkeypatch.setenv("CASCADE_GEMINI_URL", server.spec().url)
        monkeypatch.setenv("CASCADE_GEMINI_CERTIFICATE", server.certificate)
        async with talking(SystemSpec("g", "gemini")) as talk:
            assert talk.session.facts.host == server.host
    assert server.calls[0].opening["setup"]["model"] == f"models/{gemini.MODEL}"


@pytest.mark.parametrize("answer", ["no JSON", '{"hello": 1}', "[]"])
async def test_a_server_of_another_kind(answer: str) -> None:
    async with ApiServer(Gemini, lambda call: call.raw(answer), greets=False) as server:
        with pytest.raises(StageError, match="does not speak Gemini Live"):
            async with talking(server):
                pytest.fail("it began")


async def test_a_server_that_has_something_else_to_say_first() -> None:
    async def script(call: Call) -> None:
        for message in (
            {"mood": 1},
            {"usageMetadata": {"mood": 2}},
            {"setupComplete": {"mood": 3}},
        ):
            await call.raw(json.dumps(message))
        await call.heard(0.2)
        await call.tell(call.say.says("Hi."), call.say.completed())

    async with ApiServer(Gemini, script, greets=False) as server, talking(server) as talk:
        await talk.say(tone(0.4))
        await talk.see(ReplyDone)
    assert talk.done() == [(1, "completed")]


def test_the_extra_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.genai", None)
    for use in (session, lambda spec: specs.check(spec, {"GEMINI_API_KEY": "k"})):
        with pytest.raises(BadInput, match=r"pip install 'voice-cascade\[gemini\]'"):
            use(SystemSpec("gemini", "gemini"))


def test_everything_can_be_imported_without_the_extra() -> None:
    code = """
import sys
sys.modules["google.genai"] = None
import pipeline.speech_to_speech.gemini
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_certificate_that_is_not_there() -> None:
    with pytest.raises(BadInput, match=r"/nowhere\.pem: cannot be read"):
        session(SystemSpec("g", "gemini", options={"certificate": "/nowhere.pem"}))


@pytest.mark.parametrize("url", ["ws://127.0.0.1:1", "http://host", "wss://", "wss://host:x"])
def test_wrong_addresses(url: str) -> None:
    with pytest.raises(BadInput, match="not a usable URL"):
        session(SystemSpec("g", "gemini", url=url))


def test_what_is_asked_for() -> None:
    options = {"voice": "Kore", "silence_ms": "300", "start": "low", "end": "high"}
    options |= {"behavior": "blocking"}
    brief = Brief("Be kind.", (Tool("weather", "Tells the weather."),))
    config = gemini.configuration("m", options, brief, "handle-7")
    asked = config.model_dump(mode="json", exclude_none=True)
    assert asked["response_modalities"] == ["AUDIO"]
    assert asked["system_instruction"] == "Be kind."
    assert asked["input_audio_transcription"] == asked["output_audio_transcription"] == {}
    detection = asked["realtime_input_config"]["automatic_activity_detection"]
    assert detection == {
        "start_of_speech_sensitivity": "START_SENSITIVITY_LOW",
        "end_of_speech_sensitivity": "END_SENSITIVITY_HIGH",
        "silence_duration_ms": 300,
    }
    assert asked["context_window_compression"] == {"sliding_window": {}}
    assert asked["session_resumption"] == {"handle": "handle-7"}
    voice = asked["speech_config"]["voice_config"]["prebuilt_voice_config"]
    assert voice == {"voice_name": "Kore"}
    (function,) = asked["tools"][0]["function_declarations"]
    assert function["behavior"] == "BLOCKING" and function["name"] == "weather"


@pytest.mark.parametrize("after_s", [0.5, 1.2])
async def test_what_was_not_answered_is_said_again_over_the_next_connection(after_s: float) -> None:
    async def breaking(call: Call) -> None:
        await call.heard(0.2)
        await call.tell(call.say.began(), call.say.understood("Hel"))
        await call.heard(after_s)
        call.drop()

    async def answering(call: Call) -> None:
        await call.heard(1.5)
        await call.tell(call.say.began(), call.say.understood("Hello?"), call.say.ended())
        await call.tell(call.say.says("Hi."), call.say.completed())

    async with ApiServer(Gemini, breaking, answering) as server, talking(server) as talk:
        await talk.say(tone(0.8), silence(0.8))
        await talk.see(ReplyDone)
        assert talk.session.reconnects == 1
        again = server.calls[1].audio
    assert talk.done() == [(1, "completed")]
    assert not talk.of(Failure)
    assert (np.abs(again) > 0).sum() == pytest.approx(0.8 * 16_000, rel=0.03)
    assert [m.content for m in talk.session.history] == ["Hello?", "Hi."]


class Forgetful(Gemini):
    """A server that gives nothing to go on with."""

    def greeting(self, opening: Message) -> list[Message]:
        return super().greeting(opening)[:1]


async def test_without_a_handle_another_session_is_told_the_history() -> None:
    async def speaks(call: Call, said: str, answer: str) -> None:
        await call.heard(0.8)
        await call.tell(call.say.began(), call.say.understood(said), call.say.ended())
        await call.tell(call.say.says(answer), call.say.completed())

    async def first(call: Call) -> None:
        await speaks(call, "Hello?", "Hi.")
        await call.close(1000)

    options = {"voice": "Kore"}
    async with (
        ApiServer(Forgetful, first, lambda call: speaks(call, "And you?", "Fine.")) as server,
        talking(server, options=options) as talk,
    ):
        for number in (1, 2):
            await talk.say(tone(0.4), silence(0.8))
            await talk.see(ReplyDone, number)
            await talk.until(lambda: talk.session.reconnects)
    assert talk.done() == [(1, "completed"), (2, "completed")]
    assert not talk.of(Failure)
    before, after = server.calls
    assert after.opening["setup"].pop("historyConfig") == {
        "initial_history_in_client_content": True
    }
    assert after.opening == before.opening
    assert after.messages[1]["client_content"] == {
        "turns": [
            {"role": "user", "parts": [{"text": "Hello?"}]},
            {"role": "model", "parts": [{"text": "Hi."}]},
        ],
        "turnComplete": True,
    }


async def test_a_handle_that_the_server_takes_no_longer() -> None:
    async def answering(call: Call) -> None:
        await call.heard(0.2)
        await call.tell(call.say.began(), call.say.understood("Hello?"), call.say.ended())
        await call.tell(call.say.says("Hi."), call.say.completed())
        await call.close(1000)

    class Stale(Gemini):
        """A server that gives handles which it does not take."""

        def greeting(self, opening: Message) -> list[Message]:
            if "handle" in opening["setup"]["sessionResumption"]:
                raise ConnectionAbortedError
            return super().greeting(opening)

    async with ApiServer(Stale, answering, idle) as server, talking(server) as talk:
        await talk.say(tone(0.4), silence(0.8))
        await talk.until(lambda: talk.session.reconnects)
    assert [("handle" in str(call.opening)) for call in server.calls] == [False, True, False]
    assert server.calls[2].of("client_content")
    assert not talk.of(Failure)
