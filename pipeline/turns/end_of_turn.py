"""How long to wait in silence before the user's turn is over, and who is asked meanwhile.

A graded delay, not a threshold: the surer the end, the shorter the hold. The melody of the last
word tells at once; the words, and the language model's opinion of them, a moment later, and only as
much as the recogniser is sure of the words. Who speaks for long is telling something, and pauses
longer than who gives an order.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from pipeline.config import TurnSettings
from pipeline.engines.llm import Messages
from pipeline.engines.whisper import Audio, Transcription
from pipeline.errors import StageError
from pipeline.session import Inbox
from pipeline.turns.completeness import HANGING, completeness

# Logistic regression on every silence in one half of people's orders, by `scripts/people.py --fit`
# of commit 2ef0025 (`scripts/bench turns orders` reports both halves): area under the curve on the
# other half 0.92, of the melody alone 0.93, of the model's opinion alone 0.86. Each kind of
# evidence counts by how much its log-odds are above its middle.
MELODY = 0.55
"""Smart Turn's opinion at the beginning of the pause; its middle is 0."""

JUDGED, JUDGED_MIDDLE = 1.15, -2.9
"""The language model's opinion: weight, and log-odds at which it says nothing. The fit on orders
gives a middle of -1.5; questions, which orders are not, end less likely to it. With -2.9 no more
orders are cut into, and sentences that ask something are waited for 0.1 s to 0.6 s less."""

WORDS, WORDS_MIDDLE = 0.75, 1.1
"""The rules' opinion; the middle is that of a plain sentence. Beside the language model's opinion
the fit gives it 0.1, for that knows an open end as well: it is for models that are not asked."""

PRIOR = 0.15
"""Log-odds of an end at a pause of which nothing is known."""

ASKED = 2.0
"""What a question of the assistant's before them adds to words that are not plainly open."""

QUESTION_MARKS = ("?", "？", "؟")
"""What a question ends in: Chinese, Japanese and Arabic have their own."""

FRAGMENT_WORDS = 3
"""Of so few words ("Half an hour.") the language model thinks nothing but that they are no
sentence, and is not asked."""

FRAGMENT, SENTENCE = -0.5, -1.1
"""The least log-odds of words that are not plainly open: a fragment waits 0.8 s with these, more
words 1.2 s, which nine of ten pauses in free speech are shorter than."""

ENOUGH = 0.75
"""So sure an end by melody and words needs no opinion of the language model, and the reply is asked
for at once. Of 125 pauses in people's recordings that were 92, and without their opinions no more
turns were cut into (12 of 120 either way) and the endpoint came as soon (331 ms in the median)."""

LEAST = 0.001
"""Probabilities are taken to be at least this far from 0 and 1."""

UNLIKELY, EVEN, LIKELY, SURE = 0.1, 0.5, 0.65, 0.82
"""Probabilities at which the hold is the longest, the hangover from the second to the third, the
shortest. Of 53 orders of people all ended at more than 0.75."""

ORDER_S, STORY_S, STORY_HOLD = 6.0, 12.0, 3.75
"""Orders are no longer than this; from then on the shortest hold grows, up to so many times at the
second length. Of the pauses in free speech a quarter are above 0.7 s, in orders 2 % above 0.5 s."""

REMEMBERED = 24
"""So many pauses of the speaker count, the latest ones."""

TRUSTED = 6
"""After so many pauses they count as much as the setting."""

QUANTILE, MARGIN = 0.9, 1.2
"""The hold is a fifth above the pause that nine of ten pauses are shorter than."""

REACH = 0.5
"""Share of the setting by which the hold may move."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a pause, each a probability that the turn is over; None: not known.

    Attributes:
        melody: From the sound (`engines.smart_turn.SmartTurn`).
        words: From the words so far (`completeness.completeness`).
        judged: From the words so far, by the language model (`engines.llm_judge.TextJudge`).
        sure: How sure the recogniser is of the words, 0 to 1: e to the power of
            `Transcription.log_prob`.
        asked: Whether the assistant had asked a question: a fragment is a whole answer.
        fragment: Whether there are no more than `FRAGMENT_WORDS` words.
    """

    melody: float | None = None
    words: float | None = None
    judged: float | None = None
    sure: float = 1.0
    asked: bool = False
    fragment: bool = False


