"""Reusable prompts: a folder of TOML files, each with what the assistant is told, and how it acts.

    # prompts/reception.toml
    version = "2"
    instructions = "You answer the telephone of {{practice}}. Today is {{day}}."
    turns = "patient"

    [variables]
    practice = "Dr. Weber"

A name in double braces is a variable. One with a value under `[variables]` may be left out by
whoever uses the prompt, any other has to be given. Values are put in as they are, once: braces in
them mean nothing.

Prompts are found by what the files say and never by a path that is made of a name, so that no id
leads out of the folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)

from pipeline import toml_file
from pipeline.config import PACES
from pipeline.errors import BadInput
from pipeline.yaml_file import complaint

MOST_BYTES = 1 << 20
"""Of a file: more than any model is told."""

NAME = r"[A-Za-z_][A-Za-z0-9_]*"
"""What a variable may be called."""

_VARIABLE = re.compile(rf"\{{\{{\s*({NAME})\s*\}}\}}")

_Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")]
_Version = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if type(value) is int else value),
    Field(pattern=r"^[A-Za-z0-9_.-]{1,32}$"),
]


class PromptRefused(BadInput):
    """There is no such prompt, or it cannot be used so.

    Attributes:
        field: What is wrong with how it was asked for: `id`, `version` or `variables.NAME`.
        kind: What that is: it is not known, missing, or no value.
    """

    def __init__(
        self, field: str, message: str, kind: Literal["unknown", "missing", "value"]
    ) -> None:
        super().__init__(message)
        self.field = field
        self.kind = kind


class StoredPrompt(BaseModel):
    """What a file of the folder says.

    Attributes:
        id: Its name; by default the file's, without `.toml`.
        version: Several files may have one id, each with a version of its own.
        description: What it is for, in a line for people.
        instructions: The system prompt, with variables.
        variables: Values of variables that may be left out.
        turns: How soon silence ends a turn, as `--turns` has it; None: as the settings say.
        voice: Of the replies, as `tts.voice`; None: the settings'.
        speed: As `tts.speed`; None: the settings'.
        language: What the user speaks, as `stt.language`; None: as the settings say.
        tools: What the model may call. A name is a Python file of the folder, for `cascade talk`,
            which runs its functions. A table is a definition as the Realtime API has it, for a
            client that runs it.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    id: _Id
    version: _Version = "1"
    description: str = ""
    instructions: str = Field(min_length=1)
    variables: dict[str, str] = {}
    turns: Literal["eager", "balanced", "patient"] | None = None
    voice: Annotated[str, Field(min_length=1)] | None = None
    speed: Annotated[float, Field(ge=0.25, le=1.5)] | None = None
    language: Annotated[str, Field(min_length=2)] | None = None
    tools: list[str | dict[str, Any]] = []

    @field_validator("variables")
    @classmethod
    def _named(cls, variables: dict[str, str]) -> dict[str, str]:
        for name in variables:
            if not re.fullmatch(NAME, name):
                raise ValueError(f"{name!r} is no name; use letters, digits and _")
        return variables

    @property
    def names(self) -> frozenset[str]:
        """The variables of the instructions."""
        return frozenset(_VARIABLE.findall(self.instructions))

    @property
    def required(self) -> list[str]:
        """The variables that have to be given, in order."""
        found = dict.fromkeys(_VARIABLE.findall(self.instructions))
        return [name for name in found if name not in self.variables]

    @property
    def files(self) -> list[str]:
        """The Python files among its tools."""
        return [tool for tool in self.tools if isinstance(tool, str)]

    @property
    def functions(self) -> list[dict[str, Any]]:
        """The definitions among its tools."""
        return [tool for tool in self.tools if isinstance(tool, dict)]

    def filled(self, values: Mapping[str, str]) -> str:
        """The instructions with values for their variables.

        Raises:
            PromptRefused: A value is missing, or is of no variable.
        """
        if unknown := [name for name in values if name not in self.names]:
            known = ", ".join(sorted(self.names)) or "none"
            message = f"prompt {self.id} has no variable {unknown[0]!r}; its variables: {known}"
            raise PromptRefused(f"variables.{unknown[0]}", message, "unknown")
        if missing := [name for name in self.required if name not in values]:
            message = f"prompt {self.id} needs a value for its variable {missing[0]!r}"
            raise PromptRefused(f"variables.{missing[0]}", message, "missing")
        given = {**self.variables, **values}
        return _VARIABLE.sub(lambda found: given[found[1]], self.instructions)

    def settings(self, values: Mapping[str, str]) -> dict[str, Any]:
        """The settings that it stands for, by their dotted names.

        Raises:
            PromptRefused: As `filled`.
        """
        pace = PACES[self.turns] if self.turns else {}
        found = {
            "llm.instructions": self.filled(values),
            "tts.voice": self.voice,
            "tts.speed": self.speed,
            "stt.language": self.language,
            "tools.files": self.files or None,
            **{f"turns.{name}": ms for name, ms in pace.items()},
        }
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts of a folder, all read.

    Attributes:
        all: By id, and then by version, the newest last.
    """

    all: Mapping[str, Mapping[str, StoredPrompt]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read all `.toml` files of a folder; without the folder there are none.

        Raises:
            BadInput: One is no prompt, or is no file of the folder; the message names it, and
                the key that is wrong.
        """
        files: dict[tuple[str, str], Path] = {}
        found: dict[str, list[StoredPrompt]] = {}
        for path in sorted(folder.glob("*.toml")):
            prompt = _read(path)
            other = files.setdefault((prompt.id, prompt.version), path)
            if other is not path:
                raise BadInput(
                    f"{path}: {other.name} is version {prompt.version} of prompt {prompt.id} too; "
                    "give it another version"
                )
            found.setdefault(prompt.id, []).append(prompt)
        ordered = {id: sorted(each, key=_age) for id, each in sorted(found.items())}
        return cls({id: {each.version: each for each in all} for id, all in ordered.items()})

    def find(self, id: str, version: str = "") -> StoredPrompt:
        """A prompt.

        Args:
            id: Its id.
            version: Which version; empty: the newest.

        Raises:
            PromptRefused: There is none.
        """
        versions = self.all.get(id)
        if versions is None:
            raise PromptRefused("id", f"there is no prompt {id!r}", "unknown")
        if not version:
            return list(versions.values())[-1]
        if version not in versions:
            known = ", ".join(versions)
            message = f"prompt {id} has no version {version!r}; it has {known}"
            raise PromptRefused("version", message, "unknown")
        return versions[version]


