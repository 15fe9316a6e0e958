"""The half cascade, against a chat server on a real socket."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import wave
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers.llm_server import (
    DONE,
    ROLE,
    Answer,
    LlmServer,
    chunk,
    delta,
    finish,
    hang,
    reply,
    status,
)
from support.api_talk import RATE, Talk, silence, speech
from support.scripted import LOUD, Detector, Speaker

from pipeline.clock import Clock
from pipeline.config import Settings, TurnSettings
from pipeline.conversation.history import History
from pipeline.engines.tokens import TokenGauge
from pipeline.engines.tools import Prompt, Tool
from pipeline.engines.whisper import NOTHING_KNOWN, Known, Transcription, bare
from pipeline.errors import BadInput, CascadeError, StageError
from pipeline.events import (
    Failure,
    ReplyAudio,
    ReplyDone,
    ReplyInterrupted,
    ReplyText,
    Samples,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
    Transcript,
    Usage,
)
from pipeline.speech_to_speech.audio_llm import (
    SPOKEN,
    UNUSED,
    AudioLlmSession,
    Ears,
    SoundWriter,
    Utterances,
    numbers,
)
from pipeline.speech_to_speech.brief import Brief, SystemSpec
from pipeline.trace import Timeline, Trace

KEY = "sk-test-0123456789-secret"
GUARD_S = 60
BRIEF = Brief("Be short.")
TOOL = Tool("weather", "Tells the weather.")
SETTINGS = Settings(turns=TurnSettings(predict=False))
LONG = "The train leaves at nine in the morning, from platform four, and it takes three hours. " * 4


@dataclass
class Local:
    """Engines that follow a script: loud is voice, and says which it is by its level."""

    model: Any = None
    voice: Speaker = field(default_factory=Speaker)
    recognised: list[int] = field(default_factory=list)
    stuck: bool = False
    behind: bool = False
    tokens: TokenGauge = field(default_factory=TokenGauge)

    def new_detector(self) -> Detector:
        return Detector()

    async def melody(self, audio: npt.NDArray[np.float32]) -> float | None:
        return None

    async def judge(self, messages: Any) -> float | None:
        raise AssertionError("there are no words to be judged")

    async def read_ahead(self, messages: Any) -> None:
        raise AssertionError("a server reads by itself")

    async def transcribe(
        self, audio: npt.NDArray[np.float32], known: Known = NOTHING_KNOWN
    ) -> Transcription:
        level = round(float(np.abs(audio).max()) * 32768) - LOUD
        self.recognised.append(level)
        if self.stuck:
            await asyncio.Event().wait()
        return Transcription(f"words {level}", "en", -0.1, 0.0, 1.0)


def voice(number: int = 0, seconds: float = 1.0) -> Samples:
    """Somebody says something, and falls silent."""
    loud = np.full(round(seconds * RATE), LOUD + number, np.int16)
    return np.concatenate([loud, silence(1.0)])


def target(url: str, **options: str) -> SystemSpec:
    return SystemSpec(
        f"audio-llm:{url}", "audio-llm", url=url, options={"model": "ears", **options}
    )


@contextlib.asynccontextmanager
async def talk(
    server: LlmServer,
    brief: Brief = BRIEF,
    *,
    trace: Path | None = None,
    settings: Settings = SETTINGS,
    hears: bool = True,
    **options: str,
) -> AsyncIterator[Talk]:
    """Talk to a server; afterwards nothing that was begun is left."""
    local = Local()
    with Trace(trace) as marks:
        session = AudioLlmSession(
            target(server.url, **options), brief, marks, Clock(), settings=settings, engines=local
        )
        talking = Talk(session, marks, hears=hears)
        talking.local = local
        async with talking.entered():
            yield talking
        async with asyncio.timeout(GUARD_S):
            await server.left()
    assert local.voice.open == 0
    assert KEY not in repr(talking.events)


def content(request: Any, index: int = -1) -> list[Any]:
    """A message's content: levels of the sounds in it, and words."""
    found = request.body["messages"][index]["content"]
    if isinstance(found, str):
        return [found]
    return [part["text"] if part["type"] == "text" else level(part) for part in found]


