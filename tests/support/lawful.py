"""What holds of the events of any session, whatever its server does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.events import (
    Event,
    ReplyAudio,
    ReplyDone,
    ReplyInterrupted,
    ReplyStarted,
    ReplyText,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
    ToolCancelled,
    Transcript,
)


@dataclass
class Seen:
    """What the events of a session told of.

    Attributes:
        turns: How many there were.
        begun: Replies, with the turn of each.
        done: Replies of which nothing more comes.
        ended: Turns of which nothing more comes.
    """

    turns: int = 0
    begun: dict[str, int] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    ended: set[int] = field(default_factory=set)


def lawful(events: Sequence[Event], *, late_text: bool = False) -> Seen:
    """See that everything is told once and in order; `late_text`: a reply's text may come late."""
    seen = Seen()
    samples: dict[str, int] = {}
    interrupted: set[str] = set()
    for event in events:
        if not isinstance(event, SpeechStarted):
            assert 0 <= event.turn <= seen.turns
        match event:
            case SpeechStarted():
                seen.turns += 1
                assert event.turn == seen.turns
            case ReplyStarted():
                assert event.id not in seen.begun
                seen.begun[event.id] = event.turn
            case ReplyText():
                assert seen.begun[event.id] == event.turn
                assert late_text or event.id not in seen.done | interrupted
            case ReplyAudio():
                assert seen.begun[event.id] == event.turn
                assert event.id not in seen.done | interrupted
                assert event.frame.offset == samples.get(event.id, 0)
                samples[event.id] = event.frame.offset + len(event.frame.samples)
            case ReplyInterrupted():
                assert event.id in seen.begun
                assert event.id not in interrupted
                interrupted.add(event.id)
            case ReplyDone():
                assert event.id not in seen.done
                assert event.id or event.turn not in seen.ended
                if event.id:
                    assert seen.begun[event.id] == event.turn
                    seen.done.add(event.id)
                seen.ended.add(event.turn)
    for kind in (SpeechStopped, Transcript):
        once = [e.turn for e in events if isinstance(e, kind) and getattr(e, "final", True)]
        assert len(once) == len(set(once))
    calls = [event.id for event in events if isinstance(event, ToolCall)]
    cancelled = [event.id for event in events if isinstance(event, ToolCancelled)]
    assert len(calls) == len(set(calls))
    assert set(cancelled) <= set(calls) and len(cancelled) == len(set(cancelled))
    return seen
