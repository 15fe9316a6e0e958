"""Clients that nobody here wrote hold a spoken conversation with `cascade serve`.

They are unmodified and pinned (scripts/requirements-dev.lock, tests/clients/package-lock.json). The
recogniser and the voice are real; the language model is the scripted server, which says what it was
told.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import threading
import time
import wave
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from servers.llm_server import Answer, LlmServer, Request, finish, reply, tool_call
from support.background import in_background
from support.cli_child import CORPUS, HANG_S, ROOT, scripted
from support.foreign_clients import (
    INSTRUCTIONS,
    NODE,
    RATE,
    App,
    agents_node,
    agents_python,
    openai_sdk,
    printed,
)
from support.pulse import Pulse
from support.serve_child import cascade_serve
from support.tap import Tap, tapping
from support.weather import RESULT

from pipeline.audio.files import read_audio
from pipeline.clock import NS_PER_S

WEATHER, MUSEUM, MUSIC, RABBIT = (next(CORPUS.glob(f"{n:02}_*")) for n in (6, 2, 5, 7))
WHAT = (
    "What is the weather like in Tokyo?",
    "What time does the museum leave?",
    "Why do people like music?",
    "How do you spell rabbit?",
)
WRITTEN = "Tell me a story."
RAINS, MOVES, SPELT = "It rains in Tokyo.", "It moves them.", "With two letters in the middle."
STORY = (
    "Once upon a time there was a man who lived by the sea, and every day he went out in his boat "
    "to look for the fish that had taken his hat."
)
PER_WORD_S = 0.3
"""About as fast as the story is spoken: whoever interrupts it does so while it is being made."""


def answer(request: Request) -> Answer:
    """What the language model says next."""
    last = request.body["messages"][-1]
    if last["role"] == "tool":
        return reply(RAINS)
    said = str(last["content"]).lower()
    if "tokyo" in said:
        call = tool_call('{"city": "Tokyo"}', index=0, id="call_1", name="weather")
        return Answer([call, finish("tool_calls")])
    if "museum" in said:
        return reply(*(f"{word} " for word in STORY.split(" ")), after_s=PER_WORD_S)
    if "story" in said or "keys" in said:
        return reply(STORY)
    return reply(MOVES if "music" in said else SPELT)


@dataclass(frozen=True)
class Here:
    """A server that listens.

    Attributes:
        tap: Listens in front of it.
        llm: Its language model.
    """

    tap: Tap
    llm: LlmServer

    @property
    def port(self) -> int:
        """Where clients find it, on this machine."""
        return self.tap.port


@pytest.fixture(scope="module")
def here() -> Iterator[Here]:
    """One server for all clients."""
    with (
        scripted(otherwise=answer) as llm,
        cascade_serve("--llm", llm.url) as there,
        in_background(tapping(there.port)) as tap,
    ):
        yield Here(tap, llm)


def _require(there: object, how: str) -> None:
    """Skip a test whose client was not installed; in CI it was."""
    if not there and os.environ.get("CI") == "true":
        pytest.fail(f"the client is not here: {how}")
    if not there:
        pytest.skip(f"the client is not here: {how}")


@pytest.fixture(params=[openai_sdk, agents_python, agents_node])
async def app(request: pytest.FixtureRequest, here: Here) -> AsyncIterator[App]:
    """An application on each of the clients, connected."""
    connect: Callable[[int], AbstractAsyncContextManager[App]] = request.param
    if connect is agents_node:
        there = shutil.which("node") and (NODE / "node_modules").is_dir()
        _require(there, "scripts/setup dev installs it, with npm")
    async with connect(here.port) as app:
        yield app


async def test_a_spoken_conversation(app: App, here: Here) -> None:
    async def until_answered(text: str) -> None:
        await app.until(lambda: ("assistant", text) in app.history and app.quiet)

    # A question for which the model needs the application's tool.
    await app.say(WEATHER)
    await until_answered(RAINS)
    # A reply that is interrupted while it is being made.
    began = app.sound
    await app.say(MUSEUM)
    await app.until(lambda: app.sound > began + 2 * RATE)
    await app.say(MUSIC)
    # A message in writing; the reply to it is interrupted when it has been made, but not played.
    await app.until(lambda: ("assistant", MOVES) in app.history)
    await app.write(WRITTEN)
    await app.until(lambda: ("assistant", STORY) in app.history)
    await app.say(RABBIT)
    await until_answered(SPELT)

    who, what = zip(*app.history, strict=True)
    assert who == ("user", "weather", "assistant", *("user", "assistant") * 4)
    cuts = what[4], what[8]
    assert what == (
        *(WHAT[0], f'{{"city": "Tokyo"}} {RESULT}', RAINS),
        *(WHAT[1], cuts[0], WHAT[2], MOVES),
        *(WRITTEN, cuts[1], WHAT[3], SPELT),
    )
    for cut in cuts:
        assert cut and STORY.startswith(cut) and cut != STORY
    # What the client shows is what the model is told.
    told = here.llm.requests[-1].body["messages"]
    assert [m["content"] for m in told if m["content"]] == [
        *(INSTRUCTIONS, WHAT[0], RESULT, *what[2:-1])
    ]
    assert app.errors == []
    # It has asked for what was understood and heard, and got it; it was told nothing odd.
    [connection] = here.tap.connections[-1:]
    asked = connection.items("conversation.item.retrieve")
    assert asked and connection.items("conversation.item.retrieved") == asked
    assert connection.wrong == []


CALL = """
name: a key, and words over what is said to it
steps:
  - dtmf: "7#"
  - wait_for: audio
  - wait: 2.5
  - say: music.wav
  - wait_for: clear
  - wait: 6
  - hangup
