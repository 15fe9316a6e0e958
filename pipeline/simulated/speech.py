"""A reply as a server sends it: pieces of sound, and the words that go with each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.events import Samples
from pipeline.simulated.voice import RATE
from pipeline.text.alignment import spoken

PIECE = RATE // 5
"""Samples of a piece: 200 ms, about what the real servers send."""

SPEED = 4
"""Sound is sent so much faster than it plays."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a reply.

    Attributes:
        text: The words of it, with the space before them; may be empty.
        samples: Its sound.
        wait_ns: How long after the piece before it this one is sent.
    """

    text: str
    samples: Samples
    wait_ns: int


def pieces(text: str, sound: Samples) -> list[Piece]:
    """All pieces of a reply, in order; the texts make up `text`, the sound `sound`.

    The first piece has a word in any case, and the last one all that is left.
    """
    return list(_pieces(text, sound))


def _pieces(text: str, sound: Samples) -> Iterator[Piece]:
    said, wait = "", 0
    for start in range(0, max(1, len(sound)), PIECE):
        end = min(start + PIECE, len(sound))
        words = spoken(text, end, len(sound)) if len(sound) else text
        if not words:
            words = text.split(" ", 1)[0]
        # A word that was said is never taken back.
        words = max(words, said, key=len)
        yield Piece(words[len(said) :], sound[start:end], wait)
        said, wait = words, (end - start) * 1_000_000_000 // RATE // SPEED
