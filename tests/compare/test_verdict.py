"""Three sentences: what they say in each case, and what they never say."""

from __future__ import annotations

import copy
import dataclasses
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import comparison_samples as made

from pipeline.compare.cost import prices
from pipeline.compare.record import Conversation
from pipeline.compare.summary import summarise
from pipeline.compare.verdict import verdict
from pipeline.turns.speech_end import UNMEASURABLE

TABLE = prices()


def told(
    paths: tuple[str, ...] = (made.CASCADE, made.DIRECT), **asked: Any
) -> tuple[str, str, str]:
    return verdict(summary(paths, **asked))


def summary(paths: tuple[str, ...] = (made.CASCADE, made.DIRECT), **asked: Any) -> dict[str, Any]:
    header, conversations = made.comparison(paths=paths, **asked)
    return summarise(header, conversations, TABLE)


def only(
    keep: Any, paths: tuple[str, ...] = (made.CASCADE, made.DIRECT), **asked: Any
) -> tuple[str, str, str]:
    """The verdict on those conversations, changed, that `keep` gives."""
    header, conversations = made.comparison(paths=paths, **asked)
    left = [found for one in conversations if (found := keep(one)) is not None]
    return verdict(summarise(header, left, TABLE))


def test_faster_with_size_interval_and_pairs() -> None:
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


def test_slower() -> None:
    first, _, _ = told((made.DIRECT, made.CASCADE), faults=False)
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


def test_no_difference_shown() -> None:
    def twin(one: Conversation) -> Conversation:
        """The second path as fast as the first, save for what its own seed drew."""
        turns = []
        for index, turn in enumerate(one.turns):
            shift = (-1) ** (index + one.order) * 30 * made.MS
            latency = 1_000 * made.MS + (shift if one.path == made.DIRECT else 0)
            record = dataclasses.replace(turn.record, wav_voice_to_voice_ns=latency)
            turns.append(dataclasses.replace(turn, record=record, checks=()))
        return dataclasses.replace(one, turns=tuple(turns))

    first, second, _ = only(twin, faults=False)
    assert first.startswith(f"between {made.DIRECT} and cascade no difference is shown (")
    assert re.search(r"\([+-]\d+ ms, 95 %: -\d+ to \+\d+, 138 pairs\)", first)
    assert "sooner" not in first
    assert "later" not in first
    assert second.startswith("Nothing was expected of the answers, so only words can be told: ")


def test_too_few_pairs() -> None:
    first, second, _ = only(
        lambda one: one if one.scenario == "pirate" and one.repeat == 1 else None, faults=False
    )
    assert "no difference is shown: 4 pairs are too few" in first
    assert "no difference shown in turns done right: 3 pairs of 1 conversation, too few" in second


def test_one_path() -> None:
    first, second, third = told((made.CASCADE,))
    assert first.startswith("cascade is heard after ")
    assert first.endswith("; there is nothing to compare it with.")
    assert "points" not in second
    assert "no difference" not in second
    assert third.startswith("cascade is not billed and takes ")


def test_more_than_two_paths() -> None:
    other = "ws://host:1/v1"
    first, second, third = told((made.CASCADE, made.DIRECT, other), faults=False)
    assert first.count("than cascade (95 %: ") == 2
    assert all(first.count(f"{name} after ") == 1 for name in (made.CASCADE, made.DIRECT, other))
    assert second.count("of what was expected") == 3
    assert f"what {other} costs is not known (no price is known for unheard-of" in third


def test_a_path_that_answered_nothing() -> None:
    def broken(one: Conversation) -> Conversation:
        if one.path == made.CASCADE:
            return one
        turns = tuple(
            dataclasses.replace(
                turn,
                record=dataclasses.replace(
                    turn.record, status="failed", wav_voice_to_voice_ns=None, marks={}
                ),
                checks=(),
                word_errors=None,
            )
            for turn in one.turns
        )
        return dataclasses.replace(one, status="failed", usage=(), turns=turns)

    first, second, third = only(broken)
    assert first.startswith(
        f"whether {made.DIRECT} or cascade is heard first cannot be said, for {made.DIRECT} "
        "answered no turn that could be measured"
    )
    assert first.endswith(f"{made.DIRECT} in no turn.")
    assert f"of {made.DIRECT} nothing is known to be right or wrong" in second
    assert f"what {made.DIRECT} costs is not known" in third


