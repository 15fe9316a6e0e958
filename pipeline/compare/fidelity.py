"""Speech fidelity: whether the sound of a reply says what its text does.

A voice may swallow a number, and whoever checks the text alone never hears of it. So after the run
a recogniser reads each reply, as it is on the right of the WAV, and that is compared with the
reply's own text. The recogniser errs, too, and its errors are in the figure: what it makes of the
user's recordings, whose words are known, stands beside it as the floor.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from pipeline.audio.audible import THRESHOLD, is_audible
from pipeline.audio.files import read_audio
from pipeline.audio.resample import resampled
from pipeline.clock import NS_PER_S
from pipeline.compare.entities import entity_checks
from pipeline.compare.record import Conversation
from pipeline.compare.scenario import Scenario
from pipeline.compare.scoring import BRACKETS, errors_between, readings, word_errors
from pipeline.config import Settings
from pipeline.engines.whisper import RATE, Whisper, scaled
from pipeline.engines.worker import Worker
from pipeline.errors import BadInput, CascadeError, StageError, one_line
from pipeline.events import Samples
from pipeline.measure import reference
from pipeline.measure.instrument import stereo
from pipeline.measure.record import Fidelity, Turn
from pipeline.models.catalogue import Catalogue, Found
from pipeline.models.fetch import Network, pull_and_show
from pipeline.terminal import progress, show_error

SAME = "default"
"""In place of a recogniser's name: the cascade's own."""

EDGE = 2
"""Of a reply that was cut short so many words at its end count neither as read nor as missing: the
text ends at a word, and the sound in the middle of one."""

QUIET_S = 0.5
"""Silence around a reply, and to either side of what is heard in it (s): of a longer silence, as
while a tool works, recognisers make up words."""

LAST_S = 0.1
"""A reply that sounds until so shortly before the end of its WAV goes on after it (s): of one that
is over there is `measure.cues.LAST_PAUSE_S` of silence."""

FRAME_S = 0.02

NO_TEXT = "the reply has no text of its own"
NO_SOUND = "its sound is not in the recording"
UNFINISHED = "the recording ends before the reply does"


def against_text(text: str, read: str, *, cut: bool = False) -> Fidelity:
    """Compare what was read in a reply's sound with its text, by the rules of word errors.

    A text writes "1999" and says "nineteen ninety-nine": of both readings of its numbers the one
    with fewer errors counts.

    Args:
        text: Of the reply, as far as it was heard.
        read: The words that were read.
        cut: Whether the reply was cut short.
    """
    plain = text.translate(BRACKETS)
    counts = []
    for wanted, heard in zip(readings(plain), readings(read), strict=True):
        if cut:
            wanted, heard = _trimmed(wanted, heard), _trimmed(heard, wanted)
        counts.append((errors_between(wanted, heard), len(wanted), wanted))
    errors, count, wanted = min(counts, key=lambda one: one[0])
    spoken = " ".join(wanted) if cut else plain
    return Fidelity(read, errors, count, entity_checks((), spoken, read))


def sound_of(turn: Turn, reply: Samples, rate: int) -> Samples:
    """The sound of a turn's reply, with little silence inside it; empty if there is none.

    Args:
        turn: As it was measured.
        reply: The right side of the conversation's WAV.
        rate: Of it (Hz).
    """
    quiet = np.zeros(int(QUIET_S * rate), np.int16)
    pieces = [reply[_index(begin, rate) : _index(end, rate)] for begin, end in turn.spoken]
    if not any(map(is_audible, pieces)):
        return quiet[:0]
    whole = np.concatenate([quiet, *(part for piece in pieces for part in (piece, quiet))])
    frame = int(FRAME_S * rate)
    frames = whole[: len(whole) // frame * frame].reshape(-1, frame)
    loud = np.abs(frames.astype(np.int32)).max(axis=1) > THRESHOLD
    near = np.convolve(loud, np.ones(int(QUIET_S / FRAME_S) | 1), "same") > 0
    return frames[near].reshape(-1)


def unfinished(turn: Turn, reply: Samples, rate: int) -> bool:
    """Whether the recording ends in the middle of a turn's reply: not all of it was listened to."""
    last = len(reply) - int(LAST_S * rate)
    ends = turn.spoken and _index(turn.spoken[-1][1], rate) >= last
    return bool(ends) and is_audible(reply[last:])


def recogniser(settings: Settings, name: str, console: Console) -> Found:
    """The recogniser that `--fidelity` names, fetched if it is the default one and missing.

    Raises:
        BadInput: There is none of that name, or it is not downloaded.
        CascadeError: It cannot be fetched.
    """
    if name == SAME and settings.stt.url:
        raise BadInput(f"--fidelity {SAME}: stt.url names a server; name a recogniser of its own")
    wanted = settings.stt.model if name == SAME else name
    catalogue = Catalogue.load(settings.models.dir)
    if (missing := catalogue.missing("stt", wanted)) is not None:
        pull_and_show(catalogue, missing, console, Network())
    try:
        return catalogue.resolve("stt", wanted)
    except BadInput as error:
        raise BadInput(f"--fidelity {name}: {error}") from None


