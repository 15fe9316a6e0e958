"""What a conversation's WAV, marks and events say of each of its turns.

The WAV decides, and knows nothing of the trace: the true end of the user's speech
(`turns.speech_end`) is on its left side, the first audible sample of the reply (`audio.audible`) on
its right. Everything that a server says of itself stands beside that as `FIGURES`.
"""

from __future__ import annotations

import dataclasses
import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.audio.audible import onset
from pipeline.audio.files import read_audio
from pipeline.audio.resample import resampled
from pipeline.audio.virtual import Playing
from pipeline.clock import NS_PER_MS, NS_PER_S
from pipeline.errors import BadInput
from pipeline.events import Samples
from pipeline.measure.cues import Said
from pipeline.measure.record import (
    MeasuredCall,
    Places,
    Record,
    Span,
    Status,
    Turn,
    lanes,
    wasted,
)
from pipeline.measure.recording import (
    MemoryTrace,
    NotedCall,
    NotedReply,
    NotedSession,
    NotedTurn,
)
from pipeline.measure.turn_taking import turn_taking
from pipeline.trace import MarkLine, Timeline
from pipeline.turns.speech_end import UNMEASURABLE, SpeechEnd, end_of_speech

FIGURES: Mapping[str, tuple[str, str, str]] = {
    "endpointing": (
        "speech.end",
        "committed",
        "true end of speech to the other side's word that the user has stopped, as received",
    ),
    "first_audio": (
        "speech.end",
        "model.first_audio",
        "true end of speech to the first piece of sound received: leaves out playback, and the "
        "silence that the sound begins with",
    ),
    "first_audio_after_stop": (
        "committed",
        "model.first_audio",
        "word of the stop to the first piece of sound: leaves out the wait for the end of the "
        "turn (pipecat's TTFB; with turns=manual the VAD-free latency)",
    ),
    "first_token_after_start": (
        "model.start",
        "model.first_text",
        "the response's beginning to its first text: leaves out the end of the turn, and the "
        "uplink (LiveKit's ttft)",
    ),
    "leading_silence": (
        "playout.first",
        "heard.first",
        "first sample played to first audible sample",
    ),
}
"""Figures beside the latency, by name: from which mark, to which, and what it is, for a reader.
Published figures are mostly of these kinds, and so leave out parts of what a user waits for."""

WORD_NS = NS_PER_MS
"""A word of the end of a turn comes so long before the answer, or is none but the answer itself."""

QUIET_DBFS = -55.0
"""Speech this quiet may be lost on the detectors: their gate is made for telephones."""

TRAIL_S = 0.1
"""So long after the end of a recording its last sound may still come (s)."""

NEAR_S = 0.25
"""A label this close to the end that the sound tells is right (s): most are to 0.1 s."""

HOLE = "{} ms of silence fell into what the user says, for the machine was too busy; run it again"

CONTRADICTED = (
    "by the WAV the reply began before the speech ended, by the trace after it; "
    "correct end_of_speech_s"
)

CHECK_RATE = 16_000
"""At which a recording is compared with what was played of it (Hz): the microphone's rate."""

MISSED = CHECK_RATE // 2
"""So much of a recording's beginning may be missing in the WAV (samples)."""

ALREADY_S = 0.1
"""A reply with sound this close before the end of speech was under way already. Fillers between two
words are shorter, and so is the fade of a reply that was interrupted in time."""


@dataclass(frozen=True, slots=True)
class Tracks:
    """A conversation's WAV: both sides, and when it begins (ns)."""

    user: Samples
    reply: Samples
    rate: int
    start_ns: int

    def index(self, t_ns: int) -> int:
        """Sample at a time, within the WAV."""
        at = (t_ns - self.start_ns) * self.rate // NS_PER_S
        return min(max(0, at), len(self.user))

    def time(self, index: int) -> int:
        """Time of a sample (ns)."""
        return self.start_ns + index * NS_PER_S // self.rate


class Window(NamedTuple):
    """An utterance and what follows it, until the next one begins.

    Attributes:
        places: Where it is in the WAV.
        found: What the sound says of where the user has finished; None: there is none.
        lost_ns: So much silence fell into it while the machine slept (ns).
    """

    places: Places
    found: SpeechEnd | None = None
    lost_ns: int = 0


