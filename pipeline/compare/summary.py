"""A comparison in figures: `summary.json`, `turns.csv`, and what the terminal and the report show.

The format is a profile's, with systems as variants; what a comparison adds stands beside it. All of
it is computed from the conversations. Wherever the other end was simulated, the name of the system
says so, and `simulated` is true in the summary, in the variant, and in what is compared with it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from pipeline.compare import cost, scoring, selectivity
from pipeline.compare.by_condition import axis, by_condition, headline
from pipeline.compare.record import SYSTEM, Conversation, simulations, titled
from pipeline.compare.results import AnswerTimes, FailedTurn, Summary, SystemResult
from pipeline.compare.scenario import COMPARED
from pipeline.compare.verdict import verdict
from pipeline.measure import gates, junit
from pipeline.measure.record import Record, Turn
from pipeline.measure.stats import Spread, describe
from pipeline.measure.summary import (
    DESCRIBED,
    HIDEABLE,
    against,
    by_variant,
    figures,
    noise_of,
    rounded,
    row,
    sound,
    warnings,
)
from pipeline.measure.terminal import count
from pipeline.speech_to_speech.brief import STAMP
from pipeline.trace import DIRECT_PARTS, DIRECT_STAGES, PARTS

TAKEN = (*DESCRIBED, "repeat", "figures", "judge", "fidelity", "together")
"""What the summary takes over from the conversations' header."""

DIRECT_HIDEABLE = tuple(name for name, _, _ in DIRECT_STAGES)

USD_DIGITS = 6
"""Decimals of dollars: a turn costs fractions of a cent."""

ADDED = tuple(name for name in DIRECT_PARTS if name not in PARTS)

TAKINGS = ("cut_in", "talk_over", "ended", "ducked", "back", "spurious")
"""Times of `measure.record.TurnTaking`."""

COLUMNS = (
    *("variant", "file", "repeat", "status", "voice_to_voice_ms", "wav_voice_to_voice_ms"),
    *(f"{name}_ms" for name in (*PARTS, *ADDED)),
    *(f"hidden_{name}_ms" for name in (*HIDEABLE, *ADDED)),
    *("scenario", "turn", "answering_ms", "wer", "checks_met", "checks", "tool_ok", "silence_ms"),
    *("cost_usd", "simulated", "order", "end_of_speech", "underrun_ms", "reason"),
    *("level_dbfs", "snr_db"),
    *("entities_met", "entities", "spoken_errors", "spoken_words", "condition"),
    *("outcome", "turn_taking", *(f"{name}_ms" for name in TAKINGS)),
)
"""Of `turns.csv`; new columns are added at the end."""


def summarise(
    header: Mapping[str, Any], conversations: Sequence[Conversation], table: cost.Prices
) -> Summary:
    """What `summary.json` holds.

    Args:
        header: What describes the run.
        conversations: All of them; those of the warm-up count only in `warm_up`.
        table: What things cost.
    """
    noise = noise_of(header)
    simulated = simulations(header, conversations)
    every_one = by_variant(header, conversations, SYSTEM)
    conditions = axis(header, conversations)
    paths = {path: headline(of, conditions) for path, of in every_one.items()}
    records = {
        path: _records(of, titled(path, path in simulated), timed=True)
        for path, of in paths.items()
    }
    variants: dict[str, SystemResult] = {}
    first = next(iter(paths), "")
    for path, of in paths.items():
        name = titled(path, path in simulated)
        stamp = {"simulated": True, "simulation": simulated[path]} if path in simulated else {}
        manual = {"manual": True} if _manual(header, path) else {}
        again = (header.get("retried") or {}).get(path, 0)
        retried = {"retried": again} if again else {}
        found = {
            **{"path": path, **stamp, **manual, **retried},
            **_variant(of, records[path], header),
            **_of_all(every_one[path]),
            "by_condition": by_condition(every_one[path], conditions, noise),
        }
        if path != first:
            found["against_first"] = {
                **({"simulated": True} if {path, first} & simulated.keys() else {}),
                **_against(titled(first, first in simulated), paths, records, (first, path), noise),
            }
        bill = rounded(cost.summary(every_one[path], header, table), USD_DIGITS)
        variants[name] = cast(SystemResult, {**rounded(found), "cost": bill})
    summary: Summary = {
        "simulated": bool(simulated),
        "verdict": [],
        "variants": variants,
        "sound": rounded(sound(record for of in records.values() for record in of), 1),
        "scenarios": len({one.scenario for one in conversations}),
        "conditions": conditions,
        "conversations": sum(one.repeat > 0 for one in conversations),
        "warnings": [],
    }
    taken = {key: header[key] for key in TAKEN if key in header}
    every = [record for of in records.values() for record in of]
    told = warnings({**summary, **taken}, noise, every, failures=False)
    summary["warnings"] = [*told, *_warnings(variants)]
    summary["verdict"] = list(verdict(summary))
    return cast(Summary, {**summary, **taken})


