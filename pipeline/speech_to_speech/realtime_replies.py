"""Replies of a Realtime session: whose sound is where in them, and what of them was heard. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pipeline.audio.resample import Resampler
from pipeline.text.alignment import whole_words
from pipeline.text.spoken import CHARS_PER_SECOND

PLAYED_MS = 20
"""A reply of which no more than this is missing counts as played to its end: a device's rate and
its blocks round the position."""


@dataclass(slots=True)
class Piece:
    """What one item of the server's adds to a reply.

    Attributes:
        item: The item's id.
        index: Which part of the item's content is the sound.
        start: Where it begins in the reply (samples).
        samples: How long it is so far.
        text: Its words so far.
        filler: Whether it only bridges the time until the answer.
        complete: Nothing is added to it any more.
        kept: What the server says it kept of the text after truncation; None: it has not said.
        rest: Half a sample, to be completed by what comes next.
    """

    item: str
    index: int = 0
    start: int = 0
    samples: int = 0
    text: str = ""
    filler: bool = False
    complete: bool = False
    kept: str | None = None
    rest: bytes = b""

    def heard(self, position: int, rate: int) -> str:
        """The words that were heard once the reply was played to `position`, whole ones only.

        They are placed in proportion to their characters. Text runs ahead of its sound: while the
        piece is not complete, it is taken to become as long as a voice needs for it.
        """
        if not rate:
            return self.text
        played = position - self.start
        length = float(self.samples)
        if not self.complete:
            length = max(length, len(self.text) / CHARS_PER_SECOND * rate)
        if played >= length:
            # Without a sound of its own it goes with what comes before it.
            return self.text if self.samples or position > 0 else ""
        return whole_words(self.text, int(len(self.text) * max(0.0, played / length)))


@dataclass(slots=True)
class Reply:
    """What is said in one turn, or afterwards about a late tool result.

    Attributes:
        id: Our name for it.
        turn: Number of its turn.
        late: It is one more reply of a turn that was over.
        rate: Of its sound (Hz); 0: none has come.
        samples: How much sound came.
        played: How much of it was played, as the driver said last.
        pieces: In order.
        done: `ReplyDone` was sent.
        interrupted: `ReplyInterrupted` was sent.
        told: The driver has taken notice of that.
        settled: The server was told what was heard.
        last_ns: When the last of its sound came.
        resampler: Converts sound that comes at another rate than the reply began with.
    """

    id: str
    turn: int
    late: bool = False
    rate: int = 0
    samples: int = 0
    played: int = 0
    pieces: list[Piece] = field(default_factory=list)
    done: bool = False
    interrupted: bool = False
    told: bool = False
    settled: bool = False
    last_ns: int = 0
    resampler: Resampler | None = None

    @property
    def text(self) -> str:
        """All its words."""
        return _joined(piece.text for piece in self.pieces)

    @property
    def playing(self) -> bool:
        """Whether some of its sound is still to be heard."""
        return (self.samples - self.played) * 1000 > PLAYED_MS * self.rate

    def piece(self, item: str, index: int = 0) -> Piece:
        """What an item adds, begun if it is new."""
        for piece in self.pieces:
            if piece.item == item:
                return piece
        self.pieces.append(Piece(item, index, self.samples))
        return self.pieces[-1]

    def heard_text(self) -> str:
        """The words that were heard."""
        return _joined(piece.heard(self.played, self.rate) for piece in self.pieces)

    def remembered(self) -> str:
        """What the model remembers of it, as far as is known."""
        if not self.interrupted:
            return self.text
        return _joined(
            piece.heard(self.played, self.rate) if piece.kept is None else piece.kept
            for piece in self.pieces
        )

    def cuts(self) -> list[tuple[Piece, int | None]]:
        """Where to cut its items: each item not heard to its end, and how much was heard (ms).

        None for an item that has no sound to be cut.
        """
        cuts: list[tuple[Piece, int | None]] = []
        for piece in self.pieces:
            played = self.played - piece.start
            if played >= piece.samples and piece.complete:
                continue
            if not piece.samples:
                cuts.append((piece, None))
                continue
            # More than came cannot have been heard, and a longer item cannot be asked for.
            heard = min(max(0, played), piece.samples)
            cuts.append((piece, heard * 1000 // self.rate))
        return cuts


def _joined(texts: Iterable[str]) -> str:
    return " ".join(stripped for text in texts if (stripped := text.strip()))
