"""Is it worse than it was: two profiles of the same recordings, compared. For people's CI.

Two runs are days and versions apart, so a repeat of the one has nothing to do with the same repeat
of the other. They are paired by recording: the median of its repeats then and now. With fewer
recordings than an interval needs, they are paired by recording and repeat instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.text import Text

from pipeline.errors import UNMET, BadInput
from pipeline.measure import terminal
from pipeline.measure.record import RECORDS, Record
from pipeline.measure.stats import SMALLEST, Apart, in_words
from pipeline.measure.summary import (
    LATENCY,
    Measures,
    by_variant,
    differences,
    measures,
    moved,
    noise_of,
    rounded,
)
from pipeline.trace import PARTS

WORSE_SHARE = 0.05
WORSE_MS = 10.0
"""A variant is worse if it is slower by more than both: 5 % of the latency, and 10 ms, half of what
WAV and trace may disagree by. It must also be outside of its interval and of the machine's noise.
"""

SAME = ("machine", "versions", "models", "settings")
"""Keys of the header that two profiles should have in common."""

NAMED = 6
"""How many things that differ are named one by one."""


def compare(old: Path, new: Path, console: Console, as_json: bool = False) -> int:
    """Compare two profiles and print what differs; `UNMET` if the new one is worse, else 0.

    It is worse if a variant is slower (see `WORSE_SHARE`), or if a recording that a variant replied
    to is now never replied to.

    Args:
        old: Folder of the profile that is compared with.
        new: Folder of the profile that is judged.
        console: Where people read the result.
        as_json: Print it for machines, on stdout, instead.

    Raises:
        BadInput: A folder is no profile's, or the two have nothing in common.
    """
    was, now = (RECORDS.read(folder / RECORDS.name) for folder in (old, new))
    found = compared(*was, *now)
    if not found["variants"]:
        raise BadInput(
            f"{old} and {new} have no variant with a recording in common; {_both(found)}"
        )
    if as_json:
        print(json.dumps(rounded(found), ensure_ascii=False), flush=True)
    else:
        _show(console, found)
    return UNMET if found["worse"] else 0


def compared(
    old_header: Mapping[str, Any],
    old: Sequence[Record],
    new_header: Mapping[str, Any],
    new: Sequence[Record],
) -> dict[str, Any]:
    """What `compare` prints: pure.

    Returns:
        `worse`: whether anything is; `variants`: by name, for those that both have with a recording
        in common; `only`: variants and recordings that one side lacks; `noise`: the share by which
        the machine's speed varied within and between the runs, None if unknown; `caveats`:
        sentences.
    """
    noise = _noise(old_header, new_header)
    before, after = by_variant(old_header, old), by_variant(new_header, new)
    variants = {}
    for name in [name for name in before if name in after]:
        was, now = _turns(before[name]), _turns(after[name])
        if shared := [file for file in was if file in now]:
            variants[name] = _variant(was, now, shared, noise)
    return {
        "worse": any(one["worse"] for one in variants.values()),
        "variants": variants,
        "only": {
            "old": {
                "variants": _without(before, after),
                "files": _without(_files(old), _files(new)),
            },
            "new": {
                "variants": _without(after, before),
                "files": _without(_files(new), _files(old)),
            },
        },
        "noise": noise,
        "caveats": _caveats(old_header, new_header, noise),
    }


ByRecording = Mapping[str, Mapping[int, Measures]]
"""Of one variant: what was measured, by recording and repeat; empty where no reply was heard."""


def _turns(records: Iterable[Record]) -> ByRecording:
    found: dict[str, dict[int, Measures]] = {}
    for record in records:
        if record.repeat > 0 and record.status != "unmeasurable":
            found.setdefault(record.file, {})[record.repeat] = measures(record)
    return found


def _variant(
    was: ByRecording, now: ByRecording, shared: Sequence[str], noise: float | None
) -> dict[str, Any]:
    answered = [file for file in shared if any(was[file].values()) and any(now[file].values())]
    lost = [file for file in shared if any(was[file].values()) and file not in answered]
    pairs: list[tuple[Measures, Measures]] = [
        (_typical(was[file].values()), _typical(now[file].values())) for file in answered
    ]
    by = "recording"
    if len(answered) < SMALLEST:
        by = "recording and repeat"
        pairs = [
            (one, now[file][repeat])
            for file in answered
            for repeat, one in was[file].items()
            if one and now[file].get(repeat)
        ]
    found = differences(pairs, noise)
    old_ms = median(a[LATENCY] for a, _ in pairs) if pairs else None
    new_ms = median(b[LATENCY] for _, b in pairs) if pairs else None
    slower = bool(found) and _slower(found[LATENCY], noise)
    return {
        "worse": slower or bool(lost),
        "slower": slower,
        "lost": lost,
        "failed": {"old": _failed(was, shared), "new": _failed(now, shared)},
        "paired_by": by,
        "old_ms": old_ms,
        "new_ms": new_ms,
        "voice_to_voice_ms": found[LATENCY] if found else None,
        "parts_ms": {part: found[part] for part in PARTS if part in found},
        "moved": moved(found, old_ms) if old_ms is not None else [],
    }


def _typical(turns: Iterable[Measures]) -> dict[str, float]:
    """The median of a recording's repeats, for the whole and for each part."""
    measured = [turn for turn in turns if turn]
    return {
        name: median(values)
        for name in (LATENCY, *PARTS)
        if (values := [turn[name] for turn in measured if name in turn])
    }


