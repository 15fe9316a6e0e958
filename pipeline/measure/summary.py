"""A profile in figures: `summary.json`, `turns.csv`, and what the terminal shows.

All of it is computed from the records. Durations are in milliseconds, rounded to microseconds. The
latency of a turn is the WAV's; its parts are the trace's and sum to the trace's own total, and
where the two disagree the summary says by how much.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from statistics import median
from typing import Any, NotRequired, TypedDict, TypeVar, cast, get_args

from pipeline.audio.virtual import LATE_NS
from pipeline.clock import NS_PER_MS
from pipeline.measure import reference
from pipeline.measure.record import Record, Status
from pipeline.measure.stats import UNDECIDED, Apart, Spread, describe, difference, mean_interval
from pipeline.trace import PARTS, STAGES

LATENCY = "voice_to_voice"
"""What the whole is called among the parts."""

HIDEABLE = tuple(name for name, _, _ in STAGES)
"""Parts that can be hidden: what a stage does."""

DISAGREEMENT_MS = 20.0
"""WAV and trace are to agree within this; 20 ms is one frame of audio."""

NOISY = 0.05
"""A machine whose speed varied by more than this share deserves a warning: 5 %, for changes worth
making are mostly larger."""

MOVED_MS = 1.0
MOVED_SHARE = 0.01
"""A part has moved if its interval excludes zero and it differs by more than both of these, the
second a share of the whole latency: less is of no use to know."""

DESCRIBED = (
    *("started", "interrupted", "seed", "noise", "instrument"),
    *("machine", "versions", "models", "settings"),
)
"""What the summary takes over from the records' header."""

VARIANT = attrgetter("variant")
"""Which variant a record is of."""

T = TypeVar("T")

Measures = Mapping[str, float]
"""Milliseconds of one turn by part, with the whole as `LATENCY`."""


class Against(TypedDict):
    """How a variant differs from another, over `n` pairs; `moved` names parts, most moved first."""

    variant: str
    n: int
    voice_to_voice_ms: Apart | None
    parts_ms: dict[str, Apart]
    moved: list[str]


class Disagreement(TypedDict):
    """How far WAV and trace are apart (ms); `over` counts those above `DISAGREEMENT_MS`."""

    n: int
    median: float
    max: float
    over: int


class Underruns(TypedDict):
    """Replies with holes: in how many turns, how long in all, and at worst (ms)."""

    turns: int
    total_ms: float
    max_ms: float


class WarmUp(TypedDict):
    """Turns that no other figure counts."""

    n: int
    failed: int
    median_ms: float | None
    max_ms: float | None


class TurnFigures(TypedDict):
    """Turns: `n` with a latency, `unmeasurable` and `failed` ones, and all by status."""

    n: int
    failed: int
    unmeasurable: int
    statuses: dict[str, int]
    voice_to_voice_ms: Spread | None
    parts_ms: dict[str, Spread | None]
    hidden_ms: dict[str, Spread | None]
    disagreement_ms: Disagreement | None
    underruns: Underruns
    wasted: dict[str, float]
    warm_up: WarmUp


class VariantFigures(TurnFigures):
    """The turns of a variant, and how it differs from the first one."""

    against_first: NotRequired[Against]


class RecordingSound(TypedDict):
    """A recording: medians over its turns; None where nobody spoke."""

    level_dbfs: float | None
    snr_db: float | None
    end_of_speech: str


class ProfileSummary(TypedDict):
    """What `summary.json` holds; beside it `DESCRIBED`, taken over from the records' header."""

    variants: dict[str, VariantFigures]
    recordings: int
    sound: dict[str, RecordingSound]
    warnings: list[str]
    gates: NotRequired[Sequence[Any]]
    interrupted: NotRequired[bool]
    seed: NotRequired[int]
    instrument: NotRequired[reference.OwnError | None]


def measures(record: Record) -> dict[str, float]:
    """What was measured of a turn (ms); empty if it has no latency."""
    if record.status != "ok" or record.wav_voice_to_voice_ns is None:
        return {}
    timeline = record.timeline
    parts = timeline.parts if timeline is not None else {}
    return {LATENCY: record.wav_voice_to_voice_ns / 1e6} | {k: v / 1e6 for k, v in parts.items()}


