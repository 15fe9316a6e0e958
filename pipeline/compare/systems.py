"""The systems that are compared, and how a conversation is held: cascades, APIs, simulations."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from pipeline import yaml_file
from pipeline.audio.audible import onset
from pipeline.audio.files import read_audio
from pipeline.clock import NS_PER_S, Clock
from pipeline.compare.conditions import Passage
from pipeline.compare.cost import EnergyMeter
from pipeline.compare.record import Conversation
from pipeline.compare.scenario import CannedTools, Scenario, Step
from pipeline.config import Settings
from pipeline.conversation.cascade import Cascade
from pipeline.engines.local import LocalEngines
from pipeline.engines.tokens import CHARS_PER_TOKEN
from pipeline.errors import BadInput, CascadeError
from pipeline.measure import conduct
from pipeline.measure.conduct import Seat
from pipeline.measure.cues import Limits
from pipeline.measure.instrument import CHECK_RATE
from pipeline.measure.plan import Load, setting
from pipeline.measure.pool import Pool, make_ready
from pipeline.measure.recording import MemoryTrace
from pipeline.measure.reference import Behaviour, ReferenceSession
from pipeline.measure.run import Made
from pipeline.serve import script
from pipeline.serve.script import MODEL_SEPARATOR, Script, ScriptedCall, ScriptedTurn
from pipeline.serve.simulated import check_protocol, serving
from pipeline.session import Session
from pipeline.speech_to_speech import specs
from pipeline.speech_to_speech.audio_llm import AudioLlmSession, dotted, voice_engines
from pipeline.speech_to_speech.brief import SCRIPTED, Brief, SpeechToSpeech, SystemSpec
from pipeline.speech_to_speech.specs import round_trips
from pipeline.trace import Trace

API_RATE = 24_000
"""At which the APIs speak (Hz)."""

ROUND_TRIPS = 3
"""Measured before each conversation."""

REPLY = "That is a good question, and here is an answer to it."
PREAMBLE = "Let me look that up."
"""What a simulated server says where nothing is expected of the answer, and before a call."""


class System:
    """What a scenario can be held with: a speech-to-speech API, if no subclass says otherwise.

    Attributes:
        name: What reports call it.
        rate: Of its replies, and so of the WAV (Hz).
        manual: It is told when the user has finished: its latency has no wait for that.
    """

    def __init__(self, spec: SystemSpec, language: str = "", rate: int = API_RATE) -> None:
        """Take what the command line says of it.

        Args:
            spec: Where, and which model.
            language: Code of what is spoken; empty: not known.
            rate: Of its voice (Hz).
        """
        self.name = spec.name
        self.rate = rate
        self.manual = spec.options.get("turns") == "manual"
        self._spec = spec
        self._language = language

    async def ready(self, scenario: Scenario) -> tuple[float, ...]:
        """Undo what earlier conversations did; gives round trips to the server (ms)."""
        return await round_trips(specs.address(self._spec), ROUND_TRIPS)

    def session(self, scenario: Scenario, trace: Trace, clock: Clock) -> Session:
        """A new session for a scenario; it is connected when it is entered.

        Raises:
            CascadeError: It cannot be had.
        """
        return specs.connect(self._spec, self._brief(scenario), trace, clock)

    def facts(self, session: Session) -> Mapping[str, Any]:
        """What the session found at the other end; empty where it never got there."""
        found = cast(SpeechToSpeech, session).facts
        return {} if found is None else dataclasses.asdict(found)

    def _brief(self, scenario: Scenario) -> Brief:
        return Brief(
            scenario.instructions, tuple(one.tool for one in scenario.tools), self._language
        )


class CascadeSystem(System):
    """The cascade, with engines that are loaded once. It finds the end of a turn itself."""

    def __init__(self, spec: SystemSpec, settings: Settings, engines: LocalEngines) -> None:
        """Take loaded engines and the settings that this cascade differs by."""
        super().__init__(spec, rate=engines.voice.rate)
        self.manual = False
        self._settings = settings
        self._engines = engines

    async def ready(self, scenario: Scenario) -> tuple[float, ...]:
        """Let the model forget the last conversation; there is no server to ping."""
        await make_ready(_with_room(self._settings, scenario.instructions), self._engines)
        return ()

    def session(self, scenario: Scenario, trace: Trace, clock: Clock) -> Session:
        """A new conversation with the cascade."""
        tools = [one.tool for one in scenario.tools]
        settings = _with_room(self._settings, scenario.instructions)
        return Cascade(self._engines, settings, trace, clock, tools=tools)

    def facts(self, session: Session) -> Mapping[str, Any]:
        """Nothing that its settings do not tell."""
        return {}


class AudioLlmSystem(System):
    """A chat model that takes sound, and a Piper voice that is loaded once."""

    def __init__(self, spec: SystemSpec, settings: Settings, engines: LocalEngines) -> None:
        """Take the settings of the system, and loaded engines."""
        super().__init__(spec, settings.stt.language, engines.voice.rate)
        self._settings = settings
        self._engines = engines

    def session(self, scenario: Scenario, trace: Trace, clock: Clock) -> Session:
        """A new conversation with the model."""
        brief, settings, engines = self._brief(scenario), self._settings, self._engines
        return AudioLlmSession(self._spec, brief, trace, clock, settings=settings, engines=engines)


class SimulatedSystem(System):
    """One of our own servers, which is told by the model's name what script to replay."""

    def __init__(self, server: SystemSpec, language: str, name: str, played: Script) -> None:
        """Take where the server is, what reports call it, and what it replays."""
        super().__init__(server, language)
        self.name = name
        self._played = played

    def session(self, scenario: Scenario, trace: Trace, clock: Clock) -> Session:
        """A new connection to the server."""
        model = f"{self._spec.model}{MODEL_SEPARATOR}{scenario.name}"
        spec = dataclasses.replace(self._spec, model=model)
        return specs.connect(spec, self._brief(scenario), trace, clock)

    def facts(self, session: Session) -> Mapping[str, Any]:
        """What the session found; that it was simulated also where it never got there."""
        found = super().facts(session)
        model = {"model": f"simulated:{self._played.name}"}
        stamp = found.get("simulated") or self._played.describe()
        return {**model, **found, "simulated": stamp}


