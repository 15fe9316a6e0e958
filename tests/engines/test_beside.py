"""Servers that answer as the products do (shapes from their documentation), and others."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.cli_child import HANG_S, Outcome, recording, require_models, run
from support.llm_client import hermetic

from pipeline.config import LlmSettings, load
from pipeline.engines.beside import Beside, Model, best, look, of_ollama, of_openai
from pipeline.engines.client import open_client
from pipeline.engines.llama import LocalServer
from pipeline.engines.servers import chat_server
from pipeline.models.catalogue import Catalogue

pytestmark = pytest.mark.usefixtures(hermetic.__name__)

GB = 1e9


def tag(name: str, size: float, family: str = "qwen3", **more: Any) -> dict[str, Any]:
    """A model as Ollama's OpenAPI (`/api/tags`, 2026) has it."""
    details = {"parent_model": "", "format": "gguf", "family": family, "families": [family]}
    details |= {"parameter_size": "4.0B", "quantization_level": "Q4_K_M"}
    return {
        **{"name": name, "model": name, "modified_at": "2026-10-03T23:34:03.4-07:00"},
        **{"size": int(size), "digest": "a2af6cc3eb7f", "details": details, **more},
    }


TAGS = {
    "models": [
        tag("nomic-embed-text:latest", 0.27 * GB, "nomic-bert"),
        tag("qwen3:4b", 2.5 * GB),
        tag("llama3.3:70b", 42 * GB, "llama"),
        tag("gpt-oss:120b-cloud", 384, "gptoss", remote_host="https://ollama.com:443"),
        tag("deepseek-r1:8b", 5.2 * GB),
    ]
}

LLAMA_CPP = {
    "models": [{"name": "m", "capabilities": ["completion"], "details": {"family": ""}}],
    "object": "list",
    "data": [
        {
            **{"id": "models/gemma-4-12B-it-Q8_0.gguf", "aliases": [], "tags": []},
            **{"object": "model", "created": 1791322978, "owned_by": "llamacpp"},
            "meta": {"n_vocab": 262144, "n_params": 11907350576, "size": 12653822144},
        }
    ],
}
"""Of llama.cpp's server, b9992."""

ROUTER = {
    "object": "list",
    "data": [
        {
            **{"id": name, "object": "model", "owned_by": "llamacpp", "created": 1783986018},
            **{"status": {"value": state}, "source": "models_dir"},
        }
        for name, state in (("Qwen3-0.6B-Q4_K_M", "unloaded"), ("gemma-3-4b-it", "unloaded"))
    ],
}
"""Of llama.cpp's server with `--models-dir`, b9992."""

LM_STUDIO = {
    "data": [
        {"id": name, "object": "model", "owned_by": "organization_owner"}
        for name in (
            "text-embedding-nomic-embed-text-v1.5",
            "qwen/qwen3-4b-thinking-2507",
            "llama-3.2-3b-instruct",
            "qwen/qwen3-coder-30b",
        )
    ],
    "object": "list",
}
"""Of LM Studio 0.3."""

VLLM = {
    "object": "list",
    "data": [
        {
            **{"id": "Qwen/Qwen3-32B", "object": "model", "created": 1739935000},
            **{"owned_by": "vllm", "root": "Qwen/Qwen3-32B", "parent": None},
            **{"max_model_len": 40960, "permission": [{"id": "modelperm-d0", "object": "model_p"}]},
        }
    ],
}
"""Of vLLM 0.11."""


@dataclass
class Port:
    """A port at which somebody listens, and what they were sent."""

    url: str
    got: list[str] = field(default_factory=list)


@contextlib.asynccontextmanager
async def listening(
    body: object, *, head: str = "HTTP/1.1 200 OK", hangs: bool = False, every_s: float = 0.0
) -> AsyncGenerator[Port]:
    """Somebody who answers so to everything, or hangs, or sends a byte now and then."""
    port = Port("")
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            port.got.append((await reader.readuntil(b"\r\n\r\n")).decode())
            if hangs:
                await reader.read()
            whole = f"{head}\r\nContent-Length: {len(raw)}\r\n\r\n".encode() + raw
            if every_s:
                for byte in whole:
                    writer.write(bytes([byte]))
                    await asyncio.sleep(every_s)
            writer.write(whole)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield port


