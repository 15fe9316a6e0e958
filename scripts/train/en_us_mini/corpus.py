"""The sentences that the teacher reads, one a line.

Three sources, mixed:

* templates of what a voice assistant says (``sentences/``): greetings, times, numbers, weather,
  arithmetic, apologies, explanations, questions, one-word answers;
* the example sentences of WordNet's glosses;
* plain prose from freely licensed English texts that Debian and Python bring along (the common
  licences, the language reference in pydoc).

Numbers are written out, so that the teacher and eSpeak read the same words.
"""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics
from random import Random

from shared.templates import Picked, Templates, read_templates, read_words

WORDS = read_words(__package__, "words.toml")
ASSISTANT = read_templates(__package__, "sentences/assistant.txt")
SHORT = read_templates(__package__, "sentences/short.txt")
FACTS = read_templates(__package__, "sentences/facts.txt")
LICENCES = Path("/usr/share/common-licenses")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def spoken(n: int) -> str:
    """A number from 0 up to below 10**12 in words, the way eSpeak's en-us reads it.

    Raises:
        ValueError: the number is negative or too large.
    """
    if not 0 <= n < 10**12:
        raise ValueError(f"{n} is outside of what is spoken here, 0 to 10**12 - 1")
    if n < 20:
        return WORDS["ones"][n]
    if n < 100:
        tens = WORDS["tens"][n // 10 - 2]
        return f"{tens} {spoken(n % 10)}" if n % 10 else tens
    sizes = ((10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred"))
    size, name = next(pair for pair in sizes if n >= pair[0])
    rest = f" {spoken(n % size)}" if n % size else ""
    return f"{spoken(n // size)} {name}{rest}"


def number(r: Random, picked: Picked, low: str, high: str, step: str = "1") -> str:
    """A number between two bounds, both included."""
    return spoken(r.randrange(int(low), int(high) + 1, int(step)))


def any_number(r: Random, picked: Picked) -> str:
    """A number below a million, small ones as likely as large ones."""
    return spoken(r.choice([r.randrange(n) for n in (21, 100, 1000, 10000, 1000000)]))


def clock(r: Random, picked: Picked) -> str:
    """A time of day."""
    hour, minute = r.randrange(1, 13), r.randrange(0, 60)
    if minute == 0:
        time = r.choice([f"{spoken(hour)} o'clock", spoken(hour)])
    else:
        time = f"{spoken(hour)}{' oh' if minute < 10 else ''} {spoken(minute)}"
    return time + r.choice(
        ["", " in the morning", " in the afternoon", " in the evening", " at night"]
    )


def date(r: Random, picked: Picked) -> str:
    """A day of the week, a month and a day."""
    return f"{r.choice(WORDS['day'])}, {r.choice(WORDS['month'])} {r.choice(WORDS['ordinal'])}"


TEMPLATES = Templates(
    WORDS | {"fact": FACTS}, {slot.__name__: slot for slot in (number, any_number, clock, date)}
)


def picks(r: Random) -> Picked:
    """The values that a sentence of an assistant may use more than once."""
    temperature = spoken(r.randrange(0, 40))
    a, b = r.randrange(2, 100), r.randrange(2, 100)
    operation, result = r.choice([("plus", a + b), ("times", a * b), ("minus", abs(a - b))])
    if operation == "minus":
        a, b = max(a, b), min(a, b)
    picked = {"temperature": temperature, "operation": operation}
    picked |= {"term1": spoken(a), "term2": spoken(b), "result": spoken(result)}
    picked |= {f"{name}1": r.choice(WORDS[name]) for name in ("room", "thing", "city", "name")}
    picked |= {f"food{i}": food for i, food in enumerate(r.sample(WORDS["food"], 3), 1)}
    picked |= {f"letter{i}": letter for i, letter in enumerate(r.sample(LETTERS, 3), 1)}
    return picked


def assistant(r: Random) -> str:
    """A sentence that a voice assistant might say."""
    picked = picks(r)
    text = TEMPLATES.expand(r.choice(ASSISTANT), r, picked)
    return text[:1].upper() + text[1:]


WHOLE = re.compile(r"^[A-Za-z][A-Za-z' ,;:\-]*[A-Za-z][.?!]?$")
ABBREVIATIONS = {"etc", "eg", "ie", "vs", "sb", "sth", "mr", "mrs", "dr", "st"}


def readable(sentence: str) -> bool:
    """Whether a sentence is of words only (no letters, no abbreviations) and of sensible length."""
    words = sentence.rstrip(".?!").split()
    return (
        WHOLE.match(sentence) is not None
        and 4 <= len(words) <= 24
        and len(sentence) <= 150
        and not any(word.isupper() and len(word) > 1 for word in words)
        and not any(word.lower().strip(",") in ABBREVIATIONS for word in words)
        and all(len(word.strip(",;:")) != 1 or word.strip(",;:") in "aIA" for word in words)
    )


def prose(text: str) -> Iterator[str]:
    """The readable sentences of a text, each with its full stop."""
    for sentence in re.split(r"(?<=[.?!])\s+(?=[A-Z])", re.sub(r"\s+", " ", text)):
        if readable(sentence):
            yield sentence if sentence[-1] in ".?!" else sentence + "."


def wordnet(folder: Path) -> Iterator[str]:
    """The quoted example sentences of WordNet's glosses (``data.*`` in `folder`)."""
    for path in sorted(folder.glob("data.*")):
        for line in path.read_text(encoding="latin-1").splitlines():
            for quote in re.findall(r'"([^"]{12,120})"', line.split("|", 1)[-1]):
                example = quote.strip().rstrip(";,")
                yield from prose(example[:1].upper() + example[1:])


def documents() -> Iterator[str]:
    """The sentences of the licences that Debian brings and of Python's language reference."""
    for path in sorted(LICENCES.glob("*")):
        yield from prose(path.read_text(encoding="utf-8", errors="ignore"))
    for topic in topics.values():
        yield from prose(re.sub(r'["*`]', "", topic))


def corpus(r: Random, templates: int, examples: int, docs: int, folder: Path) -> list[str]:
    """Different sentences in random order.

    Args:
        r: the generator to draw with.
        templates: how many sentences from templates, besides all the short ones.
        examples: at most how many examples from WordNet.
        docs: at most how many sentences of prose.
        folder: WordNet's data files.
    """
    found = dict.fromkeys(SHORT)
    while len(found) < len(SHORT) + templates:
        found[assistant(r)] = None
    for source, most in ((wordnet(folder), examples), (documents(), docs)):
        pool = sorted(set(source))
        r.shuffle(pool)
        found.update(dict.fromkeys(pool[:most]))
    return list(found)


def main() -> None:
    """Write the corpus."""
    ap = argparse.ArgumentParser(description="Write the sentences that the teacher reads.")
    ap.add_argument("--out", type=Path, required=True)
    ap.add_argument("--wordnet", type=Path, required=True, help="folder of WordNet's data.* files")
    ap.add_argument("--templates", type=int, default=1900)
    ap.add_argument("--examples", type=int, default=2200)
    ap.add_argument("--docs", type=int, default=500)
    ap.add_argument("--seed", type=int, default=7)
    ap.add_argument("--exclude", type=Path, help="leave out the sentences of this file")
    args = ap.parse_args()
    r = Random(args.seed)
    found = corpus(r, args.templates, args.examples, args.docs, args.wordnet)
    known = set(args.exclude.read_text(encoding="utf-8").split("\n")) if args.exclude else set()
    lines = [sentence for sentence in found if sentence not in known]
    r.shuffle(lines)
    args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(len(lines), "sentences,", sum(len(line.split()) for line in lines), "words")


if __name__ == "__main__":
    main()