def probability(evidence: Evidence) -> float | None:
    """The probability that the turn is over; None if nothing is known."""
    if evidence.melody is None and evidence.words is None and evidence.judged is None:
        return None
    odds, sure = PRIOR, min(max(evidence.sure, 0.0), 1.0)
    if evidence.melody is not None:
        odds += MELODY * log_odds(evidence.melody)
    if evidence.judged is None and evidence.words is None:
        # Of many an end it is sure that it is none: alone it must not cost two seconds.
        return 1 / (1 + math.exp(-max(odds, SENTENCE)))
    if evidence.judged is not None:
        odds += sure * JUDGED * (log_odds(evidence.judged) - JUDGED_MIDDLE)
    if evidence.words is not None:
        odds += sure * WORDS * (log_odds(evidence.words) - WORDS_MIDDLE)
        if evidence.words > HANGING:
            odds = max(odds, FRAGMENT if evidence.fragment else SENTENCE)
            odds += ASKED * evidence.asked
    return 1 / (1 + math.exp(-odds))


def log_odds(p: float) -> float:
    """The logarithm of p to 1 - p, for a probability kept `LEAST` away from 0 and 1."""
    p = min(max(p, LEAST), 1 - LEAST)
    return math.log(p / (1 - p))


def hold_ms(
    settings: TurnSettings, p: float | None, hangover_ms: float, *, spoken_s: float = 0.0
) -> float:
    """Silence that ends the turn (ms).

    `longest_ms` up to p = `UNLIKELY`, `hangover_ms` from `EVEN` to `LIKELY`, `shortest_ms` from
    `SURE` on; between them each step of p changes it by the same factor. In a long turn none is
    short.

    Args:
        settings: The bounds; where they cross, the longer one counts.
        p: That the turn is over; None: nothing is known.
        hangover_ms: What to wait then; brought within the bounds where something is known.
        spoken_s: How long the user has been speaking.
    """
    told = min(max((spoken_s - ORDER_S) / (STORY_S - ORDER_S), 0.0), 1.0)
    shortest = settings.shortest_ms * STORY_HOLD**told
    if p is None:
        return max(hangover_ms, shortest) if told else hangover_ms
    longest = max(shortest, settings.longest_ms)
    middle = min(max(hangover_ms, shortest), longest)
    if p <= EVEN:
        return _between(longest, middle, (p - UNLIKELY) / (EVEN - UNLIKELY))
    return _between(middle, shortest, (p - LIKELY) / (SURE - LIKELY))


def moved_hold_ms(settings: TurnSettings, hold: float, usual_ms: float) -> float:
    """What is waited for where `hold` was, with another `turns.hold_ms`: as sure an end (ms).

    Where it was `hold_ms` itself, nothing was known of the end, or it was an even one.

    Args:
        settings: The bounds, and `hold_ms` then.
        hold: What was waited for (ms).
        usual_ms: `turns.hold_ms` now.
    """
    was = float(settings.hold_ms)
    if not settings.predict:
        return hold * usual_ms / was
    if hold == was:
        return usual_ms
    shortest, longest = settings.shortest_ms, max(settings.shortest_ms, settings.longest_ms)
    middle, moved = (min(max(ms, shortest), longest) for ms in (was, usual_ms))
    if hold == middle:
        return moved
    far = shortest if hold < middle else longest
    if far == middle:
        return hold
    share = math.log(max(hold, 1.0) / middle) / math.log(far / middle)
    return _between(moved, far, share)


def _between(first: float, last: float, share: float) -> float:
    """From `first` at a share of 0 to `last` at 1, by equal factors; no further."""
    if share <= 0:
        return first
    return last if share >= 1 else first * (last / first) ** share