def noise_of(header: Mapping[str, Any]) -> float | None:
    """By what share the machine's speed varied during a run; None if it was not looked at twice."""
    noise = header.get("noise") or {}
    relative = noise.get("relative")
    return None if relative is None or noise.get("readings", 0) < 2 else float(relative)


def by_variant(
    header: Mapping[str, Any], results: Iterable[T], name: Callable[[T], str] = VARIANT
) -> dict[str, list[T]]:
    """Results by the variant that each is of, in the header's order, then those it does not list.

    A variant that was never run has none.
    """
    listed = header.get("variants")
    found: dict[str, list[T]] = {name: [] for name in listed or {} if isinstance(listed, Mapping)}
    for one in results:
        found.setdefault(name(one), []).append(one)
    return found


def differences(
    pairs: Sequence[tuple[Measures, Measures]],
    noise: float | None,
    parts: Sequence[str] = PARTS,
) -> dict[str, Apart]:
    """How much the second of each pair differs from the first, for the whole and for each part."""
    found = {}
    for name in (LATENCY, *parts):
        both = [(a[name], b[name]) for a, b in pairs if name in a and name in b]
        compared = difference([a for a, _ in both], [b for _, b in both], noise)
        if compared is not None:
            found[name] = compared
    return found


def moved(compared: Mapping[str, Apart], whole_ms: float) -> list[str]:
    """Which parts differ enough to be named, most moved first.

    Args:
        compared: What `differences` found.
        whole_ms: The latency of which they are parts.
    """
    least = max(MOVED_MS, MOVED_SHARE * whole_ms)
    parts = [
        name
        for name, one in compared.items()
        if name != LATENCY and one["verdict"] != UNDECIDED and abs(one["median"]) > least
    ]
    return sorted(parts, key=lambda name: -abs(compared[name]["median"]))


def summarise(header: Mapping[str, Any], records: Sequence[Record]) -> ProfileSummary:
    """What `summary.json` holds.

    For each variant: `n` turns with a latency, `unmeasurable` ones that were answered, and `failed`
    ones, which are all its turns together; again by status; the distributions; and `against_first`,
    its difference from the first variant, paired by recording and repeat. Warm-up counts only in
    `warm_up`. For each recording: `sound`, its level and signal-to-noise ratio.
    """
    noise = noise_of(header)
    turns = by_variant(header, records)
    variants = {name: cast(VariantFigures, figures(of)) for name, of in turns.items()}
    for name in list(turns)[1:]:
        first = next(iter(turns))
        variants[name]["against_first"] = against(first, turns[first], turns[name], noise)
    summary: dict[str, Any] = {
        "variants": rounded(variants),
        "recordings": len({record.file for record in records}),
        "sound": rounded(sound(records), 1),
        **{key: header[key] for key in DESCRIBED if key in header},
    }
    return cast(ProfileSummary, {**summary, "warnings": warnings(summary, noise, records)})


def figures(
    records: Sequence[Record], parts: Sequence[str] = PARTS, hideable: Sequence[str] = HIDEABLE
) -> TurnFigures:
    """What the summary says of a variant with these turns.

    Args:
        records: Its turns.
        parts: Of its latency.
        hideable: Those of them that can be hidden.
    """
    counted = [record for record in records if record.repeat > 0]
    measured = [found for record in counted if (found := measures(record))]
    timelines = [line for record in counted if (line := record.timeline) is not None]
    hidden = {
        name: [line.hidden[name] / 1e6 for line in timelines if name in line.hidden]
        for name in hideable
    }
    statuses = Counter(record.status for record in counted)
    hidden_ends = statuses["unmeasurable"]
    latencies = [found[LATENCY] for found in measured]
    whole = describe(latencies)
    return {
        "n": len(measured),
        "failed": len(counted) - len(measured) - hidden_ends,
        "unmeasurable": hidden_ends,
        "statuses": {status: statuses[status] for status in get_args(Status)},
        "voice_to_voice_ms": whole and {**whole, "mean_ci95": mean_interval(latencies)},
        "parts_ms": {
            name: describe([found[name] for found in measured if name in found]) for name in parts
        },
        "hidden_ms": {name: describe(values) for name, values in hidden.items()},
        "disagreement_ms": _disagreement(counted),
        "underruns": _underruns(counted),
        "wasted": dict(sum((Counter(record.wasted) for record in counted), Counter[str]())),
        "warm_up": _warm_up([record for record in records if record.repeat == 0]),
    }


