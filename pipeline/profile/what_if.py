"""`cascade profile --what-if`: what a change would buy, from a profile's records, without running.

A turn is a chain of marks: each comes some time after the one that it waits for, and the reply may
be heard once its sound is made and the turn is over. The replay keeps these times as they were
measured, except the costs that are changed, and adds them up again:

    STT ─▶ request ─▶ first token ─▶ first clause ─▶ TTS ─┬─▶ playout ─▶ audible
    speech's end ─▶ hold ─▶ committed ────────────────────┘

So what was hidden may come to light, and the other way round. STT waits for the commit where it did
so when the turn was recorded. With no change the replay gives what was measured, to the nanosecond.
"""

from __future__ import annotations

import difflib
import itertools
import json
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypedDict

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.clock import NS_PER_MS, NS_PER_S
from pipeline.config import TurnSettings
from pipeline.conversation.reply import PACE
from pipeline.errors import BadInput
from pipeline.measure.record import DROPPED, RECORDS, WAITING, Record
from pipeline.measure.stats import describe, difference
from pipeline.measure.summary import Against, against, by_variant, noise_of, rounded
from pipeline.measure.terminal import NONE, count, moved
from pipeline.terminal import LABELS
from pipeline.text.chunker import Chunker
from pipeline.trace import PARTS, Timeline
from pipeline.turns.end_of_turn import moved_hold_ms
from pipeline.turns.taker import CLOSING_MS

COSTS = {
    "stt": ("stt.start", "stt.final"),
    "llm.first_token": ("llm.request", "llm.first_token"),
    "llm.tokens": ("llm.first_token", "clause.first"),
    "tts": ("tts.start", "tts.first_audio"),
    "device": ("playout.first", "heard.first"),
}
"""What can be made to cost something else, and the marks around it. `llm.tokens` is the time from
one token to the next, which moves the first clause."""

WRITING = {"llm.first_token", "llm.tokens"}
"""Those that move the first clause against the deadline that it has."""

HOLD = "turns.hold_ms"
"""The setting of time that can be changed: it moves the end of the turn."""

MEASURED = {
    "reply.mode": "--mode speculative,overlapped",
    "turns.provisional_ms": "--vary turns.provisional_ms=64,128",
}
"""Settings that decide what waits for what, and how to measure them, for records do not tell."""

VARIANTS = "variants"
"""What stands for the changes that a run made itself, of which it also measured what they did."""

STAGES = {"stt": ("stt",), "llm": ("llm.first_token", "llm.tokens"), "tts": ("tts",)}
"""Which costs are other ones where a setting of a section is."""

LONGEST_S = 3600
LARGEST = 1000
"""A change beyond these is a slip of the hand."""

NAMED_MS = 1.0
"""A part that moves by less than this in the median is not worth a line."""

_COST = re.compile(r"(?P<sign>[+-]?)(?P<number>\d+(?:\.\d*)?|\.\d+)(?P<unit>ms|s|x|)", re.ASCII)
_HOW = "=200ms (set), =0.5x (multiply), =+300ms and =-50ms (move)"


@dataclass(frozen=True, slots=True)
class ChangedCost:
    """A cost that is set to `value`, multiplied by it, or moved by it (ns)."""

    kind: Literal["set", "scale", "shift"]
    value: float

    def __str__(self) -> str:
        if self.kind == "scale":
            return f"{self.value:.2f}x"
        return f"{self.value / NS_PER_MS:{'+' if self.kind == 'shift' else ''}.0f}ms"

    def of(self, ns: int) -> int:
        """What took `ns` takes this now: never less than nothing."""
        if self.kind == "scale":
            changed = round(ns * self.value)
        else:
            changed = round(self.value) + (ns if self.kind == "shift" else 0)
        return max(changed, min(ns, 0))


Change = Mapping[str, ChangedCost]
"""What is different, by name: those of `COSTS`, and `HOLD`."""


