"""Turn-taking as a protocol: what holds whatever the microphone hears."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import TurnSettings, VadSettings
from pipeline.engines.vad import WINDOW, Voice
from pipeline.turns.end_of_turn import Evidence
from pipeline.turns.loudness import FADED_DB
from pipeline.turns.taker import (
    FAINT_BLIP_MS,
    ONSET_GAP_MS,
    RATE,
    SURE_VOICE,
    TIMES,
    Began,
    Decision,
    Ducked,
    Ended,
    Idle,
    Joined,
    Paused,
    Resumed,
    Settled,
    Suspected,
    Swelled,
    TurnTaker,
    TurnTimes,
)

WINDOW_MS = WINDOW * 1000 / RATE
VOICE, SILENCE, BETWEEN = 0.9, 0.0, 0.42  # between the release and the threshold

probabilities = st.one_of(st.sampled_from([SILENCE, BETWEEN, VOICE]), st.floats(0, 1))


def runs(most: int = 60) -> st.SearchStrategy[list[tuple[float, bool]]]:
    """Probabilities and whether the assistant speaks, in runs as a room gives them."""
    run = st.tuples(probabilities, st.booleans(), st.integers(1, most))
    return st.lists(run, max_size=14).map(lambda r: [(p, s) for p, s, n in r for _ in range(n)])


Kind = tuple[TurnSettings, TurnTimes]


@st.composite
def any_kind(draw: st.DrawFn) -> Kind:
    """Settings and times of any kind, with a hold that does not adapt."""
    provisional = draw(st.integers(32, 600))
    settings = TurnSettings(
        provisional_ms=provisional,
        shortest_ms=64,
        hold_ms=draw(st.integers(max(64, provisional), 1200)),
        longest_ms=2000,
        predict=False,
        barge_in_ms=draw(st.integers(32, 1000)),
    )
    times = TurnTimes(
        start_ms=draw(st.integers(32, 400)),
        preroll_ms=draw(st.integers(0, 600)),
        tail_ms=draw(st.integers(0, 1000)),
        max_turn_s=draw(st.floats(1, 4)),
        duck_ms=draw(st.integers(32, 200)),
        word_ms=draw(st.integers(32, 600)),
        swell_ms=draw(st.integers(32, 600)),
    )
    return settings, times


def samples(ms: float) -> int:
    return int(ms * RATE / 1000)


@dataclass
class Heard:
    """A turn taker and all it decided."""

    settings: TurnSettings = field(default_factory=TurnSettings)
    times: TurnTimes = TIMES
    vad: VadSettings = field(default_factory=VadSettings)
    decisions: list[Decision] = field(default_factory=list)
    windows: int = 0

    def __post_init__(self) -> None:
        self.taker = TurnTaker(self.settings, self.vad, self.times)

    def push(
        self, probability: float, *, speaking: bool = False, level_db: float = 0.0
    ) -> list[Decision]:
        start = self.windows * WINDOW
        self.windows += 1
        voice = Voice(probability, start, start + WINDOW, level_db)
        made = self.taker.push(voice, speaking=speaking)
        self.decisions += made
        return made

    def all(self, windows: Iterable[tuple[float, bool]]) -> list[Decision]:
        for probability, speaking in windows:
            self.push(probability, speaking=speaking)
        return self.decisions

    def turns(self) -> list[Decision]:
        """All that is not about a reply being interrupted."""
        about_replies = Ducked | Suspected | Swelled
        return [d for d in self.decisions if not isinstance(d, about_replies)]

    def repeat(
        self, probability: float, times: int, *, speaking: bool = False, level_db: float = 0.0
    ) -> list[Decision]:
        made: list[Decision] = []
        for _ in range(times):
            made += self.push(probability, speaking=speaking, level_db=level_db)
        return made

    def until(self, kind: type[Decision], probability: float, most: int = 2000) -> Decision:
        """Push windows until a decision of this kind; returns it."""
        for _ in range(most):
            for decision in self.push(probability):
                if isinstance(decision, kind):
                    return decision
        raise AssertionError(f"no {kind.__name__} in {most} windows")


@settings(deadline=None)
@given(any_kind(), runs(), st.data())
def test_decisions_follow_the_protocol(
    kind: Kind, windows: list[tuple[float, bool]], data: st.DataObject
) -> None:
    """Whatever is heard, predicted and recognised, each decision has its place."""
    heard = Heard(*kind)
    looks: list[int] = []
    state = "quiet"
    step = {
        ("quiet", Began): "speech",
        ("speech", Joined): "speech",
        ("quiet", Ducked): "ducked",
        ("quiet", Suspected): "quiet",
        ("ducked", Suspected): "ducked",
        ("ducked", Swelled): "quiet",
        ("ducked", Began): "speech",
        ("speech", Paused): "paused",
        ("paused", Settled): "paused",
        ("paused", Resumed): "speech",
        ("paused", Ended): "quiet",
    }

    def take(decisions: list[Decision]) -> None:
        nonlocal state
        for decision in decisions:
            assert (state, type(decision)) in step, f"{decision} in state {state}"
            assert decision.at == heard.windows * WINDOW
            state = step[state, type(decision)]
            if isinstance(decision, Suspected) and data.draw(st.booleans()):
                since = decision.voiced - data.draw(st.integers(0, 4 * RATE))
                take(heard.taker.recognised(since))
            if isinstance(decision, Swelled) and decision.whole:
                assert decision.whole.voiced < decision.at
                looks.append(decision.whole.voiced)
            if isinstance(decision, Paused):
                evidence = Evidence(data.draw(st.none() | st.floats(0, 1)))
                heard.taker.predicted(decision.speech_end, evidence)

    levels = data.draw(st.lists(st.sampled_from([0.0, -10.0, -20.0, -40.0]), min_size=1))
    for n, (probability, speaking) in enumerate(windows):
        if data.draw(st.integers(0, 40)) == 0:
            take(heard.taker.lost())
        level_db = levels[n // 20 % len(levels)]
        take(heard.push(probability, speaking=speaking, level_db=level_db))
        if looks and data.draw(st.integers(0, 20)) == 0:
            take(heard.taker.recognised(looks.pop()))
        assert heard.taker.in_speech == (state in ("speech", "paused"))


@settings(deadline=None)
@given(any_kind(), runs())
def test_utterances_do_not_overlap_and_hold_their_speech(
    kind: Kind, windows: list[tuple[float, bool]]
) -> None:
    settings, times = kind
    floor = 0
    began: Began | None = None
    speech_end = 0
    for decision in Heard(*kind).all(windows):
        match decision:
            case Began():
                began = decision
                assert floor <= began.start <= began.voiced < began.at
                assert began.voiced - began.start <= samples(times.preroll_ms)
                speech_end = began.voiced
            case Paused():
                assert speech_end <= decision.speech_end <= decision.at
                speech_end = decision.speech_end
            case Ended():
                assert began is not None
                assert decision.start == began.start
                assert began.voiced < decision.speech_end <= decision.end <= decision.at
                assert decision.end <= decision.speech_end + samples(times.tail_ms)
                assert decision.speech_end <= decision.silence_from <= decision.at
                assert decision.voiced_ms <= (decision.speech_end - began.voiced) * 1000 / RATE
                assert decision.voiced_ms >= math.floor(min(times.start_ms, settings.barge_in_ms))
                floor = decision.end


@settings(deadline=None)
@given(any_kind(), runs())
def test_a_turn_ends_at_the_first_window_at_which_it_is_silent_or_long_enough(
    kind: Kind, windows: list[tuple[float, bool]]
) -> None:
    settings, times = kind
    hold, longest = samples(settings.hold_ms), int(times.max_turn_s * RATE)
    began: Began | None = None
    for decision in Heard(*kind).all(windows):
        if isinstance(decision, Began):
            began = decision
        elif isinstance(decision, Ended):
            assert began is not None
            silence, length = decision.at - decision.speech_end, decision.at - decision.start
            assert silence < hold + WINDOW
            # A turn that took long to begin is cut at the window after that.
            assert length < max(longest, began.at - began.start + 1) + WINDOW
            if decision.reason == "silence":
                assert silence >= hold
            else:
                assert length >= longest
                assert silence < hold


@settings(deadline=None)
@given(any_kind(), runs())
def test_pauses_are_told_once_the_silence_is_long_enough(
    kind: Kind, windows: list[tuple[float, bool]]
) -> None:
    settings, _ = kind
    provisional = samples(settings.provisional_ms)
    decisions = Heard(*kind).all(windows)
    ends = {d.at for d in decisions if isinstance(d, Ended)}
    begins = {d.at for d in decisions if isinstance(d, Began)}
    for pause in decisions:
        if isinstance(pause, Paused):
            silence = pause.at - pause.speech_end
            # A turn that ends unannounced has its pause at its end.
            assert provisional <= silence or pause.at in ends
            # Whoever talked on and was answered has a turn that begins when it is over.
            assert silence < provisional + WINDOW or pause.at in begins


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(4, 40), st.floats(0.5, 1)), max_size=30),
    st.floats(0, 0.34),
    st.booleans(),
)
def test_clicks_never_begin_a_turn(
    clicks: list[tuple[int, float]], floor: float, speaking: bool
) -> None:
    """Single windows of voice, however many, with more than the onset gap between them."""
    assert 4 * WINDOW_MS > ONSET_GAP_MS
    heard = Heard()
    for silence, loud in clicks:
        heard.push(loud, speaking=speaking)
        heard.repeat(floor, silence, speaking=speaking)
    assert heard.turns() == []
    assert speaking or heard.decisions == []


@pytest.mark.parametrize("speaking", [False, True])
@settings(deadline=None)
@given(kind=any_kind())
def test_it_takes_the_voice_asked_for_to_begin_and_more_while_the_assistant_speaks(
    speaking: bool, kind: Kind
) -> None:
    settings, times = kind
    heard = Heard(*kind)
    needed = math.ceil((settings.barge_in_ms if speaking else times.start_ms) / WINDOW_MS)
    heard.repeat(VOICE, needed - 1, speaking=speaking)
    assert heard.turns() == []
    [began] = heard.push(VOICE, speaking=speaking)
    assert began == Began(0, 0, needed * WINDOW)


def test_a_cough_over_a_reply_ducks_it_for_a_moment_and_begins_no_turn() -> None:
    heard = Heard()
    heard.all([(VOICE, True)] * 8 + [(SILENCE, True)] * 20)
    assert [type(d) for d in heard.decisions] == [Ducked, Suspected, Suspected, Swelled]
    ducked, first, whole, swelled = heard.decisions
    assert ducked.at == WINDOW
    assert isinstance(first, Suspected)
    assert isinstance(whole, Suspected)
    assert (first.voiced_ms, whole.voiced_ms) == (7 * WINDOW_MS, 8 * WINDOW_MS)
    assert samples(300) < swelled.at - 8 * WINDOW <= samples(300) + WINDOW


def test_a_word_over_a_reply_begins_a_turn_with_its_first_sound() -> None:
    heard = Heard()
    heard.repeat(SILENCE, 40, speaking=True)
    heard.repeat(VOICE, 7, speaking=True)
    suspected = heard.decisions[-1]
    assert isinstance(suspected, Suspected)
    [began] = heard.taker.recognised(suspected.voiced)
    assert began == Began(40 * WINDOW - samples(300), 40 * WINDOW, 47 * WINDOW)
    assert heard.taker.recognised(suspected.voiced) == []
    ended = heard.until(Ended, SILENCE)
    assert isinstance(ended, Ended)
    assert ended.start == began.start


@pytest.mark.parametrize(("gap", "begins"), [(3, 0), (4, 5)])
def test_a_stop_inside_the_first_syllable_does_not_begin_it_anew(gap: int, begins: int) -> None:
    heard = Heard(times=TurnTimes(start_ms=96))
    heard.repeat(VOICE, 2 if begins == 0 else 1)
    assert heard.repeat(SILENCE, gap) == []
    began = heard.until(Began, VOICE)
    assert isinstance(began, Began)
    assert began.voiced == begins * WINDOW


def test_words_of_a_suspicion_before_belong_to_the_turn() -> None:
    heard = Heard()
    heard.repeat(SILENCE, 20, speaking=True)
    heard.repeat(VOICE, 6, speaking=True)
    heard.repeat(SILENCE, 20, speaking=True)
    heard.repeat(VOICE, 7, speaking=True)
    [began] = heard.taker.recognised(20 * WINDOW)
    assert began == Began(20 * WINDOW - samples(300), 20 * WINDOW, 53 * WINDOW)


@pytest.mark.parametrize("silence", [12, 100])
def test_words_that_are_known_late_begin_a_turn_with_the_voice_that_was_given_up(
    silence: int,
) -> None:
    heard = Heard()
    heard.repeat(SILENCE, 20, speaking=True)
    for voiced, gap in ((20, 5), (1, silence)):
        heard.repeat(VOICE, voiced, speaking=True)
        heard.repeat(SILENCE, gap, speaking=True)
    [swelled] = [d for d in heard.decisions if isinstance(d, Swelled)]
    whole = swelled.whole
    assert whole is not None
    assert whole == Suspected(20 * WINDOW - samples(300), 20 * WINDOW, 26 * WINDOW_MS, swelled.at)
    began, paused, *_ = heard.taker.recognised(whole.voiced)
    assert isinstance(began, Began)
    assert isinstance(paused, Paused)
    assert (began.start, began.voiced) == (whole.start, whole.voiced)
    assert paused.speech_end == 46 * WINDOW
    assert heard.taker.in_speech == (silence < 16)  # it may be over already
    assert heard.taker.recognised(whole.voiced) == []


@pytest.mark.parametrize("then", [TurnTaker.forget, TurnTaker.lost])
def test_what_is_forgotten_begins_no_turn(then: Callable[[TurnTaker], object]) -> None:
    heard = Heard()
    heard.repeat(VOICE, 9, speaking=True)
    heard.repeat(SILENCE, 20, speaking=True)
    then(heard.taker)
    assert heard.taker.recognised(0) == []


def test_a_voice_that_was_given_up_belongs_to_the_one_that_goes_on() -> None:
    heard = Heard()
    heard.repeat(VOICE, 9, speaking=True)
    heard.repeat(SILENCE, 20, speaking=True)
    heard.repeat(VOICE, 3, speaking=True)
    assert heard.taker.recognised(0) == [Began(0, 0, 32 * WINDOW)]


def test_voice_enough_for_a_turn_but_not_for_an_interruption_begins_as_the_reply_ends() -> None:
    heard = Heard()
    heard.repeat(VOICE, 5, speaking=True)
    assert heard.turns() == []
    [began] = heard.push(VOICE)
    assert began == Began(0, 0, 6 * WINDOW)


@pytest.mark.parametrize("lead", [0, 10])
def test_a_prediction_moves_the_end_of_its_own_pause_only(lead: int) -> None:
    def end(melody: float | None, *, stale: bool = False) -> int:
        heard = Heard()
        heard.repeat(VOICE, 20 + lead)
        paused = heard.until(Paused, SILENCE)
        assert isinstance(paused, Paused)
        heard.taker.predicted(paused.speech_end - stale, Evidence(melody))
        return heard.until(Ended, SILENCE).at - paused.speech_end

    fixed = end(None)
    assert fixed == 16 * WINDOW
    ends = [end(p) for p in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert ends == sorted(ends, reverse=True)
    assert ends[-1] < fixed < ends[0]
    assert end(1.0, stale=True) == fixed
    assert samples(TurnSettings().shortest_ms) <= ends[-1] <= ends[0] < samples(2000) + WINDOW


def test_a_prediction_is_forgotten_when_speech_resumes() -> None:
    heard = Heard()
    heard.repeat(VOICE, 20)
    paused = heard.until(Paused, SILENCE)
    assert isinstance(paused, Paused)
    heard.taker.predicted(paused.speech_end, Evidence(0.0))
    heard.repeat(VOICE, 10)
    assert heard.taker.hold_ms <= 1.5 * TurnSettings().hold_ms


def test_the_hold_learns_from_a_turn_that_it_cut_off() -> None:
    def hold_after(pause: int) -> float:
        heard = Heard()
        for _ in range(8):
            heard.repeat(VOICE, 10)
            heard.repeat(SILENCE, pause)
        return heard.taker.hold_ms

    assert hold_after(20) > TurnSettings().hold_ms
    assert hold_after(200) == TurnSettings().hold_ms


def test_a_click_in_a_pause_neither_resumes_the_turn_nor_delays_its_end() -> None:
    heard = Heard()
    heard.repeat(VOICE, 20)
    heard.repeat(SILENCE, 8)
    heard.push(VOICE)
    heard.repeat(SILENCE, 7)
    assert [type(d) for d in heard.decisions] == [Began, Paused, Settled, Ended]
    ended = heard.decisions[-1]
    assert ended.at == 36 * WINDOW
    assert isinstance(ended, Ended)
    assert ended.speech_end == 20 * WINDOW


def test_no_turn_ends_while_there_is_voice() -> None:
    heard = Heard()
    heard.repeat(VOICE, 20)
    heard.repeat(SILENCE, 15)
    heard.push(VOICE)
    assert not any(isinstance(d, Ended) for d in heard.decisions)
    assert [type(d) for d in heard.push(VOICE)] == [Resumed]


def test_silence_without_end_calls_the_assistant_so_many_times() -> None:
    settings = TurnSettings(idle_s=3)
    heard = Heard(settings)
    windows = math.ceil(20 * RATE / WINDOW)
    heard.repeat(SILENCE, windows)
    assert [type(d) for d in heard.decisions] == [Idle, Idle]
    first, second = (d.at for d in heard.decisions)
    assert 3 * RATE <= first < 3 * RATE + WINDOW
    assert 3 * RATE <= second - first < 3 * RATE + 2 * WINDOW
    heard.repeat(VOICE, 10)
    heard.repeat(SILENCE, windows)
    assert [type(d) for d in heard.decisions].count(Idle) == 4


def test_nobody_is_idle_while_a_reply_is_under_way() -> None:
    heard = Heard(TurnSettings(idle_s=3))
    heard.repeat(SILENCE, 500, speaking=True)
    assert heard.decisions == []


def test_a_turn_in_which_audio_is_lost_ends_there() -> None:
    heard = Heard()
    heard.repeat(VOICE, 20)
    paused, ended = heard.taker.lost()
    assert isinstance(paused, Paused)
    assert isinstance(ended, Ended)
    assert (ended.reason, ended.end) == ("gap", 20 * WINDOW)
    assert heard.taker.lost() == []


@settings(deadline=None)
@given(st.lists(st.floats(0.35, 0.5, exclude_max=True), min_size=1, max_size=300))
def test_between_release_and_threshold_nothing_begins_and_nothing_ends(
    between: list[float],
) -> None:
    """Hysteresis: such voice does not begin a turn, but goes on with one."""
    assert Heard().all((p, False) for p in between) == []
    heard = Heard()
    heard.repeat(VOICE, 10)
    assert [type(d) for d in heard.decisions] == [Began]
    assert [d for p in between for d in heard.push(p)] == []


def test_the_defaults_pause_at_32_and_end_at_512_ms() -> None:
    heard = Heard()
    heard.repeat(SILENCE, 50)
    heard.repeat(VOICE, 30)
    heard.repeat(SILENCE, 16)
    onset, last = 50 * WINDOW, 80 * WINDOW
    start, tail = onset - samples(300), samples(400)
    voiced_ms = 30 * WINDOW_MS
    assert heard.decisions == [
        Began(start, onset, onset + 5 * WINDOW),
        Paused(start, last, voiced_ms, last + WINDOW),
        Settled(start, last, last + tail, last + 13 * WINDOW),
        Ended(
            start=start,
            end=last + tail,
            speech_end=last,
            silence_from=last + WINDOW,
            paused_at=last + WINDOW,
            voiced_ms=voiced_ms,
            at=last + 16 * WINDOW,
            reason="silence",
            hold_ms=500,
            probability=None,
        ),
    ]


@pytest.mark.parametrize(
    ("probability", "down_db", "fades"),
    [
        (SURE_VOICE - 0.05, FADED_DB + 1, True),  # breath, and the room
        (SURE_VOICE, FADED_DB + 1, False),  # a soft consonant
        (SURE_VOICE - 0.05, FADED_DB - 1, False),  # a doubtful vowel
    ],
)
def test_of_a_voice_that_fades_what_is_doubtful_is_silence(
    probability: float, down_db: float, fades: bool
) -> None:
    heard = Heard()
    heard.repeat(VOICE, 30, level_db=USER)
    last = heard.windows * WINDOW
    made = heard.repeat(probability, 6, level_db=USER - down_db)
    assert [(type(d), d.at) for d in made] == ([(Paused, last + WINDOW)] if fades else [])


def test_a_quieter_voice_in_the_pause_moves_its_end_by_a_syllable_at_most() -> None:
    """The detector is sure of it now and then."""
    ends = []
    for seed in range(100):
        draw, heard = random.Random(seed), Heard(TurnSettings(predict=False))
        heard.repeat(VOICE, 30, level_db=USER)
        last = heard.windows * WINDOW
        made: list[Decision] = []
        while not made or not isinstance(made[-1], Ended):
            made += heard.push(draw.uniform(BETWEEN, 1.0), level_db=TELEVISION)
        ends.append((made[-1].at - last) / WINDOW)
        assert made[-1].speech_end - last <= samples(FAINT_BLIP_MS)
    assert statistics.median(ends) == 16
    assert max(ends) <= 16 + 5


def test_a_turn_that_ends_at_its_first_pause_is_told_of_both() -> None:
    heard = Heard(TurnSettings(provisional_ms=500, hold_ms=500))
    heard.repeat(VOICE, 10)
    heard.repeat(SILENCE, 16)
    assert [(type(d), d.at) for d in heard.decisions[1:]] == [
        (Paused, 26 * WINDOW),
        (Ended, 26 * WINDOW),
    ]


def test_voice_after_a_pause_resumes_the_turn_and_moves_its_end() -> None:
    heard = Heard()
    heard.repeat(VOICE, 10)
    heard.repeat(SILENCE, 10)
    heard.repeat(VOICE, 2)
    resumed_at = heard.windows * WINDOW
    heard.until(Ended, SILENCE)
    kinds = [type(d) for d in heard.decisions]
    assert kinds == [Began, Paused, Resumed, Paused, Settled, Ended]
    assert heard.decisions[2] == Resumed(10 * WINDOW_MS, resumed_at)
    ended = heard.decisions[-1]
    assert isinstance(ended, Ended)
    assert ended.speech_end == resumed_at
    assert ended.voiced_ms == 12 * WINDOW_MS


def test_a_monologue_is_cut_at_the_longest_turn_and_no_sample_is_lost_or_repeated() -> None:
    heard = Heard(times=TurnTimes(max_turn_s=2))
    heard.repeat(VOICE, 140)
    heard.repeat(VOICE, 40, speaking=True)
    heard.repeat(VOICE, 80)
    ended = [d for d in heard.decisions if isinstance(d, Ended)]
    assert [e.reason for e in ended] == ["length"] * 4
    for turn in ended:
        assert turn.end == turn.speech_end == turn.silence_from == turn.at
        assert 2 * RATE <= turn.end - turn.start < 2 * RATE + WINDOW
    assert [e.start for e in ended] == [0, *(e.end for e in ended[:-1])]


USER, TELEVISION = -20.0, -45.0


def test_a_television_ends_no_turn_late_and_disturbs_no_reply() -> None:
    heard = Heard()
    heard.repeat(VOICE, 30, level_db=USER)
    heard.repeat(VOICE, 60, level_db=TELEVISION)
    [began, *_, ended] = heard.decisions
    assert isinstance(began, Began)
    assert isinstance(ended, Ended)
    # The loud windows count for those after them; once it is plain, they are taken back.
    assert ended.speech_end == 30 * WINDOW
    assert ended.at == (30 + 16) * WINDOW
    assert ended.voiced_ms == 30 * WINDOW_MS
    made = heard.repeat(VOICE, 600, speaking=True, level_db=TELEVISION)
    assert made == heard.repeat(VOICE, 600, level_db=TELEVISION) == []


def test_soft_ends_of_words_are_the_users() -> None:
    heard = Heard()
    for _ in range(3):
        heard.repeat(VOICE, 10, level_db=USER)
        heard.repeat(VOICE, 8, level_db=USER - 25)
    assert [type(d) for d in heard.decisions] == [Began]
    paused = heard.until(Paused, SILENCE)
    assert isinstance(paused, Paused)
    assert paused.speech_end == 54 * WINDOW


def test_a_user_who_joins_a_television_is_the_one_who_is_heard() -> None:
    heard = Heard()
    heard.repeat(VOICE, 100, level_db=TELEVISION)
    heard.repeat(VOICE, 30, level_db=USER)
    heard.repeat(VOICE, 40, level_db=TELEVISION)
    kinds = [type(d) for d in heard.decisions]
    assert kinds == [Began, Joined, Paused, Settled, Ended]
    joined, ended = heard.decisions[1], heard.decisions[-1]
    assert isinstance(joined, Joined)
    assert isinstance(ended, Ended)
    assert joined.voiced == 100 * WINDOW
    assert ended.start == joined.start == 100 * WINDOW - samples(300)
    assert ended.speech_end == 130 * WINDOW
    assert ended.voiced_ms == 30 * WINDOW_MS  # without what was before


def test_a_user_who_moved_away_is_heard_again_after_a_while_of_quiet() -> None:
    def heard_after(seconds: float, level_db: float, *, television: bool = False) -> bool:
        heard = Heard()
        heard.repeat(VOICE, 30, level_db=USER)
        heard.repeat(SILENCE, 20)
        sound = VOICE if television else SILENCE
        heard.repeat(sound, round(seconds * 1000 / WINDOW_MS), level_db=TELEVISION)
        return bool(heard.repeat(VOICE, 10, level_db=level_db))

    assert heard_after(1, USER - 12)
    assert not heard_after(20, USER - 20)
    assert heard_after(40, USER - 20)
    assert not heard_after(40, USER - 30)
    assert heard_after(60, USER - 30)
    assert not heard_after(60, USER - 20, television=True)


def test_a_quieter_recording_is_heard_after_a_louder_one() -> None:
    heard = Heard()
    heard.repeat(VOICE, 30, level_db=USER)
    heard.until(Ended, SILENCE)
    assert heard.repeat(VOICE, 30, level_db=TELEVISION) == []
    heard.repeat(SILENCE, 20)
    heard.taker.another()
    [began] = heard.repeat(VOICE, 10, level_db=TELEVISION)
    assert isinstance(began, Began)


def test_a_user_who_was_silent_for_long_is_no_louder_voice_that_joins() -> None:
    heard = Heard()
    heard.repeat(VOICE, 60, level_db=USER)
    heard.repeat(SILENCE, round(600_000 / WINDOW_MS))
    made = heard.repeat(VOICE, 60, level_db=USER)
    assert [type(d) for d in made] == [Began]


def test_whoever_talks_on_over_the_answer_is_heard_from_the_last_cut_on() -> None:
    heard = Heard(times=TurnTimes(max_turn_s=2))
    heard.repeat(VOICE, 130)
    cut = heard.decisions[-1]
    assert isinstance(cut, Ended)
    assert heard.repeat(VOICE, 60, speaking=True) == []
    [began] = heard.push(VOICE)
    assert isinstance(began, Began)
    assert began.start == began.voiced == cut.end
    heard = Heard(times=TurnTimes(max_turn_s=2))
    heard.repeat(VOICE, 130)
    made = heard.repeat(VOICE, 5, speaking=True) + heard.repeat(SILENCE, 20, speaking=True)
    assert [type(d) for d in made] == [Began, Paused, Ended]


def test_who_was_cut_off_is_waited_for_as_if_they_had_not_been() -> None:
    """After seven seconds of talk the hold is longer, in how many turns ever they came."""

    def hold_after(pause: int) -> float:
        heard = Heard(TurnSettings(predict=False))
        heard.repeat(VOICE, 100)
        first = heard.until(Ended, SILENCE)
        assert isinstance(first, Ended)
        heard.repeat(SILENCE, pause)
        heard.repeat(VOICE, 200)
        paused = heard.until(Paused, SILENCE)
        assert isinstance(paused, Paused)
        heard.taker.predicted(paused.speech_end, Evidence(melody=0.99, words=0.95))
        return heard.taker.hold_ms

    assert hold_after(8) > 1.3 * hold_after(80)