def level(part: Any) -> int:
    sound = decoded(part)
    return int(np.abs(sound).max()) - LOUD


def decoded(part: Any) -> Samples:
    data = base64.b64decode(part["input_audio"]["data"], validate=True)
    with wave.open(io.BytesIO(data)) as reader:
        assert reader.getframerate() == RATE
        return np.frombuffer(reader.readframes(reader.getnframes()), "<i2").astype(np.int16)


async def test_a_conversation(tmp_path: Path) -> None:
    async with LlmServer(reply("It is ", "five.")) as server:
        async with talk(server, trace=tmp_path / "trace") as talking:
            assert server.requests == []
            await talking.say(voice(7, 0.8))
            done = await talking.see(ReplyDone)
            marks = talking.trace.marks(1)
            assert talking.session.facts.model == "ears"
            assert talking.session.facts.host == f"127.0.0.1:{server.port}"
            assert not talking.session.facts.duplex
            assert talking.session.reconnects == 0
            history = talking.session.history
        [request] = server.requests
    assert done == ReplyDone(1, "reply-1", "completed")
    assert request.body["model"] == "ears"
    assert request.body["messages"][0] == {"role": "system", "content": "Be short."}
    [part] = request.body["messages"][1]["content"]
    assert level(part) == 7
    voiced = np.abs(decoded(part)) >= LOUD
    assert abs(voiced.sum() - 0.8 * RATE) <= 0.03 * RATE
    kinds = {type(event) for event in talking.events}
    assert {SpeechStarted, SpeechStopped, ReplyText, ReplyAudio} <= kinds
    assert Transcript not in kinds
    assert "".join(e.delta for e in talking.of(ReplyText)) == "It is five."
    assert [(m.role, m.content) for m in history] == [
        ("user", SPOKEN),
        ("assistant", "It is five."),
    ]
    [used] = talking.of(Usage)
    assert (used.input_tokens, used.cached_tokens, used.output_tokens) == (7, 5, 2)
    assert {"speech.end", "committed", "llm.first_token", "tts.first_audio"} <= marks.keys()
    assert Timeline.from_marks({**marks, "heard.first": marks["tts.last_audio"]}) is not None
    assert talking.local.recognised == []


async def test_the_model_hears_the_newest_utterances_again() -> None:
    async with LlmServer(reply("One."), reply("Two."), reply("Three.")) as server:
        async with talk(server, keep="2") as talking:
            for number in (1, 2, 3):
                await talking.say(voice(number))
                await talking.see(ReplyDone, number)
        last = server.requests[2]
    said = [content(last, i) for i in range(len(last.body["messages"]))]
    assert said == [["Be short."], [SPOKEN], ["One."], [2], ["Two."], [3]]


async def test_a_transcript_is_made_beside_after_the_reply() -> None:
    async with LlmServer(reply("One."), reply("Two.")) as server:
        async with talk(server, keep="1", transcript="stt") as talking:
            await talking.say(voice(1))
            await talking.see(Transcript)
            assert talking.events[-2:] == [
                ReplyDone(1, "reply-1", "completed"),
                Transcript(1, "words 1", True),
            ]
            await talking.say(voice(2))
            await talking.see(Transcript, 2)
            history = talking.session.history
        last = server.requests[1]
    assert [content(last, 1), content(last, 3)] == [["words 1"], [2]]
    assert talking.local.recognised == [1, 2]
    assert [m.content for m in history] == ["words 1", "One.", "words 2", "Two."]


async def test_long_voice_interrupts_a_reply_of_which_the_heard_part_is_kept() -> None:
    async with LlmServer(reply(LONG), reply("Yes?")) as server:
        async with talk(server, hears=False) as talking:
            await talking.say(voice(1))
            await talking.see(ReplyAudio)
            await talking.session.heard("reply-1", 600)
            await talking.say(voice(2, 1.5))
            stopped = await talking.see(ReplyInterrupted)
            await talking.see(ReplyDone, 2)
        last = server.requests[1]
    assert 0 < len(stopped.heard_text) < len(LONG) / 4
    assert LONG.startswith(stopped.heard_text)
    assert talking.of(ReplyDone)[0] == ReplyDone(1, "reply-1", "interrupted")
    said = [content(last, i) for i in range(len(last.body["messages"]))]
    assert said == [["Be short."], [1], [stopped.heard_text], [2]]