class Hangover:
    """The hold where nothing else is known: it follows the pauses that the speaker makes.

    Only pauses that the hold outlasted are known, so that it grows by no more than `MARGIN` beyond
    what it saw; predictions, which hold longer after open ends, let it see longer ones.
    """

    def __init__(self, settings: TurnSettings) -> None:
        self._settings = settings
        self._pauses: deque[float] = deque(maxlen=REMEMBERED)

    def configure(self, settings: TurnSettings) -> None:
        """Follow them within these bounds from now on."""
        self._settings = settings

    def paused(self, pause_ms: float) -> None:
        """Take a pause after which the user went on."""
        self._pauses.append(pause_ms)

    @property
    def ms(self) -> float:
        """The hold (ms): `hold_ms` at first and without predicting; within half of it always."""
        middle, n = float(self._settings.hold_ms), len(self._pauses)
        if not n or not self._settings.predict:
            return middle
        wanted = MARGIN * sorted(self._pauses)[min(n - 1, int(QUANTILE * n))]
        moved = (TRUSTED * middle + n * wanted) / (TRUSTED + n)
        return min(max(moved, (1 - REACH) * middle), (1 + REACH) * middle)


class Foresight:
    """Whether a turn is over, foreseen in a pause: asks all who can tell and adds up the answers.

    Args:
        melody: Whether a sound ends as a turn does (`Engines.melody`).
        judge: Whether the last words of a prompt do (`Engines.judge`).
        inbox: The session's.
        tell: An act that gets the pause (its `speech_end`) and all that is known of it, whenever
            more is.
    """

    def __init__(
        self,
        melody: Callable[[Audio], Awaitable[float | None]],
        judge: Callable[[Messages], Awaitable[float | None]],
        inbox: Inbox,
        tell: Callable[[int, Evidence], None],
    ) -> None:
        self._melody = melody
        self._judge = judge
        self._inbox = inbox
        self._tell = tell
        self._pause: int | None = None
        self._evidence = Evidence()
        self._deaf = False

    def begin(self, speech_end: int, sound: Audio) -> None:
        """A pause begins.

        The melody is asked now and not again: of people it tells most right after the last word,
        and nothing after half a second of silence.

        Args:
            speech_end: Its name.
            sound: The utterance up to now.
        """
        self._pause = speech_end
        self._evidence = Evidence()
        if not self._deaf:
            self._inbox.start(
                self._listen(sound), lambda melody: self._add(speech_end, melody=melody)
            )

    def end(self) -> None:
        """The pause is over: what comes now comes too late."""
        self._pause = None

    async def read(self, messages: Messages, heard: Transcription) -> None:
        """The words before the pause are known, and the prompt that ends with them."""
        pause = self._pause
        if pause is None:
            return
        if not heard.text:
            # A noise: the turn is yet to come, and what follows soon belongs to it.
            self._know(pause, words=0.0)
            return
        fragment = len(heard.text.split()) <= FRAGMENT_WORDS
        self._know(
            pause,
            words=completeness(heard.text, heard.language),
            sure=math.exp(heard.log_prob),
            asked=asks(messages),
            fragment=fragment,
        )
        if not fragment and not self._surely_over:
            self._know(pause, judged=await self._judge(messages))

    @property
    def _surely_over(self) -> bool:
        """Whether the end is so likely that it need not be judged; never by words alone."""
        p = probability(self._evidence)
        return self._evidence.melody is not None and p is not None and p >= ENOUGH

    async def _listen(self, sound: Audio) -> float | None:
        try:
            return await self._melody(sound)
        except StageError as error:
            self._deaf = True
            log.warning("turns are ended by words and silence alone from now on: %s", error)
            return None

    def _know(self, pause: int, **known: Any) -> None:
        self._inbox.put(lambda: self._add(pause, **known))

    def _add(self, pause: int, **known: Any) -> None:
        if pause == self._pause:
            self._evidence = dataclasses.replace(self._evidence, **known)
            self._tell(pause, self._evidence)


def asks(messages: Messages) -> bool:
    """Whether the last of the messages answers a question: what the assistant said before it."""
    before = messages[-2] if len(messages) > 1 else {}
    said = str(before.get("content") or "") if before.get("role") == "assistant" else ""
    return said.rstrip(" \n\"'”’)").endswith(QUESTION_MARKS)