def closed() -> str:
    """A port that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture(autouse=True)
def no_ollama(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", closed())


class TestLook:
    async def test_ollama_is_found_where_its_variable_says(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with listening(TAGS) as port:
            monkeypatch.setenv("OLLAMA_HOST", port.url)
            monkeypatch.setenv("HTTP_PROXY", closed())
            assert await look([]) == [Beside("Ollama", "qwen3:4b", "--llm ollama:qwen3:4b")]
        [request] = port.got
        assert request.startswith("GET /api/tags HTTP/1.1\r\n")
        assert "uthorization" not in request

    @pytest.mark.parametrize(
        ("body", "server", "model", "named"),
        [
            (LLAMA_CPP, "llama.cpp", "models/gemma-4-12B-it-Q8_0.gguf", ""),
            (ROUTER, "llama.cpp", "gemma-3-4b-it", "#gemma-3-4b-it"),
            (LM_STUDIO, "LM Studio", "llama-3.2-3b-instruct", "#llama-3.2-3b-instruct"),
            (VLLM, "vLLM", "Qwen/Qwen3-32B", ""),
        ],
    )
    async def test_the_flag_asks_the_server_for_its_best_model(
        self, body: dict[str, Any], server: str, model: str, named: str
    ) -> None:
        async with listening(body) as port:
            [beside] = await look([port.url])
        assert beside == Beside(server, model, f"--llm {port.url}{named}")
        assert [line.split("\r\n")[0] for line in port.got] == ["GET /v1/models HTTP/1.1"]
        there = chat_server(LlmSettings(model=beside.flag.removeprefix("--llm ")))
        assert there.base_url == f"{port.url}/v1"
        assert there.model == (model if named else "")

    async def test_an_answer_in_chunks(self) -> None:
        text = json.dumps(VLLM).encode()
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (text[:9], text[9:]))
        head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked"
        async with listening(chunks + b"0\r\n\r\n", head=head) as port:
            assert len(await look([port.url])) == 1

    @pytest.mark.parametrize(
        ("body", "head"),
        [
            (b"<html>It works!</html>", "HTTP/1.1 200 OK"),
            (VLLM, "HTTP/1.1 401 Unauthorized"),
            (b"", "HTTP/1.1 301 Moved\r\nLocation: http://example.invalid/"),
            (b"SSH-2.0-OpenSSH_9.6", ""),
            ({"data": []}, "HTTP/1.1 200 OK"),
            ({"data": [{"id": "cascade", "object": "model", "owned_by": "x"}]}, "HTTP/1.1 200 OK"),
            ([1], "HTTP/1.1 200 OK"),
            ({"data": {"a": 1}}, "HTTP/1.1 200 OK"),
            ({"data": [{"owned_by": "vllm"}]}, "HTTP/1.1 200 OK"),
            (b"[" * 100_000, "HTTP/1.1 200 OK"),
            (b"\xff\xfe", "HTTP/1.1 200 OK"),
            (b"x" * 3_000_000, "HTTP/1.1 200 OK"),
        ],
    )
    async def test_what_is_no_language_model_is_not_told(self, body: object, head: str) -> None:
        async with listening(body, head=head) as port, listening(VLLM) as other:
            found = await look([port.url, other.url])
        assert [beside.server for beside in found] == ["vLLM"]

    @pytest.mark.parametrize("how", [{"hangs": True}, {"every_s": 0.05}])
    async def test_who_does_not_answer_is_not_waited_for(
        self, how: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """All of the slow one's answer would take 17 s; the other one's may take a moment here."""
        monkeypatch.setattr("pipeline.engines.beside.DEADLINE_S", 2.0)
        async with listening(VLLM, **how) as port, listening(VLLM) as other:
            async with asyncio.timeout(HANG_S):
                found = await look([port.url, other.url])
        assert len(found) == 1

    async def test_closed_ports_cost_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pipeline.engines.beside.DEADLINE_S", 4711.0)
        async with asyncio.timeout(HANG_S):
            assert await look([closed(), closed(), closed()]) == []

    @pytest.mark.parametrize("host", ["192.0.2.7", "https://127.0.0.1", "a b", "example.invalid"])
    async def test_only_loopback_is_asked(self, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
        asked: list[object] = []

        def connect(place: object, *_: object) -> None:
            asked.append(place)
            raise OSError

        monkeypatch.setattr(socket, "create_connection", connect)
        monkeypatch.setenv("OLLAMA_HOST", host)
        assert await look([]) == []
        assert asked == []
        monkeypatch.setenv("OLLAMA_HOST", "0.0.0.0:9")
        assert await look([]) == []
        assert asked == [("127.0.0.1", 9)]

    async def test_a_real_server_of_llama_cpp(self) -> None:
        require_models("llm")
        settings = load()
        path = Catalogue.load("").resolve("llm", "embedded").path
        async with LocalServer(path, settings.llm, context_tokens=512) as server:
            where = server.address
            async with open_client(where) as client:
                told: Any = await client.get("/models", cast_to=object)
            # Ours has a key, which nobody else is told.
            assert await look([where.base_url.removesuffix("/v1")]) == []
        product, [model] = of_openai(told)
        assert product == "llama.cpp"
        assert model.size == pytest.approx(path.stat().st_size, rel=0.05)
        assert best([model], 0) == model


def chosen(*models: Model, memory: float = 16 * GB) -> str:
    found = best(models, memory)
    return found.name if found else ""


class TestBest:
    def test_the_largest_that_fits_and_answers_soon(self) -> None:
        small, middle = Model("llama3.2:1b", 1.3 * GB), Model("qwen3:8b", 5.2 * GB)
        large = Model("qwen3:14b", 9.3 * GB)
        assert chosen(small, large, middle) == "qwen3:8b"
        assert chosen(small, large, middle, memory=8 * GB) == "llama3.2:1b"
        assert chosen(large) == ""
        assert chosen(large, memory=0) == ""
        assert chosen(Model("smollm2:135m", 0.09 * GB)) == ""

    def test_what_is_loaded_fits(self) -> None:
        assert chosen(Model("huge", 90 * GB, loaded=True)) == "huge"

    def test_one_that_calls_tools_and_speaks_at_once(self) -> None:
        deaf = Model("gemma3:4b", 3.3 * GB, tools=False)
        handy = Model("qwen3:1.7b", 1.4 * GB, tools=True)
        assert chosen(deaf, handy) == "qwen3:1.7b"
        assert chosen(deaf) == "gemma3:4b"
        assert chosen(Model("deepseek-r1:8b", 5.2 * GB, tools=True), handy) == "qwen3:1.7b"
        assert chosen(Model("a", GB), Model("b", GB)) == "a"

    @pytest.mark.parametrize(
        "name",
        [
            *("nomic-embed-text:latest", "mxbai-embed-large", "all-minilm:33m", "bge-m3:567m"),
            *("text-embedding-nomic-embed-text-v1.5", "BAAI/bge-reranker-v2-m3", "llama-guard3:8b"),
            *("qwen2.5:7b-base", "llama3:text", "deepseek-ocr:3b", "openai/whisper-large-v3"),
            *("gpt-oss-safeguard:20b", "hexgrad/Kokoro-82M", "reader-lm:1.5b"),
        ],
    )
    def test_what_is_for_something_else_is_not_chosen(self, name: str) -> None:
        assert chosen(Model(name, GB)) == ""

    @pytest.mark.parametrize(
        "name",
        ["qwen3:4b", "gemma3:4b-it-qat", "hf.co/unsloth/Qwen3-4B-GGUF:Q4_K_M", "context-1:3b"],
    )
    def test_what_chats_is(self, name: str) -> None:
        assert chosen(Model(name, 3 * GB)) == name


def test_what_servers_say_of_their_models() -> None:
    told = [
        tag("a:1b", GB, capabilities=["completion", "tools"]),
        tag("b:1b", GB, capabilities=["embedding"]),
        tag("c:1b", GB, capabilities=["completion"]),
    ]
    assert [(m.tools, m.chats) for m in of_ollama({"models": told})] == [
        (True, True),
        (False, False),
        (False, True),
    ]
    sizes = [model.size for model in of_openai(LM_STUDIO)[1]]
    assert sizes == pytest.approx([0, 2.4 * GB, 1.8 * GB, 18 * GB])
    embedding = LLAMA_CPP | {"models": [{"capabilities": ["embedding"]}]}
    assert best(of_openai(embedding)[1], 0) is None


@pytest.mark.parametrize("model", ["embedded", "http://127.0.0.1:9"])
async def test_doctor_tells_it_where_the_embedded_model_is_used(model: str) -> None:
    require_models("llm")

    def look_at(parts: Sequence[str], host: str) -> str:
        return run("doctor", "--llm", model, *parts, env={"OLLAMA_HOST": host}).err

    async with listening(TAGS) as port:
        told = await asyncio.to_thread(look_at, ["--check=llm"], port.url)
    assert ("--llm ollama:qwen3:4b" in told) == (model == "embedded")


@pytest.mark.slow
@pytest.mark.parametrize("hangs", [False, True])
async def test_talk_tells_it_and_is_not_held_up(tmp_path: Path, hangs: bool) -> None:
    require_models("llm")
    question = recording(2)

    def talk(host: str) -> Outcome:
        out = tmp_path / "reply.wav"
        flags = ("--input", question, "--output", out, "--fast", "--llm", "embedded")
        return run("talk", *flags, env={"OLLAMA_HOST": host})

    async with listening(TAGS, hangs=hangs) as port:
        outcome = await asyncio.to_thread(talk, port.url)
    assert outcome.code == 0, outcome.err
    assert ("--llm ollama:qwen3:4b" in outcome.err) == (not hangs)
    assert len(port.got) == 1
    assert "task" not in outcome.err.lower(), "nothing is left behind"