"""


async def test_a_telephone_call(here: Here, tmp_path: Path) -> None:
    """By a simulator of Twilio's Media Streams, which says what is against their protocol."""
    _require(importlib.util.find_spec("streamdouble"), "scripts/setup dev installs it")
    from streamdouble.api import run_scenario
    from streamdouble.session import SessionConfig

    (tmp_path / "call.yaml").write_text(CALL)
    with wave.open(str(tmp_path / "music.wav"), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(np.concatenate([*read_audio(MUSIC, RATE)]).tobytes())
    token = "0123456789abcdefghij"
    with cascade_serve("--llm", here.llm.url, env={"CASCADE_SERVE__TOKEN": token}) as there:
        url = f"{there.realtime.removesuffix('/realtime')}/phone"
        config = SessionConfig(custom_parameters={"token": token})
        report = await run_scenario(url, tmp_path / "call.yaml", config=config)
    assert report.violations == []
    told = here.llm.requests[-1].body["messages"]
    keys, cut, music = [m["content"] for m in told[1:]]
    # Of a telephone's sound the last word is heard as "movies", or "new".
    assert keys == "[keys pressed: 7]" and music.startswith("Why do people like")
    # The caller had heard some 3 s of a reply that takes 9.
    assert STORY.startswith(cut) and 2 <= len(cut.split()) < len(STORY.split()) - 5


TALK = """
    import sys
    sys.path.insert(0, sys.argv.pop(1))
    from speech_to_speech.cli import main
    main()
"""


def test_talk_of_speech_to_speech(pulse: Pulse, here: Here) -> None:
    """Hugging Face's own client, at a system's microphone and loudspeaker."""
    _require(importlib.util.find_spec("speech_to_speech.cli"), "scripts/setup dev installs it")
    talk = pulse.start_child(
        *(TALK, str(ROOT / "tests"), *printed("speech-to-speech talk", here.port).split()[1:]),
        "--tool-module=support.weather",
    )
    assert talk.stdout is not None
    shown = Shown(talk.stdout.fileno())
    try:
        shown.until("Ready")
        with pulse.record() as heard:
            pulse.play_into_mic(WEATHER)
            shown.until(RAINS)
            pulse.play_into_mic(MUSEUM)
            shown.until("Once upon a time")
            time.sleep(1.5)
            begins_ns = time.monotonic_ns()
            pulse.play_into_mic(MUSIC)
            ends_ns = time.monotonic_ns()
            shown.until(MOVES)
        talk.send_signal(signal.SIGINT)
        assert talk.wait(HANG_S) == 0
    finally:
        talk.kill()
        talk.wait()
        shown.join()
    ready, *said = shown.text.splitlines()
    assert ready == "Ready — start speaking."
    cut = said[3].removeprefix("ASSISTANT: ")
    assert said[1::2] == [f"ASSISTANT: {words}" for words in (RAINS, cut, MOVES)]
    # A sound server on a busy machine loses sound, of which more may be understood.
    assert len(said) == 6
    for line, words in zip(said[::2], WHAT, strict=False):
        assert line.startswith(f"USER: {words}")
    assert STORY.startswith(cut) and cut != STORY
    # The client does not say how much of it was heard; the server reckons.
    assert cut.startswith(str(here.llm.requests[-1].body["messages"][-2]["content"]))
    assert here.tap.connections[-1].wrong == []
    # The story is heard until it is spoken over, and no more when that has been said.
    [played] = heard
    assert played.between(begins_ns - NS_PER_S, begins_ns).stretches(1)
    assert not played.between(ends_ns - NS_PER_S // 2, ends_ns).stretches(1)


class Shown(threading.Thread):
    """What a program shows while it runs.

    Attributes:
        text: All of it so far.
    """

    def __init__(self, pipe: int) -> None:
        super().__init__()
        self._pipe = pipe
        self.text = ""
        self.start()

    def run(self) -> None:
        while piece := os.read(self._pipe, 65536):
            self.text += piece.decode()

    def until(self, words: str) -> None:
        """Wait until it shows that."""
        until = time.monotonic() + HANG_S
        while words not in self.text:
            assert self.is_alive() and time.monotonic() < until, self.text
            time.sleep(0.01)