def windows(tracks: Tracks, said: Sequence[Said], playing: Sequence[Playing]) -> list[Window]:
    """Where each utterance is in the WAV; those that were not played to their end are left out."""
    begins = [tracks.index(span.start_ns) for span in playing]
    found = []
    for number, (one, span) in enumerate(zip(said, playing, strict=False)):
        begin = begins[number]
        end = begins[number + 1] if number + 1 < len(begins) else len(tracks.user)
        until = min(end, tracks.index(span.end_ns) + int(TRAIL_S * tracks.rate))
        sound, over = true_end(
            tracks.user[begin:until], tracks.rate, one.step.path, one.step.end_of_speech_s
        )
        voice = _voice(tracks, begin, until)
        # By the label if there is one.
        places = Places(begin, end, until, voice, min(end, begin + over))
        found.append(Window(places, sound, span.lost_ns))
    return found


def measure(
    number: int,
    said: Said,
    window: Window,
    tracks: Tracks,
    session: NotedSession,
    tape: MemoryTrace,
    *,
    cut_ins: bool = False,
) -> Turn:
    """One turn, from everything that is known of it.

    Args:
        number: Of the utterance, from 1.
        said: The utterance, as it went.
        window: Where it is in the WAV.
        tracks: The WAV.
        session: What happened.
        tape: The marks.
        cut_ins: A reply before the end of speech has its latency, below zero, where the sound bears
            out that end, and is no contradiction of the trace.
    """
    replied = [turn for turn in said.turns if "heard.first" in tape.marks(turn)]
    open_turns = [turn for turn in said.turns if session.turn(turn).status != "skipped"]
    turn = (replied or open_turns or said.turns or [0])[-1]
    noted = session.turn(turn)
    traced = tape.marks(turn)
    marks = dict(traced)
    places, sound = window.places, window.found
    end_ns, until_ns = tracks.time(places.over), tracks.time(places.end)
    direct = "model.start" in marks or "model.first_audio" in marks
    # Who wrote the label knows better than the detector: the parts count from there.
    labelled = said.step.end_of_speech_s is not None
    if direct or labelled or session.passed or "speech.end" not in marks:
        marks["speech.end"] = end_ns
    status, reason = _status(said, turn, marks, session, until_ns)
    if status == "no reply" and sound is not None and sound.level_dbfs < QUIET_DBFS:
        reason += f"; its level is {sound.level_dbfs:.0f} dBFS: record it louder"
    own = _own_sound(said, places.begin, tracks, tape)
    places = dataclasses.replace(places, reply=own, answer=_answer(noted, tracks, own))
    # It is said into a reply that is to fall silent.
    interrupts = said.step.interrupt_s is not None and said.step.outcome != "ignore"
    if status == "ok":
        first = _first(places, tracks)
        latency_ns = None if first is None else tracks.time(first) - end_ns
        known = labelled or (sound is not None and sound.measurable)
        told = {} if cut_ins and _borne_out(window, tracks.rate) else traced
        status, reason = measurable(latency_ns, known, told, len(replied))
        reason = reason or noted.cut
        if status == "ok" and window.lost_ns:
            # Where the user has finished is told by the recording as it was to be played.
            status, reason = "unmeasurable", HOLE.format(window.lost_ns // NS_PER_MS)
    cuts_ns = [t_ns for t_ns in session.cuts if tracks.time(places.begin) <= t_ns < until_ns]
    ducks_ns = [
        (begin_ns, min(end_ns or until_ns, until_ns))
        for begin_ns, end_ns in session.ducks
        if tracks.time(places.begin) <= begin_ns < until_ns
    ]
    record = Record(
        variant="",
        file="",
        repeat=0,
        order=0,
        status=status,
        reason=reason,
        marks=marks,
        end_of_speech="label" if labelled else "detector",
        spans=_spans(tape.lines, turn, marks, until_ns, session),
        wav_start_ns=tracks.start_ns,
        transcript=" ".join(heard for t in said.turns if (heard := session.turn(t).said)),
        expected=said.step.said,
        reply=noted.reply if noted.heard is None else noted.heard,
        underrun_ns=sum(end - begin for reply in noted.replies for begin, end in reply.gaps),
        wasted=wasted([line for line in tape.lines if line["turn"] in said.turns]),
        hold_ms=_hold_ms(tape.lines, turn),
        level_dbfs=None if sound is None else sound.level_dbfs,
        # Where nobody spoke there is only noise.
        snr_db=None if sound is None or not said.turns else sound.snr_db,
        places=places,
    )
    made = Turn(
        record,
        number,
        server_ms=_figures(marks, direct),
        calls=tuple(_call(call, end_ns) for call in session.calls if call.turn in said.turns),
        interrupts=interrupts,
        start_ns=places.begin * NS_PER_S // tracks.rate,
        end_ns=places.end * NS_PER_S // tracks.rate,
        outcome=said.step.outcome,
        cuts_ns=tuple(t_ns - tracks.start_ns for t_ns in cuts_ns),
        ducks_ns=tuple((a - tracks.start_ns, b - tracks.start_ns) for a, b in ducks_ns),
        spoken=tuple(_spoken(reply, tracks) for reply in noted.replies if reply.positions),
    )
    return _taken(_timed(made, places, tracks), tracks)


def _spoken(reply: NotedReply, tracks: Tracks) -> tuple[int, int]:
    """Where a reply is in the WAV: from and to (ns)."""
    first_ns, samples = reply.positions[0]
    begin_ns = first_ns - samples * NS_PER_S // reply.rate
    end_ns = reply.positions[-1][0]
    return max(0, begin_ns - tracks.start_ns), max(0, end_ns - tracks.start_ns)


def derived(turn: Turn, tracks: Tracks) -> Turn:
    """A turn with all that its WAV says of it found there anew, by the same rules.

    Where a label says when the user has finished, the recording it belongs to is not at hand: then
    that is as long after their first sound as it was.

    Args:
        turn: As it was measured, with its places.
        tracks: The WAV, as it is now.
    """
    was = turn.record.places
    if was is None:
        return turn
    voice = _voice(tracks, was.begin, was.until)
    if turn.record.end_of_speech == "label":
        over = was.over + (0 if voice is None or was.voice is None else voice - was.voice)
    else:
        over = was.begin + true_end(tracks.user[was.begin : was.until], tracks.rate, None, None)[1]
    places = dataclasses.replace(was, voice=voice, over=min(was.end, over))
    found = _timed(turn, places, tracks)
    return found if turn.taking is None else _taken(found, tracks)


def _timed(turn: Turn, places: Places, tracks: Tracks) -> Turn:
    """A turn that is there in the WAV, with when it was answered: all that is derived of that."""
    answer_ns: int | None = None
    latency_ns: int | None = None
    end_ns = tracks.time(places.over)
    if turn.record.status == "ok":
        first = _first(places, tracks)
        answering = _answering(tracks, places, first)
        latency_ns = None if first is None else tracks.time(first) - end_ns
        answer_ns = None if answering is None else tracks.time(answering) - end_ns
    record = dataclasses.replace(turn.record, wav_voice_to_voice_ns=latency_ns, places=places)
    return dataclasses.replace(turn, record=record, answering_ns=answer_ns)


def _status(
    said: Said, turn: int, marks: Mapping[str, int], session: NotedSession, until_ns: int
) -> tuple[Status, str]:
    """How an utterance was answered, in `turn` if at all; and why not."""
    # What is heard only once the user has lost patience and gone on is no reply in time.
    heard = "heard.first" in marks and not (said.late and marks["heard.first"] >= until_ns)
    # A turn that failed before the one that was answered is no failure: nobody heard of it.
    counted = [session.turn(t) for t in said.turns if t >= turn or not heard]
    failures = [one.failed for one in counted if one.failed]
    if reason := failures[-1] if failures else said.failed:
        # A reply that broke off was heard, and is no whole answer.
        return "failed", reason
    if heard:
        return "ok", ""
    if said.late:
        return "timeout", f"no reply within {said.step.patience_s:g} s"
    if not turn:
        return "no reply", "no speech was heard in it"
    if session.turn(turn).status == "skipped":
        return "no reply", "no words were understood"
    return "no reply", "the reply had no sound"


def measurable(
    latency_ns: int | None, known: bool, marks: Mapping[str, int], replies: int
) -> tuple[Status, str]:
    """Whether a reply that the trace tells of can be timed in the WAV; and why not, or a remark.

    Args:
        latency_ns: From the end of speech to the reply, by the WAV; None: the WAV has no reply.
        known: Whether the end of speech is known.
        marks: Of the turn, as traced.
        replies: How many were heard.
    """
    if latency_ns is None:
        return "failed", "the trace tells of a reply that is not in the WAV"
    if not known:
        return "unmeasurable", UNMEASURABLE
    if contradicted(latency_ns, marks):
        return "unmeasurable", CONTRADICTED
    return "ok", f"answered {replies} times: pauses were taken for the end" if replies > 1 else ""


def contradicted(latency_ns: int, marks: Mapping[str, int]) -> bool:
    """Whether a reply is before the end of speech by the WAV, and after it by the trace."""
    timeline = Timeline.from_marks(marks)
    return latency_ns < 0 and timeline is not None and timeline.total_ns >= 0


def _borne_out(window: Window, rate: int) -> bool:
    """Whether the sound has the end of speech about where the label has it, if there is one."""
    places, found = window.places, window.found
    return found is not None and abs(places.begin + found.end - places.over) <= NEAR_S * rate


def _hold_ms(lines: Sequence[MarkLine], turn: int) -> float | None:
    found = [line for line in lines if line["turn"] == turn and line["mark"] == "committed"]
    return found[-1].get("hold_ms") if found else None


def _own_sound(said: Said, begin: int, tracks: Tracks, tape: MemoryTrace) -> int | None:
    """Where the first reply to this utterance begins to be played; None: none was.

    What is heard in its window before that is a reply to an earlier one: interrupted, late, or
    about a tool that took long.
    """
    first_ns = [
        marks["playout.first"] for t in said.turns if "playout.first" in (marks := tape.marks(t))
    ]
    return max(begin, tracks.index(min(first_ns))) if first_ns else None


def _voice(tracks: Tracks, begin: int, until: int) -> int | None:
    """Index of the first audible sample of a recording."""
    first = onset(tracks.user[begin:until], tracks.rate)
    return None if first is None else begin + first


def _taken(turn: Turn, tracks: Tracks) -> Turn:
    """A turn of which all else is known, with who spoke when around it."""
    places = turn.record.places
    assert places is not None
    cuts = [tracks.index(tracks.start_ns + ns) for ns in turn.cuts_ns]
    ducks = [
        (tracks.index(tracks.start_ns + begin_ns), tracks.index(tracks.start_ns + end_ns))
        for begin_ns, end_ns in turn.ducks_ns
    ]
    sides = tracks.user, tracks.reply, tracks.rate
    taking = turn_taking(*sides, turn.outcome, places, cuts, ducks)
    if turn.record.status == "unmeasurable":  # so nobody knows what was before the end
        taking = dataclasses.replace(taking, cut_in_ns=None)
    stopped = turn.interrupts and taking.stopped
    return dataclasses.replace(turn, taking=taking, silence_ns=taking.ended_ns if stopped else None)


def _first(places: Places, tracks: Tracks) -> int | None:
    """Index of the first audible sample of the reply; before `over` if it came too soon.

    It may be after the next utterance, where that was said while a tool was at work.
    """
    own, begin = places.reply, places.begin
    if own is None:
        return None
    end = places.end if own < places.end else len(tracks.reply)
    reply = tracks.reply[begin:end].copy()
    reply[: own - begin] = 0
    found = first_reply(reply, tracks.rate, places.over - begin)
    return None if found is None else begin + found


def _answering(tracks: Tracks, places: Places, first: int | None) -> int | None:
    """Index of the first audible sample that is no filler; None if there was none in time."""
    answer = places.answer
    if answer is None or answer == places.reply:
        return None if answer is None else first
    found = onset(tracks.reply[answer:], tracks.rate)
    return None if found is None else answer + found


def _answer(noted: NotedTurn, tracks: Tracks, own: int | None) -> int | None:
    """Where what is no filler begins to be played; None: nothing was."""
    if noted.filler is None:
        return own
    filler, bridged = noted.filler
    for reply in noted.replies[noted.replies.index(filler) :]:
        gone = bridged if reply is filler else 0
        for t_ns, samples in reply.positions:
            if samples <= gone:
                continue
            # Positions are told once a block; the block before it may hold the first sample.
            return tracks.index(t_ns - (samples - gone) * NS_PER_S // reply.rate)
    return None


def _figures(marks: Mapping[str, int], direct: bool) -> dict[str, float]:
    if not direct:
        return {}
    # Who answers without a word before has not said that the user has stopped.
    first_ns, stop_ns = marks.get("model.first_audio"), marks.get("committed")
    said = first_ns is None or stop_ns is None or first_ns - stop_ns >= WORD_NS
    return {
        name: (marks[last] - marks[first]) / NS_PER_MS
        for name, (first, last, _) in FIGURES.items()
        if first in marks and last in marks and (said or "committed" not in (first, last))
    }


def _call(call: NotedCall, end_ns: int) -> MeasuredCall:
    answered = None if call.answered_ns is None else call.answered_ns - end_ns
    return MeasuredCall(
        call.name,
        call.arguments,
        call.asked_ns - end_ns,
        answered,
        call.cancelled,
        call.result_bytes,
    )


def _spans(
    lines: Sequence[MarkLine],
    turn: int,
    marks: Mapping[str, int],
    until_ns: int,
    session: NotedSession,
) -> tuple[Span, ...]:
    """The lanes of a turn: a cascade's stages, or a model in between; tools in either."""
    end = {"turn": turn, "generation": 1, "mark": "speech.end", "t_ns": marks["speech.end"]}
    known = any(line["turn"] == turn and line["mark"] == "speech.end" for line in lines)
    spans = [*lanes([*lines] if known else [*lines, end], turn, until_ns=until_ns)]
    first_ns = marks.get("model.first_audio")
    if "committed" in marks and first_ns is not None:
        spans.append(Span("model", "until its first sound", marks["committed"], first_ns))
        last_ns = max(first_ns, marks.get("tts.last_audio", first_ns))
        spans.append(Span("model", "its sound", first_ns, last_ns))
    for call in session.calls:
        if call.turn == turn:
            over_ns = until_ns if call.answered_ns is None else call.answered_ns
            spans.append(Span("tools", call.name, call.asked_ns, max(call.asked_ns, over_ns)))
    for reply in session.turn(turn).replies:
        spans += [Span("gap", "gap", begin, end) for begin, end in reply.gaps]
    return tuple(sorted(spans, key=lambda span: span.start_ns))


def true_end(
    user: Samples, rate: int, recording: Path | None, label_s: float | None
) -> tuple[SpeechEnd | None, int]:
    """What the sound says of the end of speech; and its index, by the label where there is one.

    Where nothing of the user is in the sound the first is None, and the second its length.

    Args:
        user: What was played of a recording.
        rate: Of it (Hz).
        recording: The recording; only a label needs it.
        label_s: Where speech ends in the recording (s); None to find it in the sound.

    Raises:
        BadInput: The recording cannot be read.
    """
    found = end_of_speech(user, rate)
    if found is None:
        return None, len(user)
    if label_s is None or recording is None:
        return found, found.end
    clean = np.concatenate([*read_audio(recording, CHECK_RATE), np.zeros(1, np.int16)])
    return found, begin_of(clean, user, rate) + round(label_s * rate)


def begin_of(clean: Samples, left: Samples, rate: int) -> int:
    """Index at which a recording begins in what was played of it: where the two agree best.

    Below zero where its first samples are missing.

    Args:
        clean: The recording, at `CHECK_RATE`.
        left: What was played.
        rate: Of that, and of the index (Hz).
    """
    played = resampled(left, rate, CHECK_RATE)
    size = 1 << (len(clean) + len(played)).bit_length()
    spectra = (np.fft.rfft(one.astype(np.float64), size) for one in (played, clean))
    agreement = np.fft.irfft(next(spectra) * np.conj(next(spectra)), size)
    # A WAV may begin a frame after the recording: what is before its beginning is at the end.
    begin = int(np.roll(agreement, MISSED)[: len(played) + MISSED].argmax()) - MISSED
    return begin * rate // CHECK_RATE


def first_reply(right: Samples, rate: int, end: int) -> int | None:
    """Index of the first audible sample of the reply to speech that ends at `end`."""
    if onset(right[max(0, end - int(ALREADY_S * rate)) : end], rate) is not None:
        return onset(right, rate)
    after = onset(right[end:], rate)
    return None if after is None else end + after


def stereo(path: Path) -> tuple[Samples, Samples, int]:
    """Both channels of a 16-bit stereo WAV, and its rate (Hz).

    Raises:
        BadInput: It is no such file.
    """
    try:
        with wave.open(str(path), "rb") as file:
            if (file.getnchannels(), file.getsampwidth()) != (2, 2):
                raise BadInput(f"{path}: is no 16-bit stereo WAV")
            rate, frames = file.getframerate(), file.getnframes()
            read = file.readframes(frames)
            if len(read) < 4 * frames:
                there = len(read) / 4 / rate
                raise BadInput(f"{path}: is cut off: of {frames / rate:.3f} s it has {there:.3f} s")
            data = np.frombuffer(read, "<i2").reshape(-1, 2)
    except (OSError, EOFError, wave.Error, ValueError) as error:
        raise BadInput(f"{path}: cannot be read: {error}") from None
    return data[:, 0].astype(np.int16), data[:, 1].astype(np.int16), rate
