"""`cascade compare`: holds all scenarios with all paths, and leaves a folder of results."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import os
from collections.abc import AsyncGenerator, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import log10
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from pipeline.audio.files import read_audio
from pipeline.audio.line import RATE
from pipeline.compare import (
    conditions,
    cost,
    fidelity,
    judge,
    report,
    scoring,
    selectivity,
    summary,
    systems,
    terminal,
)
from pipeline.compare.conditions import Disturbance
from pipeline.compare.record import (
    ASKED,
    CONVERSATIONS,
    Conversation,
    Earlier,
    asked_of,
    resumed,
)
from pipeline.compare.results import Summary
from pipeline.compare.scenario import (
    COMPARED,
    Gathered,
    Scenario,
    asks_of_reply,
    gather_scenarios,
    unspoken,
    with_recordings,
)
from pipeline.compare.systems import System, Systems, hold_scenario
from pipeline.config import Settings
from pipeline.errors import BadInput, CascadeError, first_of
from pipeline.events import Samples
from pipeline.measure import corpus, gates
from pipeline.measure.conduct import Meeting, Seat, heard_wav
from pipeline.measure.gates import Gate
from pipeline.measure.instrument import FIGURES
from pipeline.measure.noise import Noise
from pipeline.measure.plan import Load, Planned, jobs
from pipeline.measure.record import Turn
from pipeline.measure.reference import calibrate
from pipeline.measure.run import Files, Made, Run, digest, new_folder, sha256
from pipeline.models.catalogue import Catalogue
from pipeline.speech_to_speech import specs, wire_map
from pipeline.speech_to_speech.brief import STAMP, SystemSpec
from pipeline.terminal import show_error, stderr
from pipeline.trace import description
from pipeline.turns.speech_end import end_of_speech

FAINTEST = 1e-6
"""Power that a scenario's sound is taken to have at least, be it nothing but silence: -60 dBFS."""


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """What one run of `cascade compare` was asked to do.

    Attributes:
        sources: Scenarios, folders, manifests, sound files; names of scenarios that come along.
        say: Text file, each line of which is spoken, and is a conversation of its own.
        paths: As given on the command line.
        repeat: How often each scenario is held with each path.
        seed: Of the order, and of what is drawn in a condition.
        out: Folder of the results; None: one named after the time, in `runs`.
        resume: Folder of a run to go on with, instead of a new one.
        judge: Language model that judges answers, as `--llm` names them; empty: none.
        fidelity: Recogniser that reads the sound of the replies; empty: none.
        prices: Table of prices; None: the one that comes with Cascade.
        expect: Gates: `NAME=LIMIT` each, or a YAML file of such; none with `resume`: those of then.
        together: Say each scenario to all paths at the same moment.
        speaker: Piper voice that speaks the user's words; empty: the cascade's own.
        conditions: In which all scenarios are held, as `conditions.parse` takes them; none: in
            those that each names.
        listen_s: So much is heard of the last reply of a conversation (s).
        patience_s: How long to wait for a reply (s).
        json: Print a line of JSON for each conversation, and the summary, on stdout.
    """

    sources: tuple[str, ...] = ()
    say: Path | None = None
    paths: tuple[str, ...] = ("cascade",)
    repeat: int = 3
    seed: int = 1
    out: Path | None = None
    resume: Path | None = None
    judge: str = ""
    fidelity: str = ""
    prices: Path | None = None
    expect: tuple[str, ...] = ()
    together: bool = False
    speaker: str = ""
    conditions: tuple[str, ...] = ()
    listen_s: float = 4.0
    patience_s: float = 60.0
    json: bool = False