def called(name: str, arguments: str) -> Answer:
    """A reply that calls a tool."""
    function = {"name": name, "arguments": arguments}
    calls = [{"index": 0, "id": "c1", "type": "function", "function": function}]
    return Answer([ROLE, chunk({"tool_calls": calls}), finish("tool_calls"), DONE])


async def test_a_tool_is_called() -> None:
    async with LlmServer(called("weather", '{"city": "Rome"}'), reply("It rains.")) as server:
        async with talk(server, Brief("Be short.", (TOOL,))) as talking:
            await talking.say(voice(1))
            call = await talking.see(ToolCall)
            assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "Rome"})
            assert not talking.of(ReplyDone)
            await talking.session.tool_result(call.id, "rain")
            done = await talking.see(ReplyDone)
            with pytest.raises(CascadeError, match="no tool call"):
                await talking.session.tool_result("other", "")
        first, second = server.requests
    assert done.status == "completed"
    assert first.body["tools"][0]["function"]["name"] == "weather"
    assert [m["role"] for m in second.body["messages"]] == ["system", "user", "assistant", "tool"]
    assert content(second, 1) == [1]
    assert second.body["messages"][3]["content"] == "rain"


async def test_a_click_is_not_sent() -> None:
    utterances = Utterances(keep=1)
    chat: Any = None
    ears = Ears(Local(), SoundWriter(chat, utterances), utterances)
    heard = await ears.transcribe(np.ones(1600, np.float32), Known(60.0))
    assert (heard.text, heard.dropped) == ("", "short")
    heard = await ears.transcribe(np.ones(1600, np.float32), Known(100.0))
    assert utterances.sound(heard.text) is not None


async def test_the_first_model_is_taken_that_the_server_lists() -> None:
    async with LlmServer(reply("Yes."), models=["first", "second"]) as server:
        async with talk(server, model="") as talking:
            await talking.say(voice())
            await talking.see(ReplyDone)
            assert talking.session.facts.model == "first"
        assert server.requests[0].body["model"] == "first"


async def refusal(server: LlmServer, **options: str) -> StageError:
    with pytest.raises(StageError) as raised:
        async with talk(server, **options):
            pytest.fail("it began")
    assert raised.value.stage == "direct"
    assert raised.value.fatal
    return raised.value


async def test_a_server_that_cannot_be_used_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AUDIO_LLM_API_KEY", KEY)
    async with LlmServer(models=status(401, f"Incorrect API key {KEY}")) as server:
        error = await refusal(server)
        assert server.lookups[0].key == KEY
    assert "refuses the key (401); set AUDIO_LLM_API_KEY" in str(error)
    assert KEY not in str(error)
    error = await refusal(server)
    assert "cannot be reached" in str(error) and "check the URL of the path" in str(error)
    async with LlmServer(models=[]) as server:
        error = await refusal(server, model="")
    assert "lists no model" in str(error) and "add ,model=NAME to the path" in str(error)


@pytest.mark.parametrize(
    ("answer", "why", "fatal"),
    [
        (status(400, "This model does not support audio input."), "not support audio", False),
        (status(404, "no such model"), "has no model 'ears'", True),
    ],
)
async def test_a_request_that_fails(answer: Answer, why: str, fatal: bool) -> None:
    # Refused, it is sent again without what a server may not know; twice is enough here.
    async with LlmServer(answer, otherwise=answer) as server, talk(server) as talking:
        await talking.say(voice())
        failure = await talking.see(Failure)
        done = await talking.see(ReplyDone)
    assert why in failure.message
    assert failure.fatal is fatal
    assert done.status == "failed"


async def test_a_key_that_a_server_repeats_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIO_LLM_API_KEY", "our-own-gateway")
    answer = status(400, "Nothing here for our-own-gateway.")
    async with LlmServer(answer, otherwise=answer) as server, talk(server) as talking:
        await talking.say(voice())
        failure = await talking.see(Failure)
    assert failure.message.endswith("400: Nothing here for [key].")