def judged_files(
    header: Mapping[str, Any],
    conversations: Sequence[Conversation],
    table: cost.Prices,
    unjudged: str,
) -> list[gates.Judged]:
    """What becomes of the gates of single files, each by the turns of its own scenarios.

    Args:
        header: What describes the run, with the `file_gates`.
        conversations: All of them.
        table: What things cost.
        unjudged: Why nothing is judged; empty: it is.
    """
    judged: list[gates.Judged] = []
    for of in header.get("file_gates") or ():
        held = [one for one in conversations if one.scenario in of["scenarios"]]
        mine = {name: header["scenarios"][name] for name in of["scenarios"]}
        part = summarise({**header, "scenarios": mine}, held, table)["variants"]
        limits = [gates.Gate(*limit) for limit in of["limits"].items()]
        judged += gates.judge(limits, COMPARED, part, on=of["file"], unjudged=unjudged)
    return judged


def cases(header: Mapping[str, Any], conversations: Iterable[Conversation]) -> list[junit.Case]:
    """Each conversation that counts, for `junit.xml`."""
    conversations = [*conversations]
    simulated = simulations(header, conversations)
    return [
        junit.Case(
            titled(one.path, one.path in simulated),
            f"{one.scenario} repeat {one.repeat}",
            one.seconds,
            one.reason or "it ended early" if one.status == "failed" else "",
        )
        for one in conversations
        if one.repeat > 0
    ]


def _manual(header: Mapping[str, Any], path: str) -> bool:
    """Whether a system was told when the user had finished, and had not to find out."""
    about = (header.get("variants") or {}).get(path)
    return isinstance(about, Mapping) and about.get("turns") == "manual"


def _records(
    conversations: Iterable[Conversation], name: str, *, timed: bool = False
) -> list[Record]:
    """Turns as a profile has them, each called after its path, scenario and number.

    Args:
        conversations: Whose.
        name: What the path is called.
        timed: Only those that count in latency and failures.
    """
    return [
        dataclasses.replace(
            turn.record, variant=name, file=f"{one.scenario}#{turn.number}", repeat=one.repeat
        )
        for one in conversations
        for turn in one.turns
        if turn.timed or not timed
    ]


def _variant(
    conversations: Sequence[Conversation], records: Sequence[Record], header: Mapping[str, Any]
) -> dict[str, Any]:
    turns = scoring.counted(conversations)
    timed = [(one, turn) for one, turn in turns if turn.timed]
    parts = _parts(records)
    hideable = DIRECT_HIDEABLE if parts is DIRECT_PARTS else HIDEABLE
    about = next((one.facts for one in conversations if one.facts), {})
    return {
        "model": about.get("model", ""),
        "host": about.get("host", ""),
        "duplex": bool(about.get("duplex")),
        **figures(records, parts, hideable),
        "too_soon": sum((scoring.latency_ms(turn) or 0) < 0 for _, turn in turns),
        "answering": _answering(timed),
        "server_ms": _server(timed),
        "wer": scoring.word_error_rate(turns),
        "entities": scoring.entities(turns),
        "spoken_words": scoring.spoken_words(turns),
        "expectations": scoring.overall(turns),
        "checks": scoring.topics(turns),
        "tools": scoring.tools(turns, _lengths(header)),
        "instructions_by_turn": scoring.along(turns, "instructions"),
        "recall_by_turn": scoring.along(turns, "recall"),
        "interruption": scoring.interruption(turns),
        "selectivity": selectivity.figures(turn for _, turn in turns),
        "heavy_tools": scoring.heavy_tools(conversations),
    }


