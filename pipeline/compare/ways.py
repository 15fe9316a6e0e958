"""The paths of a comparison, each ready to hold a conversation: cascades, APIs, simulations."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from rich.console import Console

from pipeline.cascade import Cascade
from pipeline.clock import Clock
from pipeline.compare.conductor import Way
from pipeline.compare.rehearsal import rehearse
from pipeline.compare.scenario import Scenario
from pipeline.config import Settings
from pipeline.direct import paths
from pipeline.direct.brief import Brief, Target
from pipeline.direct.rtt import rtt
from pipeline.engines import LocalEngines, check_models
from pipeline.errors import BadInput
from pipeline.profile.executor import Pool
from pipeline.profile.instrument import make_ready
from pipeline.profile.plan import SECRET, SHORT, Load
from pipeline.session import Session
from pipeline.shelf import catalogue, require_llm
from pipeline.simulated import presets
from pipeline.simulated.child import serving
from pipeline.trace import Trace

DIRECT_RATE = 24_000
"""At which the APIs speak (Hz)."""

ROUND_TRIPS = 3
"""Measured before each conversation."""


class CascadeWay:
    """The cascade, with engines that are loaded once."""

    def __init__(self, target: Target, settings: Settings, engines: LocalEngines) -> None:
        """Take loaded engines and the settings that this cascade differs by."""
        self.name = target.name
        self._settings = settings
        self._engines = engines

    @property
    def rate(self) -> int:
        """Of its voice (Hz)."""
        return self._engines.voice.rate

    async def ready(self, scenario: Scenario) -> tuple[float, ...]:
        """Let the model forget the last conversation; there is no server to ping."""
        await make_ready(self._instructed(scenario), self._engines)
        return ()

    def session(self, scenario: Scenario, trace: Trace, clock: Clock) -> Session:
        """A new conversation with the cascade."""
        tools = [one.tool for one in scenario.tools]
        settings = self._instructed(scenario)
        return Cascade(self._engines, settings, trace, clock, tools=tools)

    def facts(self, session: Session) -> Mapping[str, Any]:
        """Nothing that its settings do not tell."""
        return {}

    def _instructed(self, scenario: Scenario) -> Settings:
        llm = self._settings.llm.model_copy(update={"instructions": scenario.instructions})
        return self._settings.model_copy(update={"llm": llm})


class DirectWay:
    """A speech-to-speech API."""

    rate = DIRECT_RATE

    def __init__(self, target: Target, language: str, name: str = "") -> None:
        """Take what the command line says of it.

        Args:
            target: Where, and which model.
            language: Code of what is spoken; empty: not known.
            name: What reports call it, if not what the target is called.
        """
        self.name = name or target.name
        self._target = target
        self._language = language

    async def ready(self, scenario: Scenario) -> tuple[float, ...]:
        """Measure the way to the server."""
        return await rtt(paths.address(self._target), ROUND_TRIPS)

    def session(self, scenario: Scenario, trace: Trace, clock: Clock) -> Session:
        """A new connection, which is made when the session is entered."""
        brief = Brief(
            scenario.instructions, tuple(one.tool for one in scenario.tools), self._language
        )
        return paths.connect(self._aimed(scenario), brief, trace, clock)

    def facts(self, session: Session) -> Mapping[str, Any]:
        """What it found at the other end; empty where it never got there."""
        found = getattr(session, "facts", None)
        return dataclasses.asdict(found) if found is not None else {}

    def _aimed(self, scenario: Scenario) -> Target:
        return self._target


class SimulatedWay(DirectWay):
    """One of our own servers, which is told by the model's name what script to replay."""

    def _aimed(self, scenario: Scenario) -> Target:
        return dataclasses.replace(self._target, model=f"{self._target.model}#{scenario.name}")


class Ways:
    """All paths of a comparison: checked first, then opened together."""

    def __init__(
        self, targets: Sequence[Target], load: Load, scenarios: Sequence[Scenario]
    ) -> None:
        """Find what each path needs.

        Args:
            targets: The paths, as parsed and checked.
            load: Gives the settings of a cascade.
            scenarios: What will be held; simulated servers are given a script for it.

        Raises:
            BadInput: A model, a setting or a simulation does not exist.
        """
        self._targets = targets
        self._scenarios = scenarios
        self._base = load({})
        self._settings = {
            target.name: load(_settings(target)) if target.kind == "cascade" else self._base
            for target in targets
            if target.kind in ("cascade", "audio-llm")
        }
        for settings in self._settings.values():
            check_models(settings, catalogue(settings))
        for target in targets:
            if target.kind == "simulated":
                presets.named(target.model)
        self._pool = Pool()

    @property
    def models(self) -> Mapping[str, str]:
        """Names of the first cascade's models, by kind; empty where there is none."""
        return next((self._pool.get(one).names for one in self._settings.values()), {})

    def prepare(self, console: Console) -> None:
        """Fetch the language model if a cascade needs it and it is missing.

        Raises:
            CascadeError: It cannot be had.
        """
        for settings in self._settings.values():
            require_llm(settings, console)
            self._pool.need(settings)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncGenerator[list[Way]]:
        """Load engines and start simulated servers; the paths in their order.

        Raises:
            CascadeError: One cannot be had.
        """
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self._pool.loaded())
            yield [await self._way(target, stack) for target in self._targets]

    async def _way(self, target: Target, stack: contextlib.AsyncExitStack) -> Way:
        match target.kind:
            case "cascade":
                settings = self._settings[target.name]
                return CascadeWay(target, settings, self._pool.get(settings))
            case "audio-llm":
                settings = self._settings[target.name]
                return AudioLlmWay(target, settings, self._pool.get(settings))
            case "simulated":
                script = rehearse(presets.named(target.model), self._scenarios)
                server = await stack.enter_async_context(serving(script, target.options))
                return SimulatedWay(server, self._base.stt.language, target.name)
            case _:
                return DirectWay(target, self._base.stt.language)


def _settings(target: Target) -> dict[str, str]:
    """The settings that a cascade differs by.

    Raises:
        BadInput: It is none that can be named there.
    """
    found = {}
    for label, value in target.options.items():
        key = SHORT.get(label, label)
        if key.count(".") != 1 or key == SECRET:
            raise BadInput(
                f"--path {target.name}: {label} is no setting; allowed: {', '.join(SHORT)}, or a "
                "dotted name that `cascade config` shows, such as turns.hold_ms"
            )
        found[key] = value
    return found