def test_no_turn_in_common() -> None:
    first, _, _ = only(
        lambda one: one if (one.scenario == "sums") == (one.path == made.CASCADE) else None,
        faults=False,
    )
    assert "cannot be said, for no turn was answered by both" in first


def test_an_answer_that_comes_after_a_filler() -> None:
    def slow(one: Conversation) -> Conversation:
        turns = tuple(
            dataclasses.replace(turn, answering_ns=(turn.answering_ns or 0) + 1500 * made.MS)
            if turn.record.status == "ok"
            else turn
            for turn in one.turns
        )
        return dataclasses.replace(one, turns=turns) if one.path == made.DIRECT else one

    first, _, _ = only(slow)
    assert re.search(rf"{made.DIRECT} after \d+ ms with its answer after \d{{4}} ms \(", first)
    assert not re.search(r"cascade after \d+ ms with", first)


def test_within_the_noise_of_the_machine() -> None:
    header, conversations = made.comparison(paths=(made.CASCADE, made.DIRECT))
    header["noise"] = {**header["noise"], "relative": 0.9}
    first, _, _ = verdict(summarise(header, conversations, TABLE))
    assert "pairs, within the noise of the machine)" in first


def test_nothing_at_all() -> None:
    assert verdict({"variants": {}}) == (
        "Nothing was compared.",
        "Nothing was expected of the answers, so who understands cannot be said.",
        "What it costs cannot be said, for nothing was held.",
    )


def test_nothing_was_held_yet() -> None:
    first, second, third = verdict(summarise(made.header((made.CASCADE, made.DIRECT)), [], TABLE))
    assert "cannot be said" in first
    assert "cannot be said" in second
    assert third.count("is not known (no conversation was held)") == 2


def test_simulated_is_said_first_with_its_source() -> None:
    first, second, third = told((made.CASCADE, made.SIMULATED))
    assert first.startswith("SIMULATED: simulated:gpt-realtime-2.1 [SIMULATED] replays a script")
    assert "“kwindla/aiewf-eval README, 2026-08”" in first
    assert made.SOURCE.startswith("kwindla/aiewf-eval README, 2026-08: ")
    assert "simulated:gpt-realtime-2.1 [SIMULATED] does " in second
    assert "for usage that was made up" in third


def test_two_simulations() -> None:
    found = summary((made.SIMULATED, made.CASCADE))
    other = copy.deepcopy(found["variants"][f"{made.SIMULATED} [SIMULATED]"])
    other["simulation"] = {}
    other["against_first"] = found["variants"][made.CASCADE]["against_first"]
    found["variants"]["other [SIMULATED]"] = other
    first, _, _ = verdict(found)
    assert "[SIMULATED] and other [SIMULATED] replay a script" in first
    assert "after “kwindla/aiewf-eval README, 2026-08” and “no published source”" in first


def test_a_source_cannot_end_the_sentence() -> None:
    found = summary((made.CASCADE, made.SIMULATED))
    played = found["variants"][f"{made.SIMULATED} [SIMULATED]"]
    played["simulation"] = {"source": "A page. It says so!\nWhy? 1.5 s."}
    for sentence in verdict(found):
        assert re.search(r"[.!?](\s|$)", sentence[:-1]) is None
        assert sentence.endswith(".")


def test_what_is_measured_is_never_called_simulated() -> None:
    assert "SIMULATED" not in " ".join(told())