def parse(spec: str) -> dict[str, ChangedCost]:
    """Read changes such as `llm.first_token=200ms,stt=0.5x`.

    Raises:
        BadInput: There is no such cost, or it cannot be changed like that.
    """
    change: dict[str, ChangedCost] = {}
    for part in spec.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if name in MEASURED:
            raise BadInput(
                f"--what-if {name}: cannot be told from records, for it changes what waits for "
                f"what; measure it: cascade profile CORPUS {MEASURED[name]}"
            )
        if name not in (*COSTS, HOLD):
            raise BadInput(_unknown(part.strip(), name))
        if not equals or not value:
            raise BadInput(f"--what-if {name}: says not what; {_allowed(name)}")
        if name in change:
            raise BadInput(f"--what-if {spec}: changes {name} twice; once is enough")
        change[name] = _cost(name, value)
    return change


def _cost(name: str, value: str) -> ChangedCost:
    match = _COST.fullmatch(value)
    # Only a setting has a unit of its own.
    if match is None or (not match["unit"] and name != HOLD):
        raise BadInput(f"--what-if {name}={value}: {_allowed(name)}")
    number = float(match["number"])
    if match["unit"] == "x":
        if match["sign"] or number > LARGEST:
            raise BadInput(f"--what-if {name}={value}: a factor is between 0 and {LARGEST}")
        return ChangedCost("scale", number)
    ns = number * (NS_PER_S if match["unit"] == "s" else NS_PER_MS)
    if ns > LONGEST_S * NS_PER_S:
        raise BadInput(f"--what-if {name}={value}: is more than an hour")
    if not match["sign"]:
        return ChangedCost("set", ns)
    return ChangedCost("shift", -ns if match["sign"] == "-" else ns)


def _allowed(name: str) -> str:
    return "allowed: " + f"{name}{_HOW}".replace(" =", f" {name}=")


def _unknown(part: str, name: str) -> str:
    names = (*COSTS, HOLD)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {close[0]}?" if close else "."
    return (
        f"--what-if {part!r}: there is no such thing to change{hint} "
        f"There are {', '.join(names)}; {_HOW}"
    )


# ---- the replay --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prediction:
    """A turn as it would have been.

    Attributes:
        marks: As a record's; what comes after the reply's first sound moves along with it.
        timeline: Its parts.
        voice_to_voice_ns: Its latency: the measured one, of the WAV, and as much more or less as
            the trace's would be.
    """

    marks: Mapping[str, int]
    timeline: Timeline
    voice_to_voice_ns: int


def replay(
    record: Record, change: Change, turns: TurnSettings, *, whole: bool = False
) -> Prediction:
    """Replay a turn with changed costs.

    Args:
        record: A turn whose reply was heard.
        change: What is different now.
        turns: The settings when it was recorded.
        whole: The reply was made whole before any of it was heard: mode `sequential`.

    Raises:
        ValueError: No reply was heard in it.
    """
    measured = record.timeline
    if measured is None:
        raise ValueError("a turn without a reply has no latency to predict")
    was = record.marks
    spoken = ("speech.start", "speech.end", "vad.stop", "provisional")
    now = {name: was[name] for name in spoken if name in was}
    now["committed"] = was["committed"] + _hold_moves_ns(record, change, turns)
    written = ["llm.last_token"] if whole else []
    made = ["tts.last_audio"] if whole else []
    chain = [
        *("stt.start", "stt.final", "llm.request", "llm.first_token", *written, "clause.first"),
        *("tts.start", "tts.first_audio", *made),
    ]
    before = "committed"
    for name in chain:
        if name not in was:
            continue
        if before == "committed" and was[name] < was["committed"]:
            now[name] = was[name]
        elif (before, name) == COSTS["llm.tokens"] and set(change) & WRITING:
            was_cut = _cut_ns(record, was, None)
            now[name] = was[name] + _cut_ns(record, now, change.get("llm.tokens")) - was_cut
        else:
            now[name] = now[before] + _took_ns(record, before, name, change)
        before = name
    ready = [max(marks[before], marks["committed"]) for marks in (was, now)]
    if "playout.first" in was:
        now["playout.first"] = ready[1] + was["playout.first"] - ready[0]
        took = _took_ns(record, "playout.first", "heard.first", change)
        now["heard.first"] = now["playout.first"] + took
    else:
        now["heard.first"] = ready[1] + was["heard.first"] - ready[0]
    moved = now["heard.first"] - was["heard.first"]
    marks = {name: now.get(name, at + moved) for name, at in was.items()}
    timeline = Timeline.from_marks(marks)
    assert timeline is not None
    by_wav = record.wav_voice_to_voice_ns
    latency_ns = measured.total_ns if by_wav is None else by_wav
    return Prediction(marks, timeline, latency_ns + timeline.total_ns - measured.total_ns)


