"""What is run, and in which order: variants × recordings × repeats. Pure."""

from __future__ import annotations

import dataclasses
import itertools
import random
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from pipeline.config import Settings
from pipeline.errors import BadInput
from pipeline.measure.corpus import Item
from pipeline.measure.record import Record
from pipeline.measure.run import WAVS, Made

SHORT = {"stt": "stt.model", "llm": "llm.model", "voice": "tts.voice", "mode": "reply.mode"}
"""Names of settings that are varied most, and what they stand for."""

MODE = "reply.mode"

SECRET = "llm.api_key"

_PASSWORD = re.compile(r"//[^/@]*@")

Load = Callable[[Mapping[str, str]], Settings]
"""The settings of a run with some of them set otherwise; raises BadInput."""


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


@dataclass(frozen=True, slots=True)
class Trial:
    """One recording played to one variant.

    Attributes:
        variant: Index of the variant.
        item: Index of the recording.
        repeat: From 1; 0 is the warm-up.
    """

    variant: int
    item: int
    repeat: int


@dataclass(frozen=True, slots=True)
class Job:
    """One turn to measure.

    Attributes:
        order: Its position in the run, from 0.
        variant: With which settings.
        item: Which recording.
        repeat: From 1; 0 is the warm-up.
    """

    order: int
    variant: Variant
    item: Item
    repeat: int

    @property
    def wav(self) -> str:
        """Where its WAV goes, relative to the profile's folder."""
        return f"{WAVS}/{self.order:04}.wav"

    def signed(self, record: Record) -> Record:
        """A record of this turn, with the names that only the run knows."""
        return dataclasses.replace(
            record,
            variant=self.variant.name,
            file=self.item.name,
            repeat=self.repeat,
            order=self.order,
        )

    def failed(self, reason: str) -> Made[Record]:
        """What becomes of it if it cannot be played."""
        record = Record("", "", 0, 0, "failed", reason=reason, expected=self.item.text)
        return Made(self.signed(record), ())


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
    given = [f"mode={modes}"] if modes is not None else []
    for text in [*given, *vary]:
        label, values = _axis(text)
        key = SHORT.get(label, label)
        if key in axes:
            raise BadInput(f"--vary {text}: {label} is varied twice; name all its values in one")
        axes[key] = (label, values)
    if MODE not in axes:
        axes = {MODE: ("mode", [load({}).reply.mode]), **axes}
    found = []
    for combination in itertools.product(*(values for _, values in axes.values())):
        chosen = dict(zip(axes, combination, strict=True))
        settings = load(chosen)
        changes = {key: _value(settings, key) for key in chosen}
        rest = [
            f"{axes[key][0]}={without_password(value)}"
            for key, value in chosen.items()
            if key != MODE
        ]
        found.append(Variant(" ".join([chosen[MODE], *rest]), settings, changes))
    return found


def order(variants: int, items: int, repeats: int, seed: int) -> list[Trial]:
    """Warm-ups, then all trials, so that whatever the machine does is done to all variants alike.

    Within a repeat the recordings come in random order, and for each of them all variants in random
    order, one after another: what is compared lies close together in time.

    Args:
        variants: How many.
        items: How many recordings.
        repeats: How often each is played to each variant.
        seed: The same one gives the same order.
    """
    draw = random.Random(seed)
    trials = [Trial(variant, 0, 0) for variant in range(variants)]
    for repeat in range(1, repeats + 1):
        for item in draw.sample(range(items), items):
            trials += [Trial(v, item, repeat) for v in draw.sample(range(variants), variants)]
    return trials


def _axis(text: str) -> tuple[str, list[str]]:
    label, equals, listed = text.partition("=")
    label = label.strip()
    values = list(dict.fromkeys(value.strip() for value in listed.split(",") if value.strip()))
    if not equals or not values:
        raise BadInput(
            f"--vary {text}: say which setting and which values, as in stt=whisper-mini-en,base.en"
        )
    key = SHORT.get(label, label)
    if key.count(".") != 1 or key == SECRET:
        raise BadInput(
            f"--vary {label}: is no setting that can be varied; allowed: {', '.join(SHORT)}, or a "
            "dotted name that `cascade config` shows, such as turns.hold_ms"
        )
    return label, values


def _value(settings: Settings, key: str) -> Any:
    section, name = key.split(".")
    value = getattr(getattr(settings, section), name)
    return without_password(value) if isinstance(value, str) else value


def without_password(value: str) -> str:
    """A setting's value without the password that a URL may hold."""
    return _PASSWORD.sub("//", value)
