"""The summary's figures, a table for each kind, paths side by side. None is made here.

A row holds a cell for each path: `value` in the row's `unit`, its 95 % interval `ci`, a `note`, and
the `difference` from the first path; a path without the figure has None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.compare.report.cells import Cell, cell, group, median, of, row, share
from pipeline.compare.report.figures import Variant, by_path
from pipeline.measure.stats import LEVEL
from pipeline.measure.waterfall import LABELS

TOPICS = {
    "answer": "Answers",
    "tools": "Tools",
    "instructions": "Instructions followed",
    "recall": "Recall",
    "interruption": "Memory of interrupted replies",
}
"""What checks are about, as the report calls it."""


def measures(
    summary: Mapping[str, Any], paths: Sequence[str], header: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The tables of all paths side by side; rows of which no path has anything are left out."""
    variants = by_path(summary)
    each = [variants.get(path, {}) for path in paths]
    groups = (
        _latency(each),
        _parts(each),
        _server(each, header),
        _understanding(each),
        _tools(each),
        _interruption(each),
        _heavy(each),
        _cost(each),
        _failures(each),
    )
    for one in groups:
        one["rows"] = [line for line in one["rows"] if any(line["cells"])]
    return [one for one in groups if one["rows"]]


def _latency(each: Sequence[Variant]) -> dict[str, Any]:
    def fillers(variant: Variant) -> str:
        count = of(variant, "answering", "fillers") or 0
        never = of(variant, "answering", "never") or 0
        told = [f"{count} after a filler"] if count else []
        return "; ".join([*told, f"{never} never"] if never else told)

    whole = "voice_to_voice_ms"
    return group(
        "Latency",
        "From the true end of the user's speech to the first audible sample of the reply, both by "
        f"the stereo WAV, with {LEVEL:.0%} intervals of the median.".replace("%", " %"),
        (
            row(
                "Median",
                "ms",
                (median(of(v, whole), "", of(v, "against_first", whole)) for v in each),
            ),
            *(
                row(label, "ms", (cell(of(v, whole, name)) for v in each))
                for name, label in (("p90", "90th percentile"), ("p95", "95th percentile"))
            ),
            row(
                "Unmeasurable turns",
                "count",
                (cell(of(v, "unmeasurable") or None) for v in each),
                "They were answered, but noise after the speech hides when it ended.",
            ),
            row("Slowest", "ms", (cell(of(v, whole, "max")) for v in each)),
            row(
                "Median to the answer",
                "ms",
                (
                    median(
                        of(v, "answering", "ms"),
                        fillers(v),
                        of(v, "against_first", "answering_ms"),
                    )
                    for v in each
                ),
                "To the first audible sample that is no filler such as \u201cone moment\u201d.",
            ),
        ),
    )


def _parts(each: Sequence[Variant]) -> dict[str, Any]:
    names = dict.fromkeys(name for v in each for name in of(v, "parts_ms") or ())
    order = [name for name in LABELS if name in names]
    return group(
        "Where the time went",
        "Medians of the parts of that latency, as traced here: they need not sum to the median of "
        "the whole. A speech model is one part: what it does inside is not told.",
        (
            row(
                LABELS[name],
                "ms",
                (
                    median(of(v, "parts_ms", name), "", of(v, "against_first", "parts_ms", name))
                    for v in each
                ),
            )
            for name in order
        ),
    )


def _server(each: Sequence[Variant], header: Mapping[str, Any]) -> dict[str, Any]:
    about = header.get("figures") or {}
    told = dict.fromkeys(name for v in each for name in of(v, "server_ms") or ())
    names = [*(name for name in about if name in told), *(n for n in told if n not in about)]
    return group(
        "The server's own figures",
        "Medians of what events of the other side tell. Published figures are mostly of these "
        "kinds, and leave out parts of what a user waits for: they do not compare with the latency "
        "above. The round trip, a part of most of them, is shown apart.",
        (
            *(
                row(
                    name.replace("_", " ").capitalize(),
                    "ms",
                    (median(of(v, "server_ms", name)) for v in each),
                    str(about.get(name, "")),
                )
                for name in names
            ),
            row(
                "Round trip",
                "ms",
                (median(of(v, "rtt_ms")) for v in each),
                "To the server and back, measured beside each conversation.",
            ),
            row(
                "Connecting",
                "ms",
                (median(of(v, "connect_ms")) for v in each),
                "Until the server was ready to hear; in no latency, for the connection is open.",
            ),
        ),
    )


