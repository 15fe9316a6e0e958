"""What a profile measures of each turn: the one thing that instrument, statistics and report share.

A profile's folder holds `records.jsonl`, one `Record` a line, in the order in which they were made;
everything else in it can be computed from that file, the WAVs and the traces.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.measure.results import read_lines
from pipeline.timeline import Timeline

RECORDS = "records.jsonl"

VERSION = 1
"""Version of the format; a reader refuses another one."""

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
class Record:
    """One turn of a profile.

    Attributes:
        variant: Name of the variant, such as `speculative` or `speculative stt=base.en`.
        file: The recording, relative to the corpus.
        repeat: Which repetition, from 1; 0 is the warm-up, which no statistic counts.
        order: Position in the run, from 0, over all variants.
        status: How it went.
        reason: What went wrong; empty where nothing did.
        marks: Of the committed generation: names of `timeline.MARKS`, times (ns, monotonic).
        wav_voice_to_voice_ns: From the true end of speech to the first audible sample of the reply,
            both from the stereo WAV: this is the latency; the trace explains it.
        end_of_speech: Where the true end of speech comes from: the corpus's `label`, or the
            `detector` on the clean channel.
        spans: Lanes of the waterfall.
        wav: Stereo WAV of the turn, user left, reply right, relative to the profile's folder.
        wav_start_ns: When its first sample was heard (ns).
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

    @property
    def answered(self) -> bool:
        """Whether a reply was heard, be its latency known or not."""
        return self.status in ("ok", "unmeasurable")

    @property
    def timeline(self) -> Timeline | None:
        """The parts of its latency as traced; None where no reply was heard."""
        return Timeline.from_marks(self.marks) if self.status == "ok" else None


def write(path: Path, header: Mapping[str, Any], records: Iterable[Record]) -> None:
    """Write a profile's records, after a first line that describes the run."""
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps({"profile": VERSION, **header}) + "\n")
        for record in records:
            file.write(json.dumps(dataclasses.asdict(record)) + "\n")


def read(path: Path) -> tuple[dict[str, Any], list[Record]]:
    """Read a profile's records and what describes the run.

    A last line that was cut off by a crash or a full disk is left out.

    Raises:
        BadInput: The file is missing, damaged, or of another version.
    """
    return read_lines(path, "profile", VERSION, _record, made_by="profile")


def _record(fields: dict[str, Any]) -> Record:
    spans = tuple(Span(**span) for span in fields.pop("spans"))
    return Record(**fields, spans=spans)
