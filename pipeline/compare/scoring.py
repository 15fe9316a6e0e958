"""Whether a reply is what a scenario expects, and how well the user was understood. Pure.

Rules only; what a language model is to decide, `judge` adds after the run. Words are normalised by
`EnglishTextNormalizer`, which OpenAI published with Whisper (Radford et al. 2022, appendix C), so
that case, punctuation and the way a number is written do not matter, and word error rates compare
with published ones.

The second half counts: shares of expectations met, along turns and lengths of the instructions. An
expectation of which nobody could tell whether it was met counts only as `undecided`.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import TypeVar, cast

import jiwer
from whisper_normalizer.english import EnglishTextNormalizer

from pipeline.compare import selectivity
from pipeline.compare.entities import SIGN, entity_checks, in_digits
from pipeline.compare.record import Conversation
from pipeline.compare.results import (
    Checked,
    Entities,
    Errors,
    HeavyToolCalls,
    Interrupted,
    RightTools,
    SpokenWords,
    TurnPoint,
    WordErrors,
)
from pipeline.compare.scenario import Expect, Scenario, Step, Wanted, agrees
from pipeline.errors import one_line
from pipeline.measure.record import Check, MeasuredCall, Turn
from pipeline.measure.stats import (
    Apart,
    SharesApart,
    describe,
    difference,
    rate_difference,
    ratio_interval,
    share,
    share_difference,
)

CLOSE = 1e-9
"""Numbers that differ by less, as a share, are the same."""

SHOWN = 120
"""Characters of a reply, a call or an answer that a check shows at most."""

NO_REPLY = "no reply"

HISTORY = ("history", "history lacks")
"""Kinds of checks that are about what the model remembers."""

Counted = tuple[Conversation, Turn]
"""A turn, and the conversation that it is of."""

T = TypeVar("T")

PairKey = tuple[str, int, int, int]
"""Scenario, turn, repeat, place: what pairs two systems' turns, or of each its n-th entity."""

UNKNOWN = "not known"
"""What was found of something that nobody can tell."""

BRACKETS = str.maketrans("()[]<>", "      ")
"""What stands in brackets the normaliser takes for a note about the sound; a reply says it."""

_NUMBER = re.compile(
    r"(?P<minus>\bminus |(?<![\w.])[-−])?[$€£]?(?P<digits>\d{1,3}(?:,\d{3})+|\d+)(?P<rest>\.\d+)?"
    r"(?!\d|(?:st|nd|rd|th)\b)"
)
"""A number in digits that is no ordinal."""


def scored(turn: Turn, step: Step, scenario: Scenario, *, calls: bool = True) -> Turn:
    """A turn with its checks and, where words and transcript are known, its words and entities.

    Args:
        turn: As it was measured.
        step: What was said, and expected.
        scenario: Which it is of.
        calls: Whether the system tells which tools it calls.
    """
    record = turn.record
    reply: str | None = record.reply
    if not record.reply.strip() and record.answered:
        reply = None
    checks = check(step, scenario, reply, turn.calls if calls else None, turn.kept)
    if taken := selectivity.check(turn):
        # What it may make of words that ask for no answer is nobody's concern.
        return dataclasses.replace(turn, checks=(*checks, taken))
    heard: str | None = record.transcript
    if not record.transcript.strip() and record.status != "no reply":
        heard = None  # The system tells no transcript, or was gone before it had one.
    errors, said = word_errors(step.said, heard or "") if step.said else (None, 0)
    return dataclasses.replace(
        turn,
        checks=checks,
        word_errors=None if heard is None else errors,
        words=said,
        entities=entity_checks(step.expect.entities, step.said, heard),
    )


def check(
    step: Step,
    scenario: Scenario,
    reply: str | None,
    calls: Sequence[MeasuredCall] | None = (),
    kept: str | None = None,
) -> tuple[Check, ...]:
    """What became of a turn's expectations, save those that a judge decides.

    A turn without a reply meets nothing that is expected of one: not even what it was to leave out.
    What tools were to be called is seen from the calls alone.

    Args:
        step: What was said, and expected.
        scenario: Which it is of.
        reply: What was answered; empty: nothing; None: something, but nobody knows its words.
        calls: The tools that were called in the turn, in order; None: not known.
        kept: What the model's history holds of the reply in the end; None: not known.
    """
    expect = step.expect
    topic = topic_of(expect, scenario)
    checks = [*_answer(expect, reply, topic)]
    if expect.tool is not None:
        checks += _tools(expect.tool, calls, reply)
    return (*checks, *_history(expect, kept))


