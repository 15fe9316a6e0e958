"""All tools of a conversation: calls that cannot fail, and results that a model can use."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engines.tools import Tool
from pipeline.errors import BadInput, StageError
from pipeline.tools.toolbox import (
    CANCEL,
    RESULT_CHARS,
    Approve,
    Toolbox,
    ToolFailed,
    ToolResult,
    cut,
    shortened,
)


class Source:
    """Gives what it was told to."""

    def __init__(self, *tools: Tool, gives: str | Exception = "here") -> None:
        self.tools: Sequence[Tool] = tools
        self.entered = 0
        self.called: list[Mapping[str, Any]] = []
        self.watched: list[Callable[[], None]] = []
        self._gives = gives

    async def __aenter__(self) -> Self:
        self.entered += 1
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.entered -= 1

    def watch(self, tell: Callable[[], None]) -> None:
        self.watched.append(tell)

    async def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        self.called.append(arguments)
        if isinstance(self._gives, Exception):
            raise self._gives
        return self._gives


class Refusing(Source):
    """Cannot be made ready."""

    async def __aenter__(self) -> Self:
        raise StageError("tools", "no")


def call(source: Source, name: str, arguments: str, approve: Approve | None = None) -> ToolResult:
    async def run() -> ToolResult:
        async with Toolbox([source], approve) as box:
            return await box.call(name, arguments)

    return asyncio.run(run())


async def test_sources_are_entered_and_left_together() -> None:
    one, other = Source(Tool("a")), Source(Tool("b"), Tool("c"))
    async with Toolbox([one, other]) as box:
        assert [tool.name for tool in box.tools] == ["a", "b", "c"]
        assert one.entered == other.entered == 1
        other.tools = [Tool("a"), Tool("d")]
        assert [tool.name for tool in box.tools] == ["a", "d"]
        await box.call("a", "{}")
        assert one.called and not other.called
        box.watch(print)
        assert one.watched == other.watched == [print]
    assert one.entered == other.entered == 0
    with pytest.raises(BadInput, match="two tools are called a"):
        await Toolbox([one, Source(Tool("a"))]).__aenter__()
    with pytest.raises(BadInput, match="a tool is called cancel_running_tools"):
        await Toolbox([Source(CANCEL)]).__aenter__()
    with pytest.raises(StageError):
        await Toolbox([one, Refusing()]).__aenter__()
    assert one.entered == 0


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("b", "{}", "there is no tool 'b'; there is a"),
        ("a", "{city", "the arguments are no JSON"),
        ("a", "[" * 100_000, "the arguments are no JSON"),
        ("a", "[1]", "have to be a JSON object"),
    ],
)
def test_a_call_that_cannot_be_made_is_told_to_the_model(
    name: str, arguments: str, told: str
) -> None:
    source = Source(Tool("a"))
    result = call(source, name, arguments)
    assert result.text.startswith("Error: ")
    assert told in result.text
    assert not source.called


def test_what_a_source_raises_is_told_and_where_is_logged() -> None:
    assert call(Source(Tool("a"), gives=ToolFailed("no")), "a", "") == ("Error: no", "Error: no")
    text, whole = call(Source(Tool("a"), gives=ValueError("own\ndefect")), "a", "")
    assert text == "Error: ValueError: own defect"
    assert "Traceback" in whole
    text, _ = call(Source(Tool("a"), gives=TimeoutError()), "a", "")
    assert text == "Error: a time-out within it"


@pytest.mark.parametrize("agrees", [True, False, None])
def test_a_tool_that_needs_approval_is_asked_for(agrees: bool | None) -> None:
    asked: list[tuple[str, Mapping[str, Any]]] = []

    async def approve(tool: Tool, arguments: Mapping[str, Any]) -> bool:
        asked.append((tool.name, arguments))
        await asyncio.sleep(0.1)
        return bool(agrees)

    source = Source(Tool("a", approved=False, timeout_s=0.05))
    result = call(source, "a", '{"x": 1}', None if agrees is None else approve)
    assert bool(source.called) == bool(agrees)
    assert (result.text == "here") == bool(agrees)
    assert asked == ([] if agrees is None else [("a", {"x": 1})])


def test_a_megabyte_is_shortened_and_kept_whole() -> None:
    whole = json.dumps([{"name": f"shop {i}", "about": "x" * 80} for i in range(9000)])
    result = call(Source(Tool("a"), gives=whole), "a", "")
    assert result.whole == whole
    assert len(result.text) <= RESULT_CHARS
    short = json.loads(result.text)
    assert short[0]["name"] == "shop 0"
    assert short[-1] == f"… and {9000 - len(short) + 1} more"


def test_text_is_cut_where_it_ends_and_binary_data_is_named() -> None:
    short = shortened("It is sunny in Rome. " * 100)
    assert short.endswith("Rome.\n[cut off here: 2099 characters in all]")
    assert cut(short, 500).endswith("[cut off here: 2099 characters in all]")
    assert shortened("data:image/png;base64," + "A" * 4000) == (
        "(image/png, 3000 bytes; it cannot be read aloud)"
    )


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=300),
        lambda inner: st.lists(inner, max_size=60) | st.dictionaries(st.text(), inner, max_size=60),
        max_leaves=120,
    ),
    st.integers(150, 1500),
)
def test_any_json_is_shortened(value: Any, chars: int) -> None:
    text = json.dumps(value, ensure_ascii=False)
    short = shortened(text, chars)
    assert len(short) <= max(chars, 60)
    if len(text) <= chars:
        assert short == text.strip()
    elif not re.search(r"\n\[cut off here: \d+ characters in all\]$", short):
        json.loads(short)