def lacking(record: Record, change: Change) -> set[str]:
    """The changed costs that cannot be told from this record: it does not say what they were."""
    missing = {
        name for name in change if name in COSTS and not record.marks.keys() >= set(COSTS[name])
    }
    counted = change.get("llm.tokens")
    if counted is not None and counted.kind != "scale" and not arrivals(record):
        missing.add("llm.tokens")
    return missing


def arrivals(record: Record) -> list[tuple[int, str]]:
    """When the tokens that were traced arrived (ns), in order, and what they were."""
    first = record.marks.get("llm.first_token", 0)
    return sorted(
        (span.end_ns, span.name)
        for span in record.spans
        if span.lane == "llm"
        and span.end_ns >= first
        and span.name != WAITING
        and not span.name.startswith(DROPPED)
    )


def _hold_moves_ns(record: Record, change: Change, turns: TurnSettings) -> int:
    """By how much another hold moves the end of the turn (ns); as sure an end as it was."""
    if HOLD not in change:
        return 0
    was_ms = turns.hold_ms if record.hold_ms is None else record.hold_ms
    usual_ms = change[HOLD].of(turns.hold_ms * NS_PER_MS) / NS_PER_MS
    return round((moved_hold_ms(turns, was_ms, usual_ms) - was_ms) * NS_PER_MS)


def _took_ns(record: Record, before: str, name: str, change: Change) -> int:
    """What it takes now from one mark to the next (ns)."""
    took = record.marks[name] - record.marks[before]
    for cost, (first, last) in COSTS.items():
        if cost in change and (before, name) == (first, last) and cost != "llm.tokens":
            return change[cost].of(took)
    if "llm.tokens" in change and before == "llm.first_token":
        return _written_ns(record, name, change["llm.tokens"])
    voice = change.get("tts")
    if voice is not None and voice.kind == "scale" and name == "tts.last_audio":
        return voice.of(took)
    return took


def _written_ns(record: Record, name: str, cost: ChangedCost) -> int:
    """How long the model writes from its first token to a mark, with other times between tokens."""
    begin, end = record.marks["llm.first_token"], record.marks[name]
    times = [begin, *(at for at, _ in arrivals(record) if begin < at <= end)]
    if len(times) == 1:
        return cost.of(end - begin) if cost.kind == "scale" else end - begin
    return sum(cost.of(b - a) for a, b in itertools.pairwise(times)) + end - times[-1]


def _cut_ns(record: Record, marks: Mapping[str, int], tokens: ChangedCost | None) -> int:
    """When the first clause is cut (ns): it is whole, or the deadline finds enough of it.

    Args:
        record: Has the tokens.
        marks: When the first of them comes, and the turn is over: until it nearly is, nothing is
            overdue.
        tokens: What the time from one token to the next is now.
    """
    first = marks["llm.first_token"]
    written = arrivals(record)
    if not written:
        took = record.marks["clause.first"] - record.marks["llm.first_token"]
        return first + (took if tokens is None else tokens.of(took))
    gaps = [b - a for (a, _), (b, _) in itertools.pairwise(written)]
    changed = gaps if tokens is None else map(tokens.of, gaps)
    times = list(itertools.accumulate(changed, initial=first))
    whole, forced = _cut_by([text for _, text in written])
    closing = marks["committed"] - CLOSING_MS * NS_PER_MS
    deadline = max(first + PACE.first_deadline_ms * NS_PER_MS, closing)
    return min(times[whole], max(deadline, times[forced]))


def _cut_by(texts: Sequence[str]) -> tuple[int, int]:
    """Which token makes the first clause whole, and which makes it long enough when overdue."""
    chunker, forced = _chunker(), None
    for i, text in enumerate(texts):
        if chunker.push(text, hurry=True):
            return i, i if forced is None else forced
        if forced is None:
            probe = _chunker()
            probe.push("".join(texts[: i + 1]))
            forced = i if probe.force() else None
    last = len(texts) - 1
    return last, last if forced is None else forced


def _chunker() -> Chunker:
    return Chunker(first_words=PACE.first_words, max_chars=PACE.max_clause_chars)


# ---- forecasts ---------------------------------------------------------------------------------


