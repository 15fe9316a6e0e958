"""A report's page: one file that opens offline, with all figures, waterfalls and sound in it.

Templates make the markup, so that all of it can be read where no script runs. The script sorts,
filters and opens rows, and draws the waterfalls of those that are open. The content security policy
forbids everything that is not inside, so that no transcript can do more than be text.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2

from pipeline.measure import waterfall
from pipeline.measure.stats import in_words
from pipeline.measure.summary import of
from pipeline.measure.terminal import count

MINUS = "\u2212"
NONE = "\u2013"
"""What stands where there is nothing."""

DRAWN = (
    *("id", "title", "from_speech_end", "blocking", "marks", "spans", "peaks"),
    *("sound", "seconds", "wav", "wav_start_ms", "window", "offset_s"),
)
"""What the script needs to know of a turn, of what `waterfall.turn` and `waterfall.Room` tell."""

DOTS_PX = 28
"""Height of a strip's dots."""


def render(
    package: str,
    template: str,
    values: Mapping[str, Any],
    turns: Sequence[Mapping[str, Any]],
    sounds: Mapping[int, str],
) -> str:
    """The whole file.

    Args:
        package: The package whose folder `templates` has the template.
        template: Its name; it extends `page.html`.
        values: What it shows; anything that `plain` takes.
        turns: What the script draws: of `waterfall.turn`, with what `waterfall.Room` told of each.
        sounds: Base64 FLAC by number of turn.
    """
    style, script = _resource("look.css") + _resource("report.css"), _resource("report.js")
    drawn = [{name: turn[name] for name in DRAWN if name in turn} for turn in turns]
    parts = waterfall.parts(waterfall.LABELS)
    common = {
        "part_of": {part["name"]: part for part in parts},
        "style": style,
        "style_hash": _hash(style),
        "script": script,
        "script_hash": _hash(script),
        "drawn": {"peak_ms": waterfall.PEAK_MS, "parts": parts, "turns": plain(drawn)},
        "sounds": dict(sorted(sounds.items())),
    }
    return _environment(package).get_template(template).render({**common, **plain(values)})


def plain(value: Any) -> Any:
    """`value` as JSON can hold it: what is no finite number becomes None, what is unknown text."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (str, bool, int)) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Sequence):
        return [plain(inner) for inner in value]
    return str(value)


def ms(value: Any) -> str:
    """A number of milliseconds, one decimal below 100; a dash where there is none."""
    if not isinstance(value, (int, float)):
        return NONE
    text = f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"
    return "0.0" if text == "-0.0" else text.replace("-", MINUS)


def signed(value: Any) -> str:
    """Likewise with its sign."""
    return f"+{ms(value)}" if isinstance(value, (int, float)) and value >= 0.05 else ms(value)


def interval(stats: Any) -> str:
    """The 95 % interval of some statistics; empty where there is none."""
    low, high = (stats or {}).get("ci95") or (None, None)
    if low is None or high is None or (stats["median"] == low == high == 0):
        return ""
    return f"[{ms(low)}, {ms(high)}]"


def whole(value: Any) -> str:
    """A number without decimals, such as of decibels; a dash where there is none."""
    return f"{value:.0f}".replace("-", MINUS) if isinstance(value, (int, float)) else NONE


def words(text: str) -> list[str]:
    """The words of a text, without case and punctuation."""
    return re.sub(r"[^\w\s]|_", "", text.lower()).split()


def in_unit(value: Any, unit: str) -> str:
    """A figure in its unit, such as `ms`, `share` or `usd`; a dash where there is none."""
    if isinstance(value, str):
        return value
    if not isinstance(value, (int, float)):
        return NONE
    percent = 100 * value
    share = f"{percent:.1f}" if percent and abs(percent) < 10 else f"{percent:.0f}"
    decimal = f"{value:.{0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2}f}"
    texts = {
        "ms": f"{ms(value)}\u00a0ms",
        "share": f"{share}\u00a0%",
        "points": f"{share}\u00a0points",
        "s": f"{decimal}\u00a0s",
        "J": f"{decimal}\u00a0J",
        "count": f"{value:g}",
        "bytes": f"{value:,}\u00a0bytes".replace(",", "\u202f"),
        "usd": f"${value:.2g}" if abs(value) < 0.1 else f"${value:.2f}",
    }
    return texts[unit].replace("-", MINUS)


def span(ci: Any, unit: str) -> str:
    """An interval in a unit, without the unit; empty where there is none."""
    if not ci or any(not isinstance(end, (int, float)) for end in ci):
        return ""
    return f"[{', '.join(in_unit(end, unit).partition(chr(0xA0))[0] for end in ci)}]"


def started(text: str) -> str:
    """The time of a run's header, for people."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(?::\d\d)?([+-]\d\d):?(\d\d)", text)
    if not match:
        return text
    day, time, hours, minutes = match.groups()
    return f"{day} {time} (UTC{hours.replace('-', MINUS)}:{minutes})"


