"""Whose voice it is, by its level."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.turns.loudness import BEGIN_DB, FIRM, HOLD, LINE_DB, MEMORY, WINDOW_MS, UserLevel

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
@given(
    levels, st.integers(4, 2 * MEMORY), st.floats(0, 40).filter(lambda d: abs(d - BEGIN_DB) > 0.1)
)
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


def after(turns: Sequence[float], *, gap_s: float = 2) -> UserLevel:
    """What is known after turns of a second, each of one level, with silence after each."""
    level = UserLevel()
    for turn, level_db in enumerate(turns):
        for n in range(32):
            level.own(level_db, voiced=True, in_turn=True)
            level.learn(level_db, turn * 1000 + n)
        for _ in range(round(gap_s * 1000 / WINDOW_MS)):
            level.own(-90.0, voiced=False, in_turn=False)
    return level


def begins(level: UserLevel, level_db: float) -> bool:
    """Whether a voice of this level begins a turn."""
    return [level.own(level_db, voiced=True, in_turn=False) for _ in range(10)][-1]


@settings(deadline=None)
@given(levels, st.integers(FIRM, 6), st.integers(1, 2), st.floats(0, 18))
def test_who_shouted_is_heard_as_usual_and_a_television_is_not(
    usual: float, before: int, shouts: int, up: float
) -> None:
    assert begins(after([usual] * before + [usual + up] * shouts), usual)
    assert not begins(after([usual] * before + [usual + up] * shouts), usual - 20)


@settings(deadline=None)
@given(levels, st.integers(1, FIRM - 1), st.floats(13, 40), st.integers(1, 4))
def test_a_voice_before_the_users_first_word_is_another_from_that_word_on(
    user: float, before: int, down: float, turns: int
) -> None:
    level = after([user - down] * before + [user] * turns)
    assert not begins(level, user - down)
    assert begins(level, user - 9)


def test_a_user_who_keeps_speaking_more_quietly_lowers_the_level() -> None:
    level = after([-20.0] * 5 + [-30.0] * 5)
    assert begins(level, -40.0)
    assert not begins(level, -50.0)


def test_in_a_quiet_turn_the_line_is_lower_and_in_others_not() -> None:
    quiet, usual = after([-20.0] * 3), after([-20.0] * 3)
    for n in range(32):
        quiet.learn(-28.0, n)
        usual.learn(-20.0, n)
    assert quiet.loud(-40.0)
    assert not quiet.loud(-44.0)
    assert not usual.loud(-36.0)


def test_who_joins_softly_is_heard_from_their_first_word_on() -> None:
    """The first words lie between the others' level and the user's: the level creeps up."""
    level = known(-40.0, 40)
    told = [level.learn(-28.0, 1000 + n) for n in range(6)]
    told += [level.learn(-20.0, 2000 + n) for n in range(20)]
    assert [name for name in told if name is not None] == [1000]


def test_whoever_speaks_up_in_a_second_or_more_is_one_speaker() -> None:
    level = known(-40.0, 40)
    told = [level.learn(-40.0 + n / 3, 1000 + n) for n in range(60)]
    assert told == [None] * 60