def sound(records: Iterable[Record]) -> dict[str, RecordingSound]:
    """Level (dBFS) and signal-to-noise ratio (dB) of each recording: medians over its turns.

    Where nobody spoke there is no such ratio: it is None.
    """
    turns: dict[str, list[Record]] = {}
    for record in records:
        if record.level_dbfs is not None:
            turns.setdefault(record.file, []).append(record)
    return {
        file: {
            "level_dbfs": _median([record.level_dbfs for record in of]),
            "snr_db": _median([record.snr_db for record in of]),
            "end_of_speech": of[0].end_of_speech,
        }
        for file, of in turns.items()
    }


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def disagreement_ms(record: Record) -> float | None:
    """By how much the trace's latency is above the WAV's; None if the turn lacks one of them."""
    timeline = record.timeline
    if timeline is None or record.wav_voice_to_voice_ns is None:
        return None
    return (timeline.total_ns - record.wav_voice_to_voice_ns) / 1e6


def _disagreement(records: Iterable[Record]) -> Disagreement | None:
    sizes = [abs(ms) for record in records if (ms := disagreement_ms(record)) is not None]
    found = describe(sizes)
    if found is None:
        return None
    over = sum(size > DISAGREEMENT_MS for size in sizes)
    return {"n": len(sizes), "median": found["median"], "max": found["max"], "over": over}


def _underruns(records: Iterable[Record]) -> Underruns:
    holes = [record.underrun_ns / 1e6 for record in records if record.underrun_ns > 0]
    return {"turns": len(holes), "total_ms": sum(holes), "max_ms": max(holes, default=0.0)}


def _warm_up(records: Sequence[Record]) -> WarmUp:
    latencies = [found[LATENCY] for record in records if (found := measures(record))]
    whole = describe(latencies)
    return {
        "n": len(latencies),
        "failed": len(records) - len(latencies),
        "median_ms": whole["median"] if whole else None,
        "max_ms": whole["max"] if whole else None,
    }


def against(
    name: str,
    first: Iterable[Record],
    second: Iterable[Record],
    noise: float | None,
    parts: Sequence[str] = PARTS,
) -> Against:
    """How the second's turns differ from the first's, called `name`; paired by file and repeat."""
    before, after = (
        {(r.file, r.repeat): found for r in of if r.repeat > 0 and (found := measures(r))}
        for of in (first, second)
    )
    pairs = [(before[key], after[key]) for key in before if key in after]
    compared = differences(pairs, noise, parts)
    whole = describe([a[LATENCY] for a, _ in pairs])
    return {
        "variant": name,
        "n": len(pairs),
        "voice_to_voice_ms": compared[LATENCY] if compared else None,
        "parts_ms": {part: compared[part] for part in parts if part in compared},
        "moved": moved(compared, whole["median"]) if whole else [],
    }


def warnings(
    summary: Mapping[str, Any],
    noise: float | None,
    records: Sequence[Record],
    *,
    failures: bool = True,
) -> list[str]:
    """What a reader of the figures should know, a sentence each; of failures only if wanted."""
    told = []
    if summary.get("interrupted"):
        told.append("the run was interrupted: these are the turns until then")
    for name, variant in summary["variants"].items():
        if variant["failed"] and failures:
            told.append(_failures(name, records))
        if variant["unmeasurable"]:
            told.append(_unmeasurable(name, records))
        if not variant["n"] and not variant["failed"]:
            told.append(f"{name}: no turn was measured")
    told += reference.doubts(summary.get("instrument"))
    if noise is None:
        told.append("how steady the machine was is not known: it was not looked at twice")
    elif noise > NOISY:
        told.append(
            f"the machine's speed varied by {noise:.0%} during the run: differences of less than "
            "that may be its doing; close other programs, plug it in, run again"
        )
    counted = [record for record in records if record.repeat > 0]
    places = {name: {r.node for r in counted if r.variant == name} for name in summary["variants"]}
    if len(set.union(set(), *places.values())) > 1:
        where = ", ".join(
            f"{name} on {' and '.join(sorted(on))}" for name, on in places.items() if on
        )
        told.append(f"not all was measured on one machine: {where}; compare them with care")
    if (late_ns := max((record.late_ns for record in counted), default=0)) > LATE_NS:
        told.append(
            "the machine was too busy to keep real time: a block of sound came up to "
            f"{late_ns // NS_PER_MS} ms late; close other programs, run again"
        )
    worst = max(counted, key=lambda record: abs(disagreement_ms(record) or 0.0), default=None)
    off_ms = (disagreement_ms(worst) or 0.0) if worst is not None else 0.0
    if worst is not None and abs(off_ms) > DISAGREEMENT_MS:
        over = sum(abs(disagreement_ms(r) or 0.0) > DISAGREEMENT_MS for r in counted)
        told.append(
            f"WAV and trace disagree by more than {DISAGREEMENT_MS:.0f} ms in {over} of "
            f"{len(counted)} turns, most in {worst.variant} {worst.file} repeat {worst.repeat}: "
            f"the trace says {off_ms:+.0f} ms"
        )
    return told


