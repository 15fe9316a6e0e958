"""MCP servers as tools, tried with real servers: the SDK's for Python, and the reference one."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cli_child import HANG_S
from support.mcp_servers import (
    AWKWARD,
    NODE,
    awkward,
    children_of,
    free_port,
    needs_everything,
    running,
)

from pipeline.config import McpSettings, Settings, load
from pipeline.errors import BadInput, CascadeError
from pipeline.tools.mcp import LOST, McpFailed, McpServer, McpServers, from_flags, in_time, named
from pipeline.tools.toolbox import Toolbox, ToolFailed

STDIO = McpSettings(command=AWKWARD[0], args=[*AWKWARD[1:], "stdio"])
KINDS = """It is sunny.
(an image, image/png, 6 kB)
In a file.
(x/pdf, 1 kB: file:///b.pdf)
(page: https://example.org/)"""


async def failure(work: Any) -> McpFailed:
    with pytest.raises(McpFailed) as failed:
        await work
    return failed.value


async def talk(server: McpServer) -> None:
    """What every server does, whatever is in between."""
    names = [tool.name for tool in await server.connect()]
    assert {"add", "delete.file", "wait", "die", "raises", "kinds", "grow"} <= set(names)
    add = next(tool for tool in server.tools if tool.name == "add")
    assert add.description == "Add two numbers."
    assert set(add.parameters["properties"]) == {"a", "b"}
    assert add.annotations["readOnlyHint"] is True
    assert await server.call("add", {"a": 2, "b": 3}) == "5"
    assert await server.call("kinds", {}) == KINDS
    failed = await failure(server.call("raises", {}))
    assert (failed.by, "raises" in str(failed)) == ("tool_execution_error", True)
    failed = await failure(server.call("add", {"a": 2}))
    assert failed.by in ("tool_execution_error", "protocol_error")
    several = await asyncio.gather(*(server.call("add", {"a": n, "b": 1}) for n in range(20)))
    assert several == [str(n + 1) for n in range(20)]


async def test_a_server_over_stdio() -> None:
    """Whatever it writes besides: no JSON, no text, lines on stderr."""
    async with McpServer("awkward", STDIO) as server:
        await talk(server)


async def test_a_server_over_streamable_http() -> None:
    with awkward() as url:
        async with McpServer("awkward", McpSettings(url=url)) as server:
            await talk(server)


async def test_what_a_server_writes_is_not_on_the_terminal(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.terminal import log_to_stderr

    loggers = [logging.getLogger(name) for name in (None, "mcp", "client", "pipeline")]
    levels = [logger.level for logger in loggers]
    monkeypatch.setattr(loggers[0], "handlers", [])
    try:
        log_to_stderr(False)
        async with McpServer("awkward", STDIO) as server:
            assert await server.call("add", {"a": 2, "b": 3}) == "5"
        assert capfd.readouterr() == ("", "")
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


async def test_a_server_that_dies_in_a_call_is_started_again_by_the_next() -> None:
    async with McpServer("awkward", STDIO) as server:
        calls = asyncio.gather(
            server.call("wait", {"seconds": 30}), server.call("die", {}), return_exceptions=True
        )
        for failed in await asyncio.wait_for(calls, 10):
            assert isinstance(failed, McpFailed)
            assert (failed.by, failed.code) == ("protocol_error", LOST)
            assert str(failed).startswith("awkward went away while it ran ")
        assert await server.call("add", {"a": 2, "b": 3}) == "5"


async def test_a_server_that_died_between_calls_is_started_again(tmp_path: Path) -> None:
    script = f"exec {AWKWARD[0]} {AWKWARD[1]} stdio {tmp_path}"
    async with McpServer("awkward", McpSettings(command="sh", args=["-c", script])) as server:
        await server.connect()
        [child] = children_of(f"mcp_server.py stdio {tmp_path}") or [0]
        if not child:
            pytest.skip("needs /proc")
        os.kill(child, signal.SIGKILL)
        await asyncio.sleep(0.5)
        assert await server.call("add", {"a": 2, "b": 3}) == "5"


async def test_a_server_over_http_comes_back() -> None:
    port = free_port()
    with awkward(port) as url:
        server = McpServer("awkward", McpSettings(url=url))
        await server.connect()
        failed = await failure(server.call("die", {}))
        assert (failed.by, failed.code) == ("protocol_error", LOST)
    failed = await failure(server.call("add", {"a": 2, "b": 3}))
    assert str(failed) == (
        f"MCP server awkward ({url}): cannot be reached: All connection attempts failed"
    )
    with awkward(port):
        async with server:
            assert await server.call("add", {"a": 2, "b": 3}) == "5"


async def test_the_server_is_told_that_a_call_is_cancelled(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with awkward(AWKWARD_LOG=str(log)) as url:
        for settings in (
            McpSettings(url=url),
            STDIO.model_copy(update={"env": {"AWKWARD_LOG": str(log)}}),
        ):
            log.write_text("")
            settings = settings.model_copy(update={"timeout_s": 0.5})
            async with McpServer("awkward", settings) as server:
                await server.connect()
                async with asyncio.timeout(HANG_S):
                    failed = await failure(in_time(server, "wait", {"seconds": 4711}))
                    assert str(failed) == "wait of awkward gave no result in 0.5 s."
                    while "wait is cancelled" not in log.read_text():
                        await asyncio.sleep(0.1)
                assert log.read_text().split("\n")[:2] == ["wait begins", "wait is cancelled"]
                assert await server.call("add", {"a": 2, "b": 3}) == "5"


async def test_a_list_that_changes_is_read_again() -> None:
    with awkward() as url:
        for settings in (McpSettings(url=url), STDIO):
            async with McpServer("awkward", settings) as server:
                before = await server.connect()
                changed = asyncio.Event()
                server.changed.add(changed.set)
                assert await server.call("grow", {}) == "grown"
                await asyncio.wait_for(changed.wait(), 10)
                assert {t.name for t in server.tools} - {t.name for t in before} == {"late"}
                assert await server.call("late", {}) == "late"


async def test_headers_say_who_asks_and_are_told_to_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("THE_TOKEN", "hush-hush")
    with awkward(MCP_TOKEN="hush-hush") as url:
        headers = {"Authorization": "Bearer ${THE_TOKEN}"}
        async with McpServer("own", McpSettings(url=url, headers=headers)) as server:
            assert await server.call("add", {"a": 2, "b": 3}) == "5"
        async with McpServer("own", McpSettings(url=f"{url}?key=hush-hush")) as server:
            failed = await failure(server.connect())
        assert str(failed) == (
            f"MCP server own ({url}): it refuses access (HTTP 401); its headers or authorization "
            "say who asks."
        )
        monkeypatch.delenv("THE_TOKEN")
        async with McpServer("own", McpSettings(url=url, headers=headers)) as server:
            failed = await failure(server.connect())
        assert "the variable THE_TOKEN, which its settings name, is not set" in str(failed)
    ours = [record for record in caplog.records if record.name.startswith("pipeline")]
    assert not any("hush-hush" in record.getMessage() for record in ours)
    assert "hush-hush" not in repr(
        Settings(mcp={"a": McpSettings(url="http://a", headers=headers)})
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (McpSettings(command="no-such-program"), "cannot be started: No such file or directory"),
        (
            McpSettings(command=sys.executable, args=["-c", "raise SystemExit('no key is given')"]),
            "ended before it was ready: no key is given",
        ),
        (McpSettings(url="http://127.0.0.1:9/mcp"), "cannot be reached: All connection attempts"),
    ],
)
async def test_a_server_that_cannot_be_had_says_why(settings: McpSettings, said: str) -> None:
    with pytest.raises(CascadeError) as failed:
        async with McpServers(Settings(mcp={"own": settings})):
            pass
    assert said in str(failed.value)
    assert len(str(failed.value).splitlines()) == 1


async def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.tools.mcp.CONNECT_S", 0.5)
    mute = f"import time; time.sleep(4711)  # for {os.getpid()}"
    settings = McpSettings(command=sys.executable, args=["-c", mute])
    async with asyncio.timeout(HANG_S), McpServer("mute", settings) as server:
        failed = await failure(server.connect())
    assert "did not answer in 0 s" in str(failed)
    assert not children_of(mute)


@pytest.mark.slow
async def test_children_end_with_us_whatever_ends_us(tmp_path: Path) -> None:
    """Ctrl-C while a call runs, and a server that wants to end neither at EOF nor by SIGTERM."""
    rest = 98_000 + os.getpid() / 1e7  # that no other test has
    stubborn = (
        "import os, runpy, signal, subprocess, sys, threading, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"subprocess.Popen(['sleep', '{rest}'])\n"
        f"threading.Thread(target=time.sleep, args=[{rest}]).start()\n"
        f"sys.argv = [{AWKWARD[1]!r}, 'stdio']\n"
        f"runpy.run_path({AWKWARD[1]!r}, run_name='__main__')"
    )
    settings = McpSettings(command=AWKWARD[0], args=["-c", stubborn])
    program = f"""
import asyncio
from pipeline.config import McpSettings
from pipeline.tools.mcp import McpServer
async def main():
    settings = McpSettings(command={settings.command!r}, args={settings.args!r})
    async with McpServer("own", settings) as server:
        await server.connect()
        print("ready", flush=True)
        await server.call("wait", {{"seconds": 60}})
asyncio.run(main())
"""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=-1, stderr=-1
    )
    assert child.stdout is not None
    assert await asyncio.wait_for(child.stdout.readline(), 60) == b"ready\n"
    assert children_of(f"sleep {rest}")
    await asyncio.sleep(0.3)
    child.send_signal(signal.SIGINT)
    await asyncio.wait_for(child.communicate(), 30)
    # Who is killed is gone a moment later.
    async with asyncio.timeout(10):
        while children_of(str(rest)):
            await asyncio.sleep(0.05)


async def test_two_servers_are_one_source_under_names_that_models_take(tmp_path: Path) -> None:
    log = tmp_path / "log"
    own = STDIO.model_copy(update={"env": {"AWKWARD_LOG": str(log)}, "approval": ["delete.file"]})
    few = STDIO.model_copy(update={"allowed": ["add", "wait"], "approval": "never"})
    few = few.model_copy(update={"timeout_s": 0.5})
    asked: list[tuple[str, Mapping[str, Any]]] = []

    async def approve(tool: Any, arguments: Mapping[str, Any]) -> bool:
        asked.append((tool.name, arguments))
        return bool(arguments["path"] == "a")

    settings = Settings(mcp={"own": own, "few": few})
    async with Toolbox([McpServers(settings, taken=["raises"])], approve) as toolbox:
        names = [tool.name for tool in toolbox.tools]
        assert names == [
            "own_add",
            "delete_file",
            "own_wait",
            "die",
            "own_raises",
            "kinds",
            "grow",
            "few_add",
            "few_wait",
        ]
        assert [t.name for t in toolbox.tools if not t.approved] == ["delete_file"]
        assert (await toolbox.call("few_add", '{"a": 1, "b": 2}')).text == "3"
        assert (await toolbox.call("delete_file", '{"path": "a"}')).text == "a is deleted"
        assert (await toolbox.call("delete_file", '{"path": "b"}')).text.startswith("Error: ")
        assert asked == [("delete_file", {"path": "a"}), ("delete_file", {"path": "b"})]
        assert "longer than 0.5 s" in (await toolbox.call("few_wait", '{"seconds": 9}')).text
    assert log.read_text().splitlines() == ["delete a"]


NAMES = st.text(st.sampled_from("ab.é_-/ "), min_size=1, max_size=3) | st.just("x" * 200)


@given(st.lists(st.tuples(st.sampled_from(["s", "s_a", "t"]), NAMES), unique=True), st.sets(NAMES))
def test_every_tool_has_a_name_of_its_own(places: list[tuple[str, str]], taken: set[str]) -> None:
    found = named(places, taken)
    assert sorted(found.values()) == sorted(places)
    assert not taken & set(found)
    assert all(1 <= len(name) <= 64 for name in found)
    assert all(c.isascii() and (c.isalnum() or c in "_-") for name in found for c in name)


# --- the reference server, from npm ---


@needs_everything
async def test_the_reference_server_over_stdio() -> None:
    async with McpServer(
        "every", McpSettings(command=NODE[0], args=[*NODE[1:], "stdio"])
    ) as server:
        await try_everything(server)


@needs_everything
async def test_the_reference_server_over_http_forgets_a_session() -> None:
    """It is killed and started again: it knows the session no more, and the call is made anew."""
    port = free_port()
    async with McpServer("every", McpSettings(url=f"http://127.0.0.1:{port}/mcp")) as server:
        with running([*NODE, "streamableHttp"], port, PORT=str(port)) as child:
            await try_everything(server)
            os.killpg(child.pid, signal.SIGKILL)
        failed = await failure(server.call("echo", {"message": "a"}))
        assert isinstance(failed, ToolFailed)
        with running([*NODE, "streamableHttp"], port, PORT=str(port)):
            assert await server.call("echo", {"message": "b"}) == "Echo: b"


@needs_everything
async def test_a_session_that_expires_is_begun_again() -> None:
    port = free_port()
    async with McpServer("every", McpSettings(url=f"http://127.0.0.1:{port}/mcp")) as server:
        with running([*NODE, "streamableHttp"], port, PORT=str(port)):
            assert await server.call("echo", {"message": "a"}) == "Echo: a"
        with running([*NODE, "streamableHttp"], port, PORT=str(port)):
            # Nothing was called meanwhile, so nobody knows that it is another one.
            assert await server.call("echo", {"message": "b"}) == "Echo: b"


async def try_everything(server: McpServer) -> None:
    names = {tool.name for tool in await server.connect()}
    assert {"echo", "get-sum", "get-tiny-image", "get-structured-content"} <= names
    assert await server.call("echo", {"message": "hello"}) == "Echo: hello"
    assert await server.call("get-sum", {"a": 2, "b": 3}) == "The sum of 2 and 3 is 5."
    image = await server.call("get-tiny-image", {})
    assert "(an image, image/png, " in image and "base64" not in image
    weather = await server.call("get-structured-content", {"location": "New York"})
    assert "temperature" in weather
    links = await server.call("get-resource-links", {"count": 2})
    assert links.count("demo://resource") >= 2
    failed = await failure(server.call("get-structured-content", {"location": "Atlantis"}))
    assert failed.by in ("tool_execution_error", "protocol_error")


async def test_without_the_sdk_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.tools.mcp import check_installed

    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(BadInput, match=r"voice-cascade\[mcp\]"):
        check_installed()


@pytest.mark.parametrize(
    ("places", "labels"),
    [
        (["https://user@mcp.example.org:8080/x?key=1"], ["mcp_example_org_8080"]),
        (["npx -y @modelcontextprotocol/server-everything@2026.8.31 stdio"], ["server-everything"]),
        (["python3 'my servers/files.py' --root /"], ["files"]),
        (["/opt/bin/wiki-mcp --verbose", "uvx wiki-mcp"], ["wiki-mcp", "wiki-mcp_2"]),
        (["é"], ["mcp"]),
    ],
)
def test_servers_of_the_command_line_have_names(places: list[str], labels: list[str]) -> None:
    found = from_flags(places)
    assert list(found) == [f"mcp.{label}" for label in labels]
    assert list(load(flags=found).mcp) == labels
    with pytest.raises(BadInput):
        from_flags([""])


@pytest.mark.parametrize("value", ["hush\n", "hush\r", " hush", "húsh", "hu\0sh"])
async def test_a_secret_that_no_header_may_hold_is_not_told(value: str) -> None:
    settings = McpSettings(url="HTTP://127.0.0.1:9/mcp", headers={"Authorization": value})
    async with McpServer("web", settings) as server:
        with pytest.raises(McpFailed, match="the value of its header Authorization") as wrong:
            await server.connect()
    assert "sh" not in str(wrong.value)
