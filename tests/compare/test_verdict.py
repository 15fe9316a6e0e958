"""Three sentences: what they say in each case, and what they never say."""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import comparison_samples as made

from pipeline.compare.cost import prices
from pipeline.compare.record import Conversation
from pipeline.compare.summary import summarise
from pipeline.compare.verdict import verdict
from pipeline.measure.record import Turn
from pipeline.turns.speech_end import UNMEASURABLE

TABLE = prices()
TWO = (made.CASCADE, made.DIRECT)
OTHER = "ws://host:1/v1"
STAMPED = f"{made.SIMULATED} [SIMULATED]"


@cache
def _summary(systems: tuple[str, ...], faults: bool) -> Any:
    return summarise(*made.comparison(paths=systems, faults=faults), TABLE)


def summary(*systems: str, faults: bool = True) -> Any:
    """A summary that a test may change."""
    return copy.deepcopy(_summary(systems or TWO, faults))


def told(*systems: str, faults: bool = True) -> tuple[str, str, str]:
    return verdict(summary(*systems, faults=faults))


def summary_of(
    keep: Callable[[Conversation], Conversation | None],
    systems: tuple[str, ...] = TWO,
    **asked: Any,
) -> Any:
    """The summary of those conversations, changed, that `keep` gives."""
    header, conversations = made.comparison(paths=systems, **asked)
    return summarise(
        header, [found for one in conversations if (found := keep(one)) is not None], TABLE
    )


def each(one: Conversation, change: Callable[[Turn], Turn]) -> Conversation:
    return dataclasses.replace(one, turns=tuple(map(change, one.turns)))


def recorded(turn: Turn, **changes: Any) -> Turn:
    return dataclasses.replace(turn, record=dataclasses.replace(turn.record, **changes))


def test_sooner_or_later_with_size_interval_and_pairs() -> None:
    first, _, _ = told(faults=False)
    found = re.match(
        rf"{re.escape(made.DIRECT)} is heard (\d+) ms sooner than cascade "
        r"\(95 %: (\d+) to (\d+), 138 pairs\); cascade after (\d+) ms \(median of 138 turns, "
        r"95 %: \d+ to \d+\), openai:gpt-realtime-2.1 after (\d+) ms",
        first,
    )
    assert found is not None
    size, low, high, slow, fast = map(int, found.groups())
    assert low < size < high
    assert fast < slow
    first, _, _ = told(made.DIRECT, made.CASCADE, faults=False)
    assert re.match(r"cascade is heard \d+ ms later than openai:gpt-realtime-2.1 \(95 %: ", first)


def test_the_figures_are_the_summarys() -> None:
    found = summary()
    first, second, third = verdict(found)
    cascade, direct = found["variants"].values()
    against = direct["against_first"]
    low, high = sorted(abs(end) for end in against["voice_to_voice_ms"]["ci95"])
    assert f"{abs(against['voice_to_voice_ms']['median']):.0f} ms sooner" in first
    assert f"95 %: {low:.0f} to {high:.0f}, {against['n']} pairs" in first
    assert f"{cascade['voice_to_voice_ms']['median']:.0f} ms" in first
    assert f"{direct['failed']} more failed" in first
    assert f"{100 * direct['expectations']['share']:.0f} % (95 %:" in second
    assert f"{100 * direct['wer']['rate']:.1f} % of the words" in second
    for point in (cascade["tools"]["by_turn"][0], direct["tools"]["by_turn"][-1]):
        assert f"{point['met']} of {point['n']} of turn {point['turn']}" in second
    points = 100 * against["success"]["difference"]
    assert f"{points:+.0f} points in turns done right" in second
    assert f"${direct['cost']['per_minute_usd']:.3g} a minute" in third
    assert f"{cascade['cost']['cpu_s_per_minute']:.3g} CPU-seconds" in third
    assert "prices of 2026-11-20" in third


