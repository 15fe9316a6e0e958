"""`cascade verify`: derives again what a run tells, from its sound and its records alone.

Anyone who has the folder of a run can see that its figures are what the WAVs say, and its tables
what the figures come to. The rules are those by which they were measured; what is checked is that
nothing was changed since, by mistake or by hand.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from rich.console import Console
from rich.text import Text

from pipeline.compare import cost
from pipeline.compare import report as compare_report
from pipeline.compare import summary as compare_summary
from pipeline.compare.record import CONVERSATIONS, Conversation
from pipeline.compare.scenario import COMPARED
from pipeline.errors import UNMET, BadInput
from pipeline.measure import gates, junit
from pipeline.measure import summary as profile_summary
from pipeline.measure.instrument import Tracks, derived, stereo
from pipeline.measure.record import RECORDS, Record, Turn, TurnTaking
from pipeline.measure.run import REPORT, SUMMARY, TURNS, Files, digest
from pipeline.measure.terminal import count
from pipeline.profile import report as profile_report
from pipeline.speech_to_speech.brief import STAMP
from pipeline.terminal import stdout
from pipeline.trace import versions

TOLERANCE_MS = 1.0
"""Figures from a WAV may differ by so much: the rules and the samples are the same, but where a
voice ends is found with floating-point numbers, which processors round differently."""

EXACTLY = 1e-6
"""Share by which other numbers may differ: they are rounded alike."""

PAGES = (REPORT, junit.NAME)
"""Files that are compared line by line."""

SHOWN = 20
"""Differences that are told one by one on a terminal."""

SOUND = re.compile(r'(<script type="text/plain" id="sound-\d+">)[^<]*')
"""Sound in a report: a codec of another version packs it otherwise."""

OF_COSTS = re.compile(r"cost|verdict", re.I)
"""Figures that prices are in."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is not what it was.

    Attributes:
        file: Where it stands, relative to the folder.
        where: Of which turn; empty: of none.
        figure: What it is.
        then: What the run says.
        now: What is found.
    """

    file: str
    where: str
    figure: str
    then: Any
    now: Any

    def __str__(self) -> str:
        of = f"{self.where}: " if self.where else ""
        then, now = _said(self.then), _said(self.now)
        return f"{self.file}: {of}{self.figure}: the run says {then}, and now it is {now}"


@dataclass(slots=True)
class Findings:
    """What a verification has come to so far.

    Attributes:
        differences: What is not what it was.
        notes: What could not be looked at, and why; and what else a reader should know.
        wavs: How many WAVs were looked at.
        figures: How many figures were derived from them.
        tables: Files that were made again and compared.
    """

    differences: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    wavs: int = 0
    figures: int = 0
    tables: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A WAV of a run, with the turns that are in it, by what a person calls them.

    `beside` are the hashes of other files of the conversation, by name.
    """

    wav: str
    sha256: str
    turns: Mapping[str, Turn]
    beside: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tables:
    """What is made of a run's records, again.

    Attributes:
        summary: Without gates.
        files: What was left, of the summary with gates.
        known: The figures that a gate can be about.
        of_files: What becomes of gates of single files; None: the run does not keep them.
    """

    summary: Mapping[str, Any]
    files: Callable[[Any], Files]
    known: Mapping[str, gates.Figure]
    of_files: Sequence[gates.Judged] | None = None


def _ms(ns: int | None) -> float | None:
    return None if ns is None else ns / 1e6


def _at_ms(index: int | None, rate: int) -> float | None:
    return None if index is None else index * 1e3 / rate


def _place(turn: Turn, name: str) -> int | None:
    found: int | None = getattr(turn.record.places, name, None)
    return found


def _of_taking(name: str, turn: Turn, rate: int) -> float | None:
    found: float | None = getattr(turn.taking, name, None)
    return found / 1e6 if found is not None and name.endswith("_ns") else found


def _named(name: str) -> str:
    """A field of who spoke when in words: `cut_in_ns` is `cut in, ms`."""
    return name.removesuffix("_ns").replace("_", " ") + (", ms" if name.endswith("_ns") else "")