class ReferenceSystem(System):
    """The system of known behaviour, which shows whether the instrument is right."""

    def session(self, scenario: Scenario, trace: Trace, clock: Clock) -> Session:
        """A new conversation with it."""
        return ReferenceSession(Behaviour.of(self._spec), trace, clock)


async def hold_scenario(
    system: System,
    scenario: Scenario,
    wav: Path,
    *,
    listen_s: float | None = None,
    seat: Seat | None = None,
    passage: Passage | None = None,
) -> Made[Conversation]:
    """Hold a scenario with a system. What goes wrong there is part of the result.

    Args:
        system: Who it is held with.
        scenario: What is said, with recordings.
        wav: Stereo WAV to write.
        listen_s: So much of the last reply is listened to (s); None: all of it.
        seat: Among conversations that are held together; None: it is held alone.
        passage: What the user's sound goes through; None: nothing.

    Returns:
        The conversation, save what only the run knows: its repeat, its order, where its WAV is.

    Raises:
        Unwritten: The WAV cannot be written.
        BadInput: A recording cannot be read any more.
    """
    made = Conversation(
        path=system.name,
        scenario=scenario.name,
        repeat=0,
        order=0,
        status="ok",
        topic=scenario.topic,
        instruction_chars=len(scenario.instructions),
        started=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        rtt_ms=await system.ready(scenario),
        condition=scenario.condition,
    )
    tape = MemoryTrace()
    try:
        session = system.session(scenario, tape, Clock())
    except CascadeError as error:
        turns = tuple(conduct.unreached(scenario.steps, str(error)))
        broken = dataclasses.replace(made, status="failed", reason=str(error), turns=turns)
        return Made(broken, ())
    meter = EnergyMeter()
    held = await conduct.hold(
        session,
        tape,
        scenario.steps,
        wav,
        system.rate,
        answer=CannedTools(scenario.tools).answer,
        limits=Limits(listen_s),
        manual=system.manual,
        seat=seat,
        passing=None if passage is None else passage.push,
    )
    # What others use meanwhile cannot be told from it.
    cpu_s, joules = (None, None) if seat else (held.cpu_ns / NS_PER_S, meter.joules())
    if seat is not None:
        await seat.all_over(Clock())
    # By the number of the utterance, which the session's turns may differ from.
    numbers = {turn: number for number, said in enumerate(held.cues.said, 1) for turn in said.turns}
    usage = [{**one, "turn": numbers.get(one["turn"], 0)} for one in held.noted.usage]
    turns = tuple(held.turns(cut_ins=True))
    reason = held.reason
    if any(turn.record.status == "timeout" for turn in turns):
        reason = reason or getattr(session, "unheard", "")
    made = dataclasses.replace(
        made,
        status="failed" if reason else "ok",
        reason=reason,
        facts=system.facts(session),
        usage=tuple(usage),
        seconds=held.seconds,
        cpu_s=cpu_s,
        joules=joules,
        reconnects=getattr(session, "reconnects", 0),
        turns=turns,
    )
    return Made(made, tape.lines)


