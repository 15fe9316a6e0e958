"""The report of a comparison: one file, in which every utterance's replies are seen and heard.

All figures come from the summary; here they are only laid out. Where a simulated server had a part
in the run, the stamp is in the markup: on the title, above the page, and on every section, table
and figure.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipeline.clock import NS_PER_S
from pipeline.compare import figures, selectivity
from pipeline.compare import summary as summaries
from pipeline.compare.by_condition import note_of
from pipeline.compare.conditions import CLEAN
from pipeline.compare.cost import Prices
from pipeline.compare.record import SYSTEM, Conversation, simulations, source_of, titled
from pipeline.compare.results import Summary
from pipeline.compare.scoring import words
from pipeline.measure import gates, junit, report, waterfall
from pipeline.measure.record import MeasuredCall, Turn, TurnTaking
from pipeline.measure.report import Axis
from pipeline.measure.run import REPORT, SUMMARY, TURNS, Files, as_csv, as_json
from pipeline.measure.summary import by_variant, of
from pipeline.measure.waterfall import in_ms
from pipeline.speech_to_speech.brief import STAMP
from pipeline.trace import DIRECT_PARTS, PARTS

SECTIONS = (
    ("verdict", "Verdict"),
    ("paths", "Side by side"),
    ("latency", "Latency of every turn"),
    ("curves", "By turn, length and condition"),
    ("utterances", "Utterances"),
    ("history", "After interruptions"),
    ("failures", "What failed"),
    ("method", "How it was measured"),
)
"""Blocks of the template, and their headings."""

COLUMNS = 4
"""So many paths have a column in the table of utterances; the others are in its rows."""

CURVE_PX, WIDE_PX, NARROW_PX, LETTER_PX = 210, 380, 330, 6.8
"""Height of a curve, from its first tick to its last, its width on a phone, and the width of a
letter on its axis."""

SHOWN = 2_000
"""Of a call's arguments so many characters are shown: a model may write megabytes."""

PART_NAMES = tuple(dict.fromkeys([*PARTS[:-2], *DIRECT_PARTS]))
"""Parts of the latency of either kind of path, in order."""


def files(
    folder: Path,
    header: Mapping[str, Any],
    conversations: Sequence[Conversation],
    summary: Summary,
    table: Prices,
) -> Files:
    """What a comparison leaves beside its conversations: tables, the report, `junit.xml`."""
    return {
        SUMMARY: lambda: as_json(summary),
        TURNS: lambda: as_csv(summaries.COLUMNS, summaries.rows(summary, conversations, table)),
        REPORT: lambda: rendered(folder, header, conversations, summary),
        junit.NAME: lambda: junit.rendered(
            "compare", header, summary, summaries.cases(header, conversations)
        ),
    }


def rendered(
    folder: Path,
    header: Mapping[str, Any],
    conversations: Sequence[Conversation],
    summary: Mapping[str, Any],
    sound_bytes: int = waterfall.MOST_BYTES,
) -> str:
    """The page of a comparison: `report.html` in its folder.

    Args:
        folder: The comparison's, in which the WAVs are.
        header: What describes the run.
        conversations: All of them, warm-up included.
        summary: Of `compare.summary.summarise`.
        sound_bytes: Most sound to embed (bytes of base64).
    """
    shown = content(header, conversations, summary)
    sounds = embed(folder, conversations, shown["turns"], sound_bytes)
    return page(shown, sounds)