DERIVED: Mapping[str, Callable[[Turn, int], float | None]] = {
    "where the user is first heard, ms": lambda turn, rate: _at_ms(_place(turn, "voice"), rate),
    "where the user has finished, ms": lambda turn, rate: _at_ms(_place(turn, "over"), rate),
    "latency, ms": lambda turn, _: _ms(turn.record.wav_voice_to_voice_ns),
    "answering, ms": lambda turn, _: _ms(turn.answering_ns),
    "stop time, ms": lambda turn, _: _ms(turn.silence_ns),
    **{_named(one.name): partial(_of_taking, one.name) for one in dataclasses.fields(TurnTaking)},
}
"""What is derived from a WAV (`instrument.derived`), and compared: of a turn and the WAV's rate."""


def run(folder: Path, *, as_json: bool = False) -> int:
    """Verify a run and tell what differs.

    Args:
        folder: Of a `compare` or a `profile`.
        as_json: Print a line of JSON for each finding, and one for all.

    Returns:
        The exit code: 0, or `UNMET`.

    Raises:
        BadInput: There is no run, or one that this Cascade cannot read.
    """
    found = verified(folder)
    if as_json:
        _print(folder, found)
    else:
        _show(stdout(), folder, found)
    return UNMET if found.differences else 0


def verified(folder: Path) -> Findings:
    """What is found of a run.

    Raises:
        BadInput: There is no run, or one that this Cascade cannot read.
    """
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder; name one that `compare` or `profile` made")
    found = Findings()
    if (folder / CONVERSATIONS.name).is_file():
        header, held = CONVERSATIONS.read(folder / CONVERSATIONS.name)
        whole = _check_wavs(folder, CONVERSATIONS.name, map(_conversation, held), found)
        _check_tables(folder, header, _compared(folder, header, held), whole, found)
    elif (folder / RECORDS.name).is_file():
        header, records = RECORDS.read(folder / RECORDS.name)
        whole = _check_wavs(folder, RECORDS.name, map(_record, records), found)
        made = profile_summary.summarise(header, records)
        tables = Tables(made, partial(profile_report.files, folder, header, records), gates.TURNS)
        _check_tables(folder, header, tables, whole, found)
    else:
        raise BadInput(
            f"{folder}: holds no run: neither {CONVERSATIONS.name} of `compare` nor {RECORDS.name} "
            "of `profile`"
        )
    return found


def _conversation(one: Conversation) -> Recorded:
    of = f"{one.path}, {one.scenario}"
    stamp = f" [{STAMP}]" if one.simulated else ""
    turns = {f"{of} turn {turn.number}, repeat {one.repeat}{stamp}": turn for turn in one.turns}
    beside = {one.heard: one.heard_sha256} if one.heard else {}
    return Recorded(one.wav, one.wav_sha256, turns, beside)


def _record(record: Record) -> Recorded:
    name = f"{record.variant}, {record.file}, repeat {record.repeat}"
    if record.places is not None:  # It keeps no answer apart from its latency.
        places = dataclasses.replace(record.places, answer=None)
        record = dataclasses.replace(record, places=places)
    return Recorded(record.wav, record.wav_sha256, {name: Turn(record, 1)})


def _check_wavs(folder: Path, file: str, recorded: Iterable[Recorded], found: Findings) -> bool:
    """Check every WAV; gives whether all of them have all that it takes."""
    unhashed = unplaced = 0
    for one in recorded:
        places = [turn.record.places for turn in one.turns.values()]
        timed = [name for name, turn in one.turns.items() if turn.record.status == "ok"]
        if not one.wav:
            missing = (Difference(file, name, "its WAV", None, "needed") for name in timed)
            found.differences += missing
            continue
        found.wavs += 1
        path = folder / one.wav
        for name, then in {one.wav: one.sha256, **one.beside}.items():
            if not then:
                unhashed += 1
            elif (now := digest(folder / name)) != then and (now or name != one.wav):
                found.differences.append(Difference(name, "", "SHA-256", then, now or None))
        try:
            user, reply, rate = stereo(path)
        except BadInput as error:
            found.differences.append(Difference(one.wav, "", "the file", "readable", str(error)))
            continue
        end = max((place.end for place in places if place is not None), default=None)
        if end is None:
            unplaced += len(timed)
            continue
        if len(user) != end:
            told = (f"{samples / rate:.3f} s" for samples in (end, len(user)))
            found.differences.append(Difference(one.wav, "", "its length", *told))
        for name, turn in one.turns.items():
            tracks = Tracks(user, reply, rate, turn.record.wav_start_ns)
            found.differences += _check_turn(file, name, turn, tracks, found)
    if unhashed:
        found.notes.append(
            f"{file} has no SHA-256 of {count(unhashed, 'WAV')}: whether they were changed is seen "
            "only by what is derived from them"
        )
    if unplaced:
        found.notes.append(
            f"{file} does not say where {count(unplaced, 'turn')} are in the WAVs, for an earlier "
            "Cascade made it: their figures cannot be derived again"
        )
    return not (unhashed or unplaced)


