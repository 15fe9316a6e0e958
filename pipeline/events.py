"""The vocabulary: what sessions and drivers say to each other.

Small frozen dataclasses, named as the Realtime API names them where it does. A session (the
cascade, or a speech-to-speech API) takes `Frame`s in and gives `Event`s out; drivers need nothing
else.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.int16]
"""Mono 16-bit audio, shape (n,)."""

ReplyStatus = Literal["completed", "incomplete", "interrupted", "failed", "skipped"]
"""How a turn ended: the reply is whole; the model was cut off, at a limit or by a filter; the user
cut it short; a stage failed; there was nothing to answer (no words in the utterance)."""


TOLD = {"told": True}
"""Of a field that is told in JSON, although it does not tell two events apart."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A stretch of mono audio that knows when and where it belongs.

    Attributes:
        samples: int16, shape (n,). 20 or 32 ms, or some times that, from a microphone; any length
            from a synthesiser.
        rate: Samples per second (Hz).
        offset: Index of the first sample since its stream began, at `rate`.
        t_ns: Monotonic time at which the first sample was captured, or made for a reply (ns).
        begins: A recording begins in it: how loud its speaker is has nothing to do with the one
            before.
    """

    samples: Samples
    rate: int
    offset: int = 0
    t_ns: int = 0
    begins: bool = False

    @property
    def duration_ns(self) -> int:
        """How long it lasts (ns)."""
        return len(self.samples) * 1_000_000_000 // self.rate


@dataclass(frozen=True, slots=True)
class Event:
    """What every event has: the turn it belongs to, counted from 1 (0: no turn yet)."""

    turn: int


@dataclass(frozen=True, slots=True)
class SpeechStarted(Event):
    """The user began to speak, so many seconds after the beginning of what the session heard."""

    at_s: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class SpeechStopped(Event):
    """The user's turn is over: the endpoint is decided. One `ReplyDone` follows for the turn."""


@dataclass(frozen=True, slots=True)
class LongSilence(Event):
    """Nobody has said anything for as long as a session was told to wait for."""


@dataclass(frozen=True, slots=True)
class Transcript(Event):
    """What the user said, so far (`final` false) or in the end.

    `stable` is the beginning of it that hardly changes any more. `language` is the code of the
    language that was spoken (`en`); empty where that is not known.
    """

    text: str
    final: bool
    stable: str = field(default="", compare=False)
    language: str = field(default="", compare=False, metadata=TOLD)


@dataclass(frozen=True, slots=True)
class ReplyStarted(Event):
    """The assistant began to work on reply `id`."""

    id: str


@dataclass(frozen=True, slots=True)
class ReplyText(Event):
    """More of the reply's text, as the model writes it (thinking left out)."""

    id: str
    delta: str


@dataclass(frozen=True, slots=True)
class ReplyAudio(Event):
    """More of the reply's sound, to be played after what came before it.

    `filler` where the model itself says that it only bridges the time until it answers.
    """

    id: str
    frame: Frame
    filler: bool = False


@dataclass(frozen=True, slots=True)
class ReplyDucked(Event):
    """There is voice over the reply, and nobody knows yet what it means: play it quietly."""

    id: str


@dataclass(frozen=True, slots=True)
class ReplySwelled(Event):
    """The voice meant nothing: play the reply as before."""

    id: str


@dataclass(frozen=True, slots=True)
class ReplyInterrupted(Event):
    """The user spoke over the reply: stop playing it now.

    `heard_text` is what the user had heard of it then; the history keeps that, and what was played
    until the driver took notice.
    """

    id: str
    heard_text: str


@dataclass(frozen=True, slots=True)
class ReplyDone(Event):
    """Nothing more comes for this turn. What was sent may still be playing.

    `id` is empty where the turn ended before a reply began. Where a tool's result comes only after
    the user has gone on, one more reply, with an id of its own, follows for the turn of the call.
    `reason` says why it is `incomplete`, in a line for people; `filtered`, that a filter of its
    content cut it off, and no limit.
    """

    id: str
    status: ReplyStatus
    reason: str = ""
    filtered: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class ToolCalling(Event):
    """The model writes a call that the reply ends with: more of its arguments, JSON text.

    `ToolCall` follows when it is whole; where the reply breaks off, none does.
    """

    reply_id: str
    name: str
    delta: str


@dataclass(frozen=True, slots=True)
class ToolCall(Event):
    """The model asks for a tool; `arguments` is JSON text. Answer with `Session.tool_result`.

    What was said in the turn before the last call is a filler ("Let me check"), not the answer.
    """

    id: str
    name: str
    arguments: str
    reply_id: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class ToolCancelled(Event):
    """The result of a call is not wanted any more; `Session.tool_result` drops it."""

    id: str


@dataclass(frozen=True, slots=True)
class Usage(Event):
    """What was used, as it is billed: by a reply, a transcription, or an open session.

    Attributes:
        input_tokens: Read, of every kind.
        cached_tokens: Of these, from the cache.
        output_tokens: Written, of every kind.
        input_audio_tokens: Of those read, sound.
        cached_audio_tokens: Of these, from the cache.
        output_audio_tokens: Of those written, sound.
        seconds: Of sound (a transcription), of active session (`session`), or of a session in which
            the model is paused (`standby`), billed by time; since the last event of the same kind.
        kind: What was billed.
        reply_id: Which reply, if it was one of the cascade's.
    """

    input_tokens: int
    cached_tokens: int
    output_tokens: int
    input_audio_tokens: int = 0
    cached_audio_tokens: int = 0
    output_audio_tokens: int = 0
    seconds: float = 0.0
    kind: Literal["reply", "transcription", "session", "standby"] = "reply"
    reply_id: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class PicturesUnseen(Event):
    """The user shows pictures to a model that does not see; it answers without them."""

    message: str


@dataclass(frozen=True, slots=True)
class Failure(Event):
    """A stage failed. Unless `fatal`, the session goes on listening.

    `unanswered` where nothing is broken, but the reply was over before there was anything to say:
    by the limit of its tokens, a filter of its content, or the model itself.
    """

    stage: str
    message: str
    fatal: bool
    unanswered: Literal["", "limit", "filter", "model"] = field(default="", compare=False)


def to_json(event: Event) -> dict[str, Any]:
    """An event as a dictionary for `--json`: `type` in snake case, then its fields, no audio.

    Left out is what does not tell two events apart (`compare=False`): only servers need that. A
    field that is `TOLD` is there where something is known.
    """
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()
    fields = {f.name: (getattr(event, f.name), f) for f in dataclasses.fields(event)}
    told = {
        key: value
        for key, (value, f) in fields.items()
        if not isinstance(value, Frame) and (f.compare or (value and f.metadata.get("told")))
    }
    return {"type": name, **told}
