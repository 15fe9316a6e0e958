"""Streamed tool calls are put together, however a server cuts them up."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engines.chat_stream import CallPart, ToolCalls, call_parts

CALLS = st.lists(
    st.tuples(
        st.sampled_from(["weather", "book", "time"]),
        st.dictionaries(st.text(max_size=5), st.text(max_size=9) | st.integers(), max_size=3),
    ),
    max_size=4,
)
Called = list[tuple[str, dict[str, Any]]]
REAL = '{"x": 1}'
TWO = [(0, "a", "book", REAL), (1, "b", "book", "{}")]


def assembled(*given: CallPart) -> list[tuple[str, str, str]]:
    calls = ToolCalls()
    for part in given:
        calls.push(part)
    return [(use.id, use.name, use.arguments) for use in calls.uses]


def split(data: st.DataObject, text: str) -> list[str]:
    """A text in pieces."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def without_repeats(calls: Called, *, one_index: bool) -> Called:
    """Calls without ids: equal ones are one, as is one without arguments and the next of its tool.

    Args:
        calls: In order.
        one_index: Nothing tells where one ends, so that no arguments may stand for some to come.
    """
    kept: Called = []
    for before, call in zip([None, *calls], calls, strict=False):
        if one_index and kept and before and before == kept[-1] and before == (call[0], {}):
            kept.pop()
        if call not in kept:
            kept.append(call)
    return kept


@given(CALLS, st.data())
def test_as_the_openai_api_streams_them(calls: Called, data: st.DataObject) -> None:
    given: list[CallPart] = []
    for index, (name, arguments) in enumerate(calls):
        given.append(CallPart(index, f"id{index}", name, ""))
        given += [CallPart(index, "", "", piece) for piece in split(data, json.dumps(arguments))]
    found = assembled(*given)
    assert found == [(f"id{i}", n, json.dumps(a)) for i, (n, a) in enumerate(calls)]


@given(CALLS, st.data())
def test_calls_that_are_interleaved(calls: Called, data: st.DataObject) -> None:
    queues = [
        [
            CallPart(i, f"id{i}", n, ""),
            *(CallPart(i, "", "", piece) for piece in split(data, json.dumps(a))),
        ]
        for i, (n, a) in enumerate(calls)
    ]
    given = [queue.pop(0) for queue in queues]
    while any(queues):
        given.append(data.draw(st.sampled_from([q for q in queues if q])).pop(0))
    assert [(n, json.loads(a)) for _, n, a in assembled(*given)] == calls


@given(CALLS, st.sampled_from(["none", "zero", "count"]), st.booleans())
def test_whole_calls_in_one_piece(calls: Called, index: str, ids: bool) -> None:
    """Without index or id, and with one index for all, as Ollama and Gemini were seen to send."""
    given = [
        CallPart(
            {"none": None, "zero": 0, "count": i}[index],
            f"id{i}" if ids else "",
            name,
            json.dumps(arguments),
        )
        for i, (name, arguments) in enumerate(calls)
    ]
    wanted = calls if ids else without_repeats(calls, one_index=index != "count")
    assert [(n, json.loads(a)) for _, n, a in assembled(*given)] == wanted


@given(CALLS, st.data())
def test_id_and_name_in_every_piece(calls: Called, data: st.DataObject) -> None:
    given = [
        CallPart(i, f"id{i}", name, piece)
        for i, (name, arguments) in enumerate(calls)
        for piece in split(data, json.dumps(arguments))
    ]
    assert [(n, json.loads(a)) for _, n, a in assembled(*given)] == calls