def _of_all(conversations: Iterable[Conversation]) -> dict[str, Any]:
    """What is of the conversations in all conditions."""
    counted = [one for one in conversations if one.repeat > 0]
    return {
        "rtt_ms": describe([ms for one in counted for ms in one.rtt_ms]),
        "connect_ms": describe(
            [one.facts["connect_ms"] for one in counted if "connect_ms" in one.facts]
        ),
        "conversations": {
            "n": len(counted),
            "failed": sum(one.status == "failed" for one in counted),
            "reconnects": sum(one.reconnects for one in counted),
            "seconds": sum(one.seconds for one in counted),
        },
        "failures": _failures(counted),
    }


def _parts(records: Iterable[Record]) -> tuple[str, ...]:
    """The parts of these turns' latency: a speech-to-speech model has others than a cascade."""
    direct = any("model.first_audio" in record.marks for record in records)
    return DIRECT_PARTS if direct else PARTS


def _lengths(header: Mapping[str, Any]) -> dict[str, str]:
    """The length of the instructions by scenario."""
    scenarios = header.get("scenarios") or {}
    return {name: str(about.get("length") or "") for name, about in scenarios.items()}


def _answering(turns: Iterable[scoring.Counted]) -> AnswerTimes:
    """Latency to the first sound that answers: later than the first where that was a filler."""
    heard = [
        (ms, _answering_ms(turn))
        for _, turn in turns
        if (ms := scoring.latency_ms(turn)) is not None
    ]
    answered = [(first, ms) for first, ms in heard if ms is not None]
    return {
        "ms": describe([ms for _, ms in answered]),
        "fillers": sum(ms > first for first, ms in answered),
        "never": len(heard) - len(answered),
    }


def _server(turns: Iterable[scoring.Counted]) -> dict[str, Spread | None]:
    """Figures of the other side's making."""
    found: dict[str, list[float]] = {}
    for _, turn in turns:
        if turn.record.status == "ok":
            for name, ms in turn.server_ms.items():
                found.setdefault(name, []).append(ms)
    return {name: describe(values) for name, values in found.items()}


def _failures(conversations: Iterable[Conversation]) -> list[FailedTurn]:
    """What went wrong: a conversation that ended early once, else each turn without an answer."""
    found: list[FailedTurn] = []

    def tell(one: Conversation, turn: int | None, turns: int, status: str, reason: str) -> None:
        found.append(
            {
                "scenario": one.scenario,
                "repeat": one.repeat,
                "order": one.order,
                "turn": turn,
                "turns": turns,
                "status": status,
                "reason": reason,
            }
        )

    for one in conversations:
        bad = [turn for turn in one.turns if turn.timed and not turn.record.answered]
        if one.status == "failed":
            first = bad[0].number if bad else None
            tell(one, first, len(bad), "failed", one.reason or "ended early")
            continue
        for turn in bad:
            tell(one, turn.number, 1, turn.record.status, turn.record.reason)
    return found


def _against(
    name: str,
    paths: Mapping[str, Sequence[Conversation]],
    records: Mapping[str, Sequence[Record]],
    pair: tuple[str, str],
    noise: float | None,
) -> dict[str, Any]:
    """How the second system of a pair differs from the first, which is called `name`."""
    first, second = pair
    mine, other = _parts(records[first]), _parts(records[second])
    # What is left over when other stages are told apart is another thing.
    parts = mine if mine == other else tuple(p for p in mine if p in other and p != "own")
    before, after = scoring.counted(paths[first]), scoring.counted(paths[second])
    return {
        **against(name, records[first], records[second], noise, parts),
        "answering_ms": scoring.times_apart(before, after, _answering_ms, noise),
        **scoring.compared(before, after),
        "selectivity": scoring.selective(before, after),
    }