def variables(given: Iterable[str]) -> dict[str, str]:
    """The values that are given as `NAME=VALUE`.

    Raises:
        BadInput: One is not, or a name is given twice.
    """
    found: dict[str, str] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not re.fullmatch(NAME, name):
            raise BadInput(f"--var {each}: write it as NAME=VALUE")
        if name in found:
            raise BadInput(f"--var {each}: {name} is given twice")
        found[name] = value
    return found


def _read(path: Path) -> StoredPrompt:
    """The prompt that a file is.

    Raises:
        BadInput: It is none.
    """
    # A link could lead anywhere, and a pipe would never end.
    if path.is_symlink() or not path.is_file():
        raise BadInput(f"{path}: is no file of its own; put the prompt itself there")
    if path.stat().st_size > MOST_BYTES:
        raise BadInput(f"{path}: is larger than {MOST_BYTES >> 20} MiB")
    about = toml_file.read(path)
    try:
        prompt = StoredPrompt.model_validate({"id": path.stem, **about})
    except ValidationError as error:
        raise BadInput(f"{path}: {complaint(error)}") from None
    if unused := prompt.variables.keys() - prompt.names:
        name = min(unused)
        raise BadInput(f"{path}: variables.{name}: the instructions have no {{{{{name}}}}}")
    tools = [_own(tool, path) if isinstance(tool, str) else tool for tool in prompt.tools]
    return prompt.model_copy(update={"tools": tools})


def _own(name: str, prompt: Path) -> str:
    """The path of a file that a prompt names, which is in the folder and nowhere else.

    Raises:
        BadInput: It is not.
    """
    folder = prompt.parent.resolve()
    try:
        file = (folder / name).resolve()
        inside = file.is_relative_to(folder) and file.is_file()
    except (OSError, ValueError):  # such as a zero byte
        inside = False
    if not inside:
        raise BadInput(f"{prompt}: tools: there is no file {name!r} in {prompt.parent}")
    return str(file)


def _age(prompt: StoredPrompt) -> list[tuple[int, int, str]]:
    """Sorts versions as people count them: 9 before 10."""
    parts = re.findall(r"\d+|\D+", prompt.version)
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts]