async def test_leaving_in_the_middle_of_a_reply_stops_the_server() -> None:
    endless = Answer([ROLE, delta("Well, let me think about it. "), hang])
    async with LlmServer(endless) as server:
        async with talk(server, transcript="stt") as talking:
            await talking.say(voice())
            await talking.see(ReplyText)
        assert server.requests[0].fate.result(timeout=GUARD_S) == "abandoned"


async def test_leaving_does_not_wait_for_a_transcript() -> None:
    async with LlmServer(reply("Yes.")) as server, talk(server, transcript="stt") as talking:
        talking.local.stuck = True
        await talking.say(voice(1))
        await talking.see(ReplyDone)
        while not talking.local.recognised:
            await asyncio.sleep(0.005)
    assert not talking.of(Transcript)


async def test_what_is_not_known_before_the_session_is_entered() -> None:
    session = AudioLlmSession(
        target("http://127.0.0.1:1/v1"),
        BRIEF,
        Trace(),
        Clock(),
        settings=SETTINGS,
        engines=Local(),
    )
    assert session.facts is None


async def test_openai_s_key_goes_to_openai_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    async with LlmServer(reply("Yes.")) as server, talk(server) as talking:
        await talking.say(voice())
        await talking.see(ReplyDone)
        assert server.requests[0].key != KEY
        assert server.lookups[0].key != KEY
    async with LlmServer(reply("Yes.")) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        async with talk(server) as talking:
            await talking.say(voice())
            await talking.see(ReplyDone)
        assert server.requests[0].key == KEY


def test_what_cannot_be_is_told_before_anything_runs() -> None:
    def session(url: str, **options: str) -> None:
        AudioLlmSession(
            target(url, **options), BRIEF, Trace(), Clock(), settings=SETTINGS, engines=Local()
        )

    here = "http://127.0.0.1:1/v1"
    for options, why in (
        ({"keep": "0"}, "keep is a number from 1 to"),
        ({"keep": "many"}, "keep is a number .*, not 'many'"),
        ({"transcript": "yes"}, "transcript is one of stt, none"),
        ({"colour": "red"}, "colour is no option"),
        ({"llm.api_key": KEY}, "llm.api_key is no option"),
    ):
        with pytest.raises(BadInput, match=why):
            session(here, **options)
    with pytest.raises(BadInput, match="there is no key; set OPENAI_API_KEY"):
        session("https://api.openai.com/v1")
    with pytest.raises(BadInput, match="not a usable URL"):
        session("http://")


async def test_turns_end_by_themselves() -> None:
    async with LlmServer() as server, talk(server) as talking:
        with pytest.raises(CascadeError, match="ends turns itself"):
            await talking.session.commit()


async def test_with_the_real_voice_and_detector() -> None:
    sound = speech()
    async with LlmServer(reply("It is five o'clock.")) as server:
        with Trace() as trace:
            path = target(server.url, **{"reply.mode": "overlapped", "transcript": "stt"})
            session = AudioLlmSession(path, BRIEF, trace, Clock())
            talking = Talk(session, trace)
            async with talking.entered():
                await talking.say(speech(), silence(4.0))
                await talking.see(ReplyDone)
                transcript = await talking.see(Transcript)
        [request] = server.requests
    [part] = request.body["messages"][1]["content"]
    heard = decoded(part)
    assert 0.5 * len(sound) <= len(heard) <= len(sound) + RATE
    frames = [event.frame for event in talking.of(ReplyAudio)]
    spoken_s = sum(len(frame.samples) / frame.rate for frame in frames)
    assert 0.5 < spoken_s < 5
    assert max(np.abs(frame.samples.astype(int)).max() for frame in frames) > 3000
    assert len(transcript.text.split()) >= 3


def sound(number: int) -> npt.NDArray[np.float32]:
    """An utterance that tells which it is by its length."""
    return np.full(100 + number, 0.25, np.float32)


def samples(part: dict[str, Any]) -> int:
    assert part["type"] == "input_audio"
    assert part["input_audio"]["format"] == "wav"
    data = base64.b64decode(part["input_audio"]["data"], validate=True)
    with wave.open(io.BytesIO(data)) as reader:
        assert (reader.getframerate(), reader.getnchannels(), reader.getsampwidth()) == (
            16_000,
            1,
            2,
        )
        return reader.getnframes()