def _understanding(each: Sequence[Variant]) -> dict[str, Any]:
    def errors(variant: Variant) -> Cell | None:
        stats = of(variant, "wer")
        if not stats:
            return None
        without = stats["without_transcript"]
        told = [f"{stats['errors']} of {stats['words']} words"] if stats["turns"] else []
        told += [f"{without} turns without a transcript"] if without else []
        return cell(stats["rate"], stats["ci95"], "; ".join(told))

    def undecided(stats: Any) -> str:
        count = (stats or {}).get("undecided")
        return f"{count} undecided" if count else ""

    topics = dict.fromkeys(topic for v in each for topic in of(v, "checks") or ())
    order = [*(t for t in TOPICS if t in topics), *(t for t in topics if t not in TOPICS)]
    return group(
        "Understanding and doing",
        "Shares of expectations that were met, with Wilson's 95 % intervals. A turn without a "
        "reply has met none.",
        (
            row(
                "Word error rate",
                "share",
                (errors(v) for v in each),
                "Of the transcript that the path gave, against what was said; less is better.",
            ),
            row(
                "All expectations",
                "share",
                (
                    share(
                        of(v, "expectations"),
                        undecided(of(v, "expectations")),
                        of(v, "against_first", "success"),
                    )
                    for v in each
                ),
                "The difference is of turns in which all were met.",
            ),
            *(
                row(
                    TOPICS.get(topic, topic),
                    "share",
                    (
                        share(of(v, "checks", topic), undecided(of(v, "checks", topic)))
                        for v in each
                    ),
                )
                for topic in order
            ),
        ),
    )


def _tools(each: Sequence[Variant]) -> dict[str, Any]:
    def at(variant: Variant, name: str) -> Cell | None:
        """The first or last turn in which a tool was wanted, as the difference has it."""
        points = of(variant, "tools", "by_turn") or []
        against = of(variant, "against_first", name)
        wanted = next((d["turn"] for v in each if (d := of(v, "against_first", name))), None)
        if wanted is None and points:
            wanted = points[0]["turn"] if name == "tools_first_turn" else last
        found = next((point for point in points if point["turn"] == wanted), None)
        return share(found, f"turn {wanted}", against)

    last = max(
        (point["turn"] for v in each for point in of(v, "tools", "by_turn") or ()), default=None
    )
    return group(
        "Tools",
        "Turns in which the right tool was called with the right arguments, and on time; Section 4 "
        "has them by turn and by length of the instructions.",
        (
            row(
                "All turns",
                "share",
                (
                    share(of(v, "tools", "overall"), "", of(v, "against_first", "tools"))
                    for v in each
                ),
            ),
            row("On the first turn", "share", (at(v, "tools_first_turn") for v in each)),
            row("On the last turn", "share", (at(v, "tools_last_turn") for v in each)),
            row(
                "Median time to the call",
                "ms",
                (median(of(v, "tools", "asked_ms")) for v in each),
                "From the true end of the user's speech.",
            ),
        ),
    )


def _interruption(each: Sequence[Variant]) -> dict[str, Any]:
    def loud(variant: Variant) -> str:
        count = of(variant, "interruption", "without_silence")
        return f"{count} never fell silent" if count else ""

    return group(
        "Interruptions",
        "What becomes of a reply when the user speaks into it.",
        (
            row(
                "Median time to silence",
                "ms",
                (median(of(v, "interruption", "silence_ms"), loud(v)) for v in each),
                "From the first voiced sample of the interruption to the last audible one of the "
                "reply.",
            ),
            row(
                "Right memory",
                "share",
                (share(of(v, "interruption", "history")) for v in each),
                "Whether the model's history holds what was heard, and nothing that was not.",
            ),
        ),
    )