def content(
    header: Mapping[str, Any], conversations: Sequence[Conversation], summary: Mapping[str, Any]
) -> dict[str, Any]:
    """What the report shows."""
    listed = systems(header, conversations)
    names = [one["name"] for one in listed]
    labels = {one["name"]: one["label"] for one in listed}
    turns = drawn_turns(conversations, labels)
    clean_only = CLEAN in (summary.get("conditions") or ())
    for turn in turns:
        turn["headline"] = not (clean_only and turn["condition"])
    stamped = any(one["simulated"] for one in listed)
    variants = figures.by_path(summary)
    return {
        "title": "Cascade comparison",
        "stamp": STAMP if stamped else "",
        "header": dict(header),
        "sections": SECTIONS,
        "paths": listed,
        "verdict": summary.get("verdict") or [],
        "gates": [gates.shown(one) for one in summary.get("gates") or ()],
        "warnings": summary.get("warnings") or [],
        "counted_note": note_of(summary.get("conditions") or ()),
        "measures": figures.measures(summary, names, header),
        "panels": report.distributions(
            [
                report.Group(
                    one["label"],
                    variants.get(one["name"], {}),
                    [
                        turn
                        for turn in turns
                        if turn["path"] == one["name"] and turn["headline"] and turn["timed"]
                    ],
                    f"p-{index % 6}",
                )
                for index, one in enumerate(listed)
            ],
            PART_NAMES,
            answers=any(of(one, "answering.fillers") for one in variants.values()),
        ),
        "curves": figures.curves(summary, names),
        "prices": figures.prices(summary),
        "turns": turns,
        "rows": rows(turns, header, names),
        "broken": broken(conversations, labels),
    }


def page(shown: Mapping[str, Any], sounds: Mapping[int, str]) -> str:
    """The file.

    Args:
        shown: Of `content`, each turn with what `embed` told of its sound.
        sounds: Base64 FLAC by number of turn.
    """
    turns, paths, header = shown["turns"], shown["paths"], shown["header"]
    places = {(turn["conversation"], turn["number"]): turn for turn in turns}
    followed = [
        (turn, after)
        for turn in turns
        if turn["repeat"] and (after := places.get((turn["conversation"], turn["number"] + 1)))
    ]
    values = {
        **shown,
        "counted": [turn for turn in turns if turn["repeat"]],
        "interrupted": [
            (turn, after, [one for one in turn["checks"] if one["kind"].startswith("history")])
            for turn, after in followed
            if after["interrupts"]
        ],
        "unmet": [
            (turn, check)
            for turn in turns
            for check in turn["checks"]
            if turn["repeat"] and check["met"] is not True
        ],
        "missed": [
            (turn, kind, check)
            for turn in turns
            for kind, checks in (
                ("understood", turn["entities"]),
                ("in the sound", (turn["fidelity"] or {}).get("entities", ())),
            )
            for check in checks
            if turn["repeat"] and check["met"] is False
        ],
        "standings": sorted({standing for turn in turns for standing in _standing(turn)}),
        "rows": [_row(row, turns) for row in shown["rows"]],
        "columns": _columns(paths),
        "column_count": COLUMNS,
        "setups": {one["label"]: (header.get("variants") or {}).get(one["name"]) for one in paths},
        "scenarios": {
            name: json.dumps(one, indent=2, ensure_ascii=False)
            for name, one in (header.get("scenarios") or {}).items()
        },
        "curves": [_curve(one, paths) for one in shown["curves"]],
    }
    return report.render("pipeline.compare", "compare.html", values, turns, sounds)


def _columns(paths: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, str]]:
    """Of the table of utterances: key, label, class, and what it is."""
    latency = "Voice-to-voice latency by the WAV (ms)"
    return [
        ("utterance", "Utterance", "file", ""),
        ("said", "Said", "wide text", ""),
        ("topic", "Topic", "wide", ""),
        ("repeat", "Rep.", "num", "Repetition"),
        *((f"path {one['name']}", one["label"], "wide num", latency) for one in paths[:COLUMNS]),
    ]