class ReplyReader:
    """Reads replies after a run; what an earlier run has read with the same recogniser stands.

    Attributes:
        about: What the header of the run says of it: the recogniser whose readings these are, and
            its floor.
    """

    def __init__(self, found: Found, settings: Settings, earlier: Mapping[str, Any]) -> None:
        """Prepare; nothing is loaded yet.

        Args:
            found: The recogniser.
            settings: Of the cascade.
            earlier: What the header of an earlier run says; empty: there is none.
        """
        self._found = found
        # Words that are expected would be heard where they are not.
        self._settings = settings.stt.model_copy(update={"words": []})
        self._stands = earlier.get("model") == found.name
        self.about: dict[str, Any] = {"model": found.name, "floor": None, **earlier}

    async def read(
        self,
        conversations: list[Conversation],
        scenarios: Sequence[Scenario],
        folder: Path,
        console: Console,
    ) -> None:
        """Read all replies that have not been read, each put in its place as soon as it is.

        What cannot be read is told once, and is not known; where the recogniser cannot be loaded
        nothing is.

        Args:
            conversations: As they were held; they are replaced one by one.
            scenarios: What they were about: their recordings give the floor.
            folder: Where the WAVs are.
            console: For the progress, and for what fails.
        """
        due = [
            (place, number)
            for place, one in enumerate(conversations)
            for number, turn in enumerate(one.turns)
            if one.repeat > 0 and one.facts.get("model") != reference.NAME
            if turn.record.answered and not self._known(turn)
        ]
        known = [] if self._stands and self.about["floor"] else _recordings(scenarios)
        # The turns of a conversation are in one.
        tracks = lru_cache(maxsize=1)(stereo)
        if not due:
            return
        worker = Worker("fidelity")
        try:
            with progress(console, len(due) + len(known)) as tell:
                tell(0, f"loading {self._found.name}, which reads the replies")
                whisper = await worker.run(self._load)
                if not self._stands:
                    conversations[:] = [_unread(one) for one in conversations]
                    self.about |= {"model": self._found.name, "floor": None}
                for done, (place, number) in enumerate(due, start=1):
                    one, turns = conversations[place], list(conversations[place].turns)
                    work = partial(_read, whisper, turns[number], tracks, folder / one.wav)
                    found = await worker.run(work)
                    turns[number] = dataclasses.replace(turns[number], fidelity=found)
                    conversations[place] = dataclasses.replace(one, turns=tuple(turns))
                    where = f"{one.path}, {one.scenario} turn {number + 1}"
                    tell(
                        done, f"{where}: {found.reason or f'{found.errors} of {found.words} words'}"
                    )
                misread = []
                for done, (path, said) in enumerate(known, start=len(due) + 1):
                    misread.append(await worker.run(partial(_misread, whisper, path, said)))
                    tell(done, f"what the user says: {said}")
                if words := sum(count for _, count in misread):
                    wrong = sum(errors for errors, _ in misread)
                    self.about["floor"] = {"recordings": len(known), "rate": wrong / words}
        except CascadeError as error:
            why = one_line(str(error), 400)
            show_error(console, f"--fidelity: {why}; what was not read is not known")
        finally:
            worker.close()

    def _load(self) -> Whisper:
        found = self._found
        return Whisper(found.path, self._settings, short_windows=found.short_windows)

    def _known(self, turn: Turn) -> bool:
        return self._stands and turn.fidelity is not None and turn.fidelity.errors is not None


def _unread(conversation: Conversation) -> Conversation:
    turns = (dataclasses.replace(turn, fidelity=None) for turn in conversation.turns)
    return dataclasses.replace(conversation, turns=tuple(turns))


def _read(
    whisper: Whisper,
    turn: Turn,
    tracks: Callable[[Path], tuple[Samples, Samples, int]],
    wav: Path,
) -> Fidelity:
    """What the recogniser makes of a turn's reply; `tracks` reads the WAV, as `stereo` does."""
    text = turn.record.reply
    if not text.strip():
        return Fidelity(reason=NO_TEXT)
    try:
        _, reply, rate = tracks(wav)
    except BadInput as error:
        return Fidelity(reason=str(error))
    if unfinished(turn, reply, rate):
        return Fidelity(reason=UNFINISHED)
    sound = sound_of(turn, reply, rate)
    if not len(sound):
        return Fidelity(reason=NO_SOUND)
    try:
        heard = whisper.transcribe(scaled(resampled(sound, rate, RATE))).text
    except StageError as error:
        return Fidelity(reason=str(error))
    # It went on when the user spoke, and ended there or soon after.
    cut = turn.spoken[-1][1] > turn.end_ns
    return against_text(text, heard, cut=cut)


def _misread(whisper: Whisper, path: Path, said: str) -> tuple[int, int]:
    sound = np.concatenate([*read_audio(path, RATE)])
    return word_errors(said, whisper.transcribe(scaled(sound)).text)


def _recordings(scenarios: Sequence[Scenario]) -> list[tuple[Path, str]]:
    """The user's recordings whose words are known, each once; none that is soft on purpose."""
    steps = [
        step for one in scenarios for step in one.steps if step.said and step.outcome != "ignore"
    ]
    return list({step.path: (step.path, step.said) for step in steps}.values())


def _trimmed(these: Sequence[str], others: Sequence[str]) -> list[str]:
    """Words without those at their end that are not at the end of the others, at most `EDGE`."""
    for left in range(EDGE + 1):
        if len(these) > left and these[len(these) - left - 1] in others[-EDGE - 1 :]:
            return [*these[: len(these) - left]]
    return [*these]


def _index(t_ns: int, rate: int) -> int:
    return max(0, t_ns * rate // NS_PER_S)
