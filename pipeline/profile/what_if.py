"""`cascade profile --what-if`: what a change would buy, from a profile's records, without running.

Every turn is replayed (`graph.replay`), so a prediction is a distribution, and is compared with
what was measured turn by turn.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from pipeline.console import LABELS
from pipeline.errors import BadInput
from pipeline.measure.record import RECORDS, Record
from pipeline.measure.stats import Distribution, Interval, describe, difference
from pipeline.profile.change import Change, parse
from pipeline.profile.graph import WHOLE, Prediction, Setup, lacking, replay
from pipeline.timeline import PARTS

"""The file of a profile's folder that predictions are made from."""

NAMED_MS = 1.0
"""A part that moves by less than this in the median is not worth a line."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a change would make of a variant.

    Attributes:
        variant: Its name.
        turns: Each turn, as measured and as predicted.
        left_out: Turns that no reply was heard in: a change of costs does not mend them.
        cannot: What the prediction does not cover, a sentence each.
    """

    variant: str
    turns: Sequence[tuple[Record, Prediction]]
    left_out: int
    cannot: Sequence[str]

    @property
    def measured_ms(self) -> list[float]:
        """Latencies as measured, turn by turn."""
        return [_measured_ns(record) / 1e6 for record, _ in self.turns]

    @property
    def predicted_ms(self) -> list[float]:
        """Latencies as predicted, turn by turn."""
        return [prediction.voice_to_voice_ns / 1e6 for _, prediction in self.turns]

    def parts_ms(self, part: str) -> tuple[list[float], list[float]]:
        """A part's time turn by turn, as measured and as predicted."""
        was = [record.timeline for record, _ in self.turns]
        now = [prediction.timeline for _, prediction in self.turns]
        return (
            [timeline.parts[part] / 1e6 for timeline in was if timeline is not None],
            [timeline.parts[part] / 1e6 for timeline in now],
        )

    @property
    def underrun_ms(self) -> tuple[float, float]:
        """Silence inside the reply because its next sound was not there: mean of a turn."""
        was = [record.underrun_ns / 1e6 for record, _ in self.turns]
        now = [prediction.underrun_ns / 1e6 for _, prediction in self.turns]
        return (statistics.fmean(was), statistics.fmean(now)) if self.turns else (0.0, 0.0)


def forecast(
    header: Mapping[str, Any], records: Sequence[Record], change: Change
) -> list[Forecast]:
    """Predict every variant of a profile.

    Raises:
        BadInput: The records do not say what the change needs.
    """
    counted = [record for record in records if record.repeat > 0]
    variants = header.get("variants") or {}
    names = list(dict.fromkeys([*variants, *(record.variant for record in counted)]))
    by_wav = any(record.wav_voice_to_voice_ns is not None for record in counted)
    forecasts = []
    missing: set[str] = set()
    for name in names:
        own = [record for record in counted if record.variant == name]
        heard = [record for record in own if _usable(record, by_wav)]
        setup = _setup(header, variants.get(name) or {})
        able = [record for record in heard if not lacking(record, change)]
        missing.update(*(lacking(record, change) for record in heard))
        turns = [(record, replay(record, setup, change)) for record in able]
        cannot = limits(setup, change)
        if len(able) < len(heard):
            cannot.append(
                f"{len(heard) - len(able)} of {len(heard)} turns of {name}: "
                "their traces lack what is changed"
            )
        forecasts.append(Forecast(name, turns, len(own) - len(heard), cannot))
    if missing and not any(one.turns for one in forecasts):
        raise BadInput(_untold(missing))
    return forecasts


def _untold(missing: set[str]) -> str:
    """What is wrong if no record says what is needed, and what to do."""
    advice = "a larger --reply-seconds" if WHOLE in missing else "this version of Cascade"
    names = ", ".join(sorted(missing))
    return (
        f"--what-if: the records do not say how long {names} took; record them again with {advice}"
    )


