"""What is measured of a turn: the one thing that instruments, statistics and reports share. Pure.

A profile's folder holds `records.jsonl`, one `Record` a line, in the order in which they were made;
everything else in it can be computed from that file, the WAVs and the traces.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import TypeAdapter

from pipeline.measure.run import Form
from pipeline.trace import WORK, MarkLine, Timeline

DROPPED = "dropped: "
"""Before the name of work that was thrown away."""

WAITING = "first token"
"""Name of the wait for a token that never came."""

Status = Literal["ok", "no reply", "failed", "timeout", "unmeasurable"]
"""How a turn went: a reply was heard; nothing was understood, or nothing answered; a stage failed;
no reply came in time; a reply was heard, but noise hides where the speech ended. Only the first has
a latency, and all are counted."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of work in a lane of the waterfall.

    Attributes:
        lane: Who was at work: `user`, `endpoint`, `stt`, `llm`, `tts`, `speaker`, or `gap` for a
            hole in the reply.
        name: What it was: a stage's name, a clause's text, a token.
        start_ns: On the monotonic clock of the run.
        end_ns: Likewise; the same for an instant.
    """

    lane: str
    name: str
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Places:
    """Where a turn is in its WAV (indices of samples): what its figures are derived from.

    `voice`, `over`, and every figure can be found in the WAV again; the others only the run knew.

    Attributes:
        begin: Where the recording begins.
        end: Where the next one begins, or the WAV ends.
        until: Until where the recording may be heard.
        voice: Where the user is first audible; None: nowhere.
        over: Where the user has truly finished.
        reply: Where the first reply to it begins to be played; None: none was.
        answer: Where what is no filler begins to be played; None: nothing was.
    """

    begin: int
    end: int
    until: int
    voice: int | None
    over: int
    reply: int | None = None
    answer: int | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One turn of a profile.

    Attributes:
        variant: Name of the variant, such as `speculative` or `speculative stt=base.en`.
        file: The recording, relative to the corpus.
        repeat: Which repetition, from 1; 0 is the warm-up, which no statistic counts.
        order: Position in the run, from 0, over all variants.
        status: How it went.
        reason: What went wrong; empty where nothing did.
        marks: Of the committed generation: names of `trace.MARKS`, times (ns, monotonic).
        wav_voice_to_voice_ns: From the true end of speech to the first audible sample of the reply,
            both from the stereo WAV: this is the latency; the trace explains it.
        end_of_speech: Where the true end of speech comes from: the corpus's `label`, or the
            `detector` on the clean channel.
        spans: Lanes of the waterfall.
        wav: Stereo WAV of the turn, user left, reply right, relative to the profile's folder.
        wav_start_ns: When its first sample was heard (ns).
        wav_sha256: Of the file, where it holds this turn alone; empty: not known.
        places: Where it is in the WAV; None: it is in none, or an earlier Cascade made it.
        transcript: What was understood.
        expected: What was said, if the corpus tells.
        reply: What was answered, as far as it was heard.
        underrun_ns: Silence inside the reply because its next sound was not there in time.
        wasted: Speculation in vain: attempts dropped, and what they had made.
        cpu_ns: Processor time of the whole process during the turn.
        late_ns: How late a block of sound came at worst: far above the usual millisecond or two the
            machine could not keep real time, and the turn is less certain.
        hold_ms: Silence that was asked of the user, at the commit (ms); None: not known.
        level_dbfs: Level of the user's voice in the recording; None: not known.
        snr_db: By how much it is above the noise when it is over (dB).
        node: Which machine of several measured it; empty: there was only one.
    """

    variant: str
    file: str
    repeat: int
    order: int
    status: Status
    reason: str = ""
    marks: Mapping[str, int] = field(default_factory=dict)
    wav_voice_to_voice_ns: int | None = None
    end_of_speech: Literal["label", "detector"] = "detector"
    spans: tuple[Span, ...] = ()
    wav: str = ""
    wav_start_ns: int = 0
    transcript: str = ""
    expected: str = ""
    reply: str = ""
    underrun_ns: int = 0
    wasted: Mapping[str, float] = field(default_factory=dict)
    cpu_ns: int = 0
    late_ns: int = 0
    hold_ms: float | None = None
    node: str = ""
    level_dbfs: float | None = None
    snr_db: float | None = None
    wav_sha256: str = ""
    places: Places | None = None

    @property
    def answered(self) -> bool:
        """Whether a reply was heard, be its latency known or not."""
        return self.status in ("ok", "unmeasurable")

    @property
    def timeline(self) -> Timeline | None:
        """The parts of its latency as traced; None where no reply was heard."""
        return Timeline.from_marks(self.marks) if self.status == "ok" else None


