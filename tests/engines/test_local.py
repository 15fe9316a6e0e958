"""Loading all engines at once, letting go of them, and sharing them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import platform
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.real_engines import development, fetched

from pipeline.config import load
from pipeline.engines.chat_stream import Used
from pipeline.engines.local import BEHIND_S, DRAFT_S, LocalEngines
from pipeline.engines.whisper import RATE, Known, Transcription

TOYS = {
    "stt.model": "whisper-mini-en",
    "tts.voice": "en_US-mini",
    "turns.predict": "false",
}


async def test_what_is_loaded_is_no_garbage_until_it_is_let_go_of() -> None:
    async with LocalEngines(load(None, TOYS), writes=False):
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


THREADS = """
import ctypes, sys, threading
from pipeline.engines import local

local._share_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
libc.malloc_info.argtypes, libc.fclose.argtypes = [ctypes.c_int, ctypes.c_void_p], [ctypes.c_void_p]
together = threading.Barrier(8)

def work():
    together.wait()
    libc.malloc(100_000)
    together.wait()

threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
file = libc.fopen(sys.argv[1].encode(), b"w")
libc.malloc_info(0, file)
libc.fclose(file)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is another")
def test_threads_take_memory_from_one_place(tmp_path: Path) -> None:
    told = tmp_path / "malloc.xml"
    subprocess.run([sys.executable, "-c", THREADS, told], check=True)
    assert told.read_text("utf-8").count("<heap ") == 1


@pytest.fixture
async def engines() -> AsyncIterator[LocalEngines]:
    """The toys that listen and speak."""
    async with LocalEngines(load(None, TOYS), writes=False) as loaded:
        yield loaded


@contextlib.asynccontextmanager
async def held_up(engines: LocalEngines, seconds: float) -> AsyncIterator[None]:
    """Let something occupy the recogniser, until this is left, and for so long at least."""
    go_on = threading.Event()
    holding = asyncio.create_task(engines._recognising.run(go_on.wait))
    await asyncio.sleep(0)
    until = asyncio.get_running_loop().time() + seconds
    try:
        yield
        await asyncio.sleep(max(0.0, until - asyncio.get_running_loop().time()))
    finally:
        go_on.set()
        await holding


async def test_a_session_comes_before_files_and_words_before_drafts(engines: LocalEngines) -> None:
    audio, _ = development()[0]
    order: list[str] = []

    async def ask(who: LocalEngines, name: str, *, draft: bool = False) -> None:
        await who.transcribe(audio, Known(draft=draft))
        order.append(name)

    with engines.seat() as one, engines.seat() as other:
        asked = [(engines, "file"), (one, "draft"), (one, "words"), (other, "other words")]
        async with held_up(engines, 0):
            waiting = [
                asyncio.create_task(ask(who, name, draft=name == "draft")) for who, name in asked
            ]
            await asyncio.sleep(0)
        await asyncio.gather(*waiting)
    assert order == ["words", "other words", "draft", "file"]


async def test_a_draft_that_comes_too_late_is_not_made(engines: LocalEngines) -> None:
    audio, _ = development()[0]
    async with held_up(engines, DRAFT_S + 0.05):
        drafted = asyncio.create_task(engines.transcribe(audio, Known(draft=True)))
        words = asyncio.create_task(engines.transcribe(audio))
        await asyncio.sleep(0)
    assert (await drafted).dropped == "too late"
    assert (await words).text


async def test_they_are_behind_while_somebody_waits(engines: LocalEngines) -> None:
    audio, _ = development()[0]
    with engines.seat() as seat:
        assert not seat.behind
        async with held_up(engines, BEHIND_S + 0.05):
            words = asyncio.create_task(seat.transcribe(audio))
            await asyncio.sleep(BEHIND_S + 0.05)
            assert seat.behind
        await words
        assert not seat.behind


async def test_who_lets_the_voice_wait_holds_up_no_other_session(engines: LocalEngines) -> None:
    text = "The train to Madrid leaves at nine in the morning, from platform four."
    with engines.seat() as slow, engines.seat() as quick:
        async with contextlib.aclosing(slow.voice.speak(f"{text} {text} {text}")) as unheard:
            first = await anext(unheard)
            async with contextlib.aclosing(quick.voice.speak(text)) as pieces:
                made = [piece async for piece in pieces]
            assert sum(map(len, made)) > 1.5 * quick.voice.rate
            rest = [piece async for piece in unheard]
    assert len(first) + sum(map(len, rest)) > 2 * sum(map(len, made))


async def test_others_are_served_between_the_windows_of_a_long_recording(
    engines: LocalEngines,
) -> None:
    audio, _ = development()[0]
    long = np.tile(audio, 2 + 65 * RATE // len(audio))
    order: list[str] = []

    async def ask(name: str, heard: np.ndarray) -> str:
        found = await seat.transcribe(heard)
        order.append(name)
        return found.text

    with engines.seat() as seat:
        recording = asyncio.create_task(ask("recording", long))
        await asyncio.sleep(0)
        words = await ask("words", audio)
        assert order == ["words"]
        assert len((await recording).split()) > 5 * len(words.split())


async def test_who_talks_goes_before_all_of_a_long_recording(
    engines: LocalEngines, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio, _ = development()[0]
    long = np.tile(audio, 2 + 35 * RATE // len(audio))
    order: list[str] = []
    windows = engines._whisper.windows

    def recorded(*args: Any, **more: Any) -> Iterator[Transcription]:
        for heard in windows(*args, **more):
            order.append("window")
            yield heard

    monkeypatch.setattr(engines._whisper, "windows", recorded)
    with engines.seat() as one, engines.seat() as other:
        async with held_up(engines, 0):
            recording = asyncio.create_task(one.transcribe(long))
            await asyncio.sleep(0)
            words = asyncio.create_task(other.transcribe(audio))
            await asyncio.sleep(0)
        await words
        order.append("words")
        await recording
    assert order[0] == "words"
    assert order.count("window") > 1


@pytest.mark.slow
async def test_each_session_finds_in_the_model_what_was_read_of_its_conversation() -> None:
    fetched("llm", "embedded")
    settings = load(None, {**TOYS, "llm.sentences": "0", "llm.max_tokens": "6"})
    system = {"role": "system", "content": settings.llm.instructions}
    names = ("Anna", "Bertil", "Clara")

    async with LocalEngines(settings, recognises=False, sessions=2) as engines:

        async def talk(seat: LocalEngines, name: str, rounds: int) -> list[Used]:
            said = [system]
            costs = []
            for number in range(rounds):
                text = f"My name is {name}, and this is question number {number}. Who am I?"
                said.append({"role": "user", "content": text})
                await seat.judge(said)
                async with contextlib.aclosing(seat.model.stream(said)) as pieces:
                    *words, used = [piece async for piece in pieces]
                assert isinstance(used, Used)
                costs.append(used)
                said.append({"role": "assistant", "content": "".join(map(str, words))})
            return costs

        with engines.seat() as one, engines.seat() as other:
            both = await asyncio.gather(talk(one, names[0], 3), talk(other, names[1], 3))
            for costs in both:
                for before, used in itertools.pairwise(costs):
                    assert used.cached_tokens >= before.input_tokens
            with engines.seat() as third:
                # There is no slot left: it is served all the same.
                assert len(await talk(third, names[2], 1)) == 1
        with engines.seat() as again:
            assert len(await talk(again, names[2], 1)) == 1