def predict(folder: Path, specs: Sequence[str], console: Console, *, as_json: bool = False) -> int:
    """Say what changes would buy.

    Args:
        folder: A profile's.
        specs: Changes, see `change.parse`; each is a prediction of its own.
        console: Where a person reads it.
        as_json: Print it on stdout for machines instead.

    Returns:
        The exit code: 0.

    Raises:
        BadInput: A change makes no sense, or the folder holds nothing to predict from.
    """
    if not specs:
        raise BadInput("--what-if: says not what; such as --what-if llm.first_token=200ms,stt=0.5x")
    changes = [parse(spec) for spec in specs]
    header, records = RECORDS.read(folder / RECORDS.name)
    predictions = [forecast(header, records, change) for change in changes]
    if not any(one.turns for one in predictions[0]):
        raise BadInput(f"{folder}: no turn in it was answered, so there is nothing to predict from")
    if as_json:
        document = [_document(s, of) for s, of in zip(specs, predictions, strict=True)]
        print(json.dumps({"predictions": document}, ensure_ascii=False))
        return 0
    for spec, forecasts in zip(specs, predictions, strict=True):
        _show(console, spec, forecasts)
    return 0


def limits(setup: Setup, change: Change) -> list[str]:
    """What a prediction of this change does not cover, a sentence each."""
    costs, mode = change.costs, change.mode
    told = [
        "contention: a stage is taken to cost the same however many run beside it, "
        "which on few cores they do not"
    ]
    if "stt" in costs:
        told.append("the words: another recogniser may hear others, and be answered otherwise")
        if setup.reply.mode == "speculative" and setup.turns.predict:
            told.append("a longer hold, where words that were known too late read unfinished")
    if "turns.hold_ms" in costs:
        told.append("cut-ins: how often another hold ends a turn in the middle of a sentence")
        if setup.turns.predict:
            told.append(
                "what the words say of the end: they move the hold by the same share as before, "
                "and where they are sure it is turns.shortest_ms whatever turns.hold_ms is"
            )
    if "turns.provisional_ms" in costs:
        told.append("attempts in vain: a shorter pause begins more of them, on less sound")
    if mode is not None and mode != setup.reply.mode:
        told += _limits_of_mode(setup, mode)
    if "llm.tokens" in costs:
        told.append(
            "how the voice draws out words that come one by one: gaps in the reply are an estimate"
        )
    if "tts" in costs:
        told.append(
            "gaps in the reply that the voice would make: it is replayed to its first sound"
        )
    return told


def _limits_of_mode(setup: Setup, mode: str) -> list[str]:
    if mode == "speculative":
        told = ["attempts in vain, and what they take from the others"]
        if setup.turns.predict:
            told.append(
                "what the language model makes of the words: speculation reads them before the "
                "hold is over; how finished they read is judged by rules alone"
            )
        return told
    if mode == "sequential":
        return ["the making of the whole reply: while it plays, the voice waits for room"]
    if setup.reply.mode == "sequential":
        return ["the first clause may be a shorter one, with its sound sooner"]
    return ["a hold that follows the speaker: it is taken to be turns.hold_ms"]


def _usable(record: Record, by_wav: bool) -> bool:
    """Whether its latency is known: from the WAV, if any of them has one."""
    heard = record.timeline is not None
    return heard and (not by_wav or record.wav_voice_to_voice_ns is not None)


def _measured_ns(record: Record) -> int:
    if record.wav_voice_to_voice_ns is not None:
        return record.wav_voice_to_voice_ns
    assert record.timeline is not None
    return record.timeline.total_ns


def _setup(header: Mapping[str, Any], variant: Mapping[str, Any]) -> Setup:
    try:
        return Setup.of(header.get("settings") or {}, variant)
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise BadInput(f"the profile's settings are damaged at {place}; record it again") from None


def _document(spec: str, forecasts: Iterable[Forecast]) -> dict[str, Any]:
    return {"what_if": spec, "variants": {one.variant: _figures(one) for one in forecasts}}


