"""What the voice says for what was written."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from piper.phonemize_espeak import EspeakPhonemizer

from pipeline.text.speakable import speakable

# (written, said): markup and signs, the same in every language
PLAIN = [
    ("Hello there.", "Hello there."),
    ("  Hello \t there. ", "Hello there."),
    ("# Title", "Title"),
    ("### Title ###x", "Title ###x"),
    ("> > deep", "deep"),
    ("- [ ] open", "open"),
    ("+ plus", "plus"),
    ("| a | b |", "a, b"),
    ("|a|b|", "a, b"),
    ("|---|:-:|", ""),
    ("**bold** *it* _it_ __b__ ***x***", "bold it it b x"),
    ("**重点**内容", "重点内容"),
    ("**b**old", "bold"),
    ("snake_case __init__ _x", "snake_case init x"),
    ("a*b and c", "a*b and c"),
    ("2*3, 2 * 3", "2 × 3, 2 × 3"),
    ("10 - 5", "10 − 5"),
    ("fill in ____.", "fill in."),
    ("~~gone~~ away", "gone away"),
    (r"\*not\* 5\_6", "*not* 5_6"),
    ("`a_b*` and ``c d``", "a_b* and c d"),
    ("`open", "`open"),
    ("[text](https://x.org)", "text"),
    ("[te **x** t](<a b> 'title')", "te x t"),
    ("[a](b_(c)), ok", "a, ok"),
    ("[![alt](u)](l)", "alt"),
    ("![](u) x", "x"),
    ("[x][1] and y[^1]", "x and y"),
    ("see [1]", "see [1]"),
    ("www.example.com/a?b", "example.com"),
    ("(https://x.org/a).", "(x.org)."),
    ("**https://x.org**!", "x.org!"),
    ("<https://x.org>", "x.org"),
    ("ftp://me@x.org:21/a", "x.org"),
    ("a@b.com", "a@b.com"),
    ("<b>x</b><br/>y", "x y"),
    ("<T> and ab<cd", "<T> and ab<cd"),
    ("<!-- no -->yes", "yes"),
    ("hi<|im_end|>", "hi"),
    ("A &amp; B&nbsp;C AT&T &copy", "A & B C AT&T &copy"),
    ("Hi 😊, you 👩🏽‍🚀!", "Hi, you!"),
    ("hi😊there", "hi there"),
    ("5️⃣ *️⃣", "5"),
    ("❤️ ★ ✓ ok", "ok"),
    ("क्\u200dष می\u200cروم", "क्\u200dष می\u200cروم"),
    ("soft\u00adhyphen\ufeff Brand™", "softhyphen Brand"),
    ("a\x00b\ud800c", "a b c"),
    (":) hi :-D.", "hi."),
    ("one — two–three -- four", "one, two–three, four"),
    ("a—b, — c!", "a, b, c!"),
    ("git --amend", "git --amend"),
    ("a → b -> c => d", "a, b, c, d"),
    ("x->y", "x->y"),
    ("Wait... what?", "Wait, what?"),
    ("What...?", "What?"),
    ("...and", "and"),
    ("The end…", "The end,"),
    ("../a 1..10", "/a 1..10"),
    ("Bonjour !", "Bonjour!"),
    ("( a )", "(a)"),
    ("", ""),
    ("… ** 😊 —", ""),
]


@pytest.mark.parametrize(("written", "said"), PLAIN, ids=[w.strip() or "empty" for w, _ in PLAIN])
def test_markup_is_not_said(written: str, said: str) -> None:
    assert speakable(written) == said
    assert speakable(written, language="eo") == said  # of which no table is kept


def test_a_mark_within_a_line_is_no_list_marker() -> None:
    assert speakable("- 3 left") == "3 left"
    assert speakable("# 3 left", line_start=False) == "# 3 left"
    assert speakable("a\n- b", line_start=False) == "a b"


# (written, as one would spell it out): English that espeak-ng misspeaks as written
ENGLISH = [
    ("It is $5.", "It is 5 dollars."),
    ("It is $5.50.", "It is 5 dollars 50."),
    ("It is $1.", "It is 1 dollar."),
    ("It is $1,000.00.", "It is 1,000 dollars."),
    ("It is $0.99.", "It is 99 cents."),
    ("It is £0.01.", "It is 1 penny."),
    ("It is £3.", "It is 3 pounds."),
    ("It is €2.5 million.", "It is 2.5 million euros."),
    ("It is $5k.", "It is 5 thousand dollars."),
    ("It is ¥500.", "It is 500 yen."),
    ("It is US$5.", "It is 5 US dollars."),
    ("It is $5/month.", "It is 5 dollars per month."),
    ("About 10–20 men.", "About 10 to 20 men."),
    ("About 10-20 men.", "About 10 to 20 men."),
    ("About 10%–20%.", "About 10% to 20%."),
    ("From 1990-2000.", "From nineteen ninety to 2000."),
    ("About $5-10.", "About 5 to 10 dollars."),
    ("The 1990s.", "The nineteen nineties."),
    ("The 2000s.", "The two thousands."),
    ("The 1800s.", "The eighteen hundreds."),
    ("The '80s.", "The eighties."),
    ("At 10:00.", "At ten o'clock."),
    ("At 10:00 am.", "At 10 am."),
    ("At 10:00 a.m. sharp.", "At ten a.m. sharp."),
    ("Dr. Smith left.", "Doctor Smith left."),
    ("Mt. Everest.", "Mount Everest."),
    ("St. John.", "Saint John."),
    ("J. K. Rowling.", "J K Rowling."),
    ("No. 5 and p. 7.", "Number five and page seven."),
    ("See Fig. 3.", "See figure three."),
    ("On Jan. 5.", "On January fifth."),
    ("Us vs. them.", "Us versus them."),
    ("Figs, e.g. Ours.", "Figs, for example Ours."),
    ("Her, i.e. Anne.", "Her, that is Anne."),
    ("A Ph.D. student.", "A PhD student."),
    ("Mm-hm, I see.", "um-hum, I see."),
    ("Mhm. Mmm, nice. Mm, yes.", "um-hum. hmm, nice. hmm, yes."),
    ("A bolt of 5 mm, yes.", "A bolt of five millimeters, yes."),
    ("The U.S. Army.", "The US Army."),
    ("We are #1.", "We are number one."),
    ("In C#.", "In C sharp."),
    ("So #MeToo.", "So hashtag MeToo."),
    ("It is ~5.", "It is about five."),
    ("Use 1/2 cup.", "Use one half cup."),
    ("So 2 * 3.", "So two times three."),
    ("So 10 - 5.", "So ten minus five."),
    ("It is 10\u202f000.", "It is 10000."),
    ("So it is—really.", "So it is, really."),
    ("I think… maybe.", "I think, maybe."),
    ("Ms. Fox and Ms Lee.", "Miz Fox and Miz Lee."),
    ("Cats vs dogs.", "Cats versus dogs."),
    ("The answer is YES.", "The answer is yes."),
    ("In NYC, it is HOT.", "In N.Y.C, it is hot."),
    ("MR. SMITH", "Mister Smith"),
    ("By UPS.", "By U.P.S."),
    ("UPS or DHL?", "U.P.S or D.H.L?"),
    ("The FAQs.", "The F eh queues."),
    ("Two EVs.", "Two ee vees."),
    ("At 3 PM ET.", "At three P.M E.T."),
    ("As the WHO says.", "As the W.H.O says."),
    ("SO₂ and NO2.", "S.O two and N.O two."),
]


@pytest.fixture(scope="module")
def phonemes() -> EspeakPhonemizer:
    return EspeakPhonemizer()


@pytest.mark.parametrize(("written", "spelled"), ENGLISH, ids=[w for w, _ in ENGLISH])
def test_the_phonemiser_says_it_as_if_spelled_out(
    phonemes: EspeakPhonemizer, written: str, spelled: str
) -> None:
    def sounds(text: str) -> list[str]:
        stress = str.maketrans("", "", "ˈˌ")
        return ["".join(s).translate(stress) for s in phonemes.phonemize("en-us", text)]

    assert sounds(speakable(written)) == sounds(spelled)
    assert sounds(written) != sounds(spelled), "no need to put it into words"


@pytest.mark.parametrize(
    "text",
    [
        "COVID-19",
        "AT&T",
        "5 AM",
        "F-16",
        "10:30",
        "x-5",
        "737-8",
        "12345-6789",
        "ISO 8601",
        "B2B",
        "$HOME",
        "#1a",
    ],
)
def test_what_is_not_clear_is_left_alone(text: str) -> None:
    assert speakable(f"It is {text}.") == f"It is {text}."


def test_a_language_without_a_table_keeps_its_signs() -> None:
    assert speakable("Ĝi kostas $5, ktp. je 10:00.", language="eo") == (
        "Ĝi kostas $5, ktp. je 10:00."
    )


@given(st.text())
def test_any_text_is_one_clean_line_or_nothing(text: str) -> None:
    said = speakable(text)
    assert said == "" or any(map(str.isalnum, said))
    assert said == said.strip()
    assert "  " not in said
    assert not any(unicodedata.category(char) in ("Cc", "Cs") for char in said)


WORDS = ["garden", "morning", "bird", "never", "the", "of", "and", "slowly", "Anna", "London"]
VALUES = [
    "$5", "-5", "10–20", "10-20%", "9:00-17:00", "1/2", "3:1", "5 km/h", "20 m²", "2026-11-28",
    "Nov 3", "Henry VIII", "24/7", "5'10\"", "x >= 5", "a<b", "C>d", "√16", "x²", "#1", "v2.0",
    "555-123-4567", "192.168.0.1", r"\(x^2\)", "$x$", "$x = 1$", "[pause]", "<sigh>", "(1)", "1908",
    "$5-10", "12 V", "and/or", "No. 5", "&", "…", "—", "\u2211", "{", "$", "\\", "*", "<", "(", "I",
]  # fmt: skip


@given(st.lists(st.sampled_from(WORDS) | st.sampled_from(VALUES), max_size=30))
def test_words_beside_values_are_kept(parts: list[str]) -> None:
    said = speakable(" ".join(parts)).replace("/", " ")
    heard = iter(word.strip(".,()") for word in said.split())
    assert all(word in heard for word in parts if word in WORDS), said


@given(st.lists(st.text("abcdefgh", min_size=2), min_size=1).map(" ".join))
def test_words_are_kept(text: str) -> None:
    assert speakable(text) == text