@pytest.mark.parametrize("low", [-20.0, 0.0])
def test_an_interval_that_holds_zero_is_no_difference(low: float) -> None:
    found = summary(faults=False)
    whole = found["variants"][made.DIRECT]["against_first"]["voice_to_voice_ms"]
    whole |= {"median": 5.0, "ci95": [low, 12.0], "verdict": "no difference shown"}
    for variant in found["variants"].values():
        variant |= {"expectations": None, "tools": None}
    first, second, _ = verdict(found)
    shown = f"(+5 ms, 95 %: {low:+.0f} to +12, 138 pairs)"
    assert first.startswith(f"between {made.DIRECT} and cascade no difference is shown {shown}")
    assert not re.search("sooner|later", first)
    assert second.startswith("Nothing was expected of the answers, so only words can be told: ")


def test_too_few_pairs() -> None:
    first, second, _ = verdict(
        summary_of(
            lambda one: one if one.scenario == "pirate" and one.repeat == 1 else None, faults=False
        )
    )
    assert "no difference is shown: 4 pairs are too few" in first
    assert "no difference shown in turns done right: 3 pairs of 1 conversation, too few" in second


def test_one_system() -> None:
    first, second, third = told(made.CASCADE)
    assert first.startswith("cascade is heard after ")
    assert first.endswith("; there is nothing to compare it with.")
    assert not re.search("points|no difference", second)
    assert third.startswith("cascade is not billed and takes ")


def test_more_than_two_systems() -> None:
    first, second, third = told(*TWO, OTHER, faults=False)
    assert first.count("than cascade (95 %: ") == 2
    assert all(first.count(f"{name} after ") == 1 for name in (*TWO, OTHER))
    assert second.count("of what was expected") == 3
    assert f"what {OTHER} costs is not known (no price is known for unheard-of" in third


def test_a_system_that_answered_nothing() -> None:
    def broken(one: Conversation) -> Conversation:
        if one.path == made.CASCADE:
            return one
        gone = {"status": "failed", "wav_voice_to_voice_ns": None, "marks": {}}
        mute = each(
            one,
            lambda turn: dataclasses.replace(recorded(turn, **gone), checks=(), word_errors=None),
        )
        return dataclasses.replace(mute, status="failed", usage=())

    first, second, third = verdict(summary_of(broken))
    assert first.startswith(
        f"whether {made.DIRECT} or cascade is heard first cannot be said, for {made.DIRECT} "
        "answered no turn that could be measured"
    )
    assert first.endswith(f"{made.DIRECT} in no turn.")
    assert f"of {made.DIRECT} nothing is known to be right or wrong" in second
    assert f"what {made.DIRECT} costs is not known" in third


def test_no_turn_in_common() -> None:
    found = summary_of(
        lambda one: one if (one.scenario == "sums") == (one.path == made.CASCADE) else None,
        faults=False,
    )
    assert "cannot be said, for no turn was answered by both" in verdict(found)[0]


def test_what_is_said_beside_the_latency() -> None:
    found = summary()
    cascade, direct = found["variants"].values()
    direct["answering"]["ms"]["median"] = direct["voice_to_voice_ms"]["median"] + 1500
    direct["against_first"]["voice_to_voice_ms"]["within_noise"] = True
    direct["manual"] = True
    cascade["too_soon"] = 1
    first, _, _ = verdict(found)
    assert re.search(
        rf"{made.DIRECT}, told when the user had finished, after \d+ ms with its answer after "
        r"\d{4} ms \(",
        first,
    )
    assert not re.search(r"cascade after \d+ ms with", first)
    assert "pairs, within the noise of the machine)" in first
    assert "1 of them before the user had finished" in first


def test_nothing_at_all_and_nothing_yet() -> None:
    assert verdict(summarise({}, [], TABLE)) == (
        "Nothing was compared.",
        "Nothing was expected of the answers, so who understands cannot be said.",
        "What it costs cannot be said, for nothing was held.",
    )
    first, second, third = verdict(summarise(made.header(TWO), [], TABLE))
    assert "cannot be said" in first
    assert "cannot be said" in second
    assert third.count("is not known (no conversation was held)") == 2