def topic_of(expect: Expect, scenario: Scenario) -> str:
    """What the expectations of an answer are about."""
    if expect.topic:
        return expect.topic
    return scenario.topic if scenario.topic in ("instructions", "recall") else "answer"


def words(text: str) -> list[str]:
    """The normalised words of a text.

    The normaliser makes `-5` of "minus five", but 5 of "-5": so the sign is given to it as a word.
    """
    plain = _normalizer()(SIGN.sub("minus ", re.sub("[’‘ʼ`´]", "'", text)))
    return [word for word in plain.split() if any(map(str.isalnum, word))]


def word_errors(said: str, heard: str) -> tuple[int, int]:
    """How a transcript differs from what was said, both normalised.

    Returns:
        Substitutions, deletions and insertions together; words that were said.
    """
    reference = words(said)
    return errors_between(reference, words(heard)), len(reference)


def errors_between(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Substitutions, deletions and insertions between normalised words."""
    if not reference or not hypothesis:
        return max(len(reference), len(hypothesis))
    found = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
    return found.substitutions + found.deletions + found.insertions


def contains(text: str, wanted: str) -> bool:
    """Whether a text has one of the alternatives, parted by `|`, as whole words."""
    return any(_has(text, one) for one in wanted.split("|") if one.strip())


def names_number(text: str, wanted: float) -> bool:
    """Whether a text names a number, in digits or words; `23%` names 23."""
    return any(abs(one - wanted) <= CLOSE * max(1.0, abs(wanted)) for one in numbers(text))


def numbers(text: str) -> list[float]:
    """All numbers that a text names, in digits or English words, by either reading."""
    found: list[float] = []
    for plain in (in_digits(text).casefold(), " ".join(words(text))):
        for match in _NUMBER.finditer(plain):
            value = float(match["digits"].replace(",", "") + (match["rest"] or ""))
            if match["minus"]:
                # In "ten minus seven" a seven is named as well.
                found += [value] if re.search(r"\d\W*\Z", plain[: match.start()]) else []
                value = -value
            found.append(value)
    return found


@cache
def _normalizer() -> EnglishTextNormalizer:
    """Made once: it reads a dictionary of spellings."""
    return EnglishTextNormalizer()


def readings(text: str) -> tuple[list[str], list[str]]:
    """The words of a text with its numbers read in both ways that people speak them.

    The normaliser runs successive number words together, as years are spoken: "nineteen
    ninety-nine" is 1999. In the second reading each number stands alone, as in counting.
    """
    plain = text.translate(BRACKETS)
    return words(plain), words(in_digits(plain))


def _has(text: str, wanted: str) -> bool:
    if not words(wanted):  # nothing but punctuation, such as an emoji
        return wanted.strip().casefold() in text.casefold()
    pairs = zip(readings(text), readings(wanted), strict=True)
    return any(f" {' '.join(needle)} " in f" {' '.join(plain)} " for plain, needle in pairs)


def _answer(expect: Expect, reply: str | None, topic: str) -> Iterator[Check]:
    found = one_line(reply or "", SHOWN) or NO_REPLY
    told = reply or ""

    def made(kind: str, wanted: str, met: bool) -> Check:
        if reply is None:
            return Check(kind, wanted, None, "the words of the reply are not known", topic)
        met = met if reply.strip() else False
        return Check(kind, wanted, met, "" if met else found, topic)

    for wanted in expect.contains:
        yield made("contains", wanted, contains(told, wanted))
    for unwanted in expect.lacks:
        yield made("lacks", unwanted, not contains(told, unwanted))
    if expect.regex:
        yield made("regex", expect.regex, re.search(expect.regex, told, re.IGNORECASE) is not None)
    if expect.number is not None:
        yield made("number", f"{expect.number:.12g}", names_number(told, expect.number))


def _tools(
    wanted: Wanted, calls: Sequence[MeasuredCall] | None, reply: str | None
) -> Iterator[Check]:
    if calls is None:
        told = _told(wanted) if wanted.name else "no tool"
        yield Check("tool" if wanted.name else "no tool", told, None, UNKNOWN, "tools")
        return
    asked = ", ".join(_call(call) for call in calls)
    if not wanted.name:
        if reply == "" and not calls:
            yield Check("no tool", "no tool", False, NO_REPLY, "tools")
        else:
            yield Check("no tool", "no tool", not calls, one_line(asked, SHOWN), "tools")
        return
    right = next((call for call in calls if _right(wanted, call)), None)
    told = _told(wanted)
    found = "" if right else one_line(asked, SHOWN) or "no call"
    yield Check("tool", told, right is not None, found, "tools")
    # A call that the model itself has taken back was never answered.
    others = [call for call in calls if call is not right and not call.cancelled]
    if right is not None and others:
        extra = one_line(", ".join(_call(call) for call in others), SHOWN)
        yield Check("no tool", f"nothing but {told}", False, extra, "tools")
    if wanted.within_s is not None:
        took_s = None if right is None else right.asked_ns / 1e9
        met = took_s is not None and took_s <= wanted.within_s
        late = "no such call" if took_s is None else f"after {took_s:.2f} s"
        yield Check("on time", f"within {wanted.within_s:g} s", met, "" if met else late, "tools")


def _right(wanted: Wanted, call: MeasuredCall) -> bool:
    if call.name != wanted.name:
        return False
    try:
        given = json.loads(call.arguments or "{}")
    except ValueError:
        return False
    return isinstance(given, dict) and agrees(wanted.arguments, given)


def _history(expect: Expect, kept: str | None) -> Iterator[Check]:
    held = kept or ""
    for wanted in expect.history:
        met = None if kept is None else contains(held, wanted)
        yield _of_history("history", wanted, met, kept)
    for unwanted in expect.history_lacks:
        met = None if kept is None else not contains(held, unwanted)
        yield _of_history("history lacks", unwanted, met, kept)


def _of_history(kind: str, wanted: str, met: bool | None, kept: str | None) -> Check:
    found = "" if met else UNKNOWN if kept is None else one_line(kept, SHOWN) or "nothing"
    return Check(kind, wanted, met, found, "interruption")


def _told(wanted: Wanted) -> str:
    inside = ", ".join(f"{name}={value}" for name, value in wanted.arguments.items())
    return f"{wanted.name}({inside})"


def _call(call: MeasuredCall) -> str:
    return f"{call.name}({' '.join(call.arguments.split())})"


def counted(conversations: Iterable[Conversation]) -> list[Counted]:
    """All turns that count: those of the warm-up do not."""
    return [(one, turn) for one in conversations if one.repeat > 0 for turn in one.turns]


def tool_ok(turn: Turn) -> bool | None:
    """Whether all was right with the tools of a turn; None where nothing was expected of them."""
    return _all(turn, lambda check: check.topic == "tools")


def turn_ok(turn: Turn) -> bool | None:
    """Whether all expectations of a turn were met; None where there were none."""
    return _all(turn, lambda check: True)


def latency_ms(turn: Turn) -> float | None:
    """The latency of a turn, below zero if the reply came too soon; None if it has none."""
    ns = turn.record.wav_voice_to_voice_ns if turn.timed else None
    return None if ns is None or turn.record.status != "ok" else ns / 1e6


def topics(turns: Iterable[Counted]) -> dict[str, Checked]:
    """Expectations met, by what they are about."""
    by_topic: dict[str, list[Check]] = {}
    for _, turn in turns:
        for check in turn.checks:
            by_topic.setdefault(check.topic, []).append(check)
    return {topic: _share_of(checks) for topic, checks in by_topic.items()}


def overall(turns: Iterable[Counted]) -> Checked | None:
    """All expectations together."""
    checks = [check for _, turn in turns for check in turn.checks]
    return _share_of(checks) if checks else None


def tools(turns: Sequence[Counted], lengths: Mapping[str, str]) -> RightTools | None:
    """How often the right tool was called, rightly: in all, by turn, by length of instructions.

    Args:
        turns: Of one system.
        lengths: Name of the length of the instructions by scenario; empty where it does not vary.
    """
    done = [(one, turn, ok) for one, turn in turns if (ok := tool_ok(turn)) is not None]
    if not done:
        return None
    chars: dict[str, int] = {}
    by_length: dict[str, list[tuple[int, bool]]] = {}
    for one, turn, ok in done:
        if length := lengths.get(one.scenario, ""):
            chars[length] = max(chars.get(length, 0), one.instruction_chars)
            by_length.setdefault(length, []).append((turn.number, ok))
    order = sorted(chars, key=lambda length: chars[length])
    return {
        "overall": share([ok for _, _, ok in done]),
        "by_turn": curve((turn.number, ok) for _, turn, ok in done),
        "by_length": [
            {
                "length": length,
                "instruction_chars": chars[length],
                **share([ok for _, ok in by_length[length]]),
            }
            for length in order
        ],
        "by_length_and_turn": [
            point for length in order for point in curve(by_length[length], length)
        ],
        "asked_ms": describe(
            [call.asked_ns / 1e6 for _, turn, _ in done for call in turn.calls[:1]]
        ),
    }


def along(turns: Iterable[Counted], topic: str) -> list[TurnPoint]:
    """How often the expectations of a topic were met, by turn."""
    return curve(
        (turn.number, ok)
        for _, turn in turns
        if (ok := _all(turn, lambda check: check.topic == topic)) is not None
    )


def curve(points: Iterable[tuple[int, bool]], length: str = "") -> list[TurnPoint]:
    """Shares by turn, in the order of the turns; of one length of the instructions, if any."""
    by_turn: dict[int, list[bool]] = {}
    for number, ok in points:
        by_turn.setdefault(number, []).append(ok)
    about = {"length": length} if length else {}
    return [
        cast(TurnPoint, {**about, "turn": number, **share(by_turn[number])})
        for number in sorted(by_turn)
    ]


def word_error_rate(turns: Iterable[Counted]) -> WordErrors | None:
    """Wrong words by words said, over all turns with a transcript; None if no words are known."""
    spoken = [(one, turn) for one, turn in turns if turn.words > 0]
    if not spoken:
        return None
    heard = [*_words_heard(spoken).values()]
    return {
        "turns": len(heard),
        "without_transcript": sum(
            turn.word_errors is None and turn.record.answered for _, turn in spoken
        ),
        **_rate(heard),
    }


def entities(turns: Iterable[Counted]) -> Entities | None:
    """How many of the numbers, codes and names that were said were understood; None: none were."""
    spoken = [(one, turn) for one, turn in turns if turn.entities]
    if not spoken:
        return None
    heard = _heard(spoken, _decided)
    checks = [
        check if heard else dataclasses.replace(check, met=None)
        for _, turn in spoken
        for check in turn.entities
    ]
    kinds = dict.fromkeys(check.kind for check in checks)
    return {
        "overall": _share_of(checks),
        "by_kind": {kind: _share_of([c for c in checks if c.kind == kind]) for kind in kinds},
    }


def spoken_words(turns: Iterable[Counted]) -> SpokenWords | None:
    """How much of the replies' text is in their sound; None: nobody has read any."""
    found = [turn.fidelity for _, turn in turns if turn.fidelity is not None]
    if not found:
        return None
    read = [one for one in found if one.errors is not None]
    entities = [check.met is True for one in read for check in one.entities]
    return {
        "turns": len(read),
        "unknown": len(found) - len(read),
        **_rate([(one.errors or 0, one.words) for one in read]),
        "entities": share(entities),
    }


def _rate(counts: Sequence[tuple[int, int]]) -> Errors:
    """Errors by words, of errors and words turn by turn."""
    errors, words = [one for one, _ in counts], [count for _, count in counts]
    return {
        "errors": sum(errors),
        "words": sum(words),
        "rate": sum(errors) / sum(words) if any(words) else None,
        "ci95": ratio_interval(errors, words),
    }


def _heard(turns: Iterable[Counted], found: Callable[[Turn], object]) -> list[Counted]:
    """Turns of which it is known what was understood.

    None if all were left unanswered: a system that never tells has not misheard them.
    """
    heard = [(one, turn) for one, turn in turns if found(turn) is not None]
    return heard if any(turn.record.answered for _, turn in heard) else []


def _decided(turn: Turn) -> list[Check] | None:
    """Its entities of which it is known whether they were understood; None if there are none."""
    return [check for check in turn.entities if check.met is not None] or None


def interruption(turns: Sequence[Counted]) -> Interrupted | None:
    """What became of replies that were interrupted; None if none was."""
    cut = [turn for _, turn in turns if turn.interrupts]
    checks = [c for _, turn in turns for c in turn.checks if c.kind in HISTORY]
    if not cut and not checks:
        return None
    silences = [turn.silence_ns / 1e6 for turn in cut if turn.silence_ns is not None]
    return {
        "n": len(cut),
        "silence_ms": describe(silences),
        "without_silence": len(cut) - len(silences),
        "history": _share_of(checks) if checks else None,
    }


def heavy_tools(conversations: Iterable[Conversation]) -> HeavyToolCalls | None:
    """Whether tools that are slow or return much broke anything; None if there were none."""
    heavy = [one for one in conversations if one.repeat > 0 and one.topic == "heavy tools"]
    if not heavy:
        return None
    turns = [turn for one in heavy for turn in one.turns]
    calls = [call for turn in turns for call in turn.calls]
    waits = [
        (call.answered_ns - call.asked_ns) / 1e9 for call in calls if call.answered_ns is not None
    ]
    return {
        "connected": share([one.status == "ok" for one in heavy]),
        "answering": share([turn.record.answered for turn in turns if turn.timed]),
        "reconnects": sum(one.reconnects for one in heavy),
        "calls": len(calls),
        "cancelled": sum(call.cancelled for call in calls),
        "slowest_s": max(waits, default=None),
        "largest_bytes": max((call.result_bytes for call in calls), default=None),
    }


def compared(first: Sequence[Counted], second: Sequence[Counted]) -> dict[str, SharesApart | None]:
    """How two systems differ in what they did right and understood, as `AgainstFirst` has it."""
    tool = keyed(first, tool_ok), keyed(second, tool_ok)
    numbers = {key[1] for of in tool for key in of}
    begin, last = min(numbers, default=0), max(numbers, default=0)
    return {
        "success": shares_apart(keyed(first, turn_ok), keyed(second, turn_ok)),
        "tools": shares_apart(*tool),
        "tools_first_turn": shares_apart(*tool, turn=begin),
        "tools_last_turn": shares_apart(*tool, turn=last) if last > begin else None,
        "wer": _rates_apart(_words_heard(first), _words_heard(second)),
        "entities": shares_apart(_entities(first), _entities(second)),
        "spoken_words": _rates_apart(keyed(first, _spoken), keyed(second, _spoken)),
    }


def times_apart(
    first: Iterable[Counted],
    second: Iterable[Counted],
    ms: Callable[[Turn], float | None],
    noise: float | None,
) -> Apart | None:
    """The difference of a time, over turns of which both have one."""
    before, after = keyed(first, ms), keyed(second, ms)
    keys = [key for key in before if key in after]
    return difference([before[key] for key in keys], [after[key] for key in keys], noise)


def selective(first: Sequence[Counted], second: Sequence[Counted]) -> dict[str, SharesApart]:
    """How two systems differ in their selectivity, by the name of the rate."""
    found = {}
    for rate in selectivity.RATES:
        judged = partial(selectivity.is_so, rate=rate)
        if apart := shares_apart(keyed(first, judged), keyed(second, judged)):
            found[rate] = apart
    return found


def shares_apart(
    first: Mapping[PairKey, bool], second: Mapping[PairKey, bool], turn: int | None = None
) -> SharesApart | None:
    """The difference of two shares: of all turns, or of those with one number."""
    keys = [key for key in first if key in second and turn in (None, key[1])]
    # A conversation that breaks off takes all of its turns along.
    conversations = [_conversation(key) for key in keys]
    found = share_difference(
        [first[key] for key in keys], [second[key] for key in keys], conversations
    )
    if found is not None and turn is not None:
        found["turn"] = turn
    return found


def _rates_apart(
    first: Mapping[PairKey, tuple[int, int]], second: Mapping[PairKey, tuple[int, int]]
) -> SharesApart | None:
    """The difference of two rates of errors by words, over turns of which both are known."""
    keys = [key for key in first if key in second]
    return rate_difference(
        [first[key] for key in keys],
        [second[key] for key in keys],
        [_conversation(key) for key in keys],
    )


def _words_heard(turns: Iterable[Counted]) -> dict[PairKey, tuple[int, int]]:
    """Errors and words of the turns of which both are known."""
    return keyed(_heard(turns, _misheard), _misheard)


def _misheard(turn: Turn) -> tuple[int, int] | None:
    errors = turn.word_errors
    return None if errors is None or not turn.words else (errors, turn.words)


def _spoken(turn: Turn) -> tuple[int, int] | None:
    found = turn.fidelity
    if found is None or found.errors is None or not found.words:
        return None
    return found.errors, found.words


def _conversation(key: PairKey) -> tuple[str, int]:
    return key[0], key[2]


def keyed(turns: Iterable[Counted], judged: Callable[[Turn], T | None]) -> dict[PairKey, T]:
    """What is found of each turn, by what it pairs up by; without those of which nothing is."""
    return {
        (one.scenario, turn.number, one.repeat, 0): ok
        for one, turn in turns
        if (ok := judged(turn)) is not None
    }


def _entities(turns: Iterable[Counted]) -> dict[PairKey, bool]:
    return {
        (one.scenario, turn.number, one.repeat, place): check.met
        for one, turn in _heard(turns, _decided)
        for place, check in enumerate(turn.entities)
        if check.met is not None
    }


def _all(turn: Turn, about: Callable[[Check], bool]) -> bool | None:
    decided = [check.met for check in turn.checks if about(check) and check.met is not None]
    return all(decided) if decided else None


def _share_of(checks: Sequence[Check]) -> Checked:
    decided = [bool(check.met) for check in checks if check.met is not None]
    return {**share(decided), "undecided": len(checks) - len(decided)}
