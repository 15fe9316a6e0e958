"""Who spoke when, of made WAVs in which that is known to the sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.sound import hum

from pipeline.audio.files import read_audio
from pipeline.audio.playout import Playout
from pipeline.events import Samples
from pipeline.measure.record import Outcome, Places, TurnTaking
from pipeline.measure.turn_taking import PAUSE_S, turn_taking

RATE = 16_000
CORPUS = Path(__file__).parents[1] / "data" / "corpus"

COUGH = (2.0, 2.5)
"""What the user is heard with (s)."""

END_S = 10.0
"""Where the next utterance begins (s)."""


TONE = hum(RATE, END_S + 2, 220)


def at(seconds: float) -> int:
    return round(seconds * RATE)


def track(*sounds: tuple[float, float]) -> Samples:
    """Tones from when to when (s)."""
    made = np.zeros(at(END_S + 2), np.int16)
    for begin, end in sounds:
        made[at(begin) : at(end)] = TONE[: at(end) - at(begin)]
    return made


def taken(
    reply: Samples,
    outcome: Outcome = "ignore",
    *,
    user: Samples | None = None,
    own_s: float | None = None,
    cuts_s: tuple[float, ...] = (),
    ducks_s: tuple[tuple[float, float], ...] = (),
    over_s: float = COUGH[1],
) -> TurnTaking:
    own = None if own_s is None else at(own_s)
    places = Places(at(COUGH[0] - 0.1), at(END_S), at(END_S), None, at(over_s), own)
    cuts, ducks = [at(one) for one in cuts_s], [(at(a), at(b)) for a, b in ducks_s]
    user = track(COUGH) if user is None else user
    return turn_taking(user, reply, RATE, outcome, places, cuts, ducks)


def ms(ns: int | None) -> float | None:
    return None if ns is None else ns / 1e6


def near(ns: int | None, wanted_ms: float) -> None:
    assert ms(ns) == pytest.approx(wanted_ms, abs=6)


def test_a_reply_that_goes_on() -> None:
    found = taken(track((0.5, 6)))
    assert (found.into_reply, found.stopped, found.back_ns) == (True, False, None)
    near(found.ended_ns, 4000)  # by itself
    assert (found.ducked_ns, found.spurious_ns, found.talk_over_ns) == (None, None, 0)
    assert taken(track((0.5, 11))).ended_ns is None


def test_a_reply_that_is_stopped_for_good() -> None:
    found = taken(track((0.5, 2.3)), cuts_s=(2.3,))
    assert (found.stopped, found.back_ns, found.spurious_ns) == (True, None, None)
    near(found.ended_ns, 300)
    ducked = taken(track((0.5, 2.3)), cuts_s=(2.3,), ducks_s=((2.1, 2.25),))
    assert (ducked.stopped, ducked.back_ns) == (True, None)


def test_or_comes_back_or_makes_way_for_a_reply_to_the_cough() -> None:
    back = taken(track((0.5, 2.3), (3.8, 6)))
    assert (back.stopped, back.spurious_ns) == (True, None)
    near(back.back_ns, 1500)
    answered = taken(track((0.5, 2.3), (3.8, 6)), own_s=3.7, cuts_s=(2.3,))
    assert (answered.stopped, answered.back_ns) == (True, None)
    near(answered.spurious_ns, 1800)


@pytest.mark.parametrize("again_s", [2.3 + PAUSE_S - 0.1, 2.3 + 0.2])
def test_a_pause_between_sentences_is_no_stop(again_s: float) -> None:
    found = taken(track((0.5, 2.3), (again_s, 6)))
    assert (found.stopped, found.back_ns) == (False, None)


def test_a_pause_long_after_the_cough_is_not_for_it() -> None:
    assert taken(track((0.5, 6), (8, 9))).stopped is False


def test_in_silence_any_sound_is_a_reply_to_it() -> None:
    found = taken(track((0.5, 0.9), (3, 4)))
    assert (found.into_reply, found.stopped) == (False, False)
    near(found.spurious_ns, 1000)
    assert taken(track((0.2, 0.9))).spurious_ns is None
    just_over = taken(track((0.2, COUGH[0] - 0.02)))
    assert (just_over.into_reply, just_over.spurious_ns) == (False, None)
    late = taken(track((END_S + 0.5, END_S + 1)), own_s=END_S + 0.4)
    near(late.spurious_ns, 1000 * (END_S + 0.5 - COUGH[0]))


def test_a_soft_voice_begins_where_it_is_heard_and_not_where_it_is_loud() -> None:
    """30 dB below: most of it is below what is audible of a reply."""
    soft = np.rint(track(COUGH) / 10**1.5).astype(np.int16)
    soft[: at(2.3)] //= 3
    near(taken(track((3, 4)), user=soft).spurious_ns, 1000)
    # It answers what is hardly there, before any of it is loud.
    assert taken(track((2.1, 4)), user=soft, own_s=2.05).spurious_ns is not None
    silence = np.zeros_like(soft)
    near(taken(track((3, 4)), user=silence, over_s=9).spurious_ns, 1100)


@pytest.mark.parametrize(
    ("ends_s", "cuts_s", "stopped"),
    [(2.6, (2.6,), True), (2.6, (), None), (6.0, (), False), (11.0, (), False), (6.0, (6,), True)],
)
def test_what_is_to_stop(ends_s: float, cuts_s: tuple[float, ...], stopped: bool | None) -> None:
    """One that falls silent with no word of an interruption may have been over by itself."""
    found = taken(track((0.5, ends_s)), "stop", cuts_s=cuts_s)
    assert found.stopped is stopped
    near(found.talk_over_ns, 500)


def test_the_reply_speaks_before_the_user_has_finished() -> None:
    user = track((2, 2.6), (3.2, 4))
    too_soon = taken(track((2.8, 5)), "respond", user=user, own_s=2.7, over_s=4)
    near(too_soon.cut_in_ns, 1200)
    near(too_soon.talk_over_ns, 800)
    # It takes the pause for the end, is interrupted, and answers once more.
    given_up = taken(track((2.8, 3.3), (4.6, 6)), "respond", user=user, own_s=2.7, over_s=4)
    near(given_up.cut_in_ns, 1200)
    near(given_up.talk_over_ns, 100)
    right = taken(track((4.6, 6)), "respond", user=user, own_s=4.5, over_s=4)
    assert (right.cut_in_ns, right.talk_over_ns) == (None, 0)


def test_the_reply_before_it_is_no_cut_in() -> None:
    found = taken(track((0.5, 2.4), (3.5, 5)), "respond", own_s=3.4, cuts_s=(2.4,))
    assert (found.cut_in_ns, found.stopped) == (None, True)
    near(found.talk_over_ns, 400)


def spoken() -> Samples:
    """A voice that speaks for long."""
    found = [np.concatenate([*read_audio(path, RATE)]) for path in sorted(CORPUS.glob("*.flac"))]
    voice = np.concatenate([one[np.abs(one) > 0] for one in found])
    return np.pad(voice[: at(END_S + 2)], (0, max(0, at(END_S + 2) - len(voice))))


def test_a_voice_that_is_ducked() -> None:
    voice, playout = spoken(), Playout(RATE)
    assert taken(voice).ducked_ns is None
    playout.write("r", voice, RATE)
    parts = [playout.read(at(2.05), 0)]
    playout.duck()
    parts.append(playout.read(at(0.7), 0))
    playout.swell()
    parts.append(playout.read(len(voice) - at(2.75), 0))
    found = taken(np.concatenate(parts))
    assert found.stopped is False
    assert found.ducked_ns is not None
    assert ms(found.ducked_ns) == pytest.approx(50, abs=40)
    assert ms(found.back_ns) == pytest.approx(700, abs=100)


def test_a_session_that_says_so_is_believed_where_anything_is_heard() -> None:
    told = taken(track((0.5, 6)), ducks_s=((2.1, 2.8),))
    near(told.ducked_ns, 100)
    near(told.back_ns, 700)
    in_a_pause = taken(track((0.5, 2.05), (2.9, 6)), ducks_s=((2.1, 2.8),))
    assert in_a_pause.ducked_ns is None


@given(st.floats(0.2, 1.8), st.floats(2.1, 12), st.sampled_from(["respond", "stop", "ignore"]))
def test_one_reply_that_nobody_touches_is_never_stopped(
    begin_s: float, end_s: float, outcome: Outcome
) -> None:
    found = taken(track((begin_s, min(end_s, END_S + 1.9))), outcome)
    assert found.into_reply
    assert not found.stopped
    assert (found.cut_in_ns, found.spurious_ns, found.back_ns) == (None, None, None)
