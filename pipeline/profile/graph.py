"""What a turn would have taken had its stages cost something else: its dependency graph, replayed.

Each event of a turn comes some time after the last of those that it waits for. The replay keeps
these times as they were measured, except the ones that are changed, and lets the waiting decide
the rest; so what was hidden may come to light, and the other way round. With no change it gives
what was measured, to the nanosecond. Pure.

    provisional ─▶ STT ─▶ judge ─▶ request ─▶ first token ─▶ tokens ─┬▶ first clause ─▶ TTS
         │                  │                     └────▶ deadline ───┤                   │
         ▼                  ▼ may move the hold                      │                   ▼
    hold over ─────────▶ committed ──────────────────────────────────┴─────────────▶   gate
                                                                            audible ◀─ playout

That is `speculative`; otherwise STT waits for the commit, and in `sequential` clauses wait for the
last token, and the gate for the last sound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.clock import NS_PER_MS
from pipeline.config import Reply, Tts, Turns
from pipeline.measure.record import DROPPED, Record
from pipeline.profile.change import COSTS, Change, Mode
from pipeline.profile.first_clause import Writing, arrivals, tokens
from pipeline.profile.hold import LATE_NS, WINDOW_NS, held_ms, moved_ms, read_ms, windows_ns
from pipeline.profile.starvation import missing_ns, pace_ns
from pipeline.timeline import Timeline

WHOLE = "the whole reply"
"""What the textbook cascade makes before it plays anything; see `lacking`."""


@dataclass(frozen=True, slots=True)
class Setup:
    """The settings of a run that decide what waits for what.

    Attributes:
        turns: When a turn ends.
        reply: How its stages overlap.
        language: Code of what the voice speaks: its abbreviations decide where a clause ends.
        judged: Whether the language model is the embedded one, which judges the ends of turns.
    """

    turns: Turns = field(default_factory=Turns)
    reply: Reply = field(default_factory=Reply)
    language: str = "en"
    judged: bool = False

    @classmethod
    def of(cls, settings: Mapping[str, Any], variant: Mapping[str, Any]) -> Setup:
        """From the settings that a run describes itself with, and a variant's (`a.b`: value)."""
        tables = {name: dict(settings.get(name, {})) for name in ("turns", "reply", "tts", "llm")}
        for name, value in variant.items():
            table, _, key = name.partition(".")
            if table in tables:
                tables[table][key] = value
        known = {
            name: {key: value for key, value in tables[name].items() if key in model.model_fields}
            for name, model in (("turns", Turns), ("reply", Reply), ("tts", Tts))
        }
        voice = Path(Tts(**known["tts"]).voice).name
        language = voice.partition("_")[0] if "_" in voice else "en"
        # A server is told by its URL or by a prefix, the embedded model by its file's name.
        model = str(tables["llm"].get("model", ":"))
        return cls(Turns(**known["turns"]), Reply(**known["reply"]), language, ":" not in model)


@dataclass(frozen=True, slots=True)
class Prediction:
    """A turn as it would have been.

    Attributes:
        marks: As a record's; what comes after the reply's first sound moves along with it.
        timeline: Its parts.
        voice_to_voice_ns: Its latency: the measured one, of the WAV, and as much more or less as
            the trace's would be.
        underrun_ns: Likewise of the gaps in the reply; an estimate, see `starvation`.
    """

    marks: Mapping[str, int]
    timeline: Timeline
    voice_to_voice_ns: int
    underrun_ns: int


def replay(record: Record, setup: Setup, change: Change) -> Prediction:
    """Replay a turn with changed costs.

    Args:
        record: A turn whose reply was heard.
        setup: What it was recorded with.
        change: What is different now.

    Raises:
        ValueError: No reply was heard in it.
    """
    measured = Timeline.from_marks(record.marks)
    if measured is None:
        raise ValueError("a turn without a reply has no latency to predict")
    replayed = _Replay(record, setup, change)
    marks = replayed.marks()
    timeline = Timeline.from_marks(marks)
    assert timeline is not None
    wav_ns = record.wav_voice_to_voice_ns
    latency_ns = measured.total_ns if wav_ns is None else wav_ns
    latency_ns += timeline.total_ns - measured.total_ns
    return Prediction(marks, timeline, latency_ns, replayed.underrun_ns())


def lacking(record: Record, change: Change) -> set[str]:
    """The changed costs that cannot be told from this record: it does not say what they were."""
    missing = {
        name
        for name in change.costs
        if name in COSTS and not record.marks.keys() >= set(COSTS[name])
    }
    whole = {"llm.last_token", "tts.last_audio"} <= record.marks.keys()
    if change.mode == "sequential" and not whole:
        missing.add(WHOLE)
    counted = change.costs.get("llm.tokens")
    if counted is not None and counted.kind != "scale" and not tokens(record):
        missing.add("llm.tokens")
    return missing