def prepare(load: Load, options: CompareOptions) -> Coroutine[Any, Any, int]:
    """Check all that can be checked, before anything is loaded, spoken or paid for.

    Args:
        load: Gives the settings of a cascade.
        options: What to do.

    Returns:
        The run, which gives the exit code: 0; 3 if a gate is not met; 1 if a path has no turn with
        a latency, 2 if that is so for its map; 1 also if the results could not be written whole;
        130 if it was interrupted.

    Raises:
        CascadeError: It cannot begin.
    """
    console = stderr()
    earlier: Earlier | None = None
    if options.resume is not None:
        earlier = resumed(options.resume, options.paths)
        _check_resumed(options, earlier.asked)
        expect = options.expect or earlier.asked["expect"]
        options = dataclasses.replace(options, **{**earlier.asked, "expect": expect})
    targets = systems.parse(options.paths)
    limits = gates.read(options.expect, COMPARED, [target.name for target in targets])
    if options.together:
        systems.check_together(targets)
    base = load({})
    for target in targets:
        specs.check(target, os.environ)
    table = cost.prices(options.prices)
    gathered = _gathered(base, options, console)
    disturbed = _disturbed(gathered.scenarios)
    judging = judge.server_of(load, options.judge) if options.judge else None
    reading: fidelity.ReplyReader | None = None
    if options.fidelity:
        found = fidelity.recogniser(base, options.fidelity, console)
        read = earlier.header.get("fidelity") if earlier is not None else None
        reading = fidelity.ReplyReader(found, base, read or {})
    compared = Systems(targets, load, gathered.scenarios)
    compared.pool.prepare(console)
    folder = options.resume or new_folder(options.out, "compare", resumable=True)
    return Comparison(
        base,
        targets,
        compared,
        gathered,
        options,
        folder,
        console,
        limits=limits,
        judging=judging,
        reading=reading,
        table=table,
        disturbed=disturbed,
        earlier=earlier,
    ).run()


def _check_resumed(options: CompareOptions, asked: Mapping[str, Any]) -> None:
    """See that nothing is asked that a run that is gone on with cannot do any more.

    Raises:
        BadInput: An option is given, and not as it was then.
    """
    if options.out is not None:
        raise BadInput(f"--out: the results go on in {options.resume}; leave it out with --resume")
    usual = CompareOptions()
    for name, flag in ASKED.items():
        if flag and getattr(options, name) not in (asked[name], getattr(usual, name)):
            raise BadInput(
                f"--resume {options.resume}: {flag} was not as now when the run began, and stays "
                "as it was; leave it out, or begin a new run"
            )


def _gathered(base: Settings, options: CompareOptions, console: Console) -> Gathered:
    """All scenarios, with a recording for every word."""
    voice_name = options.speaker or base.tts.voice
    voice = Catalogue.load(base.models.dir).resolve("tts", voice_name)
    more = []
    if options.say is not None:
        more = corpus.say(corpus.read_lines(options.say), voice, base.tts)
    if not options.sources and not more:
        raise BadInput(
            "compare: names nothing to say; name scenarios, a folder of recordings, or --say FILE"
        )
    gathered = gather_scenarios(
        options.sources,
        instructions=base.llm.instructions,
        patience_s=options.patience_s,
        more=more,
        axis=[conditions.parse(text) for text in options.conditions],
    )
    for problem in gathered.problems:
        show_error(console, f"left out: {problem}")
    lines = unspoken(gathered.scenarios)
    items = corpus.say(lines, voice, base.tts) if lines else []
    recorded = dict(zip(lines, items, strict=True))
    spoken = [with_recordings(scenario, recorded) for scenario in gathered.scenarios]
    return gathered._replace(scenarios=spoken)


def _disturbed(scenarios: Iterable[Scenario]) -> dict[str, Disturbance]:
    """What the sound of each scenario goes through, by its name; each file is read once.

    Raises:
        BadInput: A condition cannot be had.
    """

    @cache
    def sound(path: Path) -> Samples:
        return np.concatenate([*read_audio(path, RATE)])

    @cache
    def level(path: Path) -> float:
        found = end_of_speech(sound(path), RATE)
        if found is None:  # a click that is too short for a voice
            return float(np.mean(np.square(sound(path) / 32768)))
        return 10 ** (found.level_dbfs / 10)

    made = {}
    for one in scenarios:
        if (through := one.through) is None:
            continue
        # Coughs and voices far away are not what the noise is beside.
        asking = [step for step in one.steps if step.outcome != "ignore"] or one.steps
        powers = [level(step.path) for step in asking] if through.noise else [1.0]
        made[one.name] = Disturbance(
            through,
            noise=sound(through.noise) if through.noise else None,
            room=sound(through.room) if through.room else None,
            level_dbfs=10 * log10(max(sum(powers) / len(powers), FAINTEST)),
            longest_s=max(step.seconds for step in one.steps),
        )
    return made


