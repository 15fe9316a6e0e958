"""A profile as `trace.perfetto.json`, for the Perfetto viewer and Chrome's own.

The Trace Event Format: a process for each variant, in it a thread for each lane of the waterfall, a
slice for each piece of work, an instant for each mark, and a slice for each whole turn. All times
are on the run's own clock, so that the turns stand in the order in which they were made.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.measure.record import Record
from pipeline.measure.report import plain
from pipeline.measure.summary import by_variant
from pipeline.measure.waterfall import zero_ns
from pipeline.trace import PARTS

NAME = "trace.perfetto.json"

LANES = ("turn", "marks", "user", "endpoint", "stt", "llm", "tts", "speaker", "gap")
"""Threads of a process, from top to bottom; lanes that are not known here come after them."""

SHORTEST_NS = 1
"""Slices are at least as long as the clock's step: viewers may leave out those without length."""

TraceEvent = dict[str, Any]


def rendered(header: Mapping[str, Any], records: Sequence[Record]) -> str:
    """The file."""
    document = {
        "displayTimeUnit": "ms",
        "otherData": plain({"tool": "cascade profile", **header}),
        "traceEvents": events(header, records),
    }
    return json.dumps(document, separators=(",", ":")) + "\n"


def events(header: Mapping[str, Any], records: Sequence[Record]) -> list[TraceEvent]:
    """What `traceEvents` holds: names first, then everything by time (µs from the first event)."""
    processes = {name: pid for pid, name in enumerate(by_variant(header, records), start=1)}
    pieces = [
        piece
        for number, record in enumerate(records)
        for piece in _pieces(number, record, processes[record.variant])
    ]
    # A longer slice comes before those that begin with it, as viewers want it.
    pieces.sort(key=lambda piece: (piece.begin_ns, -piece.end_ns))
    origin = min((piece.begin_ns for piece in pieces), default=0)
    threads = _Threads()
    timed = [_event(piece, threads.number(piece), origin) for piece in pieces]
    return [*_names(processes, threads), *timed]


@dataclass(frozen=True, slots=True)
class _Piece:
    """Something in a lane of a process; an instant without an end of its own."""

    pid: int
    lane: str
    name: str
    begin_ns: int
    end_ns: int
    args: TraceEvent


class _Threads:
    """Numbers of threads: per process, lane, and row of a lane, for slices of a thread must nest.

    Pieces are to come in the order in which they begin.
    """

    def __init__(self) -> None:
        self.known: dict[tuple[int, str, int], int] = {}
        self._lanes = list(LANES)
        self._ends: dict[tuple[int, str], list[int]] = {}

    def number(self, piece: _Piece) -> int:
        """The thread in which a piece meets no other."""
        if piece.lane not in self._lanes:
            self._lanes.append(piece.lane)
        ends = self._ends.setdefault((piece.pid, piece.lane), [])
        row = 0
        if piece.lane != "marks":
            free = (row for row, end in enumerate(ends) if end <= piece.begin_ns)
            row = next(free, len(ends))
        ends[row : row + 1] = [max(piece.end_ns, piece.begin_ns + SHORTEST_NS)]
        # Room for rows in a lane, so that the numbers sort as the lanes do.
        tid = (self._lanes.index(piece.lane) + 1) * 1000 + row
        self.known[(piece.pid, piece.lane, row)] = tid
        return tid


def _names(processes: Mapping[str, int], threads: _Threads) -> Iterator[TraceEvent]:
    for name, pid in processes.items():
        yield _meta("process_name", pid, 0, {"name": name})
        yield _meta("process_sort_index", pid, 0, {"sort_index": pid})
    for (pid, lane, row), tid in sorted(threads.known.items(), key=lambda one: (one[0][0], one[1])):
        yield _meta("thread_name", pid, tid, {"name": f"{lane} {row + 1}" if row else lane})
        yield _meta("thread_sort_index", pid, tid, {"sort_index": tid})


def _meta(name: str, pid: int, tid: int, args: TraceEvent) -> TraceEvent:
    return {"ph": "M", "name": name, "pid": pid, "tid": tid, "ts": 0, "args": args}


def _event(piece: _Piece, tid: int, origin: int) -> TraceEvent:
    common = {
        "name": piece.name or "-",
        "cat": piece.lane,
        "pid": piece.pid,
        "tid": tid,
        "ts": (piece.begin_ns - origin) / 1000,
        "args": piece.args,
    }
    if piece.lane == "marks":
        return {"ph": "i", "s": "t", **common}
    return {"ph": "X", "dur": max(piece.end_ns - piece.begin_ns, SHORTEST_NS) / 1000, **common}


def _pieces(number: int, record: Record, pid: int) -> Iterator[_Piece]:
    times = [
        *record.marks.values(),
        *(t_ns for span in record.spans for t_ns in (span.start_ns, span.end_ns)),
    ]
    begin, end = min(times, default=record.wav_start_ns), max(times, default=record.wav_start_ns)
    name = f"{record.file} #{record.repeat}" + (" (warm-up)" if record.repeat == 0 else "")
    yield _Piece(pid, "turn", name, begin, end, _about(number, record))
    for mark, t_ns in record.marks.items():
        after_ms = (t_ns - zero_ns(record)) / 1e6
        args = {"turn": number, "after_end_of_speech_ms": after_ms}
        yield _Piece(pid, "marks", mark, t_ns, t_ns, args)
    for span in record.spans:
        yield _Piece(pid, span.lane, span.name, span.start_ns, span.end_ns, {"turn": number})


def _about(number: int, record: Record) -> TraceEvent:
    timeline = record.timeline
    parts = timeline.parts if timeline else {}
    wav = record.wav_voice_to_voice_ns
    return {
        "turn": number,
        "variant": record.variant,
        "file": record.file,
        "repeat": record.repeat,
        "status": record.status,
        "reason": record.reason,
        "wav_voice_to_voice_ms": None if wav is None else wav / 1e6,
        "voice_to_voice_ms": timeline.total_ns / 1e6 if timeline else None,
        **{f"{part}_ms": parts[part] / 1e6 for part in PARTS if part in parts},
        "transcript": record.transcript,
        "reply": record.reply,
    }