def _row(row: Mapping[str, Any], turns: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """An utterance with its turns, and what it is found by."""
    mine = [turns[number] for number in row["turns"]]
    words = [row["scenario"], row["said"]]
    for turn in mine:
        words += [turn["transcript"], turn["reply"], turn["reason"]]
        words += [call["name"] for call in turn["calls"]]
    facets = [
        {
            "Path": [turn["title"]],
            "Scenario": [row["scenario"]],
            "Asks for": [turn["outcome"]],
            "Status": _standing(turn),
        }
        for turn in mine
    ]
    return {**row, "mine": mine, "words": words, "facets": facets}


def _standing(turn: Mapping[str, Any]) -> list[str]:
    """What a turn may be filtered by."""
    met = [check["met"] for check in turn["checks"]]
    unmet = ["check not met"] if False in met else []
    undecided = ["check undecided"] if None in met else []
    taking = [turn["taking"]] if turn["timed"] and turn["taking"] else []
    missed = any(check["met"] is False for check in turn["entities"])
    other = (turn["fidelity"] or {}).get("errors")
    words = [*(["entity missed"] if missed else []), *(["sound differs"] if other else [])]
    return [turn["shown"], *taking, *unmet, *undecided, *words]


def _curve(one: Mapping[str, Any], paths: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A curve of `figures.curves`, laid out: places across in percent, down in pixels."""
    unit = one["unit"]
    low, high = one["ticks"][0][0], one["ticks"][-1][0]
    axis = Axis(low, high, pad=11) if high > low else Axis(low - 1, high + 1, pad=11)
    labels = dict(one["ticks"])
    apart = min(1.2, 50 / len(labels) / (len(one["series"]) + 1))

    known = [point for series in one["series"] for point in series["points"]]
    ends = [end for point in known for end in (point["value"], *(point["ci"] or ()))]
    # Shares are drawn from nothing to all, unless they are more: a word may be misheard as two.
    upward = Axis(min(0, *ends), max(1 if unit == "share" else 0, *ends), pad=0)

    def down(value: float) -> float:
        return round(16 + (1 - upward.at(value) / 100) * CURVE_PX, 1)

    def point(series: Mapping[str, Any], row: int, found: Mapping[str, Any]) -> dict[str, Any]:
        told = [
            f"{report.in_unit(found['value'], unit)} ({found['among']})",
            paths[series["path"]]["label"],
            f"{one['axis']} {labels[found['x']]}",
            f"95 % interval {report.span(found['ci'], unit)}" if found["ci"] else "",
        ]
        return {
            **found,
            "at": found["x"],
            "x": round(axis.at(found["x"]) + (row - (len(one["series"]) - 1) / 2) * apart, 2),
            "y": down(found["value"]),
            "ends": [down(end) for end in found["ci"] or ()],
            "about": [text for text in told if text],
        }

    # Names that would run into each other are numbers on the axis, and stand below it.
    longest = max(map(len, labels.values()), default=0) + 1
    numbered = longest * LETTER_PX * (len(labels) - 1) > WIDE_PX
    told = [f"{place}: {label}" for place, label in enumerate(labels.values(), 1)]
    ticks, taken = [], -100.0
    for place, (value, label) in enumerate(one["ticks"], 1):
        text = str(place) if numbered else label
        half = len(text) * LETTER_PX / 2 / NARROW_PX * 100
        fits = axis.at(value) - half > taken
        taken = axis.at(value) + half if fits else taken
        tick = {"x": axis.at(value), "at": value, "text": text, "label": label, "fits": fits}
        ticks.append(tick)
    return {
        **one,
        "note": f"{one['note']} {'; '.join(told)}." if numbered else one["note"],
        "ticks": ticks,
        "levels": [(down(level), report.in_unit(level, unit)) for level in _levels(upward, unit)],
        "series": [
            {**series, "points": [point(series, row, found) for found in series["points"]]}
            for row, series in enumerate(one["series"])
        ],
    }


def _levels(upward: Axis, unit: str) -> list[float]:
    """Where a curve has a line across."""
    if unit == "share":
        return [quarter * upward.high / 4 for quarter in range(5)]
    return [float(tick["text"].replace(report.MINUS, "-")) for tick in upward.ticks(5)]


def systems(
    header: Mapping[str, Any], conversations: Sequence[Conversation]
) -> list[dict[str, Any]]:
    """The systems as the header lists them, then those that only conversations have.

    `label` is what is shown: the name, with the stamp if any conversation of it was simulated.
    """
    played = simulations(header, conversations)
    found = []
    for name, mine in by_variant(header, conversations, SYSTEM).items():
        facts = next((one.facts for one in mine if one.facts), {})
        about = played.get(name)
        found.append(
            {
                "name": name,
                "label": titled(name, name in played),
                "simulated": name in played,
                "simulation": {} if about is None else {**about, "source": source_of(about)},
                "duplex": bool(facts.get("duplex")),
                "model": facts.get("model", ""),
                "host": facts.get("host", ""),
            }
        )
    return found


def drawn_turns(
    conversations: Sequence[Conversation], labels: Mapping[str, str]
) -> list[dict[str, Any]]:
    """All turns of all conversations, each with its number in this list as `id`.

    Args:
        conversations: In the order in which they were held.
        labels: What each path is called, stamp included.
    """
    found: list[dict[str, Any]] = []
    for index, conversation in enumerate(conversations):
        for turn in conversation.turns:
            found.append(_turn(len(found), index, conversation, turn, labels[conversation.path]))
    return found


def _turn(
    number: int, index: int, conversation: Conversation, turn: Turn, label: str
) -> dict[str, Any]:
    record = turn.record
    start_s, end_s = turn.start_ns / NS_PER_S, turn.end_ns / NS_PER_S
    zero = waterfall.zero_ns(record)
    where = f"{conversation.scenario} turn {turn.number}"
    drawn = waterfall.turn(number, record)
    taking = selectivity.told(turn)
    return {
        **drawn,
        "shown": drawn["shown"] if turn.timed else taking or drawn["shown"],
        "timed": turn.timed,
        "outcome": turn.outcome,
        "taking": taking,
        "times": _times(turn.taking),
        "path": conversation.path,
        "title": label,
        "about": f"{where}, repeat {conversation.repeat}\n{label}",
        "conversation": index,
        "scenario": conversation.scenario,
        "topic": conversation.topic,
        "repeat": conversation.repeat,
        "condition": conversation.condition,
        "heard": quote(conversation.heard),
        "number": turn.number,
        "instruction_chars": conversation.instruction_chars,
        "conversation_reason": conversation.reason,
        "answering_ms": in_ms(turn.answering_ns),
        "server_ms": dict(turn.server_ms),
        "silence_ms": in_ms(turn.silence_ns),
        "interrupts": turn.interrupts,
        "kept": turn.kept,
        "word_errors": turn.word_errors,
        "words": turn.words,
        "diff": diff(record.expected, record.transcript),
        "entities": [dataclasses.asdict(check) for check in turn.entities],
        "fidelity": turn.fidelity
        and {**dataclasses.asdict(turn.fidelity), "diff": diff(record.reply, turn.fidelity.read)},
        "calls": [_call(call) for call in turn.calls],
        "checks": [dataclasses.asdict(check) for check in turn.checks],
        "wav_start_ms": in_ms(record.wav_start_ns + turn.start_ns - zero),
        "offset_s": start_s,
        "window": f"#t={start_s:.3f},{end_s:.3f}" if end_s > start_s else "",
    }


def _times(taking: TurnTaking | None) -> dict[str, float]:
    """How long what took that is told of who spoke when (ms)."""
    if taking is None:
        return {}
    ns = {
        "cut in before the end by": taking.cut_in_ns,
        "both spoke for": taking.talk_over_ns or None,
        "silent after": taking.ended_ns if taking.stopped else None,
        "quieter after": taking.ducked_ns,
        "back after": taking.back_ns,
        "answered after": taking.spurious_ns,
    }
    return {name: value / 1e6 for name, value in ns.items() if value is not None}


def _call(call: MeasuredCall) -> dict[str, Any]:
    return {
        "name": call.name,
        "arguments": call.arguments[:SHOWN] + ("…" if len(call.arguments) > SHOWN else ""),
        "asked_ms": in_ms(call.asked_ns),
        "answered_ms": in_ms(call.answered_ns),
        "cancelled": call.cancelled,
        "bytes": call.result_bytes,
    }


def diff(said: str, heard: str) -> list[list[str]]:
    """How the words heard differ from those said, as stretches: [kind, said, heard].

    A kind is `same`, `changed`, `missing` or `extra`; words are as `scoring.words` has them: so
    they are counted. Empty where nothing differs or one of them is not known.
    """
    before, after = words(said), words(heard)
    if not before or not after or before == after:
        return []
    kinds = {"equal": "same", "replace": "changed", "delete": "missing", "insert": "extra"}
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    return [
        [kinds[kind], " ".join(before[a:b]), " ".join(after[c:d])]
        for kind, a, b, c, d in matcher.get_opcodes()
    ]


def rows(
    turns: Sequence[Mapping[str, Any]], header: Mapping[str, Any], names: Sequence[str]
) -> list[dict[str, Any]]:
    """The utterances: of each scenario, repeat and number, which turns (ids) the paths have.

    In the order of the scenarios, the warm-up last; the turns in the order of the paths' `names`.
    """
    listed = header.get("scenarios") or {}
    order = list(dict.fromkeys([*listed, *(turn["scenario"] for turn in turns)]))
    found: dict[tuple[str, int, int], dict[str, Any]] = {}
    for turn in sorted(turns, key=lambda turn: names.index(turn["path"])):
        key = (turn["scenario"], turn["repeat"], turn["number"])
        row = found.setdefault(
            key,
            {
                "scenario": turn["scenario"],
                "topic": turn["topic"],
                "repeat": turn["repeat"],
                "number": turn["number"],
                "said": "",
                "recording": _recording(listed, turn),
                "turns": [],
            },
        )
        row["said"] = row["said"] or turn["expected"]
        row["turns"].append(turn["id"])
    keys = sorted(found, key=lambda key: (key[1] == 0, order.index(key[0]), key[1], key[2]))
    return [{"id": number, **found[key]} for number, key in enumerate(keys)]


def _recording(scenarios: Mapping[str, Any], turn: Mapping[str, Any]) -> str:
    """The name of what was played, where a header tells."""
    steps = of(scenarios.get(turn["scenario"]), "steps") or ()
    return "".join(str(step.get("path", "")) for step in steps[turn["number"] - 1 :][:1])


def broken(
    conversations: Sequence[Conversation], labels: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Conversations that failed or lost their connection on the way, with the reason."""
    told = ("scenario", "repeat", "status", "reason", "reconnects")
    return [
        {"title": labels[one.path], **{name: getattr(one, name) for name in told}}
        for one in conversations
        if one.status != "ok" or one.reconnects
    ]


def embed(
    folder: Path,
    conversations: Sequence[Conversation],
    turns: Sequence[dict[str, Any]],
    most: int,
) -> dict[int, str]:
    """Sound by number of turn, as much as fits; tells each turn what there is of its own.

    What went wrong comes first, then the first repeat of all paths, so that what can be heard of
    an utterance can be heard of each; the warm-up comes last.
    """
    room = waterfall.Room(most)
    by_conversation: dict[int, list[dict[str, Any]]] = {}
    for turn in turns:
        by_conversation.setdefault(turn["conversation"], []).append(turn)

    def urgency(index: int) -> tuple[bool, bool, int, str, int]:
        one = conversations[index]
        well = all(turn["status"] == "ok" for turn in by_conversation[index])
        return one.repeat == 0, well, one.repeat, one.scenario, one.order

    for index in sorted(by_conversation, key=urgency):
        whole = waterfall.read(folder, conversations[index].wav)
        for turn, recorded in zip(by_conversation[index], conversations[index].turns, strict=True):
            turn |= room.take(turn["id"], _window(whole, recorded))
    return room.inside


def _window(whole: waterfall.Stereo | None, turn: Turn) -> waterfall.Stereo | None:
    """A turn's part of its conversation's sound; None if there is none."""
    if whole is None:
        return None
    first, last = (ns * waterfall.RATE // NS_PER_S for ns in (turn.start_ns, turn.end_ns))
    cut = whole[max(0, first) : max(0, last)]
    return cut if len(cut) else None
