"""Keeps a rambling model short: whole sentences, a few of them. Pure but for the model it asks.

A small model that is told to be short still reads out lists of ten, and breaks off at the limit on
its tokens. Its stream is closed once enough sentences are written; a line of a list is one.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator

from pipeline.engines.llm import Calling, Incomplete, Messages, Piece, Unsaid, Writer
from pipeline.text.chunker import Chunker

FREE_CHARS = 40
"""So much is passed on as it is written, for the first sound shall not wait: 3 s of speech. Of what
follows only whole sentences are, for nobody yet waits for it and it may have no end."""

LONGEST_CHARS = 10_000
"""No sentence is cut for its length here."""


class Limit:
    """Lets so many sentences of a text pass.

    Attributes:
        over: Whether all of them have: nothing more will pass.
    """

    def __init__(self, sentences: int) -> None:
        """Let at least one pass."""
        self.over = False
        self._left = sentences
        self._chunker = Chunker(max_chars=LONGEST_CHARS)
        self._text = ""
        self._passed = 0
        self._ended = 0

    def push(self, delta: str) -> str:
        """Take more text; gives what may pass now."""
        self._text += delta
        for sentence in self._chunker.push(delta, hurry=False):
            self._ended = sentence.end
            self._left -= 1
            # Where it was known late that a sentence had ended, the next one is begun already.
            if self._left <= 0 and not self._text[self._ended : self._passed].strip():
                self.over = True
                break
        free = len(self._text) <= FREE_CHARS and not self.over
        return self._pass(len(self._text) if free else self._ended)

    def finish(self, *, broken_off: bool) -> str:
        """The text is over: gives what was held back, of a sentence that broke off its clauses."""
        rest = self._text[self._passed :]
        if broken_off:
            rest = rest[: max(map(rest.rfind, ",;:")) + 1]
        return self._pass(self._passed + len(rest))

    def _pass(self, until: int) -> str:
        passing = self._text[self._passed : until]
        self._passed = max(self._passed, until)
        return passing


class Shortened:
    """A model that is stopped after some sentences.

    Args:
        model: Writes.
        sentences: So many of a reply.
    """

    def __init__(self, model: Writer, sentences: int) -> None:
        self._model = model
        self._sentences = sentences

    async def stream(self, messages: Messages) -> AsyncGenerator[Piece, None]:
        """Yield the reply's text, and what else comes; closing it closes the model's stream.

        Raises:
            StageError: As the model's own stream does.
        """
        limit = Limit(self._sentences)
        rest = False
        async with contextlib.aclosing(self._model.stream(messages)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Unsaid):
                    limit = Limit(self._sentences)
                    yield piece
                    continue
                if isinstance(piece, Calling):  # there may be more text
                    yield piece
                    continue
                if not isinstance(piece, str):
                    cut = isinstance(piece, Incomplete)
                    if not rest and (text := limit.finish(broken_off=cut)):
                        yield text
                    rest = True
                    yield piece
                    continue
                if text := limit.push(piece):
                    yield text
                if limit.over:
                    return
        if not rest and (text := limit.finish(broken_off=False)):
            yield text
