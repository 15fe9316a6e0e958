"""Sentence generator for whisper-mini-en: short English voice-assistant utterances.

Seedable; from the folder above:

    python -m whisper_mini_en.grammar 20 --seed 1            # 20 training sentences
    python -m whisper_mini_en.grammar 20 --seed 1 --split heldout
    python -m whisper_mini_en.grammar --vocabulary           # the word list

Every sentence is written the way it is spoken (numbers as words), normal case, with the
punctuation the model is trained to produce (comma, full stop, question mark, apostrophe).
The sentences are templates in ``sentences/``, one file per family; their words are in
``words.toml``.  `split_of` assigns every sentence of four words or more to a split by a
checksum of its words, so a sentence that is in one split can never be in another, whoever
generates it and with whichever seed.
"""

import argparse
import re
import zlib
from functools import cache
from random import Random
from typing import NamedTuple

from shared.templates import Picked, Templates, read_templates, read_words
from shared.words import words_of

SPLITS = ("train", "dev", "heldout")
WORDS = read_words(__package__, "words.toml")
ONES, TENS = WORDS["one"], WORDS["ten"]
PLURALS = ("headphones", "shoes")


def spoken(n: int) -> str:
    """A number from 1 to 99 in words."""
    if n < 20:
        return ONES[n - 1]
    return " ".join([TENS[n // 10 - 2], *ONES[n % 10 - 1 : n % 10]])


def article(word: str) -> str:
    """The word with "a" or "an" before it."""
    return ("an " if word[0] in "aeiou" else "a ") + word


def number(r: Random, picked: Picked, low: str, high: str) -> str:
    """A number between two bounds, both included; at most 99."""
    return spoken(r.randint(int(low), int(high)))


def large_number(r: Random, picked: Picked) -> str:
    """A round number of hundreds or thousands, or a million."""
    kind = r.random()
    if kind < 0.4:
        return spoken(r.randint(1, 9)) + " hundred"
    if kind < 0.7:
        return f"{spoken(r.randint(1, 9))} hundred and {spoken(r.randint(1, 99))}"
    if kind < 0.9:
        return spoken(r.randint(1, 9)) + " thousand"
    return "a million"


def digits(r: Random, picked: Picked, fewest: str, most: str) -> str:
    """Single digits, as in a phone number."""
    return " ".join(r.choice(WORDS["digit"]) for _ in range(r.randint(int(fewest), int(most))))


def clock(r: Random, picked: Picked) -> str:
    """A time of day."""
    hour = ONES[r.randint(0, 11)]
    kind = r.random()
    if 0.6 <= kind < 0.75:
        return r.choice(["half past ", "quarter past ", "quarter to "]) + hour
    if 0.75 <= kind < 0.85:
        return hour + " o'clock"
    if 0.85 <= kind < 0.92:
        return r.choice(["noon", "midnight"])
    if 0.35 <= kind < 0.6:
        hour += " " + r.choice(["thirty", "fifteen", "forty five", "twenty", "ten"])
    return hour + r.choice(["", " in the morning", " in the evening", " tonight", " tomorrow"])


def duration(r: Random, picked: Picked) -> str:
    """A length of time, from seconds to hours."""
    kind = r.random()
    if kind < 0.5:
        n = spoken(r.randint(1, 60))
        return n + (" minute" if n == "one" else " minutes")
    if kind < 0.7:
        return spoken(r.randint(5, 90)) + " seconds"
    if kind < 0.85:
        return spoken(r.randint(2, 12)) + " hours"
    some = ["one hour", "half an hour", "an hour and a half", "an hour", "a minute"]
    return r.choice([*some, f"one hour and {spoken(r.randint(5, 50))} minutes"])


def duration_before_noun(r: Random, picked: Picked) -> str:
    """A length of time as it stands before a noun: "a five minute timer"."""
    return re.sub("(minute|second|hour)s", r"\1", duration(r, picked))


def heavy_animal(r: Random, picked: Picked) -> str:
    """An animal with its article; often an elephant."""
    return "an elephant" if r.random() < 0.2 else article(r.choice(WORDS["animal"]))


def pick_units(r: Random, picked: Picked) -> str:
    """No text; picks the units that ``<larger>`` and ``<smaller>`` then stand for."""
    picked["larger"], picked["smaller"] = r.choice(WORDS["units"]).split()
    return ""


def agreeing_problem(r: Random, picked: Picked) -> str:
    """What is wrong with the picked product, in its number."""
    problem = r.choice(WORDS["problem"])
    if picked["picked"] not in PLURALS:
        return problem
    problem = problem.replace("is ", "are ", 1).replace("does ", "do ", 1)
    return problem.replace("keeps", "keep").replace("makes", "make")


def a(r: Random, picked: Picked, name: str) -> str:
    """A word of a list, or the picked word, with "a" or "an" before it."""
    return article(TEMPLATES.pick(name, r, picked))


def some(r: Random, picked: Picked, name: str) -> str:
    """A word of a list, or the picked word, with "a" or (before a plural) "some" before it."""
    word = TEMPLATES.pick(name, r, picked)
    return ("some " if word in PLURALS else "a ") + word


SLOTS = (number, large_number, digits, clock, duration, duration_before_noun, heavy_animal)
SLOTS += (pick_units, agreeing_problem, a, some)
LISTS = WORDS | {"the_room": [f"the {room}" for room in WORDS["room"]]}
LISTS |= {
    # "Find a <place_after_a>": the words that take "a" and not "an"
    f"{name}_after_a": [word for word in WORDS[name] if word[0] not in "aeiou"]
    for name in ("place", "meeting", "adjective", "animal")
}
TEMPLATES = Templates(LISTS, {slot.__name__: slot for slot in SLOTS})


class Family(NamedTuple):
    """Sentences of one kind.

    Attributes:
        name: the file of their templates, in ``sentences/``.
        weight: how often the family is drawn, relative to the others.
        picks: the list of which one word is drawn before the template is; ``<picked>``.
        eager: expand every template and then draw one of the sentences, where other families
            draw one template and expand that.  The draws differ, so a family keeps its way.
    """

    name: str
    weight: int
    picks: str = ""
    eager: bool = False

    def sentence(self, r: Random) -> str:
        """One sentence of this family."""
        templates = _templates(self.name)
        if self.eager:
            return r.choice([TEMPLATES.expand(template, r) for template in templates])
        picked = {"picked": r.choice(WORDS[self.picks])} if self.picks else {}
        return TEMPLATES.expand(r.choice(templates), r, picked)


@cache
def _templates(name: str) -> list[str]:
    return read_templates(__package__, f"sentences/{name}.txt")


FAMILIES = [
    Family("greetings", 6, eager=True),
    Family("short", 9),
    Family("facts", 13),
    Family("explanations", 9, picks="thing"),
    Family("weather", 8),
    Family("timers", 10),
    Family("time", 5),
    Family("home", 10),
    Family("music", 8),
    Family("math", 10),
    Family("orders", 9),
    Family("support", 11, picks="product"),
    Family("travel", 10, picks="vehicle"),
    Family("messages", 8),
    Family("chat", 13),
]
WEIGHTS = [family.weight for family in FAMILIES]


def from_family(r: Random) -> str:
    """A sentence of any family."""
    return r.choices(FAMILIES, WEIGHTS)[0].sentence(r)


@cache
def vocabulary() -> tuple[list[str], list[str]]:
    """(words that begin a sentence, other words), in the case they have in a sentence, sorted.

    Collected from 60,000 sentences of a fixed seed, and so the same at every call.
    """
    r = Random(12345)
    first, rest = set(), set()
    for _ in range(60000):
        words = re.sub(r"[.,?]", "", from_family(r)).split()
        first.add(words[0])
        rest.update(words[1:])
    return sorted(first), sorted(rest)


def shuffled(r: Random) -> str:
    """Words of the vocabulary in random order: these cannot be guessed, only heard."""
    first, rest = vocabulary()
    n = r.randint(2, 9)
    return " ".join([r.choice(first), *(r.choice(rest) for _ in range(n - 1))]) + "."


PINNED = {" ".join(words_of(text)) for text in read_templates(__package__, "pinned.txt")}
"""Always for training: the sentences that everybody tries first, as lower-case words."""


def split_of(text: str) -> str:
    """The split a sentence belongs to: "train", "dev" or "heldout".

    Of the sentences with four words or more, 4 % are held out and 2 % are for development.
    """
    words = words_of(text)
    if len(words) < 4 or " ".join(words) in PINNED:
        return "train"
    share = zlib.crc32(" ".join(words).encode()) % 100
    return "heldout" if share < 4 else "dev" if share < 6 else "train"


def sentence(r: Random, split: str = "train", p_random: float = 0.2) -> str:
    """One sentence of the wanted split.

    Args:
        r: the generator to draw with.
        split: one of `SPLITS`.
        p_random: share of random word sequences, before the split is looked at.
    """
    while True:
        text = shuffled(r) if r.random() < p_random else from_family(r)
        if split_of(text) == split:
            return text


def main() -> None:
    """Print sentences, or the vocabulary."""
    ap = argparse.ArgumentParser(description="Sentences that whisper-mini-en is trained on.")
    ap.add_argument("n", type=int, nargs="?", default=20)
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--split", default="train", choices=SPLITS)
    ap.add_argument("--random", type=float, default=0.2, help="share of random word sequences")
    ap.add_argument("--vocabulary", action="store_true", help="print the words instead")
    args = ap.parse_args()
    if args.vocabulary:
        first, rest = vocabulary()
        print("\n".join(sorted({word.lower() for word in first + rest})))
        return
    r = Random(args.seed)
    for _ in range(args.n):
        print(sentence(r, args.split, args.random))


if __name__ == "__main__":
    main()
