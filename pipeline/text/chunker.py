"""Language-model tokens into speakable clauses: pure, incremental.

The voice speaks the first clause while the model writes the third. Text comes in as deltas cut
anywhere, clauses come out as soon as it is certain where they end (`boundaries.judge`).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from pipeline.text import directions, formulas
from pipeline.text.boundaries import (
    CLOSERS,
    MARKS,
    OPENERS,
    UNSPACED,
    WIDE_STOPS,
    Cut,
    is_cjk,
    judge,
    starts_sentence,
)
from pipeline.text.speakable import HTML_TAGS, speakable


@dataclass(frozen=True, slots=True)
class Clause:
    """A stretch of a reply that is spoken in one go.

    Attributes:
        text: What the voice says, see `speakable`. Something in it can be pronounced.
        start: Where it begins in the source (all deltas, one after the other), in characters.
        end: Where it ends there, exclusive. Spans are in order and do not overlap; what is between
            them is not spoken.
    """

    text: str
    start: int
    end: int


_CONSTRUCT_LIMIT = 400  # characters a link, tag or code span may have; a longer one is plain text
_INFO_LIMIT = 100  # characters looked at of the line that a fence begins on
_URL_LIMIT = 2000  # characters a word with a URL in it may have; a longer one is cut
_URL_LIKE = re.compile(r"://|\bwww\.|\]\(")
_TAG_BEGUN = re.compile(
    r"<(?:[!|]|/?(?:(?P<name>[A-Za-z][A-Za-z0-9-]*)(?P<more>\s(?P<words>\s*[^\s=<>]+\s+[^\s=])?)?|$))"
)
_CODE_SPAN = re.compile(r"(`+)[^`].*\1", re.DOTALL)
_LABELS = re.compile(r"(?:\[[^\]]*\])+")
_STUCK = frozenset("\u200c\u200d\ufe0e\ufe0f")
_CLOSERS = "".join(CLOSERS)


def _goes_on(text: str) -> bool | None:
    """Whether a construct goes on after `text`, with which it begins.

    That is a link, a tag, a code span, a formula or a stage direction.

    Returns:
        None where `text` is none of them: its last character is not part of it.
    """
    if len(text) > _CONSTRUCT_LIMIT:
        return None
    if text[0] in "$\\":
        return formulas.goes_on(text)
    if text[0] in "*(<":
        goes_on = directions.goes_on(text)
        if goes_on is not None or text[0] != "<":
            return goes_on
    if text[-1] == "\n":
        return None
    if text[0] == "`":
        return _CODE_SPAN.fullmatch(text) is None
    if text[0] == "<":
        begun = _TAG_BEGUN.match(text)
        name = begun["name"] if begun else None
        known = name is None or name.lower() in HTML_TAGS
        no_tag = begun is None or (begun["more"] and not known) or begun["words"]
        return None if no_tag else text[-1] != ">"
    labels = _LABELS.match(text)
    target = text[labels.end() :] if labels else text
    if target.startswith("("):
        return target.count("(") > target.count(")")
    return True if target[:1] in ("", "[") else None


class Chunker:
    """Cuts one reply into clauses.

    The result does not depend on how the text is cut into deltas. Fenced code and what cannot be
    pronounced are left out; a model's thoughts are no part of its text (`VisibleText`). Places are
    counted in characters of the source; one at or before `_start` is spent.

    Attributes:
        begun: Whether a clause was given.
    """

    def __init__(
        self,
        *,
        first_words: int = 3,
        first_chars: int = 12,
        max_chars: int = 240,
        language: str = "en",
    ) -> None:
        """A chunker for one reply.

        Args:
            first_words: In a hurry, the first clause may end at a comma after this many words…
            first_chars: …or after this many characters; later ones need twice as much. A sentence
                may be of any size.
            max_chars: A clause with more written characters is cut at the best place before: a
                comma, a word gap, or within the word if it is that long.
            language: Of the voice, as "en" or "en-US".
        """
        self._first_words = first_words
        self._first_chars = first_chars
        self._max = max_chars
        self._language = language
        self.begun = False
        self._out: list[Clause] = []
        self._hurry = True

        self._source = ""
        self._seen = 0  # how much of it has been looked at
        self._start = 0  # where what is not yet given begins
        self._line_start = True  # whether that begins a line

        self._word = 0  # where the current word begins
        self._end = 0  # where it ended, while what follows is not known; 0: it goes on
        self._next = 0  # where the next begins, while only openers of it are known; 0: no
        self._held = 0  # the last `HOLD`, while it waits for the current word to end
        self._clause = self._gap = self._glue = 0  # the last place of each kind

        self._construct: int | None = None  # where the link, tag or code span begins that is open
        self._fence: int | None = None  # where the fenced code begins that is open
        self._block = False  # whether that began a line: then only another fence ends it

    def push(self, delta: str, *, hurry: bool = True) -> list[Clause]:
        """Takes more text, gives the clauses that are now certain.

        Args:
            delta: Any piece of text. An empty one only tells of a new `hurry`.
            hurry: Little audio is in hand: cut at the earliest clause boundary. Otherwise only
                sentences are cut; they are not joined, for Piper takes them one by one anyway.
        """
        if hurry and not self._hurry and self._clause > self._start and self._enough(self._clause):
            self._close(self._clause)
        self._hurry = hurry
        self._source += delta
        for char in delta:
            self._step(char)
        return self._given()

    def force(self) -> list[Clause]:
        """A deadline has passed: gives what can be spoken, up to the last gap between words.

        Words, numbers, links and code spans stay whole, abbreviations stay with what follows. At
        least two words (or `first_chars` characters) are given: no voice sounds well word by word.
        """
        cut = self._gap
        if self._end:
            if self._judge(self._end, "") not in (Cut.GLUE, Cut.HOLD):
                cut = self._end
        elif self._construct is None and self._text.rstrip(_CLOSERS)[-1:] in WIDE_STOPS:
            cut = self._seen
        if cut > self._start:
            words, chars = self._size(cut)
            if words >= 2 or chars >= self._first_chars:
                self._close(cut)
        return self._given()

    def flush(self) -> list[Clause]:
        """The text is over: gives the rest."""
        self._source += "\n"
        self._step("\n")
        self._close(self._seen)
        return self._given()

    @property
    def _text(self) -> str:
        """What was looked at and is not yet given."""
        return self._source[self._start : self._seen]

    def _given(self) -> list[Clause]:
        out, self._out = self._out, []
        return out

    def _step(self, char: str) -> None:
        """One more character. All that decides is past, so deltas cannot matter."""
        at = self._seen
        self._seen += 1
        space = char.isspace()
        if self._fence is not None and self._fenced(char, self._fence):
            self._start = self._word = self._seen
            return
        if space and self._start == at:
            self._line_start = self._line_start or char == "\n"
            self._start = self._word = self._seen
            return
        if char in "`~" and self._begins_fence(at - 2):
            self._open_fence(at - 2)
        elif not self._constructed():
            if space:
                self._space(char)
            else:
                self._visible(char)
        if self._seen - self._start > self._max and self._construct is None:
            self._shorten()

    def _space(self, char: str) -> None:
        """White space: a word is over."""
        if self._next:
            self._resolve(self._source[self._next])
        if not self._end:
            self._settle(self._seen - 1)
            self._end = self._seen - 1
        if char != "\n":
            return
        if self._judge(self._end, "\n") is Cut.GLUE:
            self._glue = self._word = self._seen
            self._end = 0
        else:
            self._close(self._seen)

    def _visible(self, char: str) -> None:
        """A character that is no white space."""
        at = self._seen - 1
        if self._end:
            self._next = self._next or at
            if char in OPENERS:
                return
            self._resolve(char)
        elif char not in CLOSERS and char not in MARKS:
            self._unspaced(char, at)
        if char in "`[<\\*(" or (char == "$" and not self._source[at - 1 : at].isalnum()):
            self._construct = at

    def _unspaced(self, char: str, at: int) -> None:
        """Looks for a place to cut before `char` after a mark that needs no space."""
        text = self._source
        i = at - 1
        while i >= self._start and text[i] in CLOSERS:
            i -= 1
        if i < self._start or text[i] not in MARKS:
            return
        if text[i] in UNSPACED or (is_cjk(char) and i > self._start and is_cjk(text[i - 1])):
            verdict = self._judge(at, char)
            if verdict in (Cut.SENTENCE, Cut.CLAUSE):
                self._settle(at)
                self._word = at
                self._apply(verdict, at)

    def _resolve(self, following: str) -> None:
        """What follows the word that ended is known: judges the gap between them."""
        end, verdict = self._end, self._judge(self._end, following)
        self._word, self._end, self._next = self._next, 0, 0
        self._apply(verdict, end)

    def _settle(self, end: int) -> None:
        """The word after a `HOLD` ends at `end`: decides."""
        held, self._held = self._held, 0
        if held > self._start:
            starts = starts_sentence(self._source[self._word : end], self._language)
            self._apply(Cut.SENTENCE if starts else Cut.GLUE, held)

    def _apply(self, verdict: Cut, cut: int) -> None:
        match verdict:
            case Cut.SENTENCE:
                self._close(cut)
            case Cut.CLAUSE:
                self._clause = self._gap = cut
                if self._hurry and self._enough(cut):
                    self._close(cut)
            case Cut.GAP:
                self._gap = cut
            case Cut.GLUE:
                self._glue = cut
            case Cut.HOLD:
                self._held = cut

    def _judge(self, end: int, following: str) -> Cut:
        return judge(
            self._source[self._word : end],
            following,
            before=self._source[self._start : self._word].rstrip(),
            first=self._line_start and self._word == self._start,
            language=self._language,
        )

    def _size(self, cut: int) -> tuple[int, int]:
        """Words and characters that would be said; an ideograph is worth three letters."""
        said = self._said(cut)
        words = sum(any(map(str.isalnum, word)) for word in said.split())
        return words, len(said) + 2 * sum(map(is_cjk, said))

    def _enough(self, cut: int) -> bool:
        """Whether a clause may end at a comma here."""
        words, chars = self._size(cut)
        times = 2 if self.begun else 1
        return words >= times * self._first_words or chars >= times * self._first_chars

    def _said(self, cut: int) -> str:
        """How what is before `cut` is said."""
        written = self._source[self._start : cut]
        return speakable(written, language=self._language, line_start=self._line_start)

    def _close(self, cut: int) -> None:
        """Gives what is before `cut`, if it can be pronounced, and goes on after it."""
        end = self._start + len(self._source[self._start : cut].rstrip())
        if said := self._said(cut):
            self._out.append(Clause(said, self._start, end))
            self.begun = True
        if self._text:
            self._start = self._seen - len(self._source[cut : self._seen].lstrip())
            self._line_start = "\n" in self._source[end : self._start]
        self._word = max(self._word, self._start)
        if self._end <= self._start:
            self._end = self._next = 0

    def _shorten(self) -> None:
        """Cuts at the best place there is, since the text is too long."""
        while self._seen - self._start > self._max:
            places = (self._gap, self._end, self._glue)
            cut = next((place for place in places if place > self._start), 0)
            if self._clause > self._start + self._max // 3:
                cut = self._clause
            if not cut:
                cut = self._start + self._inside_word()
                if _URL_LIKE.search(self._text):
                    if len(self._text) <= _URL_LIMIT:
                        return
                    cut = self._seen
            self._close(cut)

    def _inside_word(self) -> int:
        """Length of the first part of a word that is too long, with its last letter whole."""
        text, cut = self._text, self._max
        while cut > 1 and (
            unicodedata.combining(text[cut]) or text[cut] in _STUCK or text[cut - 1] in _STUCK
        ):
            cut -= 1
        return cut if cut > 1 else self._max

    def _constructed(self) -> bool:
        """Whether the newest character is part of a link, a tag or a code span."""
        if self._construct is None:
            return False
        goes_on = _goes_on(self._source[self._construct : self._seen])
        if not goes_on:
            self._construct = None
        return goes_on is not None

    def _begins_fence(self, place: int) -> bool:
        """Whether the three characters from `place` on are the marks of a fence."""
        if self._source.startswith("```", place):
            return place >= self._start
        first = self._line_start and place == self._start
        return first and self._source.startswith("~~~", place)

    def _open_fence(self, place: int) -> None:
        """Three marks of a fence: what is before them is given."""
        self._block = self._line_start and place == self._start
        if not self._block:
            self._close(place)
        self._start = self._word = self._seen
        self._end = self._next = 0
        self._construct, self._fence = None, place

    def _fenced(self, char: str, begin: int) -> bool:
        """Whether the newest character is part of the fenced code that begins at `begin`."""
        source, at = self._source, self._seen - 1
        mark = source[begin]
        closed = char != mark and source.endswith(mark * 3, begin, at)
        if closed and source[begin:at].strip(mark):
            self._fence = None
        elif char == "\n" and not self._block and "\n" not in source[begin:at]:
            # "Use ``` for code" has no language after the marks, and the reply goes on after it.
            info = source[begin:at].replace(mark, "")[:_INFO_LIMIT]
            if len(info.split()) > 1:
                self._fence = None
        return self._fence is not None