@pytest.mark.parametrize(
    ("given", "found"),
    [
        # As vLLM was seen to send.
        ([(0, "a", "book", ""), (0, "b", "", '{"x"'), (0, "c", "", ": 1}")], 'a book {"x": 1}'),
        ([(0, "a", "get_", ""), (0, "", "weather", ""), (0, "", "", "{}")], "a get_weather {}"),
        ([(None, "", "", ""), (0, "a", "", "{}")], ""),
        ([(0, "a", "book", ""), (0, "a", "book", REAL)], f"a book {REAL}"),
        ([(0, "", "book", "{}"), (0, "", "book", REAL)], f" book {REAL}"),
        ([(None, "", "book", ""), (None, "", "book", REAL)], f" book {REAL}"),
        ([(0, "a", "book", REAL)] * 3, f"a book {REAL}"),
        ([(0, "a", "book", '{"x"'), (0, "a", "book", ": 1}")] * 2, f"a book {REAL}"),
        ([(0, "", "book", '{"x"'), (0, "", "", ": 1}")] * 2, f" book {REAL}"),
        ([(None, "", "book", REAL)] * 3, f" book {REAL}"),
        ([(0, "a", "book", REAL), (1, "a", "book", REAL)], f"a book {REAL}"),
        ([*TWO, *((None, *part[1:]) for part in TWO)], f"a book {REAL} b book {{}}"),
        ([(0, "a", "book", REAL), (0, "", "", "  \n")], f"a book {REAL}"),
        ([(0, "a", "book", REAL), (1, "b", "book", REAL)], f"a book {REAL} b book {REAL}"),
    ],
    ids=[
        "a new id for every piece",
        "a name in pieces",
        "no name is no call",
        "nothing first",
        "no object first, and no id",
        "nothing first, and no index",
        "a call three times",
        "a call in pieces twice",
        "a call in pieces twice, and no id",
        "a call three times, and no index",
        "a call under another index",
        "all calls again in a message, which has no indices",
        "white space at the end",
        "two calls that are alike",
    ],
)
def test_odd_pieces(given: list[tuple[int | None, str, str, str]], found: str) -> None:
    assert " ".join(sum(assembled(*(CallPart(*part) for part in given)), ())) == found


@pytest.mark.parametrize("placeholder", ["", "{}", "{ }", "null", '""', "[]", "false"])
@pytest.mark.parametrize("pieces", [[REAL], ['{"x"', ": 1}"], ["{", '"x": 1', "}"]])
@pytest.mark.parametrize("named", ["", "book"])
@pytest.mark.parametrize("id", ["", "a"])
def test_real_arguments_take_the_place_of_others(
    placeholder: str, pieces: list[str], named: str, id: str
) -> None:
    given = [CallPart(0, "a", "book", placeholder), *(CallPart(0, id, named, p) for p in pieces)]
    assert assembled(*given) == [("a", "book", REAL)]


@pytest.mark.parametrize("nothing", ["", "{}", "{ }\n", "null", '""', "[]"])
@pytest.mark.parametrize(("id", "named"), [("", ""), ("a", ""), ("a", "book")])
def test_nothing_takes_the_place_of_real_arguments(nothing: str, id: str, named: str) -> None:
    given = [CallPart(0, "a", "book", REAL), CallPart(0, id, named, nothing)]
    assert assembled(*given) == [("a", "book", REAL)]


def test_arguments_that_are_quoted_as_a_whole() -> None:
    quoted = json.dumps(REAL)
    given = [CallPart(0, "a", "book", quoted[:5]), CallPart(0, "a", "", quoted[5:])]
    assert assembled(*given) == [("a", "book", REAL)]


def test_entries_that_are_empty_and_marks_in_a_name() -> None:
    function = {"name": " book<|channel|>commentary", "arguments": REAL}
    parts = call_parts({"tool_calls": [None, {"index": 0, "id": "a", "function": function}]})
    assert assembled(*parts) == [("a", "book", REAL)]


@given(
    st.lists(st.builds(CallPart, st.integers(0, 2) | st.none(), *[st.text("a{}", max_size=3)] * 3))
)
def test_what_is_told_of_the_first_call_while_it_is_written_begins_it(
    given: list[CallPart],
) -> None:
    calls, told = ToolCalls(), ""
    for part in given:
        calls.push(part)
        name, more = calls.more()
        told += more
        if more:
            # A server that sends all of it again may say something else; then `uses` holds.
            assert calls.uses[0].arguments.startswith(told) and calls.uses[0].name == name
            assert not calls.whole or len(calls.uses) > 1


@pytest.mark.parametrize(("text", "whole"), [("{}", True), ('{"a": 1', False), ("", False)])
def test_whether_the_last_call_is_whole(text: str, whole: bool) -> None:
    calls = ToolCalls()
    assert calls.whole
    calls.push(CallPart(0, "a", "book", text))
    assert calls.whole == whole


@given(
    st.lists(st.builds(CallPart, st.integers(0, 2) | st.none(), *[st.text("a{}", max_size=3)] * 3))
)
def test_any_parts_lose_no_arguments_of_calls_with_names(given: list[CallPart]) -> None:
    found = assembled(*given)
    assert sum(len(a) for _, _, a in found) <= sum(len(p.arguments) for p in given)
    assert all(name for _, name, _ in found)