def parse(texts: Sequence[str]) -> list[SystemSpec]:
    """The systems that are given on the command line as `--path`.

    Raises:
        BadInput: One is none, is there twice, or does not go together with another.
    """
    found = [specs.parse(text) for text in texts]
    names = [spec.name for spec in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise BadInput(
            f"--path {twice[0]}: is given twice; name one as in `--path mine={twice[0]}`"
        )
    anyones = ("cascade", *SCRIPTED, "realtime", "map")
    real = [one.name for one in found if one.kind not in anyones]
    played = [one.name for one in found if one.kind in SCRIPTED]
    if real and played:
        raise BadInput(
            f"--path {played[0]} is a simulation, and {real[0]} is not: compare them in two runs, "
            "so that nobody takes the one for the other"
        )
    return found


def check_together(targets: Sequence[SystemSpec]) -> None:
    """See that all can be spoken to at the same moment without slowing each other.

    Raises:
        BadInput: There is only one, or two share this machine's processor.
    """
    if len(targets) < 2:
        raise BadInput("--together: there is one system only; name another one with --path")
    here = [target.name for target in targets if specs.runs_here(target)]
    if len(here) > 1:
        raise BadInput(
            f"--together: {' and '.join(here)} share this machine's processor and would slow each "
            "other; at most one path may run here"
        )


class Systems:
    """All systems of a comparison: checked first, then opened together.

    Attributes:
        pool: Engines of the cascades among them; to be prepared first.
    """

    def __init__(
        self, specs: Sequence[SystemSpec], load: Load, scenarios: Sequence[Scenario]
    ) -> None:
        """Find what each system needs.

        Args:
            specs: The systems, as parsed and checked.
            load: Gives the settings of a cascade.
            scenarios: What will be held; simulated servers are given a script for it.

        Raises:
            BadInput: A model, a setting or a simulation does not exist.
        """
        self._specs = specs
        self._scenarios = scenarios
        self._base = load({})
        self._settings: dict[str, Settings] = {}
        self._loaded: dict[str, Settings] = {}
        self._voices: dict[str, LocalEngines] = {}

        def given(changes: Mapping[str, str], path: str) -> Settings:
            return load(changes, dict.fromkeys(changes, f"--path {path}"))

        for spec in specs:
            match spec.kind:
                case "cascade":
                    longest = max((one.instructions for one in scenarios), key=len, default="")
                    settings = self._settings[spec.name] = given(_settings(spec), spec.name)
                    self._loaded[spec.name] = _with_room(settings, longest)
                case "audio-llm":
                    settings = self._settings[spec.name] = given(dotted(spec), spec.name)
                    self._voices[spec.name] = voice_engines(spec, settings)
                case "simulated":
                    _script(spec)
                case "reference":
                    Behaviour.of(spec)
        self.pool = Pool(self._loaded.values())

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncGenerator[list[System]]:
        """Load engines and start simulated servers; the systems in their order.

        Raises:
            CascadeError: One cannot be had.
        """
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self.pool.loaded())
            yield [await self._system(spec, stack) for spec in self._specs]

    async def _system(self, spec: SystemSpec, stack: contextlib.AsyncExitStack) -> System:
        match spec.kind:
            case "cascade":
                engines = self.pool.get(self._loaded[spec.name])
                return CascadeSystem(spec, self._settings[spec.name], engines)
            case "audio-llm":
                voice = await stack.enter_async_context(self._voices[spec.name])
                return AudioLlmSystem(spec, self._settings[spec.name], voice)
            case "simulated":
                played = rehearse(_script(spec), self._scenarios)
                server = await stack.enter_async_context(serving(played, spec.options))
                return SimulatedSystem(server, self._base.stt.language, spec.name, played)
            case "reference":
                return ReferenceSystem(spec)
            case _:
                return System(spec, self._base.stt.language)


