from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cli_child import ROOT
from support.real_engines import fetched

from pipeline.config import LlmSettings, load
from pipeline.engines.chat_stream import Used
from pipeline.engines.llama import (
    CONTEXT_TOKENS,
    LocalServer,
    context_tokens,
    thread_count,
    trained_context,
)
from pipeline.engines.llm import ChatModel, Messages
from pipeline.engines.llm_judge import TextJudge
from pipeline.engines.servers import ChatServer
from pipeline.engines.tools import Prompt, Tool, ToolUse, tool_call
from pipeline.errors import StageError

HANG_GUARD_S = 120
# A test machine may stand still for seconds; `HANG_GUARD_S` ends what never ends.
SETTINGS = LlmSettings(temperature=0, timeout_s=300.0)
QUESTION = [
    {"role": "system", "content": "You are a friendly voice assistant."},
    {"role": "user", "content": "What is the capital of France?"},
]
WEATHER = Tool(
    "weather",
    "Tells the weather in a city.",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
STORY = [{"role": "user", "content": "Tell me a very long story about a dragon and a lighthouse."}]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def gguf() -> Path:
    return fetched("llm", "embedded")


@pytest.fixture(scope="module")
def shared(gguf: Path) -> Iterator[ChatServer]:
    """A server that runs for all tests that do not ask what it is like when it is new."""
    server = LocalServer(gguf, SETTINGS)
    asyncio.run(server.__aenter__())
    yield server.address
    asyncio.run(server.__aexit__(None, None, None))


@contextlib.asynccontextmanager
async def asking(server: ChatServer) -> AsyncIterator[ChatModel]:
    """A client of a server."""
    async with asyncio.timeout(HANG_GUARD_S):
        model = ChatModel(server, SETTINGS)
        try:
            yield model
        finally:
            await model.close()


@contextlib.asynccontextmanager
async def running(path: Path, context_tokens: int = CONTEXT_TOKENS) -> AsyncIterator[ChatModel]:
    """A server of its own, and a client of it."""
    async with (
        LocalServer(path, SETTINGS, context_tokens=context_tokens) as local,
        asking(local.address) as model,
    ):
        yield model


async def take(
    model: ChatModel, messages: Messages, max_tokens: int | None = None
) -> tuple[str, Used]:
    """A whole reply and what it cost."""
    async with contextlib.aclosing(model.stream(messages, max_tokens=max_tokens)) as stream:
        *texts, used = [piece async for piece in stream]
    assert isinstance(used, Used)
    return "".join(text for text in texts if isinstance(text, str)), used


class TestReplies:
    async def test_answers(self, shared: ChatServer) -> None:
        async with asking(shared) as model:
            text, used = await take(model, QUESTION)
            assert "Paris" in text
            assert used.input_tokens > 10
            assert used.output_tokens > 3
            _, used = await take(model, STORY, max_tokens=7)
            assert used.output_tokens == 7

    async def test_prompt_cache(self, gguf: Path) -> None:
        async with running(gguf) as model:
            await model.warm(QUESTION[:1])
            _, first = await take(model, QUESTION)
            _, second = await take(model, QUESTION)
        assert first.cached_tokens > 0, "the system prompt was read when warming"
        assert second.cached_tokens > first.cached_tokens
        assert second.cached_tokens >= second.input_tokens - 1

    async def test_who_has_much_to_read_takes_nothing_from_others(self, gguf: Path) -> None:
        """Of two conversations each has its memory, and what is too long for it is refused."""
        system = {"role": "system", "content": "You are a friendly voice assistant. " * 20}
        asked = [[system, {"role": "user", "content": f"Who is {name}?"}] for name in ("Ann", "Bo")]
        long = [system, {"role": "user", "content": "Where is the train to Madrid? " * 40}]
        async with (
            LocalServer(gguf, SETTINGS, context_tokens=200, sessions=2) as local,
            asking(local.address) as model,
        ):
            slots = [model.at(0), model.at(1)]
            await asyncio.gather(*(take(slots[n], asked[n], 8) for n in (0, 1)))
            with pytest.raises(StageError, match="exceeds"):
                await take(slots[0], long, 8)
            for n in (0, 1):
                _, used = await take(slots[n], asked[n], 8)
                assert used.cached_tokens >= used.input_tokens - 1

    async def test_what_old_turns_are_left_out_of_is_not_read_again(self, gguf: Path) -> None:
        told = [
            {"role": role, "content": f"The {word} train leaves at nine in the morning. " * 6}
            for word in ("first", "second")
            for role in ("user", "assistant")
        ]
        async with running(gguf) as model:
            await take(model, [*QUESTION[:1], *told, QUESTION[1]], max_tokens=1)
            text, used = await take(model, [*QUESTION[:1], *told[2:], QUESTION[1]])
        assert used.cached_tokens > used.input_tokens // 2
        assert "Paris" in text

    async def test_keeps_one_prompt_in_memory(self, gguf: Path) -> None:
        one, other = (
            [{"role": "user", "content": " ".join(f"{word} {i}" for i in range(60))}]
            for word in ("train", "river")
        )
        async with running(gguf) as model:
            await take(model, one, max_tokens=1)
            await take(model, other, max_tokens=1)
            _, again = await take(model, one, max_tokens=1)
        assert again.cached_tokens < again.input_tokens / 2

    async def test_prompt_longer_than_the_context(self, gguf: Path) -> None:
        async with running(gguf, context_tokens=256) as model:
            with pytest.raises(StageError, match=r"the embedded model answers 400.*context"):
                await take(model, [{"role": "user", "content": "word " * 400}])
            text, _ = await take(model, QUESTION)
        assert "Paris" in text

    async def test_no_more_is_reserved_than_the_model_was_trained_for(self, gguf: Path) -> None:
        """A million tokens would take 23 GB."""
        assert trained_context(gguf) == 8192
        async with running(gguf, context_tokens=1_500_000) as model:
            text, _ = await take(model, QUESTION)
        assert "Paris" in text
        assert trained_context(gguf.with_name("no such file")) is None

    async def test_reads_tools_calls_and_results(self, shared: ChatServer) -> None:
        """Its template shows it none: they are in the words of the prompt."""
        called = [tool_call(ToolUse("call00001", "weather", '{"city": "Paris"}'))]
        messages = [
            *QUESTION,
            {"role": "assistant", "content": "", "tool_calls": called},
            {"role": "tool", "content": "sunny", "tool_call_id": "call00001"},
        ]
        async with asking(shared) as model:
            text, used = await take(model, Prompt(messages, [WEATHER]), max_tokens=9)
            _, bare = await take(model, Prompt(messages, []), max_tokens=9)
        assert text
        assert 0 < used.output_tokens <= 9
        assert used.input_tokens > bare.input_tokens + 80

    @pytest.mark.parametrize("tools", [[WEATHER], [Tool("news"), WEATHER]])
    @pytest.mark.parametrize("named", [False, True])
    async def test_calls_what_it_has_to(
        self, shared: ChatServer, tools: list[Tool], named: bool
    ) -> None:
        """In the right form, be the model what it may."""
        name = {"type": "function", "function": {"name": "weather"}}
        question = [{"role": "user", "content": "What is the weather in Paris?"}]
        prompt = Prompt(question, tools, choice=name if named else "required")
        async with asking(shared) as model:
            pieces = [piece async for piece in model.stream(prompt)]
        (use,) = [piece for piece in pieces if isinstance(piece, ToolUse)]
        assert not [piece for piece in pieces if isinstance(piece, str)]
        if named or len(tools) == 1:
            assert isinstance(json.loads(use.arguments)["city"], str)

    async def test_what_it_has_read_of_tools_stays_read(self, shared: ChatServer) -> None:
        """From turn to turn, and with the judge's opinion asked in between."""
        messages = [*QUESTION]
        judge = TextJudge(shared, timeout_s=HANG_GUARD_S)
        async with asking(shared) as model:
            await take(model, Prompt(messages, [WEATHER]))
            for question in ("And of Italy?", "And of Norway?"):
                messages += [
                    {"role": "assistant", "content": "I do not know."},
                    {"role": "user", "content": question},
                ]
                prompt = Prompt(messages, [WEATHER])
                assert await judge.probability(model.as_read(prompt)) is not None
                _, used = await take(model, prompt)
                assert used.input_tokens - used.cached_tokens < 40
        await judge.close()

    async def test_path_with_odd_characters(self, gguf: Path, tmp_path: Path) -> None:
        odd = tmp_path / "mödel nº 1 模型.gguf"
        try:
            odd.hardlink_to(gguf)
        except OSError:
            shutil.copy(gguf, odd)
        async with running(odd) as model:
            assert model.model == odd.stem
            text, _ = await take(model, QUESTION)
        assert "Paris" in text


class TestAccess:
    async def test_only_on_loopback_and_only_with_its_key(self, shared: ChatServer) -> None:
        assert urlsplit(shared.base_url).hostname == "127.0.0.1"
        for key in ("none", shared.api_key[:-1]):
            async with asking(dataclasses.replace(shared, api_key=key)) as stranger:
                with pytest.raises(StageError, match=r"refuses the key \(401\)") as caught:
                    await take(stranger, QUESTION)
                assert caught.value.fatal

    async def test_each_server_has_its_own_key_and_port(
        self, gguf: Path, shared: ChatServer
    ) -> None:
        async with LocalServer(gguf, SETTINGS) as other:
            assert other.address.api_key != shared.api_key
            assert other.address.base_url != shared.base_url
            assert len(other.address.api_key) >= 32

    async def test_a_proxy_is_not_asked(
        self, shared: ChatServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        async with asking(shared) as model:
            text, _ = await take(model, QUESTION)
        assert "Paris" in text


class TestCancelling:
    async def test_generation_stops(self, gguf: Path) -> None:
        """What a server keeps in its cache tells how far it got with a reply."""

        async def cached_of(story: str, model: ChatModel) -> int:
            told = [*STORY, {"role": "assistant", "content": story}]
            _, used = await take(model, [*told, {"role": "user", "content": "Go on."}], 1)
            return used.cached_tokens

        async with running(gguf) as model:
            story, used = await take(model, STORY, max_tokens=120)
            assert used.output_tokens == 120
            whole = await cached_of(story, model)
        assert whole > used.input_tokens + 60

        async with running(gguf) as model:
            async with contextlib.aclosing(model.stream(STORY, max_tokens=1500)) as stream:
                await anext(stream)
            cancelled = await cached_of(story, model)
        assert cancelled < used.input_tokens + 60

    async def test_next_request_while_a_long_prompt_is_read(self, shared: ChatServer) -> None:
        async with asking(shared) as model:
            reading = asyncio.create_task(
                take(model, [{"role": "user", "content": "word " * 1500}])
            )
            await asyncio.sleep(0.1)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            text, _ = await take(model, QUESTION)
        assert "Paris" in text

    async def test_many_cancelled_requests(self, shared: ChatServer) -> None:
        async with asking(shared) as model:
            for _ in range(10):
                async with contextlib.aclosing(model.stream(STORY)) as stream:
                    await anext(stream)
            text, _ = await take(model, QUESTION)
        assert "Paris" in text


class TestStopping:
    async def test_port_is_closed_and_no_thread_left(self, gguf: Path) -> None:
        for _ in range(2):
            before = set(threading.enumerate())
            async with LocalServer(gguf, SETTINGS) as server:
                parts = urlsplit(server.address.base_url)
                model = ChatModel(server.address, SETTINGS)
                await take(model, QUESTION)
                await model.close()
            with socket.socket() as probe:
                assert probe.connect_ex((str(parts.hostname), parts.port or 0)) != 0
            # The event loop's own pool may have grown; it is shared and goes with the loop.
            left = {thread.name for thread in set(threading.enumerate()) - before}
            assert not {name for name in left if not name.startswith("asyncio")}

    async def test_with_a_stream_still_open(self, gguf: Path) -> None:
        async with asyncio.timeout(HANG_GUARD_S):
            async with LocalServer(gguf, SETTINGS) as server:
                model = ChatModel(server.address, SETTINGS)
                stream = model.stream(STORY, max_tokens=1500)
                await anext(stream)
            with pytest.raises(StageError, match="the embedded model"):
                async for _ in stream:
                    pass
            with pytest.raises(StageError, match=r"cannot be reached.*start Cascade again"):
                await take(model, QUESTION)
            await model.close()


class TestFiles:
    @pytest.mark.parametrize("content", [b"", b"no model at all\n" * 100, b"GGUF", b"\x00" * 5000])
    async def test_no_gguf(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "broken.gguf"
        path.write_bytes(content)
        await self.refused(path)

    async def test_no_file(self, tmp_path: Path) -> None:
        await self.refused(tmp_path / "absent.gguf")
        await self.refused(tmp_path)

    @pytest.mark.parametrize("part", [0.0001, 0.999])
    async def test_truncated(self, gguf: Path, tmp_path: Path, part: float) -> None:
        path = tmp_path / "truncated.gguf"
        with gguf.open("rb") as whole:
            path.write_bytes(whole.read(int(gguf.stat().st_size * part)))
        await self.refused(path)

    async def refused(self, path: Path) -> None:
        with pytest.raises(StageError) as caught:
            async with LocalServer(path, SETTINGS):
                pass
        assert caught.value.stage == "llm"
        assert caught.value.fatal
        assert str(path) in str(caught.value)
        assert "cascade models verify" in str(caught.value)
        assert len(str(caught.value).splitlines()) <= 2
        assert caught.value.__context__ is None or caught.value.__suppress_context__

    async def test_llama_cpp_does_not_load(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "xllamacpp", None)
        with pytest.raises(StageError, match=r"cannot run here.*libgomp1.*another --llm") as caught:
            async with LocalServer(tmp_path / "any.gguf", SETTINGS):
                pass
        assert caught.value.fatal


class TestThreads:
    @pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (3, 1), (4, 2), (16, 14)])
    def test_left_to_us(self, cores: int, threads: int) -> None:
        assert thread_count(0, cores) == threads

    @given(st.integers(1, 256), st.integers(1, 256))
    def test_set_by_the_user(self, setting: int, cores: int) -> None:
        assert thread_count(setting, cores) == setting


def test_a_longer_history_has_room() -> None:
    assert context_tokens(load()) == CONTEXT_TOKENS
    settings = load(flags={"conversation.budget_tokens": 8000, "llm.max_tokens": 500})
    assert context_tokens(settings) > 8500


def test_instructions_in_another_script_and_tools_have_room() -> None:
    plain, russian = ("Be brief and polite, " * 400), ("Ответь мне коротко. " * 400)
    room = [context_tokens(load(flags={"llm.instructions": text})) for text in (plain, russian)]
    assert room[0] > 2000 + 1700
    assert room[1] > room[0] + 6000, "of which the embedded model makes 6,010 tokens"
    tools = load(flags={"tools.files": ["weather.py"]})
    assert context_tokens(tools) > context_tokens(load()) + 1000
    assert context_tokens(tools, sessions=2) == context_tokens(load(), sessions=2)


CHILD = """
import asyncio, contextlib, sys
from pathlib import Path
from pipeline.config import LlmSettings
from pipeline.errors import CascadeError
from pipeline.engines.llm import ChatModel
from pipeline.engines.llama import LocalServer

SETTINGS = LlmSettings(temperature=0)
STORY = [{"role": "user", "content": "Tell me a very long story about a dragon."}]
kept = []

async def listen(model, started):
    with contextlib.suppress(CascadeError):  # the server may stop first
        async with contextlib.aclosing(model.stream(STORY, max_tokens=1500)) as stream:
            async for _ in stream:
                started.set()

async def main(end):
    if end == "unasked":  # stopped as soon as it is there, several times
        for _ in range(10):
            async with LocalServer(Path(sys.argv[1]), SETTINGS):
                pass
    async with LocalServer(Path(sys.argv[1]), SETTINGS) as server:
        model = ChatModel(server.address, SETTINGS)
        started = asyncio.Event()
        task = asyncio.create_task(listen(model, started))
        await started.wait()
        print("streaming")
        if end == "exit":  # in the middle of the stream
            sys.exit(0)
        if end == "keep":  # the same, and the server itself lives on to the end of the process
            kept.append(server._server)
            return
        task.cancel()
        await model.close()

try:
    asyncio.run(main(sys.argv[2]))
except CascadeError as error:
    sys.exit(f"cascade: {error}")
"""


class TestProcess:
    """In a process of its own: what it prints and how it ends."""

    def run(self, path: Path, end: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", CHILD, str(path), end],
            cwd=ROOT,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=HANG_GUARD_S,
            check=False,
        )

    @pytest.mark.parametrize("end", ["close", "exit", "keep", "unasked"])
    def test_silent(self, gguf: Path, end: str) -> None:
        child = self.run(gguf, end)
        assert child.stderr == ""
        assert child.stdout == "streaming\n"
        assert child.returncode == 0

    def test_damaged_file(self, tmp_path: Path) -> None:
        path = tmp_path / "broken.gguf"
        path.write_bytes(b"no model at all\n" * 100)
        child = self.run(path, "close")
        (line,) = child.stderr.splitlines()
        assert line.startswith(f"cascade: {path}: llama.cpp cannot load it")
        assert child.stdout == ""
        assert child.returncode == 1