@dataclass(frozen=True, slots=True)
class MeasuredCall:
    """A tool that was called.

    Attributes:
        name: Which.
        arguments: As the model gave them: JSON text, or what was meant to be.
        asked_ns: From the true end of the user's speech in its turn to the call (ns).
        answered_ns: To its result, likewise; None: no result was given.
        cancelled: The model did not want the result any more.
        result_bytes: Size of the result.
    """

    name: str
    arguments: str
    asked_ns: int
    answered_ns: int | None = None
    cancelled: bool = False
    result_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Check:
    """One expectation of a scenario, and whether it was met.

    Attributes:
        kind: `contains`, `lacks`, `regex`, `number`, `judge`, `tool`, `no tool`, `on time`,
            `history`, `history lacks`, `stop`, `ignore`; of an entity `number`, `code`, `name`.
        wanted: What was expected, in words for a person.
        met: Whether; None where nobody could tell (the judge failed).
        found: What was there instead, shortened.
        topic: What it is about: `answer`, `tools`, `instructions`, `recall`, `interruption`,
            `turn-taking`, `entities`.
    """

    kind: str
    wanted: str
    met: bool | None
    found: str = ""
    topic: str = "answer"


Outcome = Literal["respond", "stop", "ignore"]
"""What an utterance asks for: an answer; that the reply it is said into falls silent, be there an
answer or none; or nothing at all, and so nothing may change for it."""


@dataclass(frozen=True, slots=True)
class TurnTaking:
    """Who spoke when around one utterance, by the WAV (see `measure.turn_taking`).

    Times count from the first audible sample of the utterance (ns), if nothing else is said.

    Attributes:
        into_reply: Whether a reply was being heard then.
        ended_ns: When that reply fell silent, within the turn; None: it went on, or there is none.
        stopped: Whether that was for the utterance; None: it may have ended by itself.
        ducked_ns: When that reply became quieter, and went on; None: it did not.
        back_ns: How long it was stopped, or else ducked; None: until its end, or neither.
        spurious_ns: When a reply to it began, where it was to be ignored; None: none did.
        cut_in_ns: By how much the reply begins before the user has finished; None: it does not.
        talk_over_ns: How long both speak, where the user is to be listened to.
    """

    into_reply: bool = False
    ended_ns: int | None = None
    stopped: bool | None = False
    ducked_ns: int | None = None
    back_ns: int | None = None
    spurious_ns: int | None = None
    cut_in_ns: int | None = None
    talk_over_ns: int = 0