def _unmeasurable(variant: str, records: Iterable[Record]) -> str:
    of = [r for r in records if r.variant == variant and r.repeat > 0]
    bad = [r for r in of if r.status == "unmeasurable"]
    turns = "1 turn is" if len(bad) == 1 else f"{len(bad)} turns are"
    where = f"{bad[0].file} repeat {bad[0].repeat}"
    return f"{variant}: {turns} unmeasurable: {bad[0].reason} (such as {where})"


def _failures(variant: str, records: Iterable[Record]) -> str:
    of = [r for r in records if r.variant == variant and r.repeat > 0]
    bad = [r for r in of if not measures(r) and r.status != "unmeasurable"]
    # An `ok` here lacks its edge in the WAV: a reply was traced, but the detector heard none.
    names = Counter("not heard in the WAV" if r.status == "ok" else r.status for r in bad)
    counts = ", ".join(f"{count} {name}" for name, count in names.items())
    example = next((record for record in bad if record.reason), bad[0])
    reason = f": {example.reason}" if example.reason else ""
    such = "in" if len(bad) == 1 else "such as in"
    return f"{variant}: {counts}, {such} {example.file} repeat {example.repeat}{reason}"


def of(found: Any, name: str) -> Any:
    """A value inside nested mappings by its dotted name; None where it ends early."""
    for key in name.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def rounded(value: Any, digits: int = 3) -> Any:
    """Numbers of a nested value to three decimals: microseconds, of milliseconds."""
    if isinstance(value, float):
        return round(value, digits)
    if isinstance(value, Mapping):
        return {key: rounded(one, digits) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(one, digits) for one in value]
    return value


COLUMNS = (
    *("variant", "file", "repeat", "status", "voice_to_voice_ms", "wav_voice_to_voice_ms"),
    *(f"{name}_ms" for name in PARTS),
    *(f"hidden_{name}_ms" for name in HIDEABLE),
    *("order", "end_of_speech", "underrun_ms", "reason", "level_dbfs", "snr_db"),
)
"""Of `turns.csv`. `voice_to_voice_ms` is the trace's, which the parts sum to; new columns are added
at the end."""


def row(record: Record) -> dict[str, str]:
    """A turn as `turns.csv` holds it, by column."""
    timeline = record.timeline
    nanoseconds: dict[str, int | None] = {"underrun": record.underrun_ns}
    if record.status == "ok":
        nanoseconds["wav_voice_to_voice"] = record.wav_voice_to_voice_ns
    if timeline is not None:
        nanoseconds[LATENCY] = timeline.total_ns
        nanoseconds |= timeline.parts
        nanoseconds |= {f"hidden_{name}": ns for name, ns in timeline.hidden.items()}
    return {
        "variant": record.variant,
        "file": record.file,
        "repeat": str(record.repeat),
        "status": record.status,
        "order": str(record.order),
        "end_of_speech": record.end_of_speech,
        "reason": record.reason,
        **{
            name: f"{value:.1f}"
            for name, value in (("level_dbfs", record.level_dbfs), ("snr_db", record.snr_db))
            if value is not None
        },
        **{f"{k}_ms": f"{ns / 1e6:.3f}" for k, ns in nanoseconds.items() if ns is not None},
    }