def _heavy(each: Sequence[Variant]) -> dict[str, Any]:
    heavy = [of(v, "heavy_tools") or {} for v in each]

    def number(one: Mapping[str, Any], name: str) -> Cell | None:
        return cell(one.get(name))

    return group(
        "Heavy tools",
        "A tool takes half a minute or returns a great deal, while the user keeps talking.",
        (
            row("Still connected", "share", (share(one.get("connected")) for one in heavy)),
            row("Still answering", "share", (share(one.get("answering")) for one in heavy)),
            row("Slowest tool", "s", (number(one, "slowest_s") for one in heavy)),
            row("Largest result", "bytes", (number(one, "largest_bytes") for one in heavy)),
            row("Calls taken back", "count", (number(one, "cancelled") for one in heavy)),
        ),
    )


def _cost(each: Sequence[Variant]) -> dict[str, Any]:
    costs = [of(v, "cost") or {} for v in each]
    dates = sorted({one["prices_as_of"] for one in costs if one.get("prices_as_of")})

    def usd(one: Mapping[str, Any], name: str, ci: str = "", note: str = "") -> Cell | None:
        return cell(one.get(name), one.get(ci), note)

    when = f" Prices are of {', '.join(dates)}." if dates else ""
    return group(
        "Cost",
        "From the usage that was told and a table of prices; what is not known is not taken for "
        f"free.{when}",
        (
            row(
                "Per minute of conversation",
                "usd",
                (
                    usd(one, "per_minute_usd", "per_minute_ci95", one.get("note") or "")
                    for one in costs
                ),
            ),
            row(
                "Per minute that the user spoke",
                "usd",
                (usd(one, "per_speech_minute_usd") for one in costs),
            ),
            row("Per turn", "usd", (usd(one, "per_turn_usd") for one in costs)),
            row(
                "In all",
                "usd",
                (
                    usd(one, "usd", note=f"{one['conversations']} conversations")
                    if one.get("usd") is not None
                    else None
                    for one in costs
                ),
            ),
            row(
                "Processor, per minute",
                "s",
                (
                    cell(one.get("cpu_s_per_minute"), one.get("cpu_s_per_minute_ci95"))
                    for one in costs
                ),
                "Processor time of this machine; that of others, behind an API, is in the price.",
            ),
            row("Processor, per turn", "s", (cell(one.get("cpu_s_per_turn")) for one in costs)),
            row(
                "Energy, per minute",
                "J",
                (cell(one.get("joules_per_minute")) for one in costs),
                "Of the processor, where the machine tells.",
            ),
        ),
    )


def _failures(each: Sequence[Variant]) -> dict[str, Any]:
    def turns(variant: Variant) -> Cell | None:
        if "failed" not in variant:
            return None
        statuses = of(variant, "statuses") or {}
        bad = [f"{count} {name}" for name, count in statuses.items() if count and name != "ok"]
        total = sum(statuses.values())
        return cell(variant["failed"], None, "; ".join([f"of {total}", *bad]))

    def conversations(variant: Variant) -> Cell | None:
        stats = of(variant, "conversations")
        return cell(stats["failed"], None, f"of {stats['n']}") if stats else None

    return group(
        "Failures",
        "Turns without a reply are in no latency; Section 7 has the reasons.",
        (
            row("Turns that failed", "count", (turns(v) for v in each)),
            row("Conversations that broke off", "count", (conversations(v) for v in each)),
            row(
                "Connections lost and made again",
                "count",
                (cell(of(v, "conversations", "reconnects")) for v in each),
            ),
            row(
                "Replies with gaps",
                "count",
                (cell(of(v, "underruns", "turns")) for v in each),
                "The next sound was not there in time.",
            ),
        ),
    )
