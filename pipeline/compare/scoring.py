"""Whether a reply is what a scenario expects, and how well the user was understood. Pure.

Rules only; what a language model is to decide, `judge` adds after the run. Words are normalised by
`EnglishTextNormalizer`, which OpenAI published with Whisper (Radford et al. 2022, appendix C), so
that case, punctuation and the way a number is written do not matter, and word error rates compare
with published ones.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Sequence
from functools import cache

import jiwer
from text_to_num import alpha2digit
from whisper_normalizer.english import EnglishTextNormalizer

from pipeline.compare.record import Check, MeasuredCall, Turn
from pipeline.compare.scenario import Expect, Scenario, Step, Wanted, agrees

CLOSE = 1e-9
"""Numbers that differ by less, as a share, are the same."""

SHOWN = 120
"""Characters of a reply or a call that a check shows at most."""

NO_REPLY = "no reply"

BRACKETS = str.maketrans("()[]<>", "      ")
"""What stands in brackets the normaliser takes for a note about the sound; a reply says it."""

_NUMBER = re.compile(
    r"(?P<minus>\bminus |(?<![\w.])[-−])?[$€£]?(?P<digits>\d{1,3}(?:,\d{3})+|\d+)(?P<rest>\.\d+)?"
    r"(?!\d|(?:st|nd|rd|th)\b)"
)
"""A number in digits that is no ordinal."""


def scored(turn: Turn, step: Step, scenario: Scenario) -> Turn:
    """A turn with its checks and, where words and transcript are known, its word errors."""
    record = turn.record
    reply: str | None = record.reply
    if not record.reply.strip() and record.answered:
        reply = None
    checks = check(step, scenario, reply, turn.calls, turn.kept)
    errors, said = None, 0
    if step.said:
        errors, said = word_errors(step.said, record.transcript)
        if not record.transcript.strip() and record.status != "no reply":
            errors = None  # The path tells no transcript, or was gone before it had one.
    return dataclasses.replace(turn, checks=checks, word_errors=errors, words=said)


def check(
    step: Step,
    scenario: Scenario,
    reply: str | None,
    calls: Sequence[MeasuredCall] = (),
    kept: str | None = None,
) -> tuple[Check, ...]:
    """What became of a turn's expectations, save those that a judge decides.

    A turn without a reply meets nothing that is expected of one: not even what it was to leave out.
    What tools were to be called is seen from the calls alone.

    Args:
        step: What was said, and expected.
        scenario: Which it is of.
        reply: What was answered; empty: nothing; None: something, but nobody knows its words.
        calls: The tools that were called in the turn, in order.
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
    """The normalised words of a text."""
    plain = _normalizer()(re.sub("[’‘ʼ`´]", "'", text))
    return [word for word in plain.split() if any(map(str.isalnum, word))]


def word_errors(said: str, heard: str) -> tuple[int, int]:
    """How a transcript differs from what was said, both normalised.

    Returns:
        Substitutions, deletions and insertions together; words that were said.
    """
    reference, hypothesis = words(said), words(heard)
    if not reference or not hypothesis:
        return max(len(reference), len(hypothesis)), len(reference)
    found = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
    return found.substitutions + found.deletions + found.insertions, len(reference)


def contains(text: str, wanted: str) -> bool:
    """Whether a text has one of the alternatives, parted by `|`, as whole words."""
    return any(_has(text, one) for one in wanted.split("|") if one.strip())


def names_number(text: str, wanted: float) -> bool:
    """Whether a text names a number, in digits or words; `23%` names 23."""
    return any(abs(one - wanted) <= CLOSE * max(1.0, abs(wanted)) for one in numbers(text))


def numbers(text: str) -> list[float]:
    """All numbers that a text names, in digits or English words, by either reading."""
    found: list[float] = []
    for plain in (_apart(text).casefold(), " ".join(words(text))):
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


def _readings(text: str) -> tuple[list[str], list[str]]:
    """The words of a reply with its numbers read in both ways that people speak them.

    The normaliser runs successive number words together, as years are spoken: "nineteen
    ninety-nine" is 1999. In the second reading each number stands alone, as in counting.
    """
    plain = text.translate(BRACKETS)
    return words(plain), words(_apart(plain))


def _apart(text: str) -> str:
    """The text with each number word in digits."""
    digits: str = alpha2digit(text.encode("utf-8", "replace").decode("utf-8"), "en", 0)
    return digits


def _has(text: str, wanted: str) -> bool:
    if not words(wanted):  # nothing but punctuation, such as an emoji
        return wanted.strip().casefold() in text.casefold()
    pairs = zip(_readings(text), _readings(wanted), strict=True)
    return any(f" {' '.join(needle)} " in f" {' '.join(plain)} " for plain, needle in pairs)


def _answer(expect: Expect, reply: str | None, topic: str) -> Iterator[Check]:
    found = _shown(reply)
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


def _tools(wanted: Wanted, calls: Sequence[MeasuredCall], reply: str | None) -> Iterator[Check]:
    asked = ", ".join(_call(call) for call in calls)
    if not wanted.name:
        if reply == "" and not calls:
            yield Check("no tool", "no tool", False, NO_REPLY, "tools")
        else:
            yield Check("no tool", "no tool", not calls, _cut(asked), "tools")
        return
    right = next((call for call in calls if _right(wanted, call)), None)
    told = _told(wanted)
    found = "" if right else _cut(asked) or "no call"
    yield Check("tool", told, right is not None, found, "tools")
    # A call that the model itself has taken back was never answered.
    others = [call for call in calls if call is not right and not call.cancelled]
    if right is not None and others:
        extra = _cut(", ".join(_call(call) for call in others))
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
    found = "" if met else "not known" if kept is None else _cut(kept) or "nothing"
    return Check(kind, wanted, met, found, "interruption")


def _told(wanted: Wanted) -> str:
    inside = ", ".join(f"{name}={value}" for name, value in wanted.arguments.items())
    return f"{wanted.name}({inside})"


def _call(call: MeasuredCall) -> str:
    return f"{call.name}({' '.join(call.arguments.split())})"


def _shown(reply: str | None) -> str:
    return _cut(" ".join((reply or "").split())) or NO_REPLY


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
