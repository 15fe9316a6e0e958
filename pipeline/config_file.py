"""Reads the settings of a run from the command line, the environment and `cascade.toml`.

The first that sets a value wins, in that order. What is wrong is an error that names where it was
set, the key, and what is allowed there.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource

from pipeline.config import ENV_DELIMITER, ENV_PREFIX, Section, Settings
from pipeline.errors import BadInput

DEFAULT_FILE = "cascade.toml"


class _Given(Settings):
    """`Settings` from the values it is given alone, with no look at the environment."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


Values = dict[str, Any]


def load(file: Path | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
    """Read the settings of a run.

    Args:
        file: The configuration file; None takes `cascade.toml` in the current folder, if any.
        flags: What the command line set, by dotted name (`{"stt.model": "base.en"}`); None as a
            value means that the flag was not given.

    Raises:
        BadInput: A file that is missing or not TOML, an unknown key, a wrong type, a value out of
            range; the message names where it was set, the key and what is allowed.
    """
    path = file or (Path(DEFAULT_FILE) if Path(DEFAULT_FILE).is_file() else None)
    merged: Values = {}
    if path is not None:
        _merge(merged, _checked(_read_toml(path), str(path), strict=True))
    _merge(merged, _checked(_environment(), "environment"))
    _merge(merged, _checked(_nest(flags or {}), "command line"))
    settings = _Given(**merged)
    turns = settings.turns
    if turns.provisional_ms > turns.hold_ms:
        raise BadInput(
            f"settings: turns.hold_ms is {turns.hold_ms}, shorter than turns.provisional_ms "
            f"({turns.provisional_ms}); allowed: at least that"
        )
    vad = settings.vad
    llm, needed = settings.llm, settings.conversation.budget_tokens + settings.llm.max_tokens
    if needed > llm.context_tokens:
        raise BadInput(
            f"settings: conversation.budget_tokens and llm.max_tokens are {needed} together, more "
            f"than llm.context_tokens ({llm.context_tokens}); allowed: at most that"
        )
    if vad.release > vad.threshold:
        raise BadInput(
            f"settings: vad.release is {vad.release}, above vad.threshold ({vad.threshold}); "
            "allowed: at most that"
        )
    return settings


def document() -> str:
    """All settings at their defaults as a commented `cascade.toml`."""
    lines = ["# Cascade's settings and their defaults. Keep what you change.", ""]
    for name in Settings.model_fields:
        lines += [f"# {(_section(name).__doc__ or '').strip()}", f"[{name}]"]
        for key, field in _fields(name).items():
            lines.append(f"# {field.description} ({_allowed(field)})")
            lines.append(f"{key} = {_toml(field.default)}")
        lines.append("")
    return "\n".join(lines)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value)


def _read_toml(path: Path) -> Values:
    try:
        # Windows editors begin a file with a byte order mark, which is not TOML.
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise BadInput(f"{path}: there is no such file; `cascade config` prints one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{path}: not TOML: {error}") from None


def _environment() -> Values:
    """What `CASCADE_*` variables set; one that names no setting is an error."""
    known = {
        f"{ENV_PREFIX}{name}{ENV_DELIMITER}{key}".upper()
        for name in Settings.model_fields
        for key in _fields(name)
    }
    for variable in os.environ:
        if variable.upper().startswith(ENV_PREFIX) and variable.upper() not in known:
            close = difflib.get_close_matches(variable.upper(), sorted(known), n=1)
            hint = f"did you mean {close[0]}?" if close else "`cascade config` lists them"
            raise BadInput(f"environment: {variable} names no setting; {hint}")
    return EnvSettingsSource(Settings)()


def _nest(flags: Mapping[str, Any]) -> Values:
    nested: Values = {}
    for name, value in flags.items():
        if value is not None:
            section, key = name.split(".")
            nested.setdefault(section, {})[key] = value
    return nested


def _merge(into: Values, values: Values) -> None:
    for name, table in values.items():
        into[name] = {**into.get(name, {}), **table}


def _checked(values: Values, where: str, *, strict: bool = False) -> Values:
    """The values of one source, unchanged; `strict` takes no text for a number."""
    for name, table in values.items():
        if name not in Settings.model_fields:
            raise BadInput(f"{where}: unknown key {name}; {_nearest(name, Settings.model_fields)}")
        fields = _fields(name)
        if not isinstance(table, dict):
            raise BadInput(
                f"{where}: {name} is a table, [{name}]; allowed in it: {', '.join(fields)}"
            )
        try:
            _section(name).model_validate(table, strict=strict)
        except ValidationError as error:
            first = error.errors()[0]
            key = str(first["loc"][0])
            if key not in fields:
                raise BadInput(
                    f"{where}: unknown key {name}.{key}; {_nearest(key, fields)}"
                ) from None
            shown = "hidden" if key == "api_key" else repr(first["input"])
            raise BadInput(
                f"{where}: {name}.{key} is {shown}; allowed: {_allowed(fields[key])}"
            ) from None
    return values


def _nearest(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, names := list(names), n=1)
    return f"did you mean {close[0]}?" if close else f"allowed: {', '.join(names)}"


def _section(name: str) -> type[Section]:
    section = Settings.model_fields[name].annotation
    assert isinstance(section, type)
    assert issubclass(section, Section)
    return section


def _fields(name: str) -> dict[str, FieldInfo]:
    return _section(name).model_fields


def _allowed(field: FieldInfo) -> str:
    """What a field may hold, for people: its choices, or its type and bounds."""
    if get_origin(field.annotation) is Literal:
        return " | ".join(map(str, get_args(field.annotation)))
    kinds = {bool: "true | false", int: "a whole number", float: "a number", str: "text"}
    kind = kinds[field.annotation]  # type: ignore[index]
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    bounds = [
        f"{word} {getattr(constraint, name)}"
        for constraint in field.metadata
        for name, word in words.items()
        if getattr(constraint, name, None) is not None
    ]
    return " ".join([kind, " and ".join(bounds)]).strip()