def heard(message: Any) -> list[Any]:
    """A message's content: which utterances, and which words."""
    content = message["content"]
    if isinstance(content, str):
        return [content]
    return [p["text"] if p["type"] == "text" else samples(p) - 100 for p in content]


def test_a_placeholder_becomes_sound_and_the_tools_stay() -> None:
    utterances = Utterances(8)
    place = utterances.take(sound(1))
    tool = Tool("weather")
    prompt = Prompt([{"role": "system", "content": "Hi"}, {"role": "user", "content": place}])
    spoken = utterances.spoken(Prompt(prompt, [tool]))
    assert [heard(m) for m in spoken] == [["Hi"], [1]]
    assert isinstance(spoken, Prompt)
    assert spoken.tools == (tool,)


def test_two_in_one_message_with_words_between() -> None:
    utterances = Utterances(8)
    content = f"{utterances.take(sound(1))} and {utterances.take(sound(2))}"
    [message] = utterances.spoken([{"role": "user", "content": content}])
    assert heard(message) == [1, "and", 2]


def test_older_ones_are_a_note_or_a_transcript() -> None:
    utterances = Utterances(1)
    places = [utterances.take(sound(i)) for i in range(3)]
    utterances.know(places[1], "What?")
    messages = [{"role": "user", "content": place} for place in places]
    assert [heard(m) for m in utterances.spoken(messages)] == [[SPOKEN], ["What?"], [2]]
    assert utterances.read(places[1]) == "What?"
    assert utterances.read(f"{places[0]} {places[2]}") == f"{SPOKEN} {SPOKEN}"


def test_messages_of_tools_are_left_alone() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}
    assert list(Utterances(1).spoken([call])) == [call]


def test_a_placeholder_is_no_words_for_those_who_look_for_words() -> None:
    place = Utterances(1).take(sound(1))
    assert bare(place) == []
    assert place.strip() == place
    assert len(place.split()) == 1


def test_it_goes_through_a_conversation_unharmed() -> None:
    utterances = Utterances(8)
    talk = History("Hi", budget_tokens=1000)
    talk.add("user", utterances.take(sound(1)), 1)
    talk.add("user", utterances.take(sound(2)), 2)
    assert [heard(m) for m in utterances.spoken(talk.prompt(said=utterances.take(sound(3))))] == [
        ["Hi"],
        [1, 2, 3],
    ]


def test_what_no_prompt_ever_has_is_forgotten_in_the_end() -> None:
    utterances = Utterances(1)
    used = utterances.take(sound(1))
    utterances.spoken([{"role": "user", "content": used}])
    places = [utterances.take(sound(i)) for i in range(UNUSED + 10)]
    kept = [place for place in places if utterances.sound(place) is not None]
    assert kept == places[10:]
    assert utterances.sound(used) is not None
    utterances.spoken([{"role": "user", "content": places[-1]}])
    assert [p for p in places if utterances.sound(p) is not None] == places[-1:]


def test_what_was_said_after_a_prompt_was_made_is_not_forgotten_with_it() -> None:
    utterances = Utterances(1)
    first, second = utterances.take(sound(1)), utterances.take(sound(2))
    utterances.spoken([{"role": "user", "content": first}])
    [message] = utterances.spoken([{"role": "user", "content": second}])
    assert heard(message) == [2]


@given(st.lists(st.lists(st.one_of(st.just(None), st.text(max_size=5)), max_size=4), max_size=5))
def test_any_mix_of_words_and_utterances(messages: list[list[str | None]]) -> None:
    utterances = Utterances(1000)
    made, expected, count = [], [], 0
    for parts in messages:
        content, wanted = "", []
        for part in parts:
            if part is None:
                count += 1
                content += utterances.take(sound(count))
                wanted.append(count)
            else:
                content += part
        made.append({"role": "user", "content": content})
        expected.append(wanted)
        assert numbers(content) == wanted
    for message, wanted in zip(utterances.spoken(made), expected, strict=True):
        assert [part for part in heard(message) if isinstance(part, int)] == wanted