class Comparison(Run[Conversation]):
    """One run: all conversations, then all results."""

    form = CONVERSATIONS
    noun = "conversations were held"
    resumable = True

    def __init__(
        self,
        base: Settings,
        targets: Sequence[SystemSpec],
        compared: Systems,
        gathered: Gathered,
        options: CompareOptions,
        folder: Path,
        console: Console,
        *,
        limits: Sequence[Gate] = (),
        judging: Any,
        reading: fidelity.ReplyReader | None = None,
        table: cost.Prices,
        disturbed: Mapping[str, Disturbance] | None = None,
        earlier: Earlier | None = None,
    ) -> None:
        """Prepare; `run` does the work.

        Args:
            base: The settings of a cascade.
            targets: What is compared.
            compared: The same, ready to be opened.
            gathered: What is said, with recordings.
            options: What was asked for.
            folder: Of the results.
            console: For people.
            limits: What the whole run is judged by.
            judging: Where the judge is; None: there is none.
            reading: Reads the replies; None: nobody does.
            table: What things cost.
            disturbed: What the sound of a scenario goes through, by its name.
            earlier: The run to go on with.

        Raises:
            BadInput: An earlier run, which this is to go on with, was another one.
        """
        scenarios = gathered.scenarios
        header: dict[str, Any] = {
            **description(base, compared.pool.models),
            "variants": {target.name: _about(target) for target in targets},
            "seed": options.seed,
            "repeat": options.repeat,
            "asked": asked_of(dataclasses.asdict(options)),
            "figures": {name: about for name, (_, _, about) in FIGURES.items()},
            "scenarios": {one.name: _plain(one) for one in scenarios},
            "prices": dataclasses.asdict(table),
            "file_gates": [one.plain() for one in gathered.expected],
            **({"together": True} if options.together else {}),
        }
        held: Sequence[Conversation] = ()
        if earlier is not None:
            earlier.check(header)
            told = ("started", "judge", "fidelity")
            header |= {key: earlier.header[key] for key in told if key in earlier.header}
            header |= {"retried": earlier.retried}
            held = earlier.kept
        super().__init__(folder, header, console, as_json=options.json, results=held)
        self._targets = targets
        self._systems = compared
        self._scenarios = scenarios
        self._gates = limits
        self._options = options
        self._judging = judging
        self._reading = reading
        self._table = table
        self._disturbed = disturbed or {}
        self._noise = Noise()
        self._jobs = self._left()
        if self._jobs:  # The warm-up comes anew.
            self.results = [one for one in self.results if one.repeat > 0]
        elif earlier is not None:
            self.header["noise"] = earlier.header.get("noise", self._noise.summary())
            self.header["instrument"] = earlier.header.get("instrument")

    @property
    def total(self) -> int:
        """How many conversations are still to be held."""
        return len(self._jobs)

    async def measure(self) -> AsyncGenerator[Made[Conversation], None]:
        """Hold all conversations.

        Raises:
            CascadeError: The engines cannot be loaded, or a simulated server not be started.
        """
        if not self._jobs:
            return  # a run that was over is only judged and shown again
        async with self._systems.open() as opened:
            systems = {system.name: system for system in opened}
            self.header["instrument"] = await calibrate()
            for group in self._groups():
                self._noise.look()
                failed: CascadeError | None = None
                for one in await self._hold_all(group, systems):
                    if isinstance(one, CascadeError):
                        failed = failed or one
                    else:
                        yield one
                if failed is not None:
                    raise failed
            self._noise.look()

    async def complete(self) -> None:
        """Bring them in order, and have them judged and read."""
        self.results.sort(key=lambda one: one.order)
        if self._judging is not None and not self.interrupted:
            self.results = await judge.judge(
                self.results, self._scenarios, self._judging, self.console
            )
            self.header["judge"] = {
                "model": specs.shown(self._options.judge),
                "prompt": judge.PROMPT,
            }
        if self._reading is not None and not self.interrupted:
            self.header["fidelity"] = self._reading.about
            await self._reading.read(self.results, self._scenarios, self.folder, self.console)

    def _left(self) -> list[Planned[SystemSpec, Scenario]]:
        """What is still to be held.

        A warm-up is for what runs here: with an API it would only be paid for.
        """
        held = {(one.path, one.scenario, one.repeat) for one in self.results}
        options, left = self._options, []
        for job in jobs(self._targets, self._scenarios, options.repeat, options.seed):
            if job.repeat == 0 and job.variant.kind not in ("cascade", "audio-llm"):
                continue
            if job.repeat == 0 or (job.variant.name, job.item.name, job.repeat) not in held:
                left.append(job)
        return left if any(job.repeat for job in left) else []

    def _groups(self) -> list[list[Planned[SystemSpec, Scenario]]]:
        """What is held at once: one conversation, or with `--together` a scenario with all."""

        def key(job: Planned[SystemSpec, Scenario]) -> tuple[int, str | int]:
            whole = self._options.together and job.repeat > 0
            return job.repeat, job.item.name if whole else job.order

        return [[*group] for _, group in itertools.groupby(self._jobs, key)]

    async def _hold_all(
        self, group: Sequence[Planned[SystemSpec, Scenario]], systems: Mapping[str, System]
    ) -> list[Made[Conversation] | CascadeError]:
        """Hold all of a group at once; what ends one of them leaves the others as they are."""
        meeting = Meeting()
        seats = [Seat(meeting) if len(group) > 1 else None for _ in group]

        async def hold(
            job: Planned[SystemSpec, Scenario], seat: Seat | None
        ) -> Made[Conversation] | CascadeError:
            try:
                return await self._hold(systems[job.variant.name], job, seat)
            except CascadeError as error:
                return error
            finally:
                if seat is not None:
                    seat.leave()

        try:
            async with asyncio.TaskGroup() as tasks:
                held = [tasks.create_task(hold(*one)) for one in zip(group, seats, strict=True)]
        except BaseExceptionGroup as errors:
            raise first_of(errors) from None
        return [task.result() for task in held]

    async def _hold(
        self, system: System, job: Planned[SystemSpec, Scenario], seat: Seat | None
    ) -> Made[Conversation]:
        scenario = job.item
        checked = any(asks_of_reply(step.expect) for step in scenario.steps)
        # Where the answer is judged or read, all of it is wanted.
        listen_s = None if checked or self._reading is not None else self._options.listen_s
        wav_path = self.folder / job.wav
        through = self._disturbed.get(scenario.name)
        key = f"{self._options.seed} {scenario.name} {job.repeat}"
        passage = None if through is None else through.begin(key)
        held = await hold_scenario(
            system, scenario, wav_path, listen_s=listen_s, seat=seat, passage=passage
        )
        heard = heard_wav(Path(job.wav)).as_posix()
        wav, heard = (self._stamped(name, held.result.simulated) for name in (job.wav, heard))
        conversation = dataclasses.replace(
            held.result,
            repeat=job.repeat,
            order=job.order,
            wav=wav,
            heard=heard,
            wav_sha256=await sha256(self.folder / wav) if wav else "",
            heard_sha256=await sha256(self.folder / heard) if heard else "",
            turns=tuple(_scored(turn, job, wav, held.result) for turn in held.result.turns),
        )
        return Made(conversation, held.lines)

    def _stamped(self, wav: str, simulated: bool) -> str:
        """The name of a WAV, once it says whether its replies come out of a script."""
        path = self.folder / wav
        if not path.is_file():
            return ""
        if simulated:
            path = path.replace(path.with_name(f"{path.stem}-{STAMP}{path.suffix}"))
        return path.relative_to(self.folder).as_posix()

    def line(self, result: Conversation) -> str:
        """A conversation in a few words."""
        stamp = f" [{STAMP}]" if result.simulated else ""
        warm_up = ", warm-up" if result.repeat == 0 else ""
        if result.status == "failed":
            told = f"failed: {result.reason}"
        else:
            told = ", ".join(map(_in_short, result.turns))
        return f"{result.path}{stamp}, {result.scenario}: {told}{warm_up}"

    def figures(self, result: Conversation) -> dict[str, Any]:
        """A conversation in a line of JSON, without its lanes."""
        turns = []
        for turn in result.turns:
            latency = turn.record.wav_voice_to_voice_ns
            turns.append(
                {
                    "turn": turn.number,
                    "status": turn.record.status,
                    "reason": turn.record.reason,
                    "wav_voice_to_voice_ms": None if latency is None else latency / 1e6,
                    "outcome": turn.outcome,
                    "turn_taking": selectivity.told(turn),
                    "transcript": turn.record.transcript,
                    "reply": turn.record.reply,
                }
            )
        stamp = {"simulated": STAMP} if result.simulated else {}
        names = ["path", "scenario", "repeat", "order", "status", "reason", "wav"]
        names += ["condition", "heard"] if result.condition else []
        plain = {name: getattr(result, name) for name in names}
        return {"type": "conversation", **stamp, **plain, "turns": turns}

    def facts(self) -> Mapping[str, Any]:
        """What the header says once the run is over: the noise, and what was a simulation.

        A run that was over before keeps its noise.
        """
        looked = {"noise": self._noise.summary()} if self._jobs else {}
        return {**looked, "simulated": any(one.simulated for one in self.results)}

    def summarise(self) -> Summary:
        """What `summary.json` holds."""
        found = summary.summarise(self.header, self.results, self._table)
        unjudged = gates.INTERRUPTED if self.header["interrupted"] else ""
        judged = gates.judge(self._gates, COMPARED, found["variants"], unjudged=unjudged)
        judged += summary.judged_files(self.header, self.results, self._table, unjudged)
        return {**found, "gates": judged} if judged else found

    def files(self, figures: Summary) -> Files:
        """Its tables, the report and `junit.xml`."""
        return report.files(self.folder, self.header, self.results, figures, self._table)

    def show(self, console: Console, figures: Summary) -> None:
        """Show the summary to a person."""
        terminal.show(console, figures)

    def shortfall(self) -> int:
        """1 if a path has nothing to show; 2 if that is a map of a server that was reached."""
        measured = {
            one.path
            for one in self.results
            if one.repeat > 0
            and any(turn.record.status == "ok" or not turn.timed for turn in one.turns)
        }
        lacking = [target for target in self._targets if target.name not in measured]
        reached = {one.path for one in self.results if one.facts}
        if any(one.kind == "map" and one.name in reached for one in lacking):
            return BadInput.exit_code
        return 1 if lacking else 0


