"""Calls that a model has written, read: what `test_visible` does not show."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.text.written_calls import exact_calls, keyword_calls, read_calls

TOOLS = {
    "book": {
        "properties": {
            "room": {"type": "string"},
            "nights": {"type": "integer"},
            "days": {"type": "array"},
        }
    }
}


def read(block: str) -> list[tuple[str, Any]]:
    return [(call.name, json.loads(call.arguments)) for call in read_calls(block, TOOLS)]


@pytest.mark.parametrize(
    ("block", "arguments"),
    [
        (
            "<function=book><parameter=room>12</parameter><parameter=nights>3</parameter>"
            "<parameter=days>[1, 2]</parameter></function>",
            {"room": "12", "nights": 3, "days": [1, 2]},
        ),
        (
            "book\n<arg_key>room</arg_key><arg_value>null</arg_value>"
            "<arg_key>nights</arg_key><arg_value>null</arg_value>",
            {"room": "null", "nights": None},
        ),
        ("<function=book><parameter=other>x > 1</parameter></function>", {"other": "x > 1"}),
        ("<function=book><parameter=room>12\n<parameter=nights>3", {"room": "12", "nights": 3}),
        ("call:book{room:<escape>a, b<escape>,nights:3}", {"room": "a, b", "nights": 3}),
        ('book("12", 3)', {"room": "12", "nights": 3}),
        ('book({"room": "12"})', {"room": "12"}),
        ("Book(attic, nights=3)", {"room": "attic", "nights": 3}),
        ("book(attic, quiet=true, view=null)", {"room": "attic", "quiet": True, "view": None}),
        ('found = api.tools.book(room="12")', {"room": "12"}),
        ('{"name": "book", "arguments": {"room": "1"}, "why": "asked"}', {"room": "1"}),
        ('{"name": "book"}', {}),
        ("<tool>book</tool>", {}),
        ('book: {"room": "{1}"}', {"room": "{1}"}),
        ('<function=book>{"name": "Ann", "arguments": 1}', {"name": "Ann", "arguments": 1}),
    ],
)
def test_arguments(block: str, arguments: dict[str, Any]) -> None:
    (call,) = read(block)
    assert (call[0].rpartition(".")[2], call[1]) == ("book", arguments)


def test_several() -> None:
    one = '<invoke name="book"><parameter name="room">{}</parameter></invoke>'
    assert read(one.format(1) + one.format(2)) == [("book", {"room": "1"}), ("book", {"room": "2"})]
    assert read('book{"room": "1"} book{"room": "2"}') == [
        ("book", {"room": "1"}),
        ("book", {"room": "2"}),
    ]


@pytest.mark.parametrize("block", ["", "<tool_call>", "I would book it.", "{", "[]", "1a 2b"])
def test_what_cannot_be_read(block: str) -> None:
    assert read(block) == []


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        [1],
        "book",
        {"name": "book"},
        {"name": "book", "age": 3},
        {"name": "book", "arguments": {}, "age": 3},
        {"name": "the red book", "arguments": {}},
        {"name": "book", "arguments": "later"},
        {"name": "book", "arguments": [1]},
        {"person": {"name": "book", "arguments": {}}},
        [{"name": "book", "arguments": {}}, {"age": 3}],
    ],
)
def test_what_is_not_exactly_a_call(value: object) -> None:
    assert exact_calls(value) == []


def test_python_without_arguments_is_a_call_of_what_is_offered() -> None:
    assert keyword_calls("[book()]", TOOLS)
    assert not keyword_calls("[sing()]", TOOLS)
    assert keyword_calls("[sing(loud=True)]", TOOLS)
    assert not keyword_calls("[sing(loud=louder)]", TOOLS), "an expression, of no tool"
    assert not keyword_calls("[book + 1]", TOOLS)


@given(st.text(st.sampled_from("{}[]()<>\"'=:,`|ab1 \n\\")))
def test_anything_can_be_read(block: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for call in read_calls(block, TOOLS):
            assert call.name
