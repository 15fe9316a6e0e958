"""Tools in words: what a model reads, and what of its calls cannot be right."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engines.tools import (
    Prompt,
    Tool,
    ToolUse,
    call_format,
    complaint,
    in_words,
    tool_call,
    tools_of,
)
from pipeline.text.visible import VisibleText

ORDER = Tool(
    "order",
    "Order a number of an item.",
    {
        "type": "object",
        "properties": {
            "item": {"type": "string"},
            "count": {"type": "integer"},
            "size": {"enum": ["small", "large"]},
            "note": {"type": ["string", "null"]},
        },
        "required": ["item", "count"],
    },
)
OFFERED = {"order": ORDER.parameters, "list": {"type": "object", "properties": {}}}


def said(tools: list[Tool], *messages: dict[str, Any]) -> list[dict[str, Any]]:
    prompt = Prompt(messages, tools)
    return in_words(prompt, tools_of(prompt))


def test_the_description_stands_behind_the_instructions() -> None:
    user = {"role": "user", "content": "Two lamps."}
    first, second = said([ORDER], {"role": "system", "content": "Be brief."}, user)
    assert first["content"].startswith("Be brief.\n\n# Tools\n")
    assert json.dumps(tools_of(Prompt([], [ORDER]))[0]["function"]) in first["content"]
    assert second == user


def test_without_instructions_it_is_all_there_is() -> None:
    assert said([ORDER], {"role": "user", "content": "Two."})[0]["content"].startswith("# Tools")


def test_nothing_is_added_where_there_are_no_tools() -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello."}]
    assert in_words(messages, []) == messages


def test_tools_are_called_to_mind_where_they_were_told_of_long_ago() -> None:
    """Behind what the user says last, and behind no result, of which the model is to speak."""
    use = tool_call(ToolUse("a", "order", '{"item": "lamp", "count": 2}'))
    user, more = ({"role": "user", "content": text} for text in ("Two lamps.", "And one more."))
    call = {"role": "assistant", "content": "", "tool_calls": [use]}
    result = {"role": "tool", "content": "done", "tool_call_id": "a"}
    done = {"role": "assistant", "content": "Done."}
    assert said([ORDER], user)[-1] == user
    assert said([ORDER], user, call, result)[-1]["content"].endswith("</tool_response>")
    *before, last = said([ORDER], user, call, result, done, more)
    assert before[1] == user
    assert last["content"].startswith("And one more.\n(If a tool fits this, ")
    pictures = {"role": "user", "content": [{"type": "text", "text": "What is that?"}]}
    assert said([ORDER], user, done, pictures)[-1] == pictures


def test_calls_and_results_are_the_two_sides_words() -> None:
    """In turn, as templates want them, however many results come at once."""
    uses = [ToolUse("a", "order", '{"item": "lamp", "count": 2}'), ToolUse("b", "list", "{}")]
    words = said(
        [],
        {"role": "user", "content": "Two lamps."},
        {"role": "assistant", "content": "Yes.", "tool_calls": [tool_call(use) for use in uses]},
        {"role": "tool", "content": "done", "tool_call_id": "a"},
        {"role": "tool", "content": "lamps", "tool_call_id": "b"},
        {"role": "assistant", "content": "Done."},
    )
    assert [m["role"] for m in words] == ["user", "assistant", "user", "assistant"]
    assert not any(key.startswith("tool_call") for m in words for key in m)
    assert words[2]["content"] == (
        "<tool_response>done</tool_response>\n<tool_response>lamps</tool_response>"
    )


@given(
    name=st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_-]{0,20}", fullmatch=True),
    arguments=st.dictionaries(
        st.text(max_size=8), st.text(max_size=20) | st.integers() | st.booleans(), max_size=4
    ),
)
def test_what_stands_there_is_read_as_the_same_call(name: str, arguments: dict[str, Any]) -> None:
    """A model that imitates what it reads calls in a form that is understood."""
    use = ToolUse("a", name, json.dumps(arguments))
    message = {"role": "assistant", "content": "", "tool_calls": [tool_call(use)]}
    visible = VisibleText({name: {}})
    shown = visible.push(in_words([message], ())[0]["content"]) + visible.flush()
    (read,) = visible.calls
    assert (shown, read.name, json.loads(read.arguments)) == ("", name, arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "problem"),
    [
        ("order", '{"item": "lamp", "count": 2}', ""),
        ("order", '{"item": "lamp", "count": 2.0, "note": null, "size": "large"}', ""),
        ("order", '{"item": "lamp", "count": 2, "other": 1}', ""),
        ("list", "", ""),
        ("buy", "{}", "There is no tool buy. Call one of these, or answer in words: order, list."),
        ("order", '["lamp"]', "The arguments of order are no JSON object."),
        ("order", '{"item": "lamp"', "The arguments of order are no JSON object."),
        ("order", '{"item": "lamp"}', "The arguments of order lack count."),
        (
            "order",
            '{"item": "lamp", "count": "two"}',
            'count of order is "two"; it has to be of type integer.',
        ),
        (
            "order",
            '{"item": "lamp", "count": true}',
            "count of order is true; it has to be of type integer.",
        ),
        (
            "order",
            '{"item": "lamp", "count": 2, "size": "huge"}',
            'size of order is "huge"; it has to be one of ["small", "large"].',
        ),
        (
            "order",
            '{"item": "lamp", "count": 2, "note": 3}',
            "note of order is 3; it has to be of type string or null.",
        ),
    ],
)
def test_what_cannot_be_right(name: str, arguments: str, problem: str) -> None:
    assert complaint([ToolUse("", name, arguments)], OFFERED) == problem


@given(
    schema=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["type", "enum", "properties", "required", "x"]), inner, max_size=4
            )
        ),
        max_leaves=8,
    )
)
def test_a_strange_schema_does_no_harm(schema: Any) -> None:
    """Clients of a server bring what they like."""
    parameters = {"type": "object", "properties": {"x": schema}, "required": []}
    complaint([ToolUse("", "order", '{"x": 1}')], {"order": parameters})


def test_a_format_of_one_call() -> None:
    def names(format: dict[str, Any]) -> list[str]:
        schema = format["json_schema"]["schema"]
        return [each["properties"]["name"]["const"] for each in schema.get("anyOf", [schema])]

    assert names(call_format(OFFERED)) == ["order", "list"]
    assert names(call_format({"order": ORDER.parameters})) == ["order"]