def setting(value: Any) -> str:
    """A value of a setting."""
    if value is None or value == "":
        return NONE
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def lines(value: Any, joined: bool = False, name: str = "") -> Iterator[tuple[str, str]]:
    """Nested values as lines of a dotted name and a text.

    Args:
        value: What to show.
        joined: Whether each group at the end of a branch is one line.
        name: What the value itself is called.
    """
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = {str(index): inner for index, inner in enumerate(value)}
    if not isinstance(value, Mapping):
        if name:
            yield name, setting(value)
    elif joined and name and not any(isinstance(one, (Mapping, list)) for one in value.values()):
        yield name, ", ".join(f"{key} {setting(one)}" for key, one in value.items())
    else:
        for key, one in value.items():
            yield from lines(one, joined, f"{name}.{key}" if name else key)


@dataclass(frozen=True, slots=True)
class Axis:
    """A horizontal axis, whose positions are shares of a width that the page decides.

    Attributes:
        low: The value at its left end.
        high: At its right end; above `low`.
        pad: How far inside the figure both ends are (percent of its width).
    """

    low: float
    high: float
    pad: float = 0.8

    def at(self, value: float) -> float:
        """Where a value is (percent of the figure's width)."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.pad + share * (100 - 2 * self.pad), 2)

    def ticks(self, most: int) -> list[dict[str, Any]]:
        """At most so many round values, each with its place `x`, its `text` and its `anchor`."""
        span = self.high - self.low
        power = 10.0 ** math.floor(math.log10(span / most))
        step = next((k * power for k in (1, 2, 5, 10) if span / (k * power) <= most), span)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        found = []
        for value in (float(f"{index * step:.12g}") for index in range(first, last + 1)):
            x = self.at(value)
            anchor = "start" if x < 3 else "end" if x > 97 else "middle"
            found.append({"x": x, "text": f"{value:g}".replace("-", MINUS), "anchor": anchor})
        return found


@dataclass(frozen=True, slots=True)
class Group:
    """What has a row of its own in every distribution: a variant, a system.

    Attributes:
        label: Its name.
        figures: What the summary says of it.
        turns: Its turns as the page has them, each with what is told `about` it.
        mark: Class of its colour in the panels of the whole latency.
    """

    label: str
    figures: Mapping[str, Any]
    turns: Sequence[Mapping[str, Any]]
    mark: str = ""


def distributions(
    groups: Sequence[Group], parts: Iterable[str], *, answers: bool = False
) -> list[dict[str, Any]]:
    """Panels in which each turn is a dot: `kind`, `title`, and what is `drawn` (see `strips`).

    Args:
        groups: Whose turns; the warm-up and what has no latency are left out.
        parts: Of the latency, each of which has a panel below that of the whole.
        answers: Whether there is a panel of the latency to the answer, after fillers.
    """
    # Kind, title; where a turn has the value; where the summary has its statistics.
    panels = [("total", "Voice to voice (ms, by the WAV)", "wav_ms", "voice_to_voice_ms")]
    if answers:
        title = "To the first sound that answers (ms, by the WAV)"
        panels.append(("total", title, "answering_ms", "answering.ms"))
    for part in parts:
        title = f"{waterfall.LABELS[part]} (ms)"
        panels.append((part, title, f"parts.{part}", f"parts_ms.{part}"))
    found = []
    for kind, title, value, stats in panels:
        total = kind == "total"
        rows = []
        for group in groups:
            counted = (one for one in group.turns if one["repeat"] and one["wav_ms"] is not None)
            measured = ((of(one, value), one["id"], one["about"]) for one in counted)
            if dots := [dot for dot in measured if dot[0] is not None]:
                mark = group.mark if total else ""
                about = {"label": group.label, "mark": mark, "stats": of(group.figures, stats)}
                rows.append({**about, "dots": dots})
        if drawn := strips(rows, share=total, bins=180 if total else 90):
            found.append({"kind": kind, "title": title, "drawn": drawn})
    return found


def strips(groups: Sequence[dict[str, Any]], share: bool, bins: int) -> dict[str, Any] | None:
    """Every turn as a dot, a strip for each group; None where there is nothing to draw.

    Args:
        groups: Each with its `label`, its `stats`, and its `dots`: value (ms), number of the turn,
            what is told of it.
        share: Whether a line shows the share of turns at or below each value.
        bins: Dots in the same of so many parts of the width are piled up.
    """
    values = [value for group in groups for value, *_ in group["dots"]]
    if not values:
        return None
    low, high = min(0, *values), max(1, *values)
    axis = Axis(low, high + (high - low) * 0.02)
    piles = [_piled(group["dots"], axis, bins) for group in groups]
    highest = max((level for pile in piles for *_, level in pile), default=0)
    pitch = min(5.0, (DOTS_PX - 5) / max(highest, 1))
    rows = []
    for group, pile in zip(groups, piles, strict=True):
        stats = group["stats"] or {}
        ends = stats.get("ci95") or ()
        rows.append(
            {
                **group,
                "dots": [
                    (x, round(DOTS_PX - 3 - level * pitch, 1), number, f"{ms(value)} ms\n{about}")
                    for x, value, number, about, level in pile
                ],
                "share": _share_line([x for x, *_ in pile]) if share and pile else "",
                "median": None if stats.get("median") is None else axis.at(stats["median"]),
                "p90": None if stats.get("p90") is None else axis.at(stats["p90"]),
                "ci": [axis.at(end) for end in ends if end is not None],
            }
        )
    return {"rows": rows, "ticks": axis.ticks(6), "many": pitch < 3}


def _piled(
    dots: Sequence[Sequence[Any]], axis: Axis, bins: int
) -> list[tuple[float, float, int, str, int]]:
    """Place, value, number, what is told, and how many dots are below, in the order of places."""
    levels: dict[int, int] = {}
    found = []
    for value, number, about in sorted(dots, key=lambda dot: float(dot[0])):
        x = axis.at(value)
        place = int(x * bins / 100)
        levels[place] = levels.get(place, -1) + 1
        found.append((x, value, number, about, levels[place]))
    return found


def _share_line(places: Sequence[float]) -> str:
    """The share of dots at or left of each place, as a path in a box of 100 by 100."""
    steps = [f"H{x}V{100 - 100 * (n + 1) / len(places):.1f}" for n, x in enumerate(places)]
    return f"M0 100{''.join(steps)}H100"


@functools.cache
def _environment(package: str) -> jinja2.Environment:
    loaders = [jinja2.PackageLoader(name) for name in dict.fromkeys((package, __package__))]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.ChainableUndefined,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    numbers = (ms, signed, interval, whole, in_unit, span, count)
    texts = (in_words, words, started, setting, lines)
    environment.filters |= {shown.__name__: shown for shown in (*numbers, *texts)}
    return environment


def _hash(content: str) -> str:
    """What a content security policy knows an inline element by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _resource(name: str) -> str:
    folder = resources.files(__package__).joinpath("templates")
    return folder.joinpath(name).read_text(encoding="utf-8")