def forecast(
    header: Mapping[str, Any], records: Sequence[Record], change: Change
) -> dict[str, dict[str, Any]]:
    """Predict every variant of a profile.

    Returns:
        By name of the variant: `n` turns; `left_out`, those that no reply was heard in; latencies
        and parts (ms) as measured and as predicted, and how the latter differ, turn by turn; gaps
        in the reply, whose prediction is None where the change moves them; `cannot_predict`: what
        the prediction does not cover, a sentence each.

    Raises:
        BadInput: The records do not say what the change needs.
    """
    counted = [record for record in records if record.repeat > 0]
    variants = header.get("variants") or {}
    by_wav = any(record.wav_voice_to_voice_ns is not None for record in counted)
    forecasts = {}
    missing: set[str] = set()
    for name in dict.fromkeys([*variants, *(record.variant for record in counted)]):
        own = [record for record in counted if record.variant == name]
        heard = [record for record in own if _usable(record, by_wav)]
        able = [record for record in heard if not lacking(record, change)]
        missing.update(*(lacking(record, change) for record in heard))
        then, mode = _settings(header.get("settings") or {}, variants.get(name) or {})
        whole = mode == "sequential"
        turns = [(record, replay(record, change, then, whole=whole)) for record in able]
        cannot = limits(change)
        if len(able) < len(heard):
            cannot.append(
                f"{len(heard) - len(able)} of {len(heard)} turns of {name}: "
                "their traces lack what is changed"
            )
        forecasts[name] = {
            "n": len(able),
            "left_out": len(own) - len(heard),
            **_figures(turns, gaps_move="llm.tokens" in change or "tts" in change),
            "cannot_predict": cannot,
        }
    if missing and not any(one["n"] for one in forecasts.values()):
        raise BadInput(
            f"--what-if: the records do not say how long {', '.join(sorted(missing))} took; "
            "record them again with this version of Cascade"
        )
    return forecasts


class CheckedForecast(TypedDict):
    """How a variant differs from another: as `change` predicts from the other's turns, and truly.

    What an engine costs is not predicted: it is how its medians in the run differ.
    """

    change: str
    predicted: Against
    measured: Against


def checks(header: Mapping[str, Any], records: Sequence[Record]) -> dict[str, CheckedForecast]:
    """Predict variants of a run from one another, by name.

    Each is predicted from the first one that has all its settings but the hold, and those of
    engines. What is the first of its kind cannot be.
    """
    settings, turns = header.get("variants") or {}, by_variant(header, records)
    firsts: dict[frozenset[tuple[str, str]], str] = {}
    found: dict[str, CheckedForecast] = {}
    for name, own in settings.items():
        kept = ((k, str(v)) for k, v in own.items() if k != HOLD and k.split(".")[0] not in STAGES)
        first = firsts.setdefault(frozenset(kept), name)
        was = [one for one in turns[first] if one.repeat and _usable(one, by_wav=True)]
        now = [one for one in turns[name] if one.repeat and _usable(one, by_wav=True)]
        if first == name or not was or not now:
            continue
        changed = {key: value for key, value in own.items() if settings[first].get(key) != value}
        change = _made(changed, was, now)
        then, mode = _settings(header.get("settings") or {}, settings[first])
        predicted = []
        for one in was:
            made = replay(one, change, then, whole=mode == "sequential")
            latency_ns = made.voice_to_voice_ns
            predicted.append(replace(one, marks=made.marks, wav_voice_to_voice_ns=latency_ns))
        measured = against(first, was, now, noise_of(header))
        if measured["n"]:  # else no turn of the one was measured in the other
            found[name] = {
                "change": ",".join(f"{cost}={value}" for cost, value in change.items()),
                "predicted": against(first, was, predicted, None),
                "measured": measured,
            }
    return found


def _made(
    changed: Mapping[str, Any], was: Sequence[Record], now: Sequence[Record]
) -> dict[str, ChangedCost]:
    """What other settings made of the costs, by how these were measured."""
    change = {}
    if HOLD in changed:
        change[HOLD] = ChangedCost("set", float(changed[HOLD]) * NS_PER_MS)
    for cost in dict.fromkeys(
        cost for key in changed for cost in STAGES.get(key.split(".")[0], ())
    ):
        before, after = (_typical_ns(cost, of) for of in (was, now))
        if before and after is not None:
            change[cost] = ChangedCost("scale", after / before)
    return change