def test_simulated_is_said_first_with_its_source() -> None:
    found = summary(made.CASCADE, made.SIMULATED)
    first, second, third = verdict(found)
    assert first.startswith(f"SIMULATED: {STAMPED} replays a script")
    assert "“kwindla/aiewf-eval README, 2026-08”" in first
    assert made.SOURCE.startswith("kwindla/aiewf-eval README, 2026-08: ")
    assert f"{STAMPED} does " in second
    assert "for usage that was made up" in third
    other = copy.deepcopy(found["variants"][STAMPED])
    found["variants"]["other [SIMULATED]"] = {**other, "simulation": {}}
    first, _, _ = verdict(found)
    assert "[SIMULATED] and other [SIMULATED] replay a script" in first
    assert "after “kwindla/aiewf-eval README, 2026-08” and “no published source”" in first
    found["variants"][STAMPED]["simulation"] = {"source": "A page. It says so!\nWhy? 1.5 s."}
    for sentence in verdict(found):
        assert re.search(r"[.!?](\s|$)", sentence[:-1]) is None
        assert sentence.endswith(".")


def test_what_is_measured_is_never_called_simulated() -> None:
    assert "SIMULATED" not in " ".join(told())


@settings(max_examples=15)
@given(
    st.permutations([*made.PATHS, OTHER]).flatmap(
        lambda systems: st.integers(1, 4).map(lambda n: tuple(systems[:n]))
    ),
    st.sets(st.sampled_from([one.name for one in made.scenarios()])),
    st.integers(1, 2),
    st.booleans(),
)
def test_three_sentences_and_never_one_without_its_stamp(
    systems: tuple[str, ...], lost: set[str], repeats: int, faults: bool
) -> None:
    sentences = verdict(
        summary_of(
            lambda one: None if one.scenario in lost else one,
            systems,
            repeats=repeats,
            faults=faults,
        )
    )
    for sentence in sentences:
        assert sentence.endswith(".")
        assert not re.search(r"[.!?]\s|None|nan", sentence)
        assert ("SIMULATED" in sentence) == (made.SIMULATED in systems)
    if made.SIMULATED in systems:
        assert sentences[0].startswith("SIMULATED: ")
        every = " ".join(sentences)
        assert every.count(made.SIMULATED) == every.count(STAMPED) > 0


def test_a_system_that_is_told_of_the_end_is_not_faster_without_a_word() -> None:
    found = made.header(TWO)
    found["variants"][made.DIRECT]["turns"] = "manual"
    figures = summarise(found, made.comparison(paths=TWO)[1], TABLE)
    assert figures["variants"][made.DIRECT]["manual"]
    assert any("turns=manual" in warning for warning in figures["warnings"])


def test_a_reply_into_the_user_s_words_is_no_merit() -> None:
    def soon(one: Conversation) -> Conversation:
        if (one.path, one.scenario, one.repeat) != (made.DIRECT, "capital", 1):
            return one
        return each(one, lambda turn: recorded(turn, wav_voice_to_voice_ns=-200 * made.MS))

    figures = summary_of(soon, faults=False)
    assert figures["variants"][made.DIRECT]["too_soon"] == 1
    assert any("before the user had finished" in warning for warning in figures["warnings"])


def test_what_noise_hides_is_neither_too_soon_nor_failed() -> None:
    def hidden(one: Conversation) -> Conversation:
        first, *others = one.turns
        lost = {"status": "unmeasurable", "reason": UNMEASURABLE, "wav_voice_to_voice_ns": None}
        return dataclasses.replace(one, turns=(recorded(first, **lost), *others))

    before = summary(made.CASCADE, faults=False)["variants"][made.CASCADE]
    figures = summary_of(hidden, (made.CASCADE,), faults=False)
    found = figures["variants"][made.CASCADE]
    number = found["conversations"]["n"]
    assert (found["unmeasurable"], found["failed"], found["too_soon"]) == (number, 0, 0)
    assert found["n"] == before["n"] - number
    assert found["failures"] == []
    # It was answered all the same: what was understood and done counts.
    assert (found["wer"], found["expectations"]) == (before["wer"], before["expectations"])
    assert f"{number} more unmeasurable for noise" in verdict(figures)[0]
    assert "before the user had finished" not in str(figures)
    assert any(UNMEASURABLE in warning for warning in figures["warnings"])