def _check_turn(
    file: str, name: str, turn: Turn, tracks: Tracks, found: Findings
) -> Iterator[Difference]:
    """What a turn's WAV says otherwise than its record."""
    if turn.record.places is None:
        return
    again = derived(turn, tracks)
    for figure, of in DERIVED.items():
        then, now = of(turn, tracks.rate), of(again, tracks.rate)
        found.figures += then is not None
        told = None in (then, now) or isinstance(then, bool)
        if then != now and (told or abs((then or 0) - (now or 0)) > TOLERANCE_MS):
            yield Difference(file, name, figure, then, now)


def _compared(folder: Path, header: Mapping[str, Any], held: Sequence[Conversation]) -> Tables:
    priced = header.get("prices")
    table = TypeAdapter(cost.Prices).validate_python(priced) if priced else cost.prices(None)
    made = compare_summary.summarise(header, held, table)
    of_files = compare_summary.judged_files(header, held, table, _unjudged(header))
    return Tables(
        made,
        lambda summary: compare_report.files(folder, header, held, summary, table),
        COMPARED,
        of_files if "file_gates" in header else None,
    )


def _check_tables(
    folder: Path, header: Mapping[str, Any], tables: Tables, whole: bool, found: Findings
) -> None:
    """Check what was made of the records, and tell what else there is to know."""
    made_by, ours = ((of or {}).get("voice-cascade") for of in (header.get("versions"), versions()))
    if made_by != ours:
        found.notes.append(
            f"the run is of voice-cascade {made_by or 'of unknown version'}, and this is {ours}: "
            "its tables may have been made by other rules"
        )
    if header.get("judge"):
        found.notes.append("a language model judged answers: what it said is taken as it is")
    if header.get("fidelity"):
        found.notes.append("a recogniser read the replies: what it read is taken as it is")
    if header.get("simulated"):
        found.notes.append(f"{STAMP}: systems in it replayed a script")
    priced = "scenarios" not in header or "prices" in header
    if not priced:
        found.notes.append("the run does not keep its prices: what it cost is not checked")
    stored = _table(folder / SUMMARY, json.loads, header, found)
    now = {**tables.summary}
    if isinstance(stored, dict):
        if judged := _judged(stored.get("gates"), tables, _unjudged(header), found):
            now["gates"] = judged
        plain = json.loads(json.dumps(now))
        found.differences += _apart(SUMMARY, stored, plain, priced=priced)
    files = tables.files(now)
    if (rows := _table(folder / TURNS, _rows, header, found)) is not None:
        again = _rows(files[TURNS]())
        for then, row in zip(rows, again, strict=False):
            where = f"{row.get('variant')}, {row.get('file')}, repeat {row.get('repeat')}"
            same = {column: row.get(column, "") for column in then}
            found.differences += _apart(TURNS, then, same, where, priced=priced)
        if len(rows) != len(again):
            found.differences.append(Difference(TURNS, "", "rows", len(rows), len(again)))
    pages = " and ".join(PAGES)
    if not (whole and priced) or made_by != ours:
        found.notes.append(f"{pages} of another Cascade are not compared: they are made otherwise")
    elif not isinstance(stored, dict):
        found.notes.append(f"{pages} are not compared: {SUMMARY} is needed for what was expected")
    else:
        for name in PAGES:
            if (page := _table(folder / name, str, header, found)) is not None:
                found.differences += _pages_apart(name, page, files[name]())


def _unjudged(header: Mapping[str, Any]) -> str:
    return gates.INTERRUPTED if header.get("interrupted") else ""


