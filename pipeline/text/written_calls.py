"""Tool calls that a model writes into its text, read. Pure.

A server that knows its model's format takes the calls out of the text; one that does not sends them
as they are. Models write them as JSON with a name and arguments, as a name before JSON, as XML with
a parameter each, or as Python; what stands around those (`visible.VisibleText` finds it) says
nothing more.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Offered = Mapping[str, Mapping[str, Any]]
"""The tools that a model may call: the JSON Schema of each one's arguments, by its name."""

NAME_KEYS = (
    *("name", "function", "tool", "tool_name", "function_name", "action", "recipient_name"),
)
ARGUMENT_KEYS = (
    *("arguments", "parameters", "args", "params", "input"),
    *("action_input", "tool_input", "tool_args", "tool_arguments"),
)
WRAPPERS = frozenset(("tool_calls", "tool_uses", "tool_call", "function_call", "function"))
"""Keys under which a call, or a list of them, may stand."""

_BESIDE = frozenset(("id", "type", "index", "call_id", "tool_call_id"))

CALL_KEYS = _BESIDE.union(NAME_KEYS, ARGUMENT_KEYS, WRAPPERS)
"""What a call may begin with."""

_NAME = r"[a-zA-Z_][\w.-]*"
_WORD = re.compile(rf"{_NAME}(?:[:/]\w+)*")
_NAMED = re.compile(
    rf"""
      (?:function|invoke|tool)\w*(?:\s*[=(]|\s+name\s*=)\s*["']?(?P<tag>{_NAME})["']?
    | \bto=(?P<to>{_NAME})
    | \bcall:(?P<call>{_NAME})(?=\{{)
    | "(?:{"|".join(NAME_KEYS)})"\s*:\s*"(?P<key>{_NAME})"
    | (?P<bare>{_NAME})(?::\d+)?\s*
      (?=(?:\[CALL_ID\]\w*|\[ARGS\]|<[^<>{{}}]*>|```(?:json)?|\bjson\b|[\s:])*\{{|<\w*arg_key>)
    | \A(?:<[^<>]*>)?\s*(?P<alone>{_NAME})\s*(?:<[^<>]*>)?\s*\Z
    """,
    re.VERBOSE,
)
_PARAMETER = re.compile(
    r"""
      <[^<>\s]*param(?:eter)?(?:\s*=|\s+name\s*=)\s*["']?(?P<key>[\w.-]+)["']?[^<>]*>
      (?P<value>.*?)(?:</[^<>\s]*param(?:eter)?>|(?=<[^<>\s]*(?:param|/function|/invoke))|\Z)
    | <\w*arg_key>\s*(?P<arg>.*?)\s*</\w*arg_key>
      \s*<\w*arg_value>(?P<given>.*?)(?:</\w*arg_value>|\Z)
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPED = re.compile(r"(\w+):(?:(<escape>|<\|\"\|>)(.*?)\2|([^,{}]*))", re.DOTALL)
_MARKS = re.compile(r"<[^<>]*>|```\w*|\[/?[A-Z_]+\]")


@dataclass(frozen=True, slots=True)
class WrittenCall:
    """A call as it was written.

    Attributes:
        name: The tool's.
        arguments: JSON text, or what the model wrote for that.
    """

    name: str
    arguments: str


def read_calls(block: str, offered: Offered) -> list[WrittenCall]:
    """The calls in a stretch of text that is known to hold some, in order; [] if none is readable.

    Args:
        block: The stretch, with or without the marks around it.
        offered: Says of which type an argument is that is written without quotes.
    """
    values = [value for value, _ in _json_values(block)] or [_literal(block)]
    return (
        [call for value in values for call in exact_calls(value)]
        or _python_calls(_MARKS.sub(" ", block), offered)
        or list(_named_calls(block, offered))
    )


def exact_calls(value: object) -> list[WrittenCall]:
    """The calls that a JSON value is, alone or in a list, with nothing else in it; [] otherwise."""
    if isinstance(value, list):
        each = [exact_calls(item) for item in value]
        return [call for calls in each for call in calls] if all(each) else []
    if not isinstance(value, dict):
        return []
    keys = value.keys() - _BESIDE
    if len(keys) == 1 and isinstance(inner := value[min(keys)], dict | list):
        return exact_calls(inner) if keys <= WRAPPERS else []
    name = next((key for key in NAME_KEYS if isinstance(value.get(key), str)), "")
    given = next((key for key in ARGUMENT_KEYS if key in value), "")
    if keys != {name, given} or not _WORD.fullmatch(value[name]):
        return []
    written = value[given] or {}
    text = written if isinstance(written, str) else json.dumps(written)
    return [WrittenCall(_tool(value[name]), text)] if isinstance(_loaded(text), dict) else []


def keyword_calls(text: str, offered: Offered) -> list[WrittenCall]:
    """The calls in Python; [] if one is of no tool on offer and has no arguments, or is none."""
    calls = _python_calls(text, offered)
    return calls if all(c.name in offered or c.arguments != "{}" for c in calls) else []


def _named_calls(block: str, offered: Offered) -> Iterator[WrittenCall]:
    """Calls whose name stands before their arguments."""
    at = 0
    while named := _NAMED.search(block, at):
        name = _known(_tool(next(filter(None, named.groups()))), offered)
        at = named.end()
        found = next(_json_values(block, at), None)
        parameters = _PARAMETER.search(block, at)
        if parameters and not (found and found[1] <= parameters.start()):
            end = _NAMED_TAG.search(block, at)
            at, begin = end.start() if end else len(block), at
            each = _PARAMETER.finditer(block, begin, at)
            given = {m["key"] or m["arg"]: (m["value"] or m["given"] or "").strip() for m in each}
            yield WrittenCall(name, json.dumps(_typed(given, offered.get(name, {}))))
        elif found and isinstance(found[0], dict):
            at = found[1]
            yield WrittenCall(name, json.dumps(found[0]))
        elif named["call"]:
            end_at = block.find("}", at) + 1 or len(block)
            each = _ESCAPED.finditer(block, at, end_at)
            given = {m[1]: m[3] if m[2] else m[4].strip() for m in each}
            at = end_at
            yield WrittenCall(name, json.dumps(_typed(given, offered.get(name, {}))))
        else:
            rest = block[at:]
            begun = rest.find("{")
            yield WrittenCall(name, rest[begun:] if begun >= 0 else "{}")
            return


_NAMED_TAG = re.compile(r"<[^<>\s]*(?:function|invoke|tool_call)(?:\s*=|\s+name\s*=|>)")


def _python_calls(text: str, offered: Offered) -> list[WrittenCall]:
    """Calls as Python expressions, one after the other or in a list; [] if it is anything else."""
    try:
        body = _parsed(text)
        values = [line.value for line in body if isinstance(line, ast.Expr | ast.Assign)]
        found = [e for value in values for e in (getattr(value, "elts", None) or [value])]
        return [_python_call(each, offered) for each in found] if len(values) == len(body) else []
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return []


def _python_call(node: ast.expr, offered: Offered) -> WrittenCall:
    """A call as a Python expression.

    Raises:
        ValueError: It is none, or its arguments are no constants.
    """
    if not isinstance(node, ast.Call):
        raise ValueError("no call")
    if isinstance(node.func, ast.Name) and node.func.id == "print" and node.args:
        return _python_call(node.args[0], offered)
    name = ast.unparse(node.func)
    if not _WORD.fullmatch(name):
        raise ValueError("no name")
    name = _known(_tool(name.removesuffix(".call")), offered)
    value = _word_or_literal if name in offered else ast.literal_eval
    values = [value(each) for each in node.args]
    if len(values) == 1 and isinstance(values[0], dict):
        return WrittenCall(name, json.dumps(values[0]))
    order = list(offered.get(name, {}).get("properties") or ())
    given = dict(zip(order, values, strict=False))
    given |= {word.arg or "": value(word.value) for word in node.keywords}
    return WrittenCall(name, json.dumps(given))


def _word_or_literal(node: ast.expr) -> Any:
    """A constant, of Python's or JSON's, or a word that lacks its quotes.

    Raises:
        ValueError: It is neither.
    """
    if isinstance(node, ast.Name):
        return _CONSTANTS.get(node.id, node.id)
    return ast.literal_eval(node)


_CONSTANTS = {"true": True, "false": False, "null": None}


def _parsed(text: str) -> list[ast.stmt]:
    """The statements of a text, as Python.

    Raises:
        ValueError, SyntaxError, RecursionError, MemoryError: It is none.
    """
    with warnings.catch_warnings():
        # "1a" is not worth a warning on the user's terminal.
        warnings.simplefilter("ignore")
        return ast.parse(text.strip()).body


def _typed(given: Mapping[str, str], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments without their quotes, as values: JSON, unless the schema says text, or it is."""
    properties = schema.get("properties") or {}
    typed: dict[str, Any] = {}
    for key, text in given.items():
        try:
            match properties.get(key):
                case {"type": "string"}:
                    typed[key] = text
                case _:
                    typed[key] = json.loads(text)
        except (ValueError, RecursionError):
            typed[key] = text
    return typed


def _tool(name: str) -> str:
    """A tool's name without what a format puts around it: `functions.get_price:0`."""
    return re.sub(r"^(?:functions|default_api|tools?)\.|:\d+$", "", name)


def _known(name: str, offered: Offered) -> str:
    """The name of a tool on offer that differs in its capitals alone; else the name."""
    alike = [known for known in offered if known.casefold() == name.casefold()]
    return name if name in offered or not alike else alike[0]


def _json_values(text: str, at: int = 0) -> Iterator[tuple[Any, int]]:
    """The JSON objects and lists in a text from a place on, and where each ends."""
    while begun := re.compile(r"[\[{]").search(text, at):
        try:
            value, at = _DECODER.raw_decode(text, begun.start())
        except (ValueError, RecursionError):
            at = begun.end()
        else:
            yield value, at


_DECODER = json.JSONDecoder()


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _literal(text: str) -> object:
    """The Python literal that a text is, marks aside: some models write their JSON so."""
    try:
        (line,) = _parsed(_MARKS.sub(" ", text))
        return ast.literal_eval(line.value) if isinstance(line, ast.Expr) else None
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None