@dataclass(frozen=True, slots=True)
class Fidelity:
    """What a recogniser reads in the sound of a reply, against the reply's own text.

    Attributes:
        read: The words that it read.
        errors: Substitutions, deletions and insertions; None: not known, and `reason` says why.
        words: Words of the text that should be in the sound.
        entities: Numbers and codes of the text, and whether they were read.
        reason: See `errors`.
    """

    read: str = ""
    errors: int | None = None
    words: int = 0
    entities: tuple[Check, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation.

    Attributes:
        record: Latency, parts, lanes, transcript, reply, status: as in a profile. Its latency is to
            the first audible sample of anything; `wav` is the whole conversation's.
        number: Within the conversation, from 1.
        answering_ns: As the latency, to the first audible sample that is no filler; None: none.
        server_ms: Figures of the other side's making, by name (see `instrument.FIGURES`): they
            leave out parts of what a user waits for.
        calls: Tools, in order.
        checks: Expectations, in order; those that the judge decides are added after the run.
        word_errors: Substitutions, deletions and insertions against what was said; None: the system
            gave no transcript, or the words are not known.
        words: Words that were said.
        entities: Numbers, codes and names that were said, and whether they were understood.
        interrupts: Whether it is said into the reply before it, which is to fall silent.
        silence_ns: From its first audible sample to the last one of the reply that it interrupts;
            None: it interrupts nothing, or that did not stop for it (`taking.stopped`).
        kept: What the model's history holds of the reply of this turn at the end of the
            conversation; None: not known.
        start_ns: Where it begins in the WAV (ns).
        end_ns: Where it ends in the WAV (ns): where the next one begins.
        outcome: What it asks for.
        taking: Who spoke when around it; None: not known.
        cuts_ns: When the session said, in it, that a reply is interrupted (ns, in the WAV).
        ducks_ns: From when to when, in it, one was to be played more softly (ns, in the WAV).
        spoken: Where in the WAV the reply to it is, be it later than the next turn: from and to
            (ns), a pair for each piece; empty: it has none, or nobody noted it.
        fidelity: Whether the sound of the reply says what its text does; None: nobody has read it.
    """

    record: Record
    number: int
    answering_ns: int | None = None
    server_ms: Mapping[str, float] = field(default_factory=dict)
    calls: tuple[MeasuredCall, ...] = ()
    checks: tuple[Check, ...] = ()
    word_errors: int | None = None
    words: int = 0
    entities: tuple[Check, ...] = ()
    interrupts: bool = False
    silence_ns: int | None = None
    kept: str | None = None
    start_ns: int = 0
    end_ns: int = 0
    outcome: Outcome = "respond"
    taking: TurnTaking | None = None
    cuts_ns: tuple[int, ...] = ()
    ducks_ns: tuple[tuple[int, int], ...] = ()
    spoken: tuple[tuple[int, int], ...] = ()
    fidelity: Fidelity | None = None

    @property
    def timed(self) -> bool:
        """Whether it counts in latency, and a missing answer as a failure.

        Of what asks for no answer only what broke down is a failure.
        """
        return self.outcome == "respond" or self.record.status == "failed"


RECORDS = Form[Record](
    "records.jsonl",
    "profile",
    1,
    made_by="profile",
    plain=dataclasses.asdict,
    parse=TypeAdapter(Record).validate_python,
    stamp=lambda record: {"order": record.order},
)
"""A profile's records, in its folder."""


def lanes(lines: Sequence[MarkLine], turn: int, *, until_ns: int) -> tuple[Span, ...]:
    """The spans of a turn, by when they begin; work that was thrown away is marked `DROPPED`.

    Args:
        lines: All marks of the session, in order.
        turn: Which turn.
        until_ns: When it was over; what was still going on then ends there.
    """
    mine = [line for line in lines if line["turn"] == turn]
    kept = max((line["generation"] for line in mine if line["mark"] in WORK), default=1)
    discarded = {line["generation"]: line["t_ns"] for line in mine if line["mark"] == "discarded"}
    times = {line["mark"]: line["t_ns"] for line in mine}
    spans = [
        *_between("user", "speech", times, "speech.start", "speech.end", until_ns),
        *_between("endpoint", "hold", times, "speech.end", "committed", until_ns),
    ]
    for generation in sorted({line["generation"] for line in mine}):
        attempt = [line for line in mine if line["generation"] == generation]
        if generation == kept and generation not in discarded:
            spans += _attempt(attempt, until_ns)
        elif generation in discarded:
            for span in _attempt(attempt, discarded[generation]):
                spans.append(Span(span.lane, DROPPED + span.name, span.start_ns, span.end_ns))
    spans += _between("speaker", "reply", times, "heard.first", "heard.last", until_ns)
    return tuple(sorted(spans, key=lambda span: span.start_ns))


def wasted(lines: Iterable[MarkLine]) -> dict[str, float]:
    """Speculation in vain, over all turns of a session.

    Returns:
        `attempts` that were dropped, how many of them had been `transcribed`, and the `characters`
        and `speech_ms` that they had made; empty if none was.
    """
    sums: dict[str, float] = {}
    for line in lines:
        if line["mark"] == "discarded":
            sums["attempts"] = sums.get("attempts", 0) + 1
            for key in ("transcribed", "characters", "speech_ms"):
                sums[key] = sums.get(key, 0) + float(line.get(key, 0))
    return sums


def _attempt(lines: Sequence[MarkLine], until_ns: int) -> Iterator[Span]:
    """The work of one attempt: recognition, each token, each clause."""
    times: dict[str, int] = {}
    for line in lines:
        times.setdefault(line["mark"], line["t_ns"])
    yield from _between("stt", "recognition", times, "stt.start", "stt.final", until_ns)
    before = times.get("llm.request")
    for line in lines:
        if line["mark"] == "token" and before is not None:
            yield Span("llm", line["text"], before, line["t_ns"])
            before = line["t_ns"]
    if before is not None and "token" not in times:
        yield Span("llm", WAITING, before, max(before, until_ns))
    yield from _clauses(lines)


def _clauses(lines: Sequence[MarkLine]) -> Iterator[Span]:
    """Each clause from when the voice began it to its last sound."""
    begun: MarkLine | None = None
    last_ns = 0
    for line in lines:
        if line["mark"] == "tts.clause":
            if begun is not None:
                yield Span("tts", begun["text"], begun["t_ns"], last_ns)
            begun, last_ns = line, line["t_ns"]
        elif line["mark"] == "tts.piece":
            last_ns = line["t_ns"]
    if begun is not None:
        yield Span("tts", begun["text"], begun["t_ns"], last_ns)


def _between(
    lane: str, name: str, times: Mapping[str, int], first: str, last: str, until_ns: int
) -> Iterator[Span]:
    """A span between two marks; open-ended where only the first was made."""
    if first in times:
        begin = times[first]
        yield Span(lane, name, begin, max(begin, times.get(last, until_ns)))
