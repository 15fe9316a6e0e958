"""Sentence templates: text with choices, expanded with a random generator.

A template is plain text with two kinds of holes, filled from left to right:

``{rain|snow|be <mood>}``
    One of the alternatives.  All of them are expanded before one is drawn, so that a
    template takes the same number of random draws whichever alternative wins.  ``*name``
    as an alternative stands for all the words of the list ``name``, each as likely as any
    other alternative.
``<name>``, ``<name[:6]>``, ``<name 2 12>``
    A word of the list ``name`` (or of a slice of it), or what the slot function ``name``
    makes of its arguments, or the value that was picked for ``name`` beforehand.
"""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from random import Random
from typing import NamedTuple

Picked = dict[str, str]
"""Values chosen once per sentence, by name; slot functions may add some."""

Slot = Callable[..., str]
"""``slot(r, picked, *arguments) -> text``"""


class Hole(NamedTuple):
    """``<name argument...>``."""

    name: str
    arguments: tuple[str, ...]


class Choice(NamedTuple):
    """``{alternative|alternative}``: each a parsed template, or the list reference of ``*name``."""

    alternatives: tuple["Parts | str", ...]


Parts = tuple["str | Hole | Choice", ...]

_TOKEN = re.compile(r"[{}|]|<[^<>]*>|[^{}|<>]+")


@cache
def parse(template: str) -> Parts:
    """The parts of a template.

    Raises:
        ValueError: a brace or an angle bracket has no partner.
    """
    tokens = _TOKEN.findall(template)
    if "".join(tokens) != template:
        raise ValueError(f"unbalanced < or > in the template {template!r}")
    parts, end = _sequence(tokens, 0, top=True)
    if end != len(tokens):
        raise ValueError(f"unbalanced {{ or }} in the template {template!r}")
    return parts


def _sequence(tokens: Sequence[str], at: int, *, top: bool) -> tuple[Parts, int]:
    """Parts up to the end, a closing brace or (inside a choice) a bar; and where that is."""
    parts: list[str | Hole | Choice] = []
    while at < len(tokens):
        token = tokens[at]
        if token == "}" or (token == "|" and not top):
            break
        at += 1
        if token == "{":
            choice, at = _choice(tokens, at)
            parts.append(choice)
        elif token.startswith("<"):
            name, *arguments = token[1:-1].split(" ")
            parts.append(Hole(name, tuple(arguments)))
        else:
            parts.append(token)
    return tuple(parts), at


def _choice(tokens: Sequence[str], at: int) -> tuple[Choice, int]:
    alternatives: list[Parts | str] = []
    while True:
        parts, at = _sequence(tokens, at, top=False)
        match parts:
            case (str(only),) if only.startswith("*"):
                alternatives.append(only[1:])
            case _:
                alternatives.append(parts)
        if at >= len(tokens):
            raise ValueError(f"a {{ is never closed near {''.join(tokens[-3:])!r}")
        at += 1
        if tokens[at - 1] == "}":
            return Choice(tuple(alternatives)), at


class Templates:
    """Expands templates with a set of word lists and slot functions."""

    def __init__(self, lists: Mapping[str, Sequence[str]], slots: Mapping[str, Slot]) -> None:
        self.lists = lists
        self.slots = slots

    def words(self, reference: str) -> Sequence[str]:
        """The list that ``name`` or ``name[a:b]`` refers to.

        Raises:
            KeyError: there is no list of that name.
        """
        name, _, part = reference.partition("[")
        found = self.lists[name]
        if not part:
            return found
        first, _, last = part.rstrip("]").partition(":")
        return found[int(first or 0) : int(last) if last else None]

    def expand(self, template: str, r: Random, picked: Picked | None = None) -> str:
        """One sentence from `template`, drawn with `r`."""
        return self._expand(parse(template), r, {} if picked is None else picked)

    def pick(self, name: str, r: Random, picked: Picked) -> str:
        """What ``<name>`` gives: a slot's text, a picked value or a word of a list."""
        if name in self.slots:
            return self.slots[name](r, picked)
        return picked[name] if name in picked else r.choice(self.words(name))

    def _expand(self, parts: Parts, r: Random, picked: Picked) -> str:
        text = []
        for part in parts:
            match part:
                case str():
                    text.append(part)
                case Hole(name, ()):
                    text.append(self.pick(name, r, picked))
                case Hole(name, arguments):
                    text.append(self.slots[name](r, picked, *arguments))
                case Choice(alternatives):
                    options: list[str] = []
                    for alternative in alternatives:
                        if isinstance(alternative, str):
                            options += self.words(alternative)
                        else:
                            options.append(self._expand(alternative, r, picked))
                    text.append(r.choice(options))
        return "".join(text)


def read_templates(package: str, name: str) -> list[str]:
    """Templates of the text file `name` beside a package's modules.

    One template a line; empty lines and lines that start with ``#`` are left out.
    """
    text = files(package).joinpath(name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def read_words(package: str, name: str) -> dict[str, list[str]]:
    """Word lists of the TOML file `name` beside a package's modules."""
    return tomllib.loads(files(package).joinpath(name).read_text(encoding="utf-8"))
