from __future__ import annotations

import ssl
import subprocess
import sys

import pytest
from servers.llm_server import LlmServer, refusing, reply, status
from support.llm_client import QUESTION, check, client, hermetic, settings, take

from pipeline.config import LlmSettings
from pipeline.engines.client import open_client
from pipeline.engines.llm import ChatModel
from pipeline.engines.servers import chat_server
from pipeline.errors import BadInput, StageError

pytestmark = pytest.mark.usefixtures(hermetic.__name__)


class TestEndpoint:
    @pytest.mark.parametrize(
        ("host", "url"),
        [
            (None, "http://127.0.0.1:11434"),
            ("", "http://127.0.0.1:11434"),
            ("  'box:8000' ", "http://box:8000"),
            ("box", "http://box:11434"),
            ("box:8000", "http://box:8000"),
            (":8000", "http://127.0.0.1:8000"),
            ("http://box", "http://box:80"),
            ("http://", "http://127.0.0.1:80"),
            ("http://box:8000/", "http://box:8000"),
            ("https://box", "https://box:443"),
            ("https://box/ollama/", "https://box:443/ollama"),
            ("0.0.0.0", "http://127.0.0.1:11434"),
            ("0.0.0.0:8000", "http://127.0.0.1:8000"),
            ("http://0.0.0.0:8000", "http://127.0.0.1:8000"),
            ("::", "http://[::1]:11434"),
            ("[::]:8000", "http://[::1]:8000"),
            ("::1", "http://[::1]:11434"),
            ("[fe80::1]:8000", "http://[fe80::1]:8000"),
        ],
    )
    def test_ollama(self, monkeypatch: pytest.MonkeyPatch, host: str | None, url: str) -> None:
        if host is not None:
            monkeypatch.setenv("OLLAMA_HOST", host)
        found = chat_server(LlmSettings(model="ollama:qwen3:4b"))
        assert found.base_url == f"{url}/v1"
        assert found.model == "qwen3:4b"
        assert found.label == f"Ollama ({url})"
        assert found.optional == {"reasoning_effort": "none"}

    @pytest.mark.parametrize("host", ["box:port", "box:99999", "a b", "http://a:b:c"])
    def test_ollama_host_that_is_none(self, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
        monkeypatch.setenv("OLLAMA_HOST", host)
        with pytest.raises(BadInput, match="OLLAMA_HOST"):
            chat_server(LlmSettings(model="ollama:m"))

    def test_openai(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", " key-1\n")
        found = chat_server(LlmSettings(model="openai:gpt-x"))
        assert found.base_url == "https://api.openai.com/v1"
        assert (found.model, found.api_key) == ("gpt-x", "key-1")
        assert found.limit == "max_completion_tokens"
        assert chat_server(LlmSettings(model="openai:gpt-x", api_key="key-2")).api_key == "key-2"

    @pytest.mark.parametrize("key", ["", " ", "\n"])
    def test_openai_without_a_key(self, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", key)
        with pytest.raises(BadInput, match="there is no key; set OPENAI_API_KEY"):
            chat_server(LlmSettings(model="openai:gpt-x"))

    @pytest.mark.parametrize("key", ["schlüssel", "two\nlines", "a\x00b"])
    @pytest.mark.parametrize("model", ["openai:gpt-x", "http://127.0.0.1:1", "ollama:m"])
    def test_a_key_that_cannot_be_sent(self, model: str, key: str) -> None:
        with pytest.raises(BadInput, match="cannot be in a key") as caught:
            chat_server(LlmSettings(model=model, api_key=key))
        assert key not in str(caught.value)

    async def test_what_openai_is_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "key-1")
        picky = refusing("reasoning_effort", otherwise=reply("Hello."))
        async with LlmServer(otherwise=picky) as server:
            monkeypatch.setenv("OPENAI_BASE_URL", server.url)
            async with client("openai:gpt-x", temperature=0.4) as model:
                assert "Hello." in await take(model)
        first, second = (dict(request.body) for request in server.requests)
        assert server.requests[0].key == "key-1"
        assert first.pop("reasoning_effort") == "none"
        assert first == second
        assert first == {
            "model": "gpt-x",
            "messages": QUESTION,
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_completion_tokens": 200,
            "temperature": 0.4,
        }

    async def test_openai_names_its_own_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "key-1")
        async with LlmServer(status(401, "Incorrect API key: key-1")) as server:
            monkeypatch.setenv("OPENAI_BASE_URL", server.url)
            async with client("openai:gpt-x") as model:
                with pytest.raises(StageError, match="set OPENAI_API_KEY") as caught:
                    await take(model)
        check(caught.value, f"the OpenAI API at {server.url}")
        assert "key-1" not in str(caught.value)

    @pytest.mark.parametrize(
        ("url", "base_url"),
        [
            ("http://box", "http://box/v1"),
            ("http://box:8000/", "http://box:8000/v1"),
            ("http://box:8000/v1", "http://box:8000/v1"),
            ("http://box:8000/v1/", "http://box:8000/v1"),
            ("http://box:8000/v1/chat/completions", "http://box:8000/v1"),
            ("https://box/proxy", "https://box/proxy/v1"),
            ("https://box/openai/v1", "https://box/openai/v1"),
            ("https://box/v1beta/openai/", "https://box/v1beta/openai"),
            ("http://[::1]:8000", "http://[::1]:8000/v1"),
        ],
    )
    def test_url(self, url: str, base_url: str) -> None:
        found = chat_server(LlmSettings(model=f"{url}#m", api_key="k"))
        assert (found.base_url, found.label) == (base_url, base_url)
        assert (found.model, found.api_key) == ("m", "k")

    def test_password_in_a_url_is_not_shown(self) -> None:
        found = chat_server(LlmSettings(model="http://me:secret@box:8000/v1"))
        assert found.base_url == "http://me:secret@box:8000/v1"
        assert found.label == "http://box:8000/v1"

    @pytest.mark.parametrize(
        "spec",
        [
            "",
            "nonsense",
            "ftp://box/v1",
            "http:/box",
            "http://",
            "http:///v1",
            "http://:8000",
            "http://[::1",
            "http://box:port",
            "http://box:99999",
            "http://box:0",
            "http://a b/v1",
            "http://box/\n",
            "ollama:",
            "openai:",
            "ollama",
            "embeded",
        ],
    )
    def test_nonsense(self, spec: str) -> None:
        with pytest.raises(BadInput) as caught:
            chat_server(LlmSettings(model=spec, api_key="k"))
        assert spec.strip() in str(caught.value)
        assert len(str(caught.value).splitlines()) <= 2

    def test_a_url_that_only_the_client_refuses(self) -> None:
        chosen = settings("http://exa\x01mple/v1")
        with pytest.raises(BadInput, match="cannot be used"):
            ChatModel(chat_server(chosen), chosen)


class TestProxy:
    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    async def test_not_for_loopback(self, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
        async with LlmServer() as proxy, LlmServer(reply("Hello.")) as server:
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            async with client(f"http://{host}:{server.port}") as model:
                assert "Hello." in await take(model)
            assert proxy.connections == 0

    async def test_for_other_hosts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with LlmServer() as proxy:
            monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
            async with client("http://model.example:8000") as model:
                with pytest.raises(StageError, match=r"model\.example"):
                    await take(model)
            (request,) = proxy.lookups
            assert request.path == "http://model.example:8000/v1/chat/completions"

    async def test_one_that_cannot_be_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ALL_PROXY", "nonsense://127.0.0.1:1")
        async with LlmServer(reply("Hello.")) as server, client(server.url) as model:
            assert "Hello." in await take(model)
        chosen = settings("http://model.example:8000")
        with pytest.raises(BadInput, match="proxy") as caught:
            ChatModel(chat_server(chosen), chosen)
        assert "http://model.example:8000" in str(caught.value)


def test_the_clients_library_is_imported_when_a_client_is_made() -> None:
    program = """
import sys
from pipeline.engines.llm import ChatModel
from pipeline.engines.servers import chat_server
from pipeline.config import LlmSettings
assert "openai.types" not in sys.modules
settings = LlmSettings(model="http://127.0.0.1:9/v1")
ChatModel(chat_server(settings), settings)
assert "openai.types" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


async def test_certificates_are_read_for_what_is_encrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("certificates are read")

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", refuse)
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", refuse)
    await open_client(chat_server(LlmSettings(model="http://127.0.0.1:1/v1"))).close()
    for url in ("https://127.0.0.1:1/v1", "http://192.0.2.1:1/v1"):
        with pytest.raises(BadInput, match="certificates are read"):
            open_client(chat_server(LlmSettings(model=url)))
