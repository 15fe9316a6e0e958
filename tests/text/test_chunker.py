"""Chunking, case by case; then what holds for every text."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.text.chunker import Chunker, Clause


def chunk(text: str, *, size: int = 1, hurry: bool = True, **settings: Any) -> list[Clause]:
    """All clauses of `text`, pushed `size` characters at a time."""
    chunker = Chunker(**settings)
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    clauses = [c for piece in pieces for c in chunker.push(piece, hurry=hurry)]
    clauses += chunker.flush()
    return clauses


def texts(text: str, *, size: int = 1, hurry: bool = True, **settings: Any) -> list[str]:
    return [clause.text for clause in chunk(text, size=size, hurry=hurry, **settings)]


# In a hurry: as little audio as possible before the voice begins. (id, source, clauses)
CASES: list[tuple[str, str, list[str]]] = [
    # Sentences and clauses
    ("two-sentences", "It is late. Go home.", ["It is late.", "Go home."]),
    ("first-at-comma", "If it rains today, stay in.", ["If it rains today,", "stay in."]),
    ("well-not-alone", "Well, I think so.", ["Well, I think so."]),
    ("well-yes-not-alone", "Well, yes, it is.", ["Well, yes, it is."]),
    ("long-first-word", "Unfortunately, no.", ["Unfortunately,", "no."]),
    (
        "later-commas-need-more",
        "Take some fruit: apples, pears, and a dozen ripe plums, if you like.",
        ["Take some fruit:", "apples, pears, and a dozen ripe plums,", "if you like."],
    ),
    ("semicolon", "He came back; she left.", ["He came back;", "she left."]),
    ("colon", "Here is the list: salt.", ["Here is the list:", "salt."]),
    ("dash", "I would go — but not now.", ["I would go,", "but not now."]),
    ("dash-unspaced", "I would go there—but not now.", ["I would go there,", "but not now."]),
    ("hyphen-as-dash", "I would go there - but not now.", ["I would go there,", "but not now."]),
    ("hyphenated", "A well-known face.", ["A well-known face."]),
    ("question", "Are you in? Good!", ["Are you in?", "Good!"]),
    ("interrobang", "You did what?! Oh no.", ["You did what?!", "Oh no."]),
    ("exclamations", "Great!!! Next.", ["Great!!!", "Next."]),
    ("lower-case-chat", "sure. i can do that.", ["sure.", "i can do that."]),
    ("no-space-after-stop", "Use Node.js for it.", ["Use Node.js for it."]),
    # Decimals and other numbers
    ("decimal", "Pi is 3.14 or so.", ["Pi is 3.14 or so."]),
    ("thousands", "It has 1,000 rooms, they say.", ["It has 1,000 rooms,", "they say."]),
    ("time", "Come at 10:30 sharp.", ["Come at 10:30 sharp."]),
    ("version", "Get v1.2.3 today.", ["Get version 1 point 2 point 3 today."]),
    ("percent", "About 3.5% of it.", ["About 3.5% of it."]),
    ("subtraction", "So 10 - 5 is 5.", ["So 10 − 5 is 5."]),
    ("range", "In 1990 – 2000 it was.", ["In 19 90 to 2000 it was."]),
    ("no-stop-at-fraction", "Add .5 to it.", ["Add 0.5 to it."]),
    ("date", "On 2024-05-06, we met.", ["On May 6th, 20 24,", "we met."]),
    ("list-of-numbers", "Count with me: 1, 2, 3.", ["Count with me:", "1, 2, 3."]),
    # Numbers at a sentence's end (pipecat#1756)
    ("number-ends-sentence", "It is 42. Next, sit.", ["It is 42.", "Next, sit."]),
    ("number-ends-text", "The answer is 42.", ["The answer is 42."]),
    ("decimal-ends-sentence", "It is 3.14. Nice.", ["It is 3.14.", "Nice."]),
    ("year-ends-sentence", "That was in 1999. Yes.", ["That was in 19 99.", "Yes."]),
    ("number-alone", "42.", ["42."]),
    ("number-within-line", "Yes. 42. Then go.", ["Yes.", "42.", "Then go."]),
    ("number-line", "42.\nThat is it.", ["42.", "That is it."]),
    ("number-then-number", "I have 3. 14 are left.", ["I have 3.", "14 are left."]),
    # Abbreviations
    ("title", "Ask Dr. Smith now. Bye.", ["Ask Dr Smith now.", "Bye."]),
    ("titles", "Mr. and Mrs. Lee left.", ["Mr and Mrs Lee left."]),
    ("eg", "Fruit, e.g. figs. Yes.", ["Fruit, for example figs.", "Yes."]),
    ("ie-comma", "One of us, i.e., me.", ["One of us,", "that is, me."]),
    ("etc-within", "Nuts, etc. are good.", ["Nuts, etc. are good."]),
    ("etc-at-end", "Nuts, etc. They are good.", ["Nuts, etc.", "They are good."]),
    ("us-within", "The U.S. Army left.", ["The U.S Army left."]),
    ("us-lower", "The U.S. economy grew.", ["The U.S. economy grew."]),
    ("us-at-end", "I am in the U.S. It is hot.", ["I am in the U.S.", "It is hot."]),
    ("us-ends-text", "I am in the U.S.", ["I am in the U.S."]),
    ("initials", "J. K. Rowling wrote it.", ["J K Rowling wrote it."]),
    ("initial-inside", "George W. Bush won. So?", ["George W Bush won.", "So?"]),
    ("pm-within", "At 5 p.m. Monday we go.", ["At 5 p.m. Monday we go."]),
    ("pm-at-end", "Come at 5 p.m. We wait.", ["Come at 5 p.m.", "We wait."]),
    ("no-answer", "No. I would not.", ["No.", "I would not."]),
    ("title-lower", "Do one rep. Then rest.", ["Do one rep.", "Then rest."]),
    ("street", "It is on Main St. The end.", ["It is on Main Street.", "The end."]),
    ("company", "Apple Inc. CEO Tim Cook.", ["Apple Inc CEO Tim Cook."]),
    # URLs, addresses, files
    ("www", "Go to www.x.org. Then read.", ["Go to x.org.", "Then read."]),
    (
        "url",
        "See https://www.x.org/a/b?c=1,2&d=e.html, it helps.",
        ["See x.org, it helps."],
    ),
    ("email", "Mail a.b@c.com, please. Ok?", ["Mail a.b@c.com,", "please.", "Ok?"]),
    ("file", "Open main.py. Run it.", ["Open main.py.", "Run it."]),
    ("url-in-brackets", "It works (see https://x.org).", ["It works (see x.org)."]),
    # Quotes
    ("said", '"Stop!" he said.', ['"Stop!" he said.']),
    ("said-long", '"We must stop now!" he said.', ['"We must stop now!"', "he said."]),
    ("quoted-sentence", '"I am here." He sat.', ['"I am here."', "He sat."]),
    ("curly", "“Is it you?” She ran.", ["“Is it you?”", "She ran."]),
    ("quote-comma", '"I am over here," he said.', ['"I am over here,"', "he said."]),
    ("quote-opens", 'He sat. "Well?" he said.', ["He sat.", '"Well?" he said.']),
    ("apostrophe", "It's the dogs' bone. Ok.", ["It's the dogs' bone.", "Ok."]),
    # Parentheses
    ("paren-sentence", "(He left.) She stayed.", ["(He left.)", "She stayed."]),
    ("paren-inside", "It is (I think) true. Ok.", ["It is (I think) true.", "Ok."]),
    ("paren-stop-after", "I came (by bus). Ok.", ["I came (by bus).", "Ok."]),
    # Ellipses
    ("dots", "Well... I think so.", ["Well, I think so."]),
    ("dots-clause", "I was thinking... maybe.", ["I was thinking,", "maybe."]),
    ("ellipsis", "Hmm… maybe. Ok.", ["Hmm, maybe.", "Ok."]),
    ("dots-first", "...and so on.", ["and so on."]),
    # One-word replies
    ("yes", "Yes.", ["Yes."]),
    ("yes-no-stop", "Yes", ["Yes"]),
    ("yes-then-more", "Yes. That is right.", ["Yes.", "That is right."]),
    ("sure", "Sure! Go on.", ["Sure!", "Go on."]),
    # Lists, headings, tables, lines
    ("numbered", "1. Mix it.\n2. Bake it.", ["1. Mix it.", "2. Bake it."]),
    ("choices", "A. Paris\nB. Rome", ["A. Paris", "B. Rome"]),
    ("numbered-bold", "1. **Mix**: well.\n", ["1. Mix: well."]),
    ("bullets", "- eggs\n- milk\n* salt\n• oil", ["eggs", "milk", "salt", "oil"]),
    ("tasks", "- [x] done\n- [ ] open", ["done", "open"]),
    ("heading", "## First steps\nSit.", ["First steps", "Sit."]),
    ("quote-block", "> Be kind.\n> Always.", ["Be kind.", "Always."]),
    ("rule", "One.\n\n---\n\nTwo.", ["One.", "Two."]),
    (
        "table",
        "| Day | Rain |\n|-----|:---:|\n| Mon | 5 mm |\n",
        ["Day, Rain", "Monday, 5 millimeters"],
    ),
    ("lines", "roses are red\nviolets are blue", ["roses are red", "violets are blue"]),
    ("windows-lines", "One two\r\nthree four\r\n", ["One two", "three four"]),
    ("title-over-lines", "Ask Dr.\nSmith.", ["Ask Dr Smith."]),
    # Markdown, HTML
    ("bold-sentence", "**Stop it.** Now.", ["Stop it.", "Now."]),
    ("link", "Read [the docs, page 2](https://x.org/a_(b)) now.", ["Read the docs, page 2 now."]),
    ("link-title", "Read [it](x.org 'So. Yes.') now.", ["Read it now."]),
    ("reference-link", "Read [the docs][1] now.", ["Read the docs now."]),
    ("brackets", "An [odd, old] thing. Ok.", ["An [odd, old] thing.", "Ok."]),
    ("footnote", "So it is[^1]. Ok.", ["So it is.", "Ok."]),
    ("html", 'Be <b class="x, y">bold</b>. Ok.', ["Be bold.", "Ok."]),
    (
        "not-html",
        "If a < b, or List<T> fits, stop.",
        ["If eh is less than b,", "or List<T> fits, stop."],
    ),
    ("entity", "Some salt &amp; oil, mixed.", ["Some salt & oil,", "mixed."]),
    ("escaped", r"It is \*new\*. Ok.", ["It is *new*.", "Ok."]),
    ("unclosed-bold", "It is **new. Ok.", ["It is new.", "Ok."]),
    ("unclosed-link", "It is [new. Really.\nOk.", ["It is [new. Really.", "Ok."]),
    # Code
    ("code-span", "Call `a.b(c, d)` now.", ["Call a.b(c, d) now."]),
    ("code-span-stop", "Call `f()`. Then wait.", ["Call f().", "Then wait."]),
    (
        "code-block",
        "Here it is:\n```python\nx = 1. Y\n# no, no\n```\nDone.",
        ["Here it is:", "Done."],
    ),
    ("code-block-titled", "```py title=a.py\nf(1)\n```\nDone.", ["Done."]),
    ("code-block-in-line", "Like so: ```js\nf(1)\n``` Done.", ["Like so:", "Done."]),
    ("code-block-one-line", "```f(1)``` Done.", ["Done."]),
    ("code-block-tildes", "~~~\nf(1)\n~~~\nDone.", ["Done."]),
    ("code-block-unclosed", "Look here:\n```\nf(1)\n", ["Look here:"]),
    ("fence-mentioned", "Use ``` to begin it.\nThat is all.", ["Use", "That is all."]),
    # Emoji
    ("emoji-after", "Hi there! 😊 How are you?", ["Hi there!", "How are you?"]),
    ("emoji-only", "👍", []),
    # Scripts
    (
        "chinese",
        "你好，我是助手。今天怎么样？很好！",
        ["你好，我是助手。", "今天怎么样？", "很好！"],
    ),
    ("chinese-clause", "今天天气很好，我们走吧。", ["今天天气很好，", "我们走吧。"]),
    ("chinese-quote", "他说：“走吧。”然后走了。", ["他说：“走吧。”", "然后走了。"]),
    ("chinese-bold", "**今天很好。**走吧。", ["今天很好。", "走吧。"]),
    ("chinese-ascii-marks", "你好吗?我很好.", ["你好吗?", "我很好."]),
    ("chinese-decimal", "圆周率是3.14。对。", ["圆周率是3.14。", "对。"]),
    ("chinese-number", "这里共有1，000个。对。", ["这里共有1，000个。", "对。"]),
    ("japanese", "はい、そうです。では。", ["はい、そうです。", "では。"]),
    ("hindi", "नमस्ते। आप कैसे हैं?", ["नमस्ते।", "आप कैसे हैं?"]),
    ("arabic", "هل أنت بخير؟ نعم.", ["هل أنت بخير؟", "نعم."]),
    ("arabic-comma", "في هذا اليوم، نمشي.", ["في هذا اليوم،", "نمشي."]),
    ("spanish", "¿Qué tal? ¡Hola!", ["¿Qué tal?", "¡Hola!"]),
    # No punctuation at all
    ("bare", "just some words and no more", ["just some words and no more"]),
    ("nothing", "", []),
    ("blank", " \n\n ", []),
    ("only-marks", "... -- !? ***", []),
    # Mixed
    (
        "mixed-answer",
        "**Yes!** Paris is the capital of France. 🇫🇷\n\nIt has about 2.1 million people, "
        "e.g. Dr. Dupont. See [here](https://x.org).",
        [
            "Yes!",
            "Paris is the capital of France.",
            "It has about 2.1 million people,",
            "for example Dr Dupont.",
            "See here.",
        ],
    ),
    (
        "mixed-recipe",
        "Sure, here you go:\n\n### Dough\n1. Mix 1.5 cups (ca. 200 g) of flour, and 2 eggs.\n"
        "2. Wait... 10:00 is fine!\n",
        [
            "Sure, here you go:",
            "Dough",
            "1. Mix 1.5 cups (circa 200 grams) of flour,",
            "and 2 eggs.",
            "2. Wait, 10 o'clock is fine!",
        ],
    ),
]


@pytest.mark.parametrize(("source", "said"), [pytest.param(s, t, id=i) for i, s, t in CASES])
def test_in_a_hurry(source: str, said: list[str]) -> None:
    assert texts(source) == said


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("If it rains today, stay in. Ok, go.", ["If it rains today, stay in.", "Ok, go."]),
        ("Well, no; never: ever - at all.", ["Well, no; never: ever, at all."]),
        ("I waited... Then he came.", ["I waited, Then he came."]),
        ('"We must stop now!" he said.', ['"We must stop now!" he said.']),
        ("Yes. No.", ["Yes.", "No."]),
        ("- eggs, milk\n- salt", ["eggs, milk", "salt"]),
        ("今天天气很好，我们走吧。好。", ["今天天气很好，我们走吧。", "好。"]),
    ],
)
def test_without_hurry_only_sentences_are_cut(source: str, said: list[str]) -> None:
    assert texts(source, hurry=False) == said


def test_a_german_ordinal_ends_no_sentence() -> None:
    source = "Am 3. Mai kam er. Gut."
    assert texts(source, language="de") == ["Am dritten Mai kam er.", "Gut."]
    assert texts(source) == ["Am 3.", "Mai kam er.", "Gut."]


def test_a_clause_is_given_as_soon_as_the_next_word_begins() -> None:
    chunker = Chunker()
    assert chunker.push("It is 3.") == []
    assert chunker.push(" ") == []
    assert chunker.push("So") == [Clause("It is 3.", 0, 8)]
    assert chunker.push(" what?\n") == [Clause("So what?", 9, 17)]


def test_hurry_that_comes_later_cuts_what_was_passed_over() -> None:
    chunker = Chunker()
    assert chunker.push("If it rains today, stay", hurry=False) == []
    assert chunker.push("", hurry=True) == [Clause("If it rains today,", 0, 18)]
    assert chunker.flush() == [Clause("stay", 19, 23)]


def test_sizes_of_the_first_clause_can_be_set() -> None:
    assert texts("Well, I think so.", first_words=1) == ["Well,", "I think so."]
    assert texts("Well, I think so.", first_chars=5) == ["Well,", "I think so."]
    assert texts("If it rains today, go.", first_words=9, first_chars=99) == [
        "If it rains today, go."
    ]


# Too long a clause


@pytest.mark.parametrize(
    ("source", "longest", "said"),
    [
        ("word " * 30, 22, ["word word word word"] * 7 + ["word word"]),
        ("one two three, four five six", 20, ["one two three,", "four five six"]),
        ("x" * 25, 10, ["x" * 10, "x" * 10, "x" * 5]),
        ("e\u0301" * 12, 9, ["e\u0301" * 4] * 3),  # a letter keeps its accent
        ("U.S. Abcthere so", 8, ["U.S Abc", "there so"]),  # a cut word decides as a whole one
        ("好" * 25, 10, ["好" * 10, "好" * 10, "好" * 5]),
        (f"See https://www.example.com/{'a1b2/' * 100} now.", 50, ["See", "example.com", "now."]),
    ],
)
def test_too_long_a_clause_is_cut_at_the_best_place(
    source: str, longest: int, said: list[str]
) -> None:
    assert texts(source, hurry=False, max_chars=longest) == said


# A deadline has passed


@pytest.mark.parametrize(
    ("source", "given_", "rest"),
    [
        ("the capital of Fra", ["the capital of"], ["Fra"]),
        ("the capital of ", ["the capital of"], []),
        ("the capital", [], ["the capital"]),
        ("the cap", [], ["the cap"]),
        ("", [], []),
        ("go to Dr. ", ["go to"], ["Dr."]),
        ("go to Dr. Smi", ["go to"], ["Dr Smi"]),
        ("go to Dr. Smith no", ["go to Dr Smith"], ["no"]),
        ("in the U.S. ", ["in the"], ["U.S."]),
        ("with J. K. Row", [], ["with J K Row"]),
        ("there were 10 ", ["there were"], ["10"]),
        ("there were 10 000", ["there were"], ["10 000"]),
        ("there were 10 men", ["there were"], ["10 men"]),
        ("so there was Henry VI", ["so there was"], ["Henry the 6th"]),
        ("so it was 3.", ["so it was"], ["3."]),
        ("so it was 3. ", ["so it was 3."], []),
        ("so two plus 2 * 3", ["so two plus"], ["2 × 3"]),
        ("please read [the good do", ["please read"], ["[the good do"]),
        ("please read [the docs](https://x.org) no", ["please read the docs"], ["no"]),
        ("please call `a b", ["please call"], ["`a b"]),
        ("please do <b cla", ["please do"], ["<b cla"]),
        ("please see https://x.or", ["please see"], ["x.or"]),
        ("1. Preh", [], ["1. Preh"]),
        ("- Pre", [], ["Pre"]),
        ("我们今天去公园玩吧。", ["我们今天去公园玩吧。"], []),
        ("我们今天去", [], ["我们今天去"]),
        ("Yes, it is true, I", ["Yes, it is true,"], ["I"]),
    ],
)
def test_force(source: str, given_: list[str], rest: list[str]) -> None:
    chunker = Chunker()
    pushed = [c.text for c in chunker.push(source)]
    assert pushed + [c.text for c in chunker.force()] == given_
    assert [c.text for c in chunker.flush()] == rest


def test_after_force_the_rest_goes_on_as_if_it_had_begun_there() -> None:
    chunker = Chunker()
    chunker.push("so this is ")
    assert chunker.force() == [Clause("so this is", 0, 10)]
    assert chunker.force() == []
    assert chunker.push("a test. Ok") == [Clause("a test.", 11, 18)]
    assert chunker.flush() == [Clause("Ok", 19, 21)]


# Spans


def test_spans_point_into_the_source() -> None:
    source = "**Hi** there!  \n- See [it](y.z) 😊.\n```\ncode\n```\nBye"
    clauses = chunk(source)
    assert [(c.text, source[c.start : c.end]) for c in clauses] == [
        ("Hi there!", "**Hi** there!"),
        ("See it.", "- See [it](y.z) 😊."),
        ("Bye", "Bye"),
    ]


# What holds for every text

MARKUP = [
    *"abzAIJ \n\n  .,:;!?'\"()[]{}<>*_`~#|-–—…/\\&1230%$😊。，你好، ",
    "**", "```", "~~~", "<think>", "</think>", "<thinking>", "<b>", "</b>", "](", "[x](y)",
    "https://x.org/a", "www.", "Dr. ", "U.S. ", "e.g. ", "J. ", "The ", "3.14", "...", " - ",
    "\n- ", "\n1. ", "\n| ", "&amp;", "\u200d", "\ufe0f", "e\u0301", "\ud800", "\0", "\r\n",
]  # fmt: skip
messy = st.lists(st.sampled_from(MARKUP), max_size=60).map("".join) | st.text(max_size=80)
settings = st.fixed_dictionaries(
    {"first_words": st.integers(1, 5), "first_chars": st.integers(1, 20)},
    optional={"max_chars": st.integers(1, 60)},
)


def split(text: str, seed: int) -> list[str]:
    """`text` in random pieces, some of them empty."""
    chance = random.Random(seed)
    cuts = sorted(chance.choices(range(len(text) + 1), k=chance.randint(0, 12)))
    return [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]


@given(text=messy, seed=st.integers(0, 999), hurry=st.booleans(), settings=settings)
@example(text="<think>a</think>", seed=1, hurry=True, settings={})
@example(text="It is 3.14. So", seed=2, hurry=True, settings={})
def test_deltas_do_not_matter(text: str, seed: int, hurry: bool, settings: dict[str, Any]) -> None:
    chunker = Chunker(**settings)
    clauses = [c for d in split(text, seed) for c in chunker.push(d, hurry=hurry)]
    clauses += chunker.flush()
    whole = Chunker(**settings)
    assert clauses == [*whole.push(text, hurry=hurry), *whole.flush()]
    assert clauses == chunk(text, hurry=hurry, **settings)


@given(text=messy, data=st.data(), settings=settings)
def test_clauses_are_sane_whatever_is_asked(
    text: str, data: st.DataObject, settings: dict[str, Any]
) -> None:
    chunker = Chunker(**settings)
    clauses: list[Clause] = []
    for delta in split(text, data.draw(st.integers(0, 999))):
        clauses += chunker.push(delta, hurry=data.draw(st.booleans()))
        if data.draw(st.booleans()):
            clauses += chunker.force()
    clauses += chunker.flush()
    assert chunker.flush() == []
    end = 0
    for clause in clauses:
        assert end <= clause.start < clause.end <= len(text)
        assert not text[clause.start].isspace()
        assert not text[clause.end - 1].isspace()
        assert any(map(str.isalnum, clause.text))
        assert clause.text == clause.text.strip()
        assert "\n" not in clause.text
        end = clause.end


word = st.text("kqwxyz", min_size=3, max_size=9)  # of which no abbreviation is made
number = st.integers(1, 999).map(str) | st.sampled_from(["3.14", "1,000", "10:30"])
marked = st.tuples(word | number, st.sampled_from(["", "", "", ",", ".", "!", "?", ";"])).map(
    "".join
)
plain = st.lists(marked, min_size=1, max_size=40).map(" ".join)


@given(text=plain, seed=st.integers(0, 999), hurry=st.booleans(), force=st.booleans())
def test_plain_text_is_said_whole_and_in_order(
    text: str, seed: int, hurry: bool, force: bool
) -> None:
    chunker = Chunker(max_chars=60)
    clauses: list[Clause] = []
    for delta in split(text, seed):
        clauses += chunker.push(delta, hurry=hurry)
        if force:
            clauses += chunker.force()
    clauses += chunker.flush()
    # Every clause is a run of whole words and numbers, so nothing was cut within one.
    assert [w for clause in clauses for w in clause.text.split()] == text.split()
    assert [text[c.start : c.end] for c in clauses] == [c.text for c in clauses]


@given(text=plain, settings=settings)
def test_clauses_are_not_longer_than_they_may_be(text: str, settings: dict[str, Any]) -> None:
    longest = settings.get("max_chars", 240)
    assert all(c.end - c.start <= longest for c in chunk(text, **settings))