def _judged(stored: Any, tables: Tables, unjudged: str, found: Findings) -> list[Any]:
    """What becomes of the gates now: those of the whole run have the limits that are told."""
    variants, judged = tables.summary["variants"], []
    of_files = tables.of_files
    for then in stored if isinstance(stored, list) else ():
        match then:
            case {"on": _}:
                judged += [] if of_files is not None else [then]
            case {
                "system": str(name),
                "figure": str(figure),
                "limit": int() | float() as limit,
            } if name in variants and figure in tables.known:
                gate = [gates.Gate(figure, limit)]
                of = {name: variants[name]}
                judged += gates.judge(gate, tables.known, of, unjudged=unjudged)
            case {}:
                judged.append(then)
    if any("on" in one for one in judged):
        found.notes.append("what became of gates of single files is taken as it is")
    return [*judged, *(of_files or ())]


def _table(
    path: Path, read: Callable[[str], Any], header: Mapping[str, Any], found: Findings
) -> Any:
    """A file of the run; None where there is none that can be read, which is told."""
    try:
        made = read(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if header.get("interrupted"):
            found.notes.append(f"{path.name} is not there: the run was interrupted")
        else:
            found.differences.append(Difference(path.name, "", "the file", "there", "missing"))
        return None
    except (OSError, ValueError, csv.Error) as error:
        found.differences.append(Difference(path.name, "", "the file", "readable", str(error)))
        return None
    found.tables.append(path.name)
    return made


def _rows(text: str) -> list[dict[str, str]]:
    return [*csv.DictReader(io.StringIO(text), restval="")]


def _apart(
    file: str, then: Any, now: Any, where: str = "", figure: str = "", *, priced: bool = True
) -> Iterator[Difference]:
    """Where two nested values differ. What only the second has is of a later Cascade."""
    if not priced and OF_COSTS.search(figure):
        return
    if isinstance(then, dict) and isinstance(now, dict):
        for key, value in then.items():
            name = f"{figure} / {key}" if figure else str(key)
            yield from _apart(file, value, now.get(key), where, name, priced=priced)
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for number, (one, other) in enumerate(zip(then, now, strict=True), start=1):
            yield from _apart(file, one, other, where, f"{figure} / {number}", priced=priced)
    elif not _same(then, now):
        yield Difference(file, where, figure, then, now)


def _same(then: Any, now: Any) -> bool:
    if isinstance(then, float) and isinstance(now, float | int):
        return abs(then - now) <= EXACTLY * max(1.0, abs(then))
    return bool(then == now)


def _pages_apart(file: str, then: str, now: str) -> Iterator[Difference]:
    """The first line in which two pages differ, their sound left aside."""
    pages = ([*map(str.strip, SOUND.sub(r"\1", page).splitlines())] for page in (then, now))
    before, after = pages
    for number, (one, other) in enumerate(zip(before, after, strict=False), start=1):
        if one != other:
            at = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
            told = (line[max(0, at - 20) : at + 40] for line in (one, other))
            yield Difference(file, "", f"line {number}", *told)
            return
    if len(before) != len(after):
        yield Difference(file, "", "lines", len(before), len(after))


def _said(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 120 else f"{text[:119]}…"


def _print(folder: Path, found: Findings) -> None:
    for one in found.differences:
        fields = {name: getattr(one, name) for name in ("file", "where", "figure", "then", "now")}
        print(json.dumps({"type": "difference", **fields}))
    for note in found.notes:
        print(json.dumps({"type": "note", "text": note}))
    last = {
        "type": "verified",
        "folder": str(folder),
        "wavs": found.wavs,
        "figures": found.figures,
        "tables": found.tables,
        "differences": len(found.differences),
    }
    print(json.dumps(last), flush=True)


def _show(console: Console, folder: Path, found: Findings) -> None:
    for one in found.differences[:SHOWN]:
        console.print(Text.assemble(("differs: ", "bold red"), str(one)), soft_wrap=True)
    if len(found.differences) > SHOWN:
        more = len(found.differences) - SHOWN
        console.print(f"and {more} more; --json tells all", soft_wrap=True)
    for note in found.notes:
        console.print(Text.assemble(("note: ", "dim"), note), soft_wrap=True)
    looked = ", ".join(
        [count(found.wavs, "WAV"), f"{count(found.figures, 'figure')} from them", *found.tables]
    )
    differ = len(found.differences)
    end = f"{count(differ, 'difference')} in" if differ else "all agree:"
    console.print(f"{folder}: {end} {looked}", soft_wrap=True)
