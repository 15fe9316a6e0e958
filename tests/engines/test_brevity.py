"""A small model kept short: what passes are whole sentences, and only some of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engines.brevity import FREE_CHARS, Limit, Shortened
from pipeline.engines.chat_stream import Used
from pipeline.engines.llm import Incomplete, Messages, Piece

LIST = "Here are ten ideas:\n\n1. Soup with bread.\n2. A salad\n3. Fish, rice and peas\n4. Pizza\n"
RUN_ON = "There was a dog, " * 20 + "and it"


class Scripted:
    """Writes a text in pieces of so many characters, and tells whether it was cut off there."""

    def __init__(self, text: str, size: int, *, cut: bool = False) -> None:
        self.text, self.size, self.cut = text, size, cut
        self.closed_at: int | None = None

    async def stream(self, messages: Messages) -> AsyncGenerator[Piece, None]:
        at = 0
        try:
            for at in range(0, len(self.text), self.size):
                yield self.text[at : at + self.size]
            if self.cut:
                yield Incomplete("cut off")
            yield Used(10, 0, 200)
        finally:
            self.closed_at = at


def said(model: Scripted, sentences: int = 3) -> tuple[str, bool]:
    """What passes, and whether word of its cost did."""

    async def collect() -> tuple[str, bool]:
        pieces = [piece async for piece in Shortened(model, sentences).stream([])]
        text = "".join(piece for piece in pieces if isinstance(piece, str))
        return text, any(isinstance(piece, Used) for piece in pieces)

    return asyncio.run(collect())


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("Paris.", "Paris."),
        ("One. Two! Three? Four.", "One. Two! Three?"),
        ("Dr. Smith paid 3.50. He left. It was 10 a.m. then. Four.", None),
        (LIST, "Here are ten ideas:\n\n1. Soup with bread.\n2. A salad"),
    ],
)
def test_three_sentences_pass_and_a_line_of_a_list_is_one(
    text: str, passes: str | None, size: int
) -> None:
    wanted = text.removesuffix(" Four.") if passes is None else passes
    assert said(Scripted(text, size))[0].rstrip() == wanted


def test_the_model_stops_as_soon_as_enough_is_written() -> None:
    model = Scripted("One. Two. Three. " + "More and more. " * 50, 5)
    assert said(model) == ("One. Two. Three.", False)
    assert model.closed_at is not None and model.closed_at <= 20


@pytest.mark.parametrize("size", [1, 4])
def test_a_sentence_that_the_limit_breaks_off_is_not_said_by_half(size: int) -> None:
    whole = "A first sentence that is longer than what is free. "
    text, told = said(Scripted(whole + "The second is never " * 5, size, cut=True))
    assert (text, told) == (whole.rstrip(), True)


def test_a_sentence_without_an_end_stops_at_a_clause() -> None:
    text, _ = said(Scripted(RUN_ON, 4, cut=True))
    assert text == "There was a dog, " * 19 + "There was a dog,"
    # Where it came to its own end, nothing is missing.
    assert said(Scripted(RUN_ON, 4))[0] == RUN_ON


@given(st.lists(st.text("Ab .,!?\n1", max_size=8)), st.integers(1, 4), st.booleans())
def test_what_passes_is_the_beginning_of_what_was_written(
    deltas: list[str], sentences: int, broken_off: bool
) -> None:
    limit, passed, written = Limit(sentences), "", ""
    for delta in deltas:
        if limit.over:
            break
        written += delta
        passed += limit.push(delta)
        assert written.startswith(passed)
        if len(written) <= FREE_CHARS and not limit.over:
            assert passed == written
    if not limit.over:
        passed += limit.finish(broken_off=broken_off)
        assert written.startswith(passed)
        assert broken_off or passed == written
