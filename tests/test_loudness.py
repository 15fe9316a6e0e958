"""Whose voice it is, by its level."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.loudness import BEGIN_DB, HOLD, LINE_DB, MEMORY, WINDOW_MS, UserLevel

levels = st.floats(-80, 0)
windows = st.lists(st.tuples(levels, st.booleans(), st.booleans()), max_size=120)


def follow(
    level: UserLevel, heard: Sequence[tuple[float, bool, bool]], gain_db: float
) -> list[object]:
    """What comes of windows: their level, whether they are voiced, and in a turn."""
    told: list[object] = []
    for n, (level_db, voiced, in_turn) in enumerate(heard):
        own = level.own(level_db + gain_db, voiced=voiced, in_turn=in_turn)
        told.append(own)
        if own and in_turn:
            told.append(level.learn(level_db + gain_db, n))
    return told


@settings(deadline=None)
@given(windows, st.integers(-60, 60))
def test_a_gain_changes_nothing(heard: list[tuple[float, bool, bool]], gain_db: int) -> None:
    # Whole decibels: a level that lies on the line may fall on either side of it.
    whole = [(round(level_db), voiced, in_turn) for level_db, voiced, in_turn in heard]
    assert follow(UserLevel(), whole, gain_db) == follow(UserLevel(), whole, 0)


@settings(deadline=None)
@given(windows)
def test_only_voice_is_the_users_and_all_of_it_as_long_as_nothing_is_known(
    heard: list[tuple[float, bool, bool]],
) -> None:
    level = UserLevel()
    for level_db, voiced, in_turn in heard:
        assert level.own(level_db, voiced=voiced, in_turn=in_turn) == voiced


def known(level_db: float, windows: int) -> UserLevel:
    level = UserLevel()
    for n in range(windows):
        assert level.own(level_db, voiced=True, in_turn=True)
        level.learn(level_db, n)
    return level


@settings(deadline=None)
@given(levels, st.integers(4, 2 * MEMORY), st.floats(0, 40).filter(lambda d: abs(d - 12) > 0.1))
def test_a_voice_below_the_line_begins_nothing_however_long_it_goes_on(
    level_db: float, n: int, down: float
) -> None:
    level = known(level_db, n)
    for _ in range(HOLD):
        level.own(level_db, voiced=False, in_turn=False)
    told = [level.own(level_db - down, voiced=True, in_turn=False) for _ in range(100)]
    assert told[2:] == [down <= BEGIN_DB] * 98


@settings(deadline=None)
@given(levels, st.floats(LINE_DB + 0.1, 40), st.integers(16, MEMORY))
def test_a_louder_voice_takes_over_in_a_quarter_of_a_second(
    level_db: float, up: float, before: int
) -> None:
    level = known(level_db - up, before)
    told = [level.learn(level_db, 1000 + n) for n in range(8)]
    assert 1000 in told
    assert not level.loud(level_db - up)
    assert not level.own(level_db - up, voiced=True, in_turn=False)


def test_a_bang_takes_over_nothing() -> None:
    level = known(-30.0, 60)
    assert [level.learn(-5.0, 1000 + n) for n in range(3)] == [None] * 3
    assert [level.learn(-30.0, 2000 + n) for n in range(40)] == [None] * 40
    assert level.own(-35.0, voiced=True, in_turn=False)


def test_whoever_is_heard_again_from_afar_is_the_user_from_then_on() -> None:
    level = known(-20.0, 60)
    for _ in range(60_000 // WINDOW_MS):
        level.own(-90.0, voiced=False, in_turn=False)
    told = [level.own(-45.0, voiced=True, in_turn=False) for _ in range(5)]
    assert told[2:] == [True] * 3
    level.learn(-45.0, 0)
    assert level.own(-48.0, voiced=True, in_turn=True)
