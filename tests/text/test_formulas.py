"""Formulas: found between their delimiters, followed through a stream, read aloud."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.text.chunker import Chunker
from pipeline.text.formulas import WORDS, formula_in_words, goes_on, show
from pipeline.text.speakable import speakable


def said(latex: str, language: str = "en") -> str:
    return show(formula_in_words(latex, language), language)


@pytest.mark.parametrize(
    ("latex", "words"),
    [
        (r"x \neq 0", "x is not equal to 0"),
        (r"\frac{n(n+1)}{2}", "n times n plus 1 all over 2"),
        (r"\frac{7}{8}", "7 eighths"),
        (r"\frac{8}{7}", "8 over 7"),
        (r"f(x, y)", "f of x, y"),
        (r"P(A \mid B)", "p of eh given b"),
        (r"\left|x\right| + |y|", "the absolute value of x plus the absolute value of y"),
        (r"\prod_{i=1}^{n} i", "the product from i equals 1 to n of i"),
        (r"x_1, \ldots, x_n", "x sub 1,, and so on,, x sub n"),
        (r"\begin{aligned} a &= b \\ c &= d \end{aligned}", "eh equals b, c equals d"),
        (r"\hat{y} = \overline{AB}", "y hat equals eh b bar"),
        (r"12{,}500", "12500"),
        (r"\unknown{x}", r"\unknown x"),
        ("", ""),
    ],
)
def test_a_formula_is_read_aloud(latex: str, words: str) -> None:
    assert said(latex) == words


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("de", "x gleich minus b plus minus Wurzel aus 2, durch 2 a"),
        ("fr", "x égale moins b plus ou moins racine carrée de 2, sur 2 a"),
        ("es", "x igual a menos b más menos raíz cuadrada de 2, sobre 2 a"),
        ("pl", "x równa się minus b plus minus pierwiastek z 2, przez 2 a"),
    ],
)
def test_in_the_language_of_the_voice(language: str, words: str) -> None:
    assert said(r"x = \frac{-b \pm \sqrt{2}}{2a}", language) == words


def test_a_language_without_words_keeps_the_signs() -> None:
    assert said(r"x \le \frac{1}{2}", "zu") == "x ≤ 1 / 2"


@pytest.mark.parametrize("language", WORDS)
@pytest.mark.parametrize("text", [r"\(x^2\)", r"\[x^2\]", "$x^2$", "$$x^2$$", r"\( x^2 \)"])
def test_delimiters_are_never_read(text: str, language: str) -> None:
    heard = speakable(f"Es {text} ok.", language=language)
    assert not set("\\$[](){}^") & set(heard)
    assert "x" in heard


@pytest.mark.parametrize(
    "text",
    [
        "It costs $5 and $6.",
        "Between $5-$10, or $5/$6.",
        "From $20 (was $30), or ($40).",
        "Set $HOME and $PATH.",
        "US$5 or A$6 or 7$.",
        "It is $5. And $6 more.",
        "You pay $5, I pay $6, so $11.",
        r"A path C:\Users\pi and \n.",
    ],
)
def test_what_is_no_formula_stays(text: str) -> None:
    heard = speakable(text)
    assert "equals" not in heard
    assert len(heard.split()) >= len(text.replace("/", " ").replace("-", " ").split())


@pytest.mark.parametrize(
    ("text", "heard"),
    [
        (r"A \[very important\] note.", "A very important note."),
        (r"Take \(5 apples\) now.", "Take 5 apples now."),
        (r"So \(\text{speed} = 5\) ok.", "So speed equals 5 ok."),
    ],
)
def test_prose_between_brackets_stays_prose(text: str, heard: str) -> None:
    assert speakable(text) == heard


def clauses(text: str, *, hurry: bool, size: int = 1) -> list[str]:
    chunker = Chunker()
    out = []
    for i in range(0, len(text), size):
        out += chunker.push(text[i : i + size], hurry=hurry)
        out += chunker.force()
    return [clause.text for clause in out + chunker.flush()]


@pytest.mark.parametrize("hurry", [True, False])
@pytest.mark.parametrize("size", [1, 7])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (r"So \( f(x) = 3, x > 0 \) holds.", "f of x equals 3, x is greater than 0"),
        (r"So $f(x) = 3, x > 0$ holds.", "f of x equals 3, x is greater than 0"),
        (r"So $3.5 \times 2 + 1 = 8$ holds.", "3.5 times 2 plus 1 equals 8"),
        ("So:\n\\[\nx = 1. \\quad y = 2\n\\]\nYes.", "x equals 1. y equals 2"),
        ("So:\n$$\nx = 1\n$$\nYes.", "x equals 1"),
    ],
)
def test_no_cut_falls_within_a_formula(text: str, words: str, size: int, hurry: bool) -> None:
    assert any(words in clause for clause in clauses(text, hurry=hurry, size=size))


@pytest.mark.parametrize(
    "text", ["It is $5. What now? Yes.", "It is $5! What now? Yes.", "It is $5? What now? Yes."]
)
def test_a_price_at_the_end_of_a_sentence_does_not_hold_it_back(text: str) -> None:
    chunker = Chunker()
    chunker.push(text[:10])
    assert chunker.push(text[10:12]), "the sentence is over once the next one begins"


@given(st.text(r"\$()[]{}^_ ab12+-=.,", max_size=60), st.sampled_from(["en", "de", "zu"]))
def test_any_formula_is_some_text(text: str, language: str) -> None:
    assert "\ue061" not in show(formula_in_words(text, language), language)
    speakable(f"\\({text}\\) ${text}$", language=language)
    for i in range(1, len(text) + 1):
        if text[0] in "\\$":
            assert goes_on(text[:i]) in (True, False, None)