def _figures(one: Forecast) -> dict[str, Any]:
    """A forecast for machines (ms)."""
    compared = difference(one.measured_ms, one.predicted_ms)
    parts = {}
    for part in PARTS:
        was, now = map(describe, one.parts_ms(part))
        if was is not None and now is not None:
            parts[part] = {"measured": was.median, "predicted": now.median}
    return {
        "n": len(one.turns),
        "left_out": one.left_out,
        "measured_ms": _plain(describe(one.measured_ms)),
        "predicted_ms": _plain(describe(one.predicted_ms)),
        "difference_ms": compared and {"median": compared.median, "ci95": compared.ci95},
        "parts_ms": parts,
        "underrun_ms": dict(zip(("measured", "predicted"), one.underrun_ms, strict=True)),
        "cannot_predict": list(one.cannot),
    }


def _plain(found: Distribution | None) -> dict[str, Any] | None:
    return None if found is None else asdict(found)


def _show(console: Console, spec: str, forecasts: Sequence[Forecast]) -> None:
    console.print(f"what if {spec}", style="bold")
    for one in forecasts:
        console.print()
        left_out = f", {one.left_out} without a reply left out" if one.left_out else ""
        console.print(f"{one.variant}: {_turns(len(one.turns))}{left_out}")
        if one.turns:
            console.print(_table(one))
            console.print(_conclusion(one), soft_wrap=True)
    console.print()
    for sentence in dict.fromkeys(sentence for one in forecasts for sentence in one.cannot):
        console.print(f"not predicted: {sentence}", style="dim", soft_wrap=True)
    console.print()


def _turns(n: int) -> str:
    return "1 turn" if n == 1 else f"{n} turns"


def _table(one: Forecast) -> Table:
    table = Table("voice-to-voice (ms)", box=None, pad_edge=False)
    for heading in ("measured", "predicted", "difference"):
        table.add_column(heading, justify="right")
    was, now = describe(one.measured_ms), describe(one.predicted_ms)
    compared = difference(one.measured_ms, one.predicted_ms)
    assert was is not None and now is not None and compared is not None
    table.add_row(
        "median",
        _with_interval(was.median, was.ci95),
        _with_interval(now.median, now.ci95),
        _with_interval(compared.median, compared.ci95, sign="+"),
    )
    table.add_row("p90", f"{was.p90:.0f}", f"{now.p90:.0f}", f"{now.p90 - was.p90:+.0f}")
    for part in PARTS:
        before, after = (statistics.median(values) for values in one.parts_ms(part))
        if before or after:
            table.add_row(f"  {LABELS[part]}", *_plainly(before, after))
    if any(one.underrun_ms):
        table.add_row("gaps in the reply, mean", *_plainly(*one.underrun_ms))
    return table


def _plainly(before: float, after: float) -> tuple[str, str, str]:
    return f"{before:.0f}", f"{after:.0f}", f"{round(after) - round(before):+d}"


def _with_interval(middle: float, interval: Interval | None, *, sign: str = "") -> str:
    if interval is None:
        return f"{middle:{sign}.0f}"
    return f"{middle:{sign}.0f} ({interval[0]:{sign}.0f} … {interval[1]:{sign}.0f})"


def _conclusion(one: Forecast) -> str:
    """Which parts the change moved, in a sentence."""
    moved = {
        part: statistics.median(b - a for a, b in zip(*one.parts_ms(part), strict=True))
        for part in PARTS
    }
    grown = [part for part in PARTS if moved[part] >= NAMED_MS]
    shrunk = [part for part in PARTS if moved[part] <= -NAMED_MS]
    if not grown and not shrunk:
        return "  no part moves in the middle turn: the change is hidden, or small"
    told = []
    for verb, parts in (("shrinks", shrunk), ("grows", grown)):
        told += [f"{LABELS[part]} {verb} by {abs(moved[part]):.0f} ms" for part in parts]
    return f"  {', '.join(told)}"