def _in_short(turn: Turn) -> str:
    """Its latency, or what became of what asks for no answer."""
    ns = turn.record.wav_voice_to_voice_ns
    if not turn.timed:
        return selectivity.told(turn)
    return "–" if ns is None else f"{ns / 1e6:.0f} ms"


def _scored(turn: Turn, job: Planned[SystemSpec, Scenario], wav: str, held: Conversation) -> Turn:
    """A turn with the names that only the run knows, scored."""
    file = f"{job.item.name}#{turn.number}"
    record = dataclasses.replace(job.signed(turn.record), file=file, wav=wav)
    step = job.item.steps[turn.number - 1]
    turn = dataclasses.replace(turn, record=record)
    return scoring.scored(turn, step, job.item, calls=held.facts.get("calls", True))


def _about(target: SystemSpec) -> dict[str, Any]:
    options = {name: specs.shown(value) for name, value in target.options.items()}
    about: dict[str, Any] = {"kind": target.kind, "model": target.model, **options}
    if target.kind == "map":
        about["map"] = wire_map.load(target.model).about()
    return about


def _plain(scenario: Scenario) -> dict[str, Any]:
    """A scenario for the header: all that is said and expected, paths as text."""
    plain = dataclasses.asdict(scenario)
    plain["instruction_chars"] = len(scenario.instructions)
    if scenario.through is not None:
        through = {key: one for key, one in plain["through"].items() if one is not None}
        files = {key: one for key, one in through.items() if isinstance(one, Path)}
        through |= {key: one.name for key, one in files.items()}
        plain["through"] = through | {f"{key}_sha256": digest(one) for key, one in files.items()}
    if len(scenario.instructions) > 4_000:
        plain["instructions"] = scenario.instructions[:4_000] + "…"
    for step in plain["steps"]:
        step["sha256"] = digest(step["path"])
        step["own"] = corpus.is_own(step["path"])
        step["path"] = step["path"].name
    return plain
