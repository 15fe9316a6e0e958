"""The form of `summary.json`: what a comparison comes to, for verdict, terminal and report.

Every key of the file is named here. Durations are in milliseconds (`_ms`) or seconds (`_s`), money
in dollars (`_usd`); `ci95` is a 95 % interval, None where there are too few values for one. What is
not known is None; a key that is not always there is `NotRequired`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

from pipeline.measure.gates import Judged
from pipeline.measure.reference import OwnError
from pipeline.measure.stats import Apart, Interval, Met, SharesApart, Spread
from pipeline.measure.summary import Against, RecordingSound, TurnFigures


class Checked(Met):
    """Expectations met, and of how many nobody could tell: they count nowhere."""

    undecided: int


class TurnPoint(Met):
    """A share at one turn; `length` where it is of one length of the instructions."""

    turn: int
    length: NotRequired[str]


class LengthPoint(Met):
    """A share at one length of the instructions."""

    length: str
    instruction_chars: int


class RightTools(TypedDict):
    """How often the right tool was called, rightly; and when (the first call of each turn)."""

    overall: Met
    by_turn: list[TurnPoint]
    by_length: list[LengthPoint]
    by_length_and_turn: list[TurnPoint]
    asked_ms: Spread | None


class Errors(TypedDict):
    """Wrong words (`errors`) by words."""

    errors: int
    words: int
    rate: float | None
    ci95: Interval | None


class WordErrors(Errors):
    """How much of what was said was misheard, over `turns` with a transcript."""

    turns: int
    without_transcript: int


class Entities(TypedDict):
    """How many numbers, codes and names that were said were understood."""

    overall: Checked
    by_kind: Mapping[str, Checked]


class SpokenWords(Errors):
    """How much of the replies' text a recogniser does not read in their sound.

    `turns` were read, of `unknown` others it is not known; `entities` are the numbers and codes of
    the text that were read.
    """

    turns: int
    unknown: int
    entities: Met


class Interrupted(TypedDict):
    """What became of `n` replies that were interrupted, and of what the model remembers of them.

    `silence_ms` is how long after the first sound of the user they stopped; `without_silence` did
    not, or may have been over by themselves.
    """

    n: int
    silence_ms: Spread | None
    without_silence: int
    history: Checked | None


class Selectivity(TypedDict):
    """Whether a system speaks when it is spoken to, and only then, by the WAV.

    Shares are of turns that it could be of, and that did not break down: `cut_in` of answered
    ones, in which it speaks before the user has finished (by `cut_in_ms`); `missed` of those that
    ask for an answer. Of what was to be ignored, `spurious` were answered; of what was said of that
    into a reply, `false_barge_in` stopped it or made it quieter, `false_stop` stopped it, of which
    `came_back` went on later (after `back_ms`). Of interruptions, `stops` made the reply fall
    silent. `talk_over_ms` is how long both speak, in turns in which they do and the user is to be
    listened to.
    """

    cut_in: Met
    cut_in_ms: Spread | None
    missed: Met
    spurious: Met
    false_barge_in: Met
    false_stop: Met
    came_back: Met
    back_ms: Spread | None
    stops: Met
    talk_over_ms: Spread | None


class HeavyToolCalls(TypedDict):
    """Whether tools that are slow or return much broke anything."""

    connected: Met
    answering: Met
    reconnects: int
    calls: int
    cancelled: int
    slowest_s: float | None
    largest_bytes: int | None


class AnswerTimes(TypedDict):
    """Latency to the first sound that is no filler; `never` where only a filler was heard."""

    ms: Spread | None
    fillers: int
    never: int


class Conversations(TypedDict):
    """All conversations that count."""

    n: int
    failed: int
    reconnects: int
    seconds: float


class FailedTurn(TypedDict):
    """A turn without an answer; or a conversation that ended early, with how many it took along."""

    scenario: str
    repeat: int
    order: int
    turn: int | None
    turns: int
    status: str
    reason: str


class Costs(TypedDict):
    """What a system costs: each figure of the conversations of which it is known.

    `per_speech_minute_usd` is by the minutes that the user spoke. A system of which nothing is
    billed has `usd` None and says so in `note`.
    """

    model: str
    conversations: int
    usd: float | None
    per_turn_usd: float | None
    per_minute_usd: float | None
    per_minute_ci95: Interval | None
    per_speech_minute_usd: float | None
    parts_usd: Mapping[str, float]
    prices_as_of: str | None
    source: str
    note: str
    cpu_s: float | None
    cpu_s_per_turn: float | None
    cpu_s_per_minute: float | None
    cpu_s_per_minute_ci95: Interval | None
    joules: float | None
    joules_per_minute: float | None


class AgainstFirst(Against):
    """How a system differs from the first, called `variant`, in `n` pairs of turns.

    `success` is of turns of which all expectations were met; `tools` and what follows it of turns
    of which all was right with the tools: all of them, those of the first turn, and those of the
    last. `wer` is of misheard words, `entities` are those of what was said, and `spoken_words` are
    words of the replies that are not in their sound. `selectivity` has the shares of `Selectivity`
    that both have.
    """

    simulated: NotRequired[bool]
    answering_ms: Apart | None
    success: SharesApart | None
    tools: SharesApart | None
    tools_first_turn: SharesApart | None
    tools_last_turn: SharesApart | None
    selectivity: Mapping[str, SharesApart]
    wer: SharesApart | None
    entities: SharesApart | None
    spoken_words: SharesApart | None


class AgainstClean(TypedDict):
    """How turns in a condition differ from those of the same words in clean sound.

    `answered` is of turns with a reply, `success` of turns of which all expectations were met,
    `tools` of those in which all was right with the tools, `entities` of numbers, codes and names,
    `wer` of misheard words, `selectivity` has the shares of `Selectivity` that both have. `stop_ms`
    is how soon a reply stops for an interruption.
    """

    voice_to_voice_ms: Apart | None
    answered: SharesApart | None
    success: SharesApart | None
    tools: SharesApart | None
    entities: SharesApart | None
    wer: SharesApart | None
    stop_ms: Apart | None
    talk_over_ms: Apart | None
    selectivity: Mapping[str, SharesApart]


class ConditionResult(TypedDict):
    """The turns in one condition."""

    turns: int
    answered: Met
    voice_to_voice_ms: Spread | None
    wer: WordErrors | None
    expectations: Checked | None
    tools: Met | None
    entities: Checked | None
    interruption: Interrupted | None
    selectivity: Selectivity
    against_clean: NotRequired[AgainstClean]


class SystemResult(TurnFigures):
    """One system.

    `simulated` and the parameters in `simulation` stand where its other end replayed a script,
    `manual` where it was told when the user had finished, `retried` where conversations that failed
    were held again. `too_soon` counts replies that began before the user had finished. Where one of
    the conditions is clean, all is of clean sound but `by_condition`, `conversations`, `failures`,
    `cost`, and what is measured of the connection.
    """

    path: str
    simulated: NotRequired[bool]
    simulation: NotRequired[Mapping[str, str]]
    manual: NotRequired[bool]
    retried: NotRequired[int]
    model: str
    host: str
    duplex: bool
    too_soon: int
    answering: AnswerTimes
    server_ms: Mapping[str, Spread | None]
    rtt_ms: Spread | None
    connect_ms: Spread | None
    conversations: Conversations
    wer: WordErrors | None
    entities: Entities | None
    spoken_words: SpokenWords | None
    expectations: Checked | None
    checks: Mapping[str, Checked]
    tools: RightTools | None
    instructions_by_turn: Sequence[TurnPoint]
    recall_by_turn: Sequence[TurnPoint]
    interruption: Interrupted | None
    selectivity: Selectivity
    heavy_tools: HeavyToolCalls | None
    failures: Sequence[FailedTurn]
    by_condition: Mapping[str, ConditionResult]
    against_first: NotRequired[AgainstFirst]
    cost: Costs


class ReadBy(TypedDict):
    """Which recogniser read the replies, and what it makes of recordings whose words are known."""

    model: str
    floor: Mapping[str, float] | None


class Summary(TypedDict):
    """The whole file; beside these keys it has those of the header that `summary.TAKEN` names.

    `variants` is by what each system is called: its name, stamped where it was simulated.
    `conditions` are those of the user's sound, in order; empty where all of it was clean.
    """

    simulated: bool
    verdict: Sequence[str]
    variants: Mapping[str, SystemResult]
    sound: Mapping[str, RecordingSound]
    scenarios: int
    conditions: Sequence[str]
    conversations: int
    fidelity: NotRequired[ReadBy]
    warnings: Sequence[str]
    gates: NotRequired[Sequence[Judged]]
    together: NotRequired[bool]
    instrument: NotRequired[OwnError | None]