def _answering_ms(turn: Turn) -> float | None:
    ns = turn.answering_ns
    return None if ns is None or scoring.latency_ms(turn) is None else ns / 1e6


def _warnings(variants: Mapping[str, SystemResult]) -> list[str]:
    told = []
    for name, variant in variants.items():
        if variant.get("manual"):
            told.append(
                f"{name} was told when the user had finished (turns=manual): its latency leaves "
                "out what the others take to find that out"
            )
        expectations, words = variant["expectations"], variant["wer"]
        if expectations and expectations["undecided"]:
            told.append(
                f"{name}: of {count(expectations['undecided'], 'expectation')} nobody could tell "
                "whether met; that counts nowhere"
            )
        if words and words["without_transcript"]:
            told.append(
                f"{name}: {count(words['without_transcript'], 'answered turn')} came without a "
                "transcript: their word errors are not known"
            )
        if (read := variant["spoken_words"]) and read["unknown"]:
            told.append(
                f"{name}: in {count(read['unknown'], 'turn')} it is not known whether the "
                "reply's sound says what its text does"
            )
        if soon := variant["too_soon"]:
            how = "reply began" if soon == 1 else "replies began"
            told.append(
                f"{name}: {soon} {how} before the user had finished: that counts as less than "
                "0 ms, and is no merit"
            )
        if again := variant.get("retried"):
            how = "conversation that failed was" if again == 1 else "conversations that failed were"
            told.append(f"{name}: {again} {how} held again (--resume), and count nowhere")
        if times := variant["conversations"]["reconnects"]:
            often = "once" if times == 1 else f"{times} times"
            told.append(f"{name}: the connection was lost and made again {often}")
    return told


def rows(
    summary: Summary, conversations: Iterable[Conversation], table: cost.Prices
) -> Iterable[dict[str, str]]:
    """The rows of `turns.csv`, by column."""
    variants = {one["path"]: (name, one) for name, one in summary["variants"].items()}
    for one in conversations:
        name, variant = variants[one.path]
        rates = table.of(variant["cost"]["model"]) if variant["cost"]["model"] else None
        stamp = STAMP if variant.get("simulated") else ""
        for turn, record in zip(one.turns, _records([one], name), strict=True):
            usd = cost.of_turn(one, turn, rates)
            yield {
                **row(record),
                **_measured(turn),
                "scenario": one.scenario,
                "condition": one.condition,
                "turn": str(turn.number),
                "cost_usd": "" if usd is None else f"{usd:.{USD_DIGITS}f}",
                "simulated": stamp,
            }


def _measured(turn: Turn) -> dict[str, str]:
    tool = scoring.tool_ok(turn)
    found = {
        "tool_ok": "" if tool is None else str(int(tool)),
        "outcome": turn.outcome,
        "turn_taking": selectivity.told(turn),
    }
    for column, checks in (("checks", turn.checks), ("entities", turn.entities)):
        if decided := [check.met for check in checks if check.met is not None]:
            found |= {f"{column}_met": str(sum(decided)), column: str(len(decided))}
    if turn.fidelity is not None and turn.fidelity.errors is not None:
        found["spoken_errors"] = str(turn.fidelity.errors)
        found["spoken_words"] = str(turn.fidelity.words)
    if turn.word_errors is not None and turn.words:
        found["wer"] = f"{turn.word_errors / turn.words:.4f}"
    answering = turn.answering_ns if turn.record.status == "ok" else None
    for column, ns in (("answering_ms", answering), ("silence_ms", turn.silence_ns)):
        if ns is not None:
            found[column] = f"{ns / 1e6:.3f}"
    for name in TAKINGS if turn.taking else ():
        if ns := getattr(turn.taking, f"{name}_ns"):
            found[f"{name}_ms"] = f"{ns / 1e6:.3f}"
    return found