def _slower(whole: Apart, noise: float | None) -> bool:
    """Whether it is slower by enough, for sure, and not by the machine's doing."""
    relative = whole["relative"]
    enough = relative is None or relative > max(WORSE_SHARE, noise or 0.0)
    return whole["verdict"] == "slower" and whole["median"] > WORSE_MS and enough


def _failed(turns: ByRecording, files: Iterable[str]) -> int:
    return sum(not turn for file in files for turn in turns[file].values())


def _noise(old: Mapping[str, Any], new: Mapping[str, Any]) -> float | None:
    """By what share the machine's speed varied within each run and between the two."""
    within = [noise_of(old), noise_of(new)]
    known = [noise for noise in (*within, _slowdown(old, new)) if noise is not None]
    return None if None in within else max(map(abs, known))


def _slowdown(old: Mapping[str, Any], new: Mapping[str, Any]) -> float | None:
    """How much longer the calibration loop took in the new run, as a share."""
    was, now = _loop_ms(old), _loop_ms(new)
    return now / was - 1 if was and now else None


def _loop_ms(header: Mapping[str, Any]) -> float | None:
    took = ((header.get("noise") or {}).get("loop_ms") or {}).get("median")
    return None if took is None else float(took)


def _caveats(old: Mapping[str, Any], new: Mapping[str, Any], noise: float | None) -> list[str]:
    told = []
    for key in SAME:
        was, now = _flat(old.get(key)), _flat(new.get(key))
        names = [name for name in was | now if was.get(name) != now.get(name)]
        if names:
            told.append(f"not the same {key}: {_changes(names, was, now)}")
    if noise is None:
        told.append("how steady the machine was is not known of both runs")
    elif abs(slowdown := _slowdown(old, new) or 0.0) > WORSE_SHARE:
        word = "slower" if slowdown > 0 else "faster"
        told.append(f"the machine itself was {abs(slowdown):.0%} {word} in the new run")
    for name, header in (("old", old), ("new", new)):
        if header.get("interrupted"):
            told.append(f"the {name} run was interrupted")
    return told


def _changes(names: Sequence[str], was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    told = [
        f"{name} {was.get(name, terminal.NONE)} -> {now.get(name, terminal.NONE)}"
        for name in names[:NAMED]
    ]
    more = len(names) - len(told)
    return ", ".join(told) + (f", and {more} more" if more else "")


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted names."""
    if not isinstance(value, Mapping):
        return {path: value} if value is not None else {}
    found: dict[str, Any] = {}
    for name, one in value.items():
        found |= _flat(one, f"{path}.{name}" if path else str(name))
    return found


def _files(records: Iterable[Record]) -> list[str]:
    return sorted({record.file for record in records if record.repeat > 0})


def _without(names: Iterable[str], others: Iterable[str]) -> list[str]:
    there = set(others)
    return [name for name in names if name not in there]


def _both(found: Mapping[str, Any]) -> str:
    sides = [
        f"only the {side} one has {', '.join(names)}"
        for side in ("old", "new")
        if (names := [*found["only"][side]["variants"], *found["only"][side]["files"]])
    ]
    return "; ".join(sides) or "one of them has no turn beside its warm-up"


def _show(console: Console, found: Mapping[str, Any]) -> None:
    for name, one in found["variants"].items():
        console.print(_line(name, one))
        for file in one["lost"]:
            console.print(Text(f"  {file}: was replied to, and no longer is", "red"))
        failed = one["failed"]
        if failed["old"] or failed["new"]:
            console.print(Text(f"  turns without a reply: {failed['old']}, now {failed['new']}"))
    for side in ("old", "new"):
        for what, names in found["only"][side].items():
            if names:
                console.print(Text(f"note: {what} only in the {side} one: {', '.join(names)}"))
    for caveat in found["caveats"]:
        console.print(Text("warning: ", "yellow") + Text(caveat))
    worse = [name for name, one in found["variants"].items() if one["worse"]]
    if worse:
        console.print(Text(f"worse: {', '.join(worse)}", "bold red"))
    else:
        console.print(Text("nothing is worse", "bold"))


def _line(name: str, one: Mapping[str, Any]) -> Text:
    whole = one["voice_to_voice_ms"]
    line = Text.assemble((name, "bold"), ": ")
    if whole is None:
        return line.append("no recording was replied to in both, so nothing can be said of it")
    line.append(in_words(whole), terminal.colour(whole))
    if whole["verdict"] == "slower" and not one["worse"] and not whole["within_noise"]:
        line.append(f" (less than {WORSE_SHARE:.0%} or {WORSE_MS:.0f} ms)")
    line.append(
        f", {one['old_ms']:.0f} -> {one['new_ms']:.0f} ms: {terminal.change(whole)}, "
        f"{whole['n']} pairs by {one['paired_by']}"
    )
    parts = terminal.moved(one)
    return line.append(f"; moved: {parts}" if parts else "")