def _typical_ns(cost: str, records: Sequence[Record]) -> float | None:
    """The median of a cost; None if the records do not tell it."""
    if cost == "llm.tokens":
        times = [[at for at, _ in arrivals(record)] for record in records]
        taken = [b - a for one in times for a, b in itertools.pairwise(one)]
    else:
        first, last = COSTS[cost]
        marks = [record.marks for record in records]
        taken = [one[last] - one[first] for one in marks if first in one and last in one]
    return statistics.median(taken) if taken else None


def limits(change: Change) -> list[str]:
    """What a prediction of this change does not cover, a sentence each."""
    told = [
        "contention: a stage is taken to cost the same however many run beside it, "
        "which on few cores they do not"
    ]
    if "stt" in change:
        told.append("the words: another recogniser may hear others, and be answered otherwise")
    if "stt" in change or "llm.first_token" in change:
        told.append("the hold: words that are known sooner or later may end the turn elsewhere")
    if HOLD in change:
        told.append("cut-ins: how often another hold ends a turn in the middle of a sentence")
        told.append("pauses: how sure an end was is taken to be the same")
    if "llm.tokens" in change or "tts" in change:
        told.append("gaps in the reply, where the model or the voice is slower than the speech")
    return told


def _settings(settings: Mapping[str, Any], variant: Mapping[str, Any]) -> tuple[TurnSettings, str]:
    """`turns` and `reply.mode`: a variant's own, or those that the run describes."""
    turns = settings.get("turns") or {}
    own = {name.removeprefix("turns."): value for name, value in variant.items()}
    known = {k: v for k, v in {**turns, **own}.items() if k in TurnSettings.model_fields}
    mode = variant.get("reply.mode", (settings.get("reply") or {}).get("mode", ""))
    try:
        return TurnSettings(**known), str(mode)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise BadInput(f"the profile's settings cannot be used ({reason}); record again") from None


def _usable(record: Record, by_wav: bool) -> bool:
    """Whether its latency is known: from the WAV, if any of them has one."""
    heard = record.timeline is not None
    return heard and (not by_wav or record.wav_voice_to_voice_ns is not None)


def _figures(turns: Sequence[tuple[Record, Prediction]], *, gaps_move: bool) -> dict[str, Any]:
    """What is measured of turns, and predicted (ms)."""
    was, now = [], []
    parts: dict[str, tuple[list[float], list[float]]] = {part: ([], []) for part in PARTS}
    for record, prediction in turns:
        timeline = record.timeline
        assert timeline is not None
        moved_ns = prediction.timeline.total_ns - timeline.total_ns
        now.append(prediction.voice_to_voice_ns / 1e6)
        was.append((prediction.voice_to_voice_ns - moved_ns) / 1e6)
        for part, (before, after) in parts.items():
            before.append(timeline.parts[part] / 1e6)
            after.append(prediction.timeline.parts[part] / 1e6)
    gaps = [record.underrun_ns / 1e6 for record, _ in turns]
    silent_ms = statistics.fmean(gaps) if gaps else 0.0
    compared = difference(was, now)
    return {
        "measured_ms": describe(was),
        "predicted_ms": describe(now),
        "difference_ms": compared and {key: compared[key] for key in ("median", "ci95")},
        "parts_ms": {
            part: {"measured": statistics.median(before), "predicted": statistics.median(after)}
            for part, (before, after) in parts.items()
            if before
        },
        "underrun_ms": {"measured": silent_ms, "predicted": None if gaps_move else silent_ms},
    }


