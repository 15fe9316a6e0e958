"""What is run, and in which order: variants × recordings × repeats. Pure."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from rich.console import Console

from pipeline.config import Settings, is_secret, without_password
from pipeline.errors import BadInput
from pipeline.measure.corpus import Item
from pipeline.measure.record import Record
from pipeline.measure.run import WAVS, Made

SHORT = {"stt": "stt.model", "llm": "llm.model", "voice": "tts.voice", "mode": "reply.mode"}
"""Names of settings that are varied most, and what they stand for."""

MODE = "reply.mode"


class Load(Protocol):
    """Gives the settings of a run."""

    def __call__(
        self, changes: Mapping[str, str], options: Mapping[str, str] | None = None, /
    ) -> Settings:
        """The settings with some of them set otherwise.

        Args:
            changes: Their values, by dotted name.
            options: The option that set each, likewise, for errors (see `config.load`).

        Raises:
            BadInput: A setting does not exist, or cannot have that value.
        """
        ...


@dataclass(frozen=True, slots=True)
class Variant:
    """One set of settings that is measured.

    Attributes:
        name: Its mode, and what else is varied: `speculative stt=base.en`.
        settings: All of them.
        changes: What makes it differ from the others, by dotted name.
    """

    name: str
    settings: Settings
    changes: Mapping[str, Any]


class Named(Protocol):
    """What has a name in reports."""

    @property
    def name(self) -> str:
        """The name."""
        ...


Who = TypeVar("Who", bound=Named)
What = TypeVar("What", bound=Named)


@dataclass(frozen=True, slots=True)
class Planned(Generic[Who, What]):
    """One thing to measure.

    Attributes:
        order: Its position in the run, from 0.
        variant: Of whom.
        item: What is said.
        repeat: From 1; 0 is the warm-up.
    """

    order: int
    variant: Who
    item: What
    repeat: int

    @property
    def wav(self) -> str:
        """Where its WAV goes, relative to the run's folder."""
        return f"{WAVS}/{self.order:04}.wav"

    def signed(self, record: Record) -> Record:
        """A record of it, with the names that only the run knows."""
        return dataclasses.replace(
            record,
            variant=self.variant.name,
            file=self.item.name,
            repeat=self.repeat,
            order=self.order,
        )


Job = Planned[Variant, Item]
"""One turn of a profile to measure."""


class Executor(Protocol):
    """Measures the turns of a profile, here or elsewhere; yields each as soon as it is made."""

    @property
    def models(self) -> Mapping[str, str]:
        """Names of the first variant's models, by kind."""
        ...

    def prepare(self, console: Console) -> None:
        """Do what takes long, before an event loop runs: fetch what is missing.

        Raises:
            CascadeError: It cannot be had.
        """
        ...

    def run(self, jobs: Sequence[Job], folder: Path) -> AsyncGenerator[Made[Record], None]:
        """Measure all jobs; closing it stops whatever still works.

        Args:
            jobs: What to measure; warm-ups first.
            folder: Of the profile; WAVs are written into it.

        Raises:
            CascadeError: No more can be measured; what was yielded counts.
        """
        ...

    def facts(self) -> Mapping[str, Any]:
        """For the profile's header, once the run is over: `noise` (see `noise.summarise`)."""
        ...


def variants(load: Load, modes: str | None, vary: Sequence[str]) -> list[Variant]:
    """The grid of all modes and all values of what is varied.

    Args:
        load: Gives the settings; called once for each variant.
        modes: Modes of a reply, parted by commas; None: the settings' own.
        vary: `KEY=VALUE,VALUE…` each; the key is a setting's dotted name or one of `SHORT`.

    Raises:
        BadInput: No such setting, a value that it cannot have, or one axis twice.
    """
    axes: dict[str, tuple[str, list[str]]] = {}
    options: dict[str, str] = {}
    given = [f"mode={modes}"] if modes is not None else []
    for text in [*given, *vary]:
        label, values = _axis(text)
        key = setting(label, f"--vary {label}:")
        if key in axes:
            raise BadInput(f"--vary {text}: {label} is varied twice; name all its values in one")
        axes[key] = (label, values)
        options[key] = "--mode" if text in given else f"--vary {label}"
    if MODE not in axes:
        axes = {MODE: ("mode", [load({}).reply.mode]), **axes}
    found = []
    for combination in itertools.product(*(values for _, values in axes.values())):
        chosen = dict(zip(axes, combination, strict=True))
        settings = load(chosen, options)
        changes = {key: _value(settings, key) for key in chosen}
        rest = [
            f"{axes[key][0]}={without_password(value)}"
            for key, value in chosen.items()
            if key != MODE
        ]
        found.append(Variant(" ".join([chosen[MODE], *rest]), settings, changes))
    return found


def jobs(
    variants: Sequence[Who], items: Sequence[What], repeats: int, seed: int
) -> list[Planned[Who, What]]:
    """Warm-ups, then all others, so that whatever the machine does is done to all variants alike.

    Within a repeat the items come in random order, and for each of them all variants in random
    order, one after another: what is compared lies close together in time.

    Args:
        variants: Who is measured.
        items: What is said to each of them.
        repeats: How often each item is said to each variant.
        seed: The same one gives the same order.
    """
    draw = random.Random(seed)
    trials = [(variant, items[0], 0) for variant in variants]
    for repeat in range(1, repeats + 1):
        for item in draw.sample(items, len(items)):
            trials += [(one, item, repeat) for one in draw.sample(variants, len(variants))]
    return [Planned(number, *trial) for number, trial in enumerate(trials)]


def setting(label: str, where: str) -> str:
    """The dotted name of a setting that may differ from one run to another.

    Args:
        label: That name, or one of `SHORT`.
        where: Begins the message if it is none.

    Raises:
        BadInput: It is none.
    """
    key = SHORT.get(label, label)
    if key.count(".") != 1 or is_secret(key):
        raise BadInput(
            f"{where} is no setting that can be varied; allowed: {', '.join(SHORT)}, or a dotted "
            "name that `cascade config` shows, such as turns.hold_ms"
        )
    return key


def _axis(text: str) -> tuple[str, list[str]]:
    label, equals, listed = text.partition("=")
    label = label.strip()
    values = list(dict.fromkeys(value.strip() for value in listed.split(",") if value.strip()))
    if not equals or not values:
        raise BadInput(
            f"--vary {text}: say which setting and which values, as in stt=whisper-mini-en,base.en"
        )
    return label, values


def _value(settings: Settings, key: str) -> Any:
    section, name = key.split(".")
    value = getattr(getattr(settings, section), name)
    return without_password(value) if isinstance(value, str) else value