class _Replay:
    """One replay: what was (`_was`), and what is now (`_now`), mark by mark."""

    def __init__(self, record: Record, setup: Setup, change: Change) -> None:
        self._record = record
        self._turns = setup.turns
        self._reply = setup.reply
        self._language = setup.language
        self._judged = setup.judged
        self._costs = change.costs
        self._was = record.marks
        self._now: dict[str, int] = {}
        self._old_mode: Mode = setup.reply.mode
        self._mode: Mode = change.mode or setup.reply.mode
        self._tokens = tokens(record)

    def marks(self) -> dict[str, int]:
        was, now = self._was, self._now
        for name in ("speech.start", "speech.end", "vad.stop"):
            if name in was:
                now[name] = was[name]
        self._pause()
        began_ahead = self._began_ahead()
        ahead = began_ahead if self._mode == self._old_mode else self._mode == "speculative"
        ahead = ahead and {"provisional", "stt.start"} <= was.keys()
        if ahead:
            self._understand(began_ahead, ahead)
            self._commit(self._told(began_ahead))
        else:
            self._commit(None)
            self._understand(began_ahead, ahead)
        self._write()
        self._speak()
        moved = now["heard.first"] - was["heard.first"]
        return {name: now.get(name, at + moved) for name, at in was.items()}

    def underrun_ns(self) -> int:
        """The gaps in the reply, after `marks`."""
        was, now = self._was, self._now
        if self._mode == "sequential" != self._old_mode:
            return 0
        needed = {"llm.first_token", "clause.first", "tts.first_audio"}
        if self._mode == "sequential" or not self._tokens or not needed <= was.keys():
            return self._record.underrun_ns
        texts = [text for text, _ in self._tokens]
        before = [was["llm.first_token"], *(at for _, at in self._tokens[1:])]
        after = arrivals(before, now["llm.first_token"], self._costs.get("llm.tokens"))
        pace = pace_ns(self._record, texts)
        gaps = missing_ns(now, texts, after, pace)
        told = 0 if self._old_mode == "sequential" else missing_ns(was, texts, before, pace)
        recorded = self._record.underrun_ns
        return recorded * gaps // told if told else recorded + gaps

    # ---- the end of the turn ---------------------------------------------------------------

    def _wait(self, name: str) -> float:
        """One of `WAITS` as it is now (ms)."""
        was = float(getattr(self._turns, name.partition(".")[2]))
        cost = self._costs.get(name)
        return cost.of(round(was * NS_PER_MS)) / NS_PER_MS if cost else was

    def _pause(self) -> None:
        """The provisional end: so many windows of silence."""
        if "provisional" in self._was:
            turns = self._turns
            was = windows_ns(min(turns.provisional_ms, turns.hold_ms))
            now = windows_ns(min(self._wait("turns.provisional_ms"), self._wait("turns.hold_ms")))
            self._now["provisional"] = self._was["provisional"] + now - was

    def _told(self, began_ahead: bool) -> str | None:
        """The mark from which on what was said counted for the hold, or would have."""
        was = self._was
        marks = [name for name in ("llm.request", "stt.final") if name in was]
        in_time = [name for name in marks if began_ahead and was[name] <= was["committed"]]
        return next(iter(in_time or marks[-1:]), None)

    def _commit(self, told: str | None) -> None:
        """The hold is over.

        Args:
            told: The mark from which on the words are known. If they shorten the hold, they do so
                only where they are known in time.
        """
        was, now = self._was, self._now
        hold = held_ms(self._record, self._turns)
        changed = self._new_hold_ms(hold)
        usual = self._wait("turns.hold_ms")
        same = self._mode == self._old_mode
        if same and told is not None and was[told] > was["committed"]:
            # They came too late, and the hold was the usual one.
            usual, changed = changed, min(changed, self._read_ms() or changed)
        at, latest = (
            was["committed"] + windows_ns(ms) - windows_ns(hold) for ms in (changed, usual)
        )
        if changed < hold and "provisional" in now:
            at = max(at, min(was["committed"], now["provisional"]))
        if told is not None and at < now[told] and changed < usual:
            at = max(at, min(now[told], latest))
        now["committed"] = at

    def _new_hold_ms(self, hold: float) -> float:
        """What is asked now where `hold` was (ms)."""
        usual = self._wait("turns.hold_ms")
        if self._turns.predict and self._old_mode == "speculative" != self._mode:
            return usual  # nobody reads the words before the commit
        if self._mode == "speculative" != self._old_mode:
            return self._read_ms() or hold
        return moved_ms(hold, self._turns, usual)

    def _read_ms(self) -> float | None:
        """The hold for how finished the words read (ms)."""
        usual = self._wait("turns.hold_ms")
        return read_ms(
            self._record.transcript, self._language, self._turns, usual, judged=self._judged
        )

    # ---- what was said ---------------------------------------------------------------------

    def _began_ahead(self) -> bool:
        """Whether the answer was begun in the pause, and not at the end of it."""
        was = self._was
        if self._old_mode != "speculative" or not {"provisional", "stt.start"} <= was.keys():
            return False
        # With a hold as short as the pause both fall into one window.
        together = was["committed"] - was["provisional"] < LATE_NS
        return together or was["stt.start"] < was["committed"]

    def _understand(self, began_ahead: bool, ahead: bool) -> None:
        """Recognition, and the request to the model."""
        was = self._was
        if "stt.start" in was:
            self._now["stt.start"] = self._start(began_ahead, ahead)
        self._step("stt.final", ("stt.start", "committed"), "stt")
        if began_ahead and not ahead and {"stt.final", "llm.request"} <= was.keys():
            # The model is not asked any more whether the words read finished.
            self._now["llm.request"] = self._now["stt.final"]
        self._step("llm.request", ("stt.final", "stt.start", "committed"))

    def _start(self, began_ahead: bool, ahead: bool) -> int:
        was, now = self._was, self._now
        if ahead and began_ahead:
            late = was["stt.start"] - was["provisional"]
            # Other words were found when the pause went on, which the pause's beginning decides.
            again = late >= LATE_NS and "vad.stop" in was
            return was["stt.start"] if again else now["provisional"] + late
        if began_ahead:
            return now["committed"]
        if ahead:
            # A window is looked at when the frame is there that completes it.
            heard = was.get("vad.stop", was["speech.end"])
            return now["provisional"] + (was["committed"] - heard) % WINDOW_NS
        return now["committed"] + was["stt.start"] - was["committed"]

    # ---- the reply -------------------------------------------------------------------------

    def _write(self) -> None:
        """The model: first token, first clause, last token."""
        was, now = self._was, self._now
        before = ("llm.request", "stt.final", "stt.start", "committed")
        self._step("llm.first_token", before, "llm.first_token")
        if not {"llm.first_token", "clause.first"} <= was.keys():
            self._step("clause.first", ("llm.first_token", *before))
            return
        cost = self._costs.get("llm.tokens")
        if "llm.last_token" in was:
            later = [at for _, at in self._tokens[1:]] or [was["llm.last_token"]]
            last = arrivals([was["llm.first_token"], *later], now["llm.first_token"], cost)[-1]
            now["llm.last_token"] = last + was["llm.last_token"] - later[-1]
        if self._mode == "sequential" and "llm.last_token" in was:
            gap = was["clause.first"] - was["llm.last_token"]
            now["clause.first"] = now["llm.last_token"]
            if self._old_mode == "sequential":
                now["clause.first"] += gap
            return
        writing = Writing.of(self._record, self._reply, self._language)
        deadline_ns = self._reply.first_deadline_ms * NS_PER_MS
        before_ns = writing.cut(was["committed"], deadline_ns)
        after_ns = writing.at(now["llm.first_token"], cost).cut(now["committed"], deadline_ns)
        now["clause.first"] = after_ns
        if self._mode == "sequential" or self._old_mode != "sequential":
            now["clause.first"] += was["clause.first"] - before_ns

    def _speak(self) -> None:
        """The voice, the gate, the loudspeaker."""
        was, now = self._was, self._now
        before = ("clause.first", "llm.first_token", "llm.request", "committed")
        self._step("tts.start", before)
        self._step("tts.first_audio", ("tts.start", *before), "tts")
        if self._mode == "sequential":
            self._step("tts.last_audio", ("tts.first_audio", "tts.start", *before))
            cost = self._costs.get("tts")
            if {"tts.first_audio", "tts.last_audio"} <= was.keys():
                rest = self._rest_ns()
                if cost is not None and cost.kind == "scale":
                    rest = cost.of(rest)
                now["tts.last_audio"] = now["tts.first_audio"] + rest
        ready = [self._ready(was, self._old_mode), self._ready(now, self._mode)]
        if "playout.first" in was:
            now["playout.first"] = ready[1] + was["playout.first"] - ready[0]
            self._step("heard.first", ("playout.first",), "device")
        else:
            now["heard.first"] = ready[1] + was["heard.first"] - ready[0]

    def _rest_ns(self) -> int:
        """How long the voice works on the reply after its first sound (ns)."""
        was = self._was
        rest = was["tts.last_audio"] - was["tts.first_audio"]
        busy = [
            span.end_ns - span.start_ns
            for span in self._record.spans
            if span.lane == "tts" and not span.name.startswith(DROPPED)
        ]
        if self._old_mode == "sequential" or not busy or "tts.start" not in was:
            return rest
        # Else it waits for words in between.
        return min(rest, max(0, sum(busy) - (was["tts.first_audio"] - was["tts.start"])))

    def _ready(self, marks: Mapping[str, int], mode: Mode) -> int:
        """When there is sound, and it may be heard."""
        sound = "tts.last_audio" if mode == "sequential" else "tts.first_audio"
        made = marks.get(sound, marks.get("tts.first_audio", marks["committed"]))
        return max(made, marks["committed"])

    def _step(self, name: str, before: Sequence[str], cost: str = "") -> None:
        """A mark that waits for the nearest known one before it, and has its own cost."""
        was, now = self._was, self._now
        if name in now or name not in was:
            return
        nearest = next(known for known in before if known in was and known in now)
        took = was[name] - was[nearest]
        if cost in self._costs and nearest == COSTS[cost][0]:
            took = self._costs[cost].of(took)
        now[name] = now[nearest] + took