def predict(folder: Path, specs: Sequence[str], console: Console, *, as_json: bool = False) -> int:
    """Say what changes would buy.

    Args:
        folder: A profile's.
        specs: Changes, see `parse`; each is a prediction of its own. `VARIANTS` are `checks`.
        console: Where a person reads it.
        as_json: Print it on stdout for machines instead.

    Returns:
        The exit code: 0.

    Raises:
        BadInput: A change makes no sense, or the folder holds nothing to predict from.
    """
    if not specs:
        raise BadInput("--what-if: says not what; such as --what-if llm.first_token=200ms,stt=0.5x")
    changes = {spec: parse(spec) for spec in specs if spec != VARIANTS}
    header, records = RECORDS.read(folder / RECORDS.name)
    checked = checks(header, records) if VARIANTS in specs else {}
    if VARIANTS in specs and not checked:
        raise BadInput(
            f"{folder}: --what-if {VARIANTS}: it has no two variants that differ in engines or "
            "turns.hold_ms alone; measure some: cascade profile CORPUS --vary stt=tiny.en,base.en"
        )
    predictions: list[dict[str, Any]] = [
        {"what_if": spec, "variants": forecast(header, records, change)}
        for spec, change in changes.items()
    ]
    if predictions and not any(one["n"] for one in predictions[0]["variants"].values()):
        raise BadInput(f"{folder}: no turn in it was answered, so there is nothing to predict from")
    if as_json:
        more = {"checks": rounded(checked)} if checked else {}
        print(json.dumps({"predictions": predictions, **more}, ensure_ascii=False))
        return 0
    for one in predictions:
        _show(console, one["what_if"], one["variants"])
    if checked:
        _show_checks(console, checked)
    return 0


def _show_checks(console: Console, checked: Mapping[str, CheckedForecast]) -> None:
    for name, one in checked.items():
        console.print(Text.assemble((name, "bold"), f" against {one['measured']['variant']}"))
        console.print(f"  as {one['change'] or 'nothing that costs time'}", soft_wrap=True)
        for side in ("predicted", "measured"):
            told = one[side]["voice_to_voice_ms"]
            assert told is not None
            parts = f"; moved: {moved(one[side])}" if one[side]["moved"] else ""
            console.print(f"  {side}: {_sure(told, sign='+')} ms{parts}", soft_wrap=True)
        console.print()


def _show(console: Console, spec: str, variants: Mapping[str, Mapping[str, Any]]) -> None:
    told: dict[str, None] = {}
    console.print(f"what if {spec}", style="bold")
    for name, one in variants.items():
        told |= dict.fromkeys(one["cannot_predict"])
        console.print()
        left_out = f", {one['left_out']} without a reply left out" if one["left_out"] else ""
        console.print(f"{name}: {count(one['n'], 'turn')}{left_out}")
        if one["n"]:
            console.print(_table(one))
            console.print(_conclusion(one["parts_ms"]), soft_wrap=True)
    console.print()
    for sentence in told:
        console.print(f"not predicted: {sentence}", style="dim", soft_wrap=True)
    console.print()


def _table(one: Mapping[str, Any]) -> Table:
    table = Table("voice-to-voice (ms)", box=None, pad_edge=False)
    for heading in ("measured", "predicted", "difference"):
        table.add_column(heading, justify="right")
    was, now, apart = one["measured_ms"], one["predicted_ms"], one["difference_ms"]
    table.add_row("median", _sure(was), _sure(now), _sure(apart, sign="+"))
    rows = {"p90": {"measured": was["p90"], "predicted": now["p90"]}}
    rows |= {f"  {LABELS[part]}": values for part, values in one["parts_ms"].items()}
    rows["gaps in the reply, mean"] = one["underrun_ms"]
    for label, values in rows.items():
        before, after = values["measured"], values["predicted"]
        if after is None:
            table.add_row(label, f"{before:.0f}", NONE, NONE)
        elif before or after:
            moved = f"{round(after) - round(before):+d}"
            table.add_row(label, f"{before:.0f}", f"{after:.0f}", moved)
    return table


def _sure(found: Mapping[str, Any], *, sign: str = "") -> str:
    """A median with its interval."""
    middle, interval = found["median"], found["ci95"]
    if interval is None:
        return f"{middle:{sign}.0f}"
    return f"{middle:{sign}.0f} ({interval[0]:{sign}.0f} … {interval[1]:{sign}.0f})"


def _conclusion(parts: Mapping[str, Mapping[str, float]]) -> str:
    """Which parts the change moved, in a sentence."""
    moved = {part: values["predicted"] - values["measured"] for part, values in parts.items()}
    told = []
    for verb, sign in (("shrinks", -1), ("grows", 1)):
        told += [
            f"{LABELS[part]} {verb} by {abs(ms):.0f} ms"
            for part, ms in moved.items()
            if sign * ms >= NAMED_MS
        ]
    if not told:
        return "  no part moves in the middle turn: the change is hidden, or small"
    return f"  {', '.join(told)}"
