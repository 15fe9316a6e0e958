"""What the report draws of the conversations: plain values for JSON. No statistics are made here.

Times are in ms. Those of a turn count from the true end of the user's speech.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.clock import NS_PER_S
from pipeline.compare.record import (
    Check,
    Conversation,
    MeasuredCall,
    Turn,
    simulations,
    source_of,
    titled,
)
from pipeline.compare.scoring import words
from pipeline.measure.html import sound
from pipeline.measure.html import turns as drawn
from pipeline.measure.html.turns import in_ms
from pipeline.trace import DIRECT_PARTS, PARTS

SHOWN = 2_000
"""Of a call's arguments so many characters are shown: a model may write megabytes."""

PART_NAMES = tuple(dict.fromkeys([*PARTS[:-2], *DIRECT_PARTS]))
"""Parts of the latency of either kind of path, in order."""


def paths(header: Mapping[str, Any], conversations: Sequence[Conversation]) -> list[dict[str, Any]]:
    """The paths as the header lists them, then those that only conversations have.

    `label` is what is shown: the name, with the stamp if any conversation of it was simulated.
    """
    listed = header.get("variants")
    names = list(listed) if isinstance(listed, Mapping) else []
    names = list(dict.fromkeys([*names, *(one.path for one in conversations)]))
    played = simulations(header, conversations)
    return [_path(name, conversations, played) for name in names]


def _path(
    name: str, conversations: Sequence[Conversation], played: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    facts = next((one.facts for one in conversations if one.path == name and one.facts), {})
    simulated = name in played
    return {
        "name": name,
        "label": titled(name, simulated),
        "simulated": simulated,
        "simulation": {**played[name], "source": source_of(played[name])} if simulated else {},
        "duplex": bool(facts.get("duplex")),
        "model": facts.get("model", ""),
        "host": facts.get("host", ""),
    }


def turns(conversations: Sequence[Conversation], labels: Mapping[str, str]) -> list[dict[str, Any]]:
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
    zero = drawn.zero_ns(record)
    return {
        **drawn.turn(number, record),
        "path": conversation.path,
        "title": label,
        "conversation": index,
        "scenario": conversation.scenario,
        "topic": conversation.topic,
        "repeat": conversation.repeat,
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
        "calls": [_call(call) for call in turn.calls],
        "checks": [_check(check) for check in turn.checks],
        "wav_start_ms": in_ms(record.wav_start_ns + turn.start_ns - zero),
        "offset_s": start_s,
        "window": f"#t={start_s:.3f},{end_s:.3f}" if end_s > start_s else "",
    }


def _call(call: MeasuredCall) -> dict[str, Any]:
    return {
        "name": call.name,
        "arguments": call.arguments[:SHOWN] + ("…" if len(call.arguments) > SHOWN else ""),
        "asked_ms": in_ms(call.asked_ns),
        "answered_ms": in_ms(call.answered_ns),
        "cancelled": call.cancelled,
        "bytes": call.result_bytes,
    }


def _check(check: Check) -> dict[str, Any]:
    return {
        "kind": check.kind,
        "wanted": check.wanted,
        "met": check.met,
        "found": check.found,
        "topic": check.topic,
    }


def diff(said: str, heard: str) -> list[list[str]]:
    """How the words understood differ from those said, as stretches: [kind, said, heard].

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
    listed = header.get("scenarios")
    known = list(listed) if isinstance(listed, Mapping) else []
    order = list(dict.fromkeys([*known, *(turn["scenario"] for turn in turns)]))
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
                "turns": [],
            },
        )
        row["said"] = row["said"] or turn["expected"]
        row["turns"].append(turn["id"])
    keys = sorted(found, key=lambda key: (key[1] == 0, order.index(key[0]), key[1], key[2]))
    return [{"id": number, **found[key]} for number, key in enumerate(keys)]


def broken(
    conversations: Sequence[Conversation], labels: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Conversations that failed or lost their connection on the way, with the reason."""
    return [
        {
            "title": labels[one.path],
            "scenario": one.scenario,
            "repeat": one.repeat,
            "status": one.status,
            "reason": one.reason,
            "reconnects": one.reconnects,
        }
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
    room = sound.Room(most)
    by_conversation: dict[int, list[dict[str, Any]]] = {}
    for turn in turns:
        by_conversation.setdefault(turn["conversation"], []).append(turn)

    def urgency(index: int) -> tuple[bool, bool, int, str, int]:
        one = conversations[index]
        well = all(turn["status"] == "ok" for turn in by_conversation[index])
        return one.repeat == 0, well, one.repeat, one.scenario, one.order

    for index in sorted(by_conversation, key=urgency):
        path = sound.recording(folder, conversations[index].wav)
        whole = sound.read(path) if path else None
        for turn, recorded in zip(by_conversation[index], conversations[index].turns, strict=True):
            turn |= room.take(turn["id"], _window(whole, recorded))
    return room.inside


def _window(whole: sound.Stereo | None, turn: Turn) -> sound.Stereo | None:
    """A turn's part of its conversation's sound; None if there is none."""
    if whole is None:
        return None
    first, last = (ns * sound.RATE // NS_PER_S for ns in (turn.start_ns, turn.end_ns))
    cut = whole[max(0, first) : max(0, last)]
    return cut if len(cut) else None