def _with_room(settings: Settings, instructions: str) -> Settings:
    """The settings with these instructions, and as much room beside them as before.

    Else the history would be the shorter the longer the instructions are, and what is compared
    would be a setting.
    """
    more = max(0, len(instructions) - len(settings.llm.instructions)) / CHARS_PER_TOKEN
    llm, conversation = settings.llm, settings.conversation
    return settings.model_copy(
        update={
            "llm": llm.model_copy(update={"instructions": instructions}),
            "conversation": conversation.model_copy(
                update={"budget_tokens": conversation.budget_tokens + math.ceil(more)}
            ),
        }
    )


def _script(spec: SystemSpec) -> Script:
    """What a simulated server replays: a preset by its name, or a file of the user's.

    Raises:
        BadInput: There is no such preset, the file is no script, or no server speaks the protocol.
    """
    check_protocol(spec.options.get("protocol", "realtime"))
    file = Path(spec.model)
    if file.suffix in yaml_file.SUFFIXES:
        return script.load(file)
    return script.preset(spec.model, "--path simulated:")


def _settings(spec: SystemSpec) -> dict[str, str]:
    """The settings that a cascade differs by.

    Raises:
        BadInput: It is none that can be named there.
    """
    return {
        setting(label, f"--path {spec.name}: {label}"): value
        for label, value in spec.options.items()
    }


def rehearse(script: Script, scenarios: Iterable[Scenario]) -> Script:
    """The script with a conversation for each scenario that it has none for.

    It is what a model that does all right would say: transcripts are what was said, answers are
    what was expected. So nothing is learnt from it of any model's wits: it exercises the way there
    and back, and the instrument.
    """
    onsets: dict[Path, float] = {}
    conversations = {
        scenario.name: tuple(_turn(step, onsets) for step in scenario.steps)
        for scenario in scenarios
    }
    return dataclasses.replace(script, conversations={**conversations, **script.conversations})


def _turn(step: Step, onsets: dict[Path, float]) -> ScriptedTurn:
    wanted = step.expect.tool
    calls: tuple[ScriptedCall, ...] = ()
    if wanted is not None and wanted.name:
        calls = (ScriptedCall(wanted.name, wanted.arguments, PREAMBLE),)
    return ScriptedTurn(
        transcript=step.said,
        reply=_reply(step),
        ends_s=_ends_s(step, onsets),
        calls=calls,
    )


def _reply(step: Step) -> str:
    """Words that meet what is expected, as far as rules tell."""
    expect = step.expect
    words = [one.split("|")[0] for one in expect.contains]
    if expect.number is not None:
        words.append(f"{expect.number:g}")
    return f"The answer is {' and '.join(words)}." if words else REPLY


def _ends_s(step: Step, onsets: dict[Path, float]) -> float | None:
    """Where the speech ends, from its first audible sample (s)."""
    if step.end_of_speech_s is None:
        return None
    if step.path not in onsets:
        sound = np.concatenate([*read_audio(step.path, CHECK_RATE)])
        onsets[step.path] = (onset(sound, CHECK_RATE) or 0) / CHECK_RATE
    ends_s = step.end_of_speech_s - onsets[step.path]
    # A mark from before the first sound tells nothing; then silence does.
    return ends_s if ends_s > 0 else None