@settings(max_examples=30)
@given(
    st.permutations([*made.PATHS, "ws://host:1/v1"]).flatmap(
        lambda paths: st.integers(1, 4).map(lambda n: tuple(paths[:n]))
    ),
    st.sets(st.sampled_from([one.name for one in made.scenarios()])),
    st.integers(1, 2),
    st.booleans(),
)
def test_three_sentences_and_never_one_without_its_stamp(
    paths: tuple[str, ...], lost: set[str], repeats: int, faults: bool
) -> None:
    sentences = only(
        lambda one: None if one.scenario in lost else one, paths, repeats=repeats, faults=faults
    )
    assert len(sentences) == 3
    for sentence in sentences:
        assert sentence.endswith(".")
        assert re.search(r"[.!?]\s", sentence) is None
        assert "None" not in sentence
        assert "nan" not in sentence
        assert ("SIMULATED" in sentence) == (made.SIMULATED in paths)
    if made.SIMULATED in paths:
        assert sentences[0].startswith("SIMULATED: ")
        every = " ".join(sentences)
        named = every.count(made.SIMULATED)
        assert named == every.count(f"{made.SIMULATED} [SIMULATED]") > 0


@pytest.mark.parametrize("low", [-20.0, 0.0])
def test_an_interval_that_holds_zero_is_no_difference(low: float) -> None:
    found = summary(faults=False)
    whole = found["variants"][made.DIRECT]["against_first"]["voice_to_voice_ms"]
    whole |= {"median": 5.0, "ci95": [low, 12.0], "verdict": "no difference shown"}
    first, _, _ = verdict(found)
    assert "no difference is shown (+5 ms, 95 %: " in first


def test_a_path_that_is_told_of_the_end_is_not_faster_without_a_word() -> None:
    found = made.header(made.PATHS[:2])
    found["variants"][made.DIRECT]["turns"] = "manual"
    figures = summarise(found, made.comparison(paths=made.PATHS[:2])[1], prices(None))
    assert f"{made.DIRECT}, told when the user had finished, after " in verdict(figures)[0]
    assert any("turns=manual" in warning for warning in figures["warnings"])


def test_a_reply_into_the_user_s_words_is_no_merit() -> None:
    def soon(one: Conversation) -> Conversation:
        if (one.path, one.scenario, one.repeat) != (made.DIRECT, "capital", 1):
            return one
        (turn,) = one.turns
        record = dataclasses.replace(turn.record, wav_voice_to_voice_ns=-200 * made.MS)
        return dataclasses.replace(one, turns=(dataclasses.replace(turn, record=record),))

    found = made.header(made.PATHS[:2])
    held = [soon(one) for one in made.comparison(paths=made.PATHS[:2], faults=False)[1]]
    figures = summarise(found, held, TABLE)
    assert "1 of them before the user had finished" in verdict(figures)[0]
    assert any("before the user had finished" in warning for warning in figures["warnings"])


def test_what_noise_hides_is_neither_too_soon_nor_failed() -> None:
    header, conversations = made.comparison(paths=(made.CASCADE,), faults=False)

    def hidden(one: Conversation) -> Conversation:
        first, *others = one.turns
        record = dataclasses.replace(
            first.record, status="unmeasurable", reason=UNMEASURABLE, wav_voice_to_voice_ns=None
        )
        return dataclasses.replace(one, turns=(dataclasses.replace(first, record=record), *others))

    before = summarise(header, conversations, TABLE)["variants"][made.CASCADE]
    figures = summarise(header, [hidden(one) for one in conversations], TABLE)
    found = figures["variants"][made.CASCADE]
    number = sum(one.repeat > 0 for one in conversations)
    assert (found["unmeasurable"], found["failed"], found["too_soon"]) == (number, 0, 0)
    assert found["n"] == before["n"] - number
    assert found["failures"] == []
    # It was answered all the same: what was understood and done counts.
    assert (found["wer"], found["expectations"]) == (before["wer"], before["expectations"])
    assert f"{number} more unmeasurable for noise" in verdict(figures)[0]
    assert "before the user had finished" not in str(figures)
    assert any(UNMEASURABLE in warning for warning in figures["warnings"])
