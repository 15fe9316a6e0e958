"""Written text into text that a voice can say.

A language model writes for the eye: markdown, emoji, links, thoughts between tags. `speakable`
turns a stretch of it into what is said aloud; `ThinkFilter` takes the thoughts out of the stream.
Numbers and units are left to the phonemiser (espeak-ng, in Piper) except where it misspeaks:
"$5" comes out as "dollar five", "Dr. Smith" as two sentences, "word—word" without a pause.
"""

from __future__ import annotations

import html
import re

from pipeline.text.wording import in_words


def words(text: str) -> frozenset[str]:
    """A set of words, for tables."""
    return frozenset(text.split())


TITLES = words(
    "dr mr mrs ms mx prof rev hon gen col capt cmdr lt sgt maj gov sen rep pres mt messrs"
    " mme mlle hr sra srta"
)
"""Abbreviations that, with a capital, lead on to a name: never the end of a sentence."""

LATIN = words("e.g i.e eg ie cf vs viz approx bzw d.h z.b u.a p.ex")
"""Abbreviations in any case that always lead on to more."""

BEFORE_NUMBER = words(
    "no nos nr p pp vol fig figs ch sec art eq ver par op ca"
    " jan feb mar apr jun jul aug sep sept oct nov dec"
)
"""Abbreviations only where a number follows: "No. 5", but "No. I would not." """

HTML_TAGS = words(
    "a abbr article b blockquote body br caption center code dd del details div dl dt em font"
    " footer h1 h2 h3 h4 h5 h6 head header hr html i img ins kbd li main mark nav ol p pre q s"
    " section small span strike strong sub summary sup table tbody td tfoot th thead tr u ul"
    " var wbr"
)
"""Only these count as tags, so that `List<String>` and "a < b" keep their words."""

_EMOJI_CLASS = (
    r"\u2300-\u23ff\u2500-\u27bf\u2b00-\u2bff\u3030\u303d\u3297\u3299"
    r"\U0001f000-\U0001fbff"
)
EMOJI = re.compile(
    rf"(?:[{_EMOJI_CLASS}][\ufe0e\ufe0f\u20e3\U000e0020-\U000e007f]*\u200d?|[#*]\ufe0f?\u20e3)+"
)
"""Pictographs, dingbats, box drawing, with their joiners, skin tones, flags and tags.

A joiner between letters is spelling (Sinhala, Malayalam) and stays. A keycap keeps its digit."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ue000-\uf8ff]")
_INVISIBLE = re.compile(r"[\u00ad\u20e3\ufe0e\ufe0f\ufeff\u2122\u00ae]")

_LINE_MARK = re.compile(
    r"\s*(?:(?:>|#{1,6}(?=\s)|[-*+•◦▪‣](?=\s)|\|)\s*)*(?:\[[ xX]\]\s+)?(?:#{1,6}\s+)?"
)
_IMAGE = re.compile(r"!\[([^\[\]\n]*)\]\([^()\n]*\)")
_INLINE = re.compile(
    r"""
      \\(?P<escaped>[\\`*_{}\[\]()\#+\-.!|>~$<&])
    | (?P<ticks>`{1,2})(?P<code>[^`\n]+)(?P=ticks)
    | !?\[(?P<label>[^\[\]\n]*)\]\([^()\n]*(?:\([^()\n]*\)[^()\n]*)*\)
    | \[(?P<reference>[^\[\]\n^]+)\]\[[^\[\]\n]*\]
    | \[\^[^\[\]\n]+\]
    | (?P<tag></?(?P<name>[a-z][a-z0-9]*)(?:[\s/][^<>]*)?> | <!--.*?--> | <\|[^|<>]*\|>)
    | (?P<url><?(?:\b[a-z][a-z0-9+.-]{1,9}://|\bwww\.)[^\s<>"“”。，、！？；：）」』】]+>?)
    | (?P<mark>\*+ | _+ | ~~)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_HOST = re.compile(r"(?:[a-z][a-z0-9+.-]*://)?(?:[^/?#@]*@)?(?:www\.)?([^/?#:]*)", re.IGNORECASE)

_ENTITY = re.compile(r"&(?:#\d+|\w+);|&#x[\da-f]+;", re.IGNORECASE)
_TIMES = re.compile(r"(?<=[\w)]) \* (?=[\w(])|(?<=\d)\*(?=\d)")
_MINUS = re.compile(r"(?<=\d) - (?=\d)")
_EMOTICON = re.compile(r"(?<!\S)[:;=][-']?[()DPp](?=[\s.,!?]|$)")
_PAUSE = re.compile(
    r"""
      \s*[—―]\s*                              # a dash
    | (?<!\S)(?:--+|[-–])(?!\S)               # a hyphen that stands alone
    | (?<=\w)--+(?=\w)
    | (?<!\S)[|•·](?!\S)                      # a table cell's border, a bullet
    | [→⇒➔] | (?<!\S)[-=]>(?!\S)             # an arrow
    | \s*(?:\.{3,}|…|(?<=\w)\.\.(?=\s|$))+   # an ellipsis
    """,
    re.VERBOSE,
)
"""Where the voice should pause, and espeak-ng runs the words together or names the sign."""

_LEADING = re.compile(r"^(?:[\s,;:!?)\]}”»，、；：。！？]|\.(?!\w))+")


def speakable(text: str, *, language: str = "en", line_start: bool = True) -> str:
    """What the voice should say for a stretch of model output.

    Markdown, HTML, emoji and emoticons are removed; links are said by their text and bare URLs by
    their host; dashes and ellipses become pauses the phonemiser understands. Fenced code is the
    chunker's to leave out. Punctuation stays, for the intonation.

    Args:
        text: Written text; whole constructs (no half links or code spans).
        language: Of the voice, as "en" or "en-US". Symbols and abbreviations are put into words
            only in English.
        line_start: Whether `text` begins a line, so that a leading "- " is a list marker.

    Returns:
        One line of text, or "" if nothing in it can be pronounced.
    """
    lines = text.split("\n")
    for i, line in enumerate(lines):
        if i or line_start:
            if line.lstrip().startswith("|"):
                line = line.strip().strip("|").replace("|", " | ")
            lines[i] = _LINE_MARK.sub("", line, count=1)
    said = _strip_inline("\n".join(lines))
    said = _ENTITY.sub(lambda entity: html.unescape(entity[0]), said)
    said = _INVISIBLE.sub("", EMOJI.sub(" ", said)).replace("\n", " ")
    said = _CONTROL.sub(" ", said)
    if not any(map(str.isalnum, said)):
        return ""
    said = _MINUS.sub(" − ", _TIMES.sub(" × ", said))
    if language[:2].lower() == "en":
        said = _in_english(said)
    else:
        said = in_words(said, language, line_start=line_start)
    return _tidy(said)


def _strip_inline(text: str) -> str:
    """Text without inline markup."""
    if "![" in text:
        text = _IMAGE.sub(r"\1", text)
    return _INLINE.sub(_inline, text)


def _inline(match: re.Match[str]) -> str:
    """What is said for one inline construct."""
    whole = match.group()
    if match["mark"] is not None:
        text = match.string
        return _emphasis(whole, text[match.start() - 1 : match.start()], text[match.end() :][:1])
    if match["url"] is not None:
        return _url(whole)
    if match["tag"] is not None:
        name = match["name"]
        return whole if name is not None and name.lower() not in HTML_TAGS else " "
    if match["label"] is not None or match["reference"] is not None:
        return _strip_inline(match["label"] or match["reference"] or "")
    return match["escaped"] or match["code"] or ""  # and nothing for a footnote's mark


def _emphasis(run: str, before: str, after: str) -> str:
    """A run of `*`, `_` or `~~` if it is part of the text, "" if it is markup.

    Markup hugs a word on one side; `2 * 3`, `a*b` and `snake_case` do not.
    """
    inside = before.isalnum() and after.isalnum()
    if run[0] == "_":
        return run if inside else ""
    if run == "*" and before.isspace() and after.isspace():
        return run
    digits = before.isdigit() and after.isdigit()
    plain = inside and before.isascii() and after.isascii()
    return run if run[0] == "*" and (digits or (plain and run == "*")) else ""


def _url(address: str) -> str:
    """A URL's host, and the punctuation that followed the URL."""
    body = address.strip("<>")
    bare = body.rstrip(".,;:!?'*_~]}" + (")" if body.count(")") > body.count("(") else ""))
    host = _HOST.match(bare)
    return (host[1] if host else "") + body[len(bare) :].strip("*_~")


def _tidy(text: str) -> str:
    """Pauses as commas, single spaces, no punctuation left hanging by what was removed."""
    text = _EMOTICON.sub(" ", text)
    text = _PAUSE.sub(_pause, text)
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r" (?=[,;!?]|[.:](?!\w))", "", text)
    text = re.sub(r"\( | \)", lambda m: m.group().strip(), text)
    return _LEADING.sub("", text).strip()


def _pause(match: re.Match[str]) -> str:
    """A comma, unless there is another mark."""
    text = match.string
    beside = text[: match.start()].rstrip()[-1:] + text[match.end() :].lstrip()[:1]
    return " " if any(char in ",;:.!?…" for char in beside) else ", "


_COINS = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "€": ("euro", "euros", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "¥": ("yen", "yen", "", ""),
    "₹": ("rupee", "rupees", "", ""),
}
_SCALES = {"k": "thousand", "m": "million", "b": "billion", "bn": "billion"}
_MONEY = re.compile(
    r"(?<![A-Za-z])(?P<land>US)?(?P<coin>[$€£¥₹])\s?"
    r"(?P<whole>\d+(?:,\d{3})*)(?:\.(?P<part>\d+))?"
    r"(?:\s?(?P<scale>hundred|thousand|million|billion|trillion)\b|(?P<short>bn|[kmb])\b)?",
    re.IGNORECASE,
)
_RANGE = re.compile(
    r"(?<![\d.,/-])(?P<first>\d{1,4})(?P<dash>[%°]? ?– ?|-)"
    r"(?=[$€£]?(?P<second>\d{1,4})(?![\d/-]|[.,]\d))"
)
_DECADE = re.compile(r"\b(?P<century>[12]\d)(?P<ten>\d)0s\b|(?<!\w)['’](?P<short>[1-9])0s\b")
_TENS = (
    "", "tens", "twenties", "thirties", "forties", "fifties", "sixties", "seventies", "eighties",
    "nineties",
)  # fmt: skip
_FRACTIONS = {"1/2": "½", "1/4": "¼", "3/4": "¾"}
_FRACTION = re.compile(r"(?<![\d/.,])[13]/[24](?![\d/])")
_FULL = {
    "mt": "mount", "vs": "versus", "approx": "approximately", "no": "number", "nos": "numbers",
    "fig": "figure", "figs": "figures", "vol": "volume", "ch": "chapter", "sec": "section",
    "eq": "equation", "p": "page", "pp": "pages", "jan": "January", "feb": "February",
    "mar": "March", "apr": "April", "jun": "June", "jul": "July", "aug": "August",
    "sep": "September", "sept": "September", "oct": "October", "nov": "November",
    "dec": "December",
}  # fmt: skip
_STOPPED = TITLES | words("vs approx st inc ltd co corp bros jr sr ave blvd rd dept")
_ABBREVIATION = re.compile(
    rf"\b(?:(?P<numbered>{'|'.join(sorted(BEFORE_NUMBER))})\.(?=\s?\d)"
    rf"|(?P<word>{'|'.join(sorted(_STOPPED))})\.(?=\s+\w))",
    re.IGNORECASE,
)
_IN_WORDS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), said)
    for pattern, said in (
        (r"^\s*([A-Z])\.(?=\s+[A-Z]\.)", r"\1"),  # J. K. Rowling: initials end no sentence, but
        (r"(?<=[\w.][.\s])([A-Z])\.(?=\s+[A-Z])", r"\1"),  # "A. Paris" is a choice
        (r"\b[eE]\.g\.", "for example"),
        (r"\b[iI]\.e\.", "that is"),
        (r"\bPh\.D\b\.?", "PhD"),
        (r"(?<=\d)[\u00a0\u202f](?=\d{3}\b)", ""),  # 10 000
        (r"\b(\d{1,2}):00(?=\s?[aApP]\.?[mM]\b)", r"\1"),
        (r"\b(1[0-2]|[1-9]):00\b(?!:)", r"\1 o'clock"),
        (r"#(?=\d)", "number "),
        (r"\b([CF])#", r"\1 sharp"),
        (r"~\s?(?=[$€£]?\d)", "about "),
    )
)
_PER = re.compile(r"(?<=\w)/(second|minute|hour|day|night|week|month|year|person)\b")


def _in_english(text: str) -> str:
    """English with the symbols and abbreviations that espeak-ng misspeaks put into words."""
    text = _ABBREVIATION.sub(_abbreviation, text)
    for pattern, said in _IN_WORDS:
        text = pattern.sub(said, text)
    text = _MONEY.sub(_money, _RANGE.sub(_range, text))
    text = _FRACTION.sub(lambda m: _FRACTIONS.get(m[0], m[0]), _DECADE.sub(_decade, text))
    return _PER.sub(r" per \1", text)


def _abbreviation(match: re.Match[str]) -> str:
    """An abbreviation without its stop, which espeak-ng takes for a sentence's end."""
    word: str = match["numbered"] or match["word"]
    full = _FULL.get(word.lower(), word)
    space = "" if match.string[match.end()].isspace() else " "
    return (full[0].upper() + full[1:] if word[0].isupper() else full) + space


def _range(match: re.Match[str]) -> str:
    """10–20 as "10 to 20"; a hyphen only if the numbers rise, so that scores and codes stay."""
    first, dash, second = match["first"], match["dash"], match["second"]
    alike = len(second) - len(first) <= 1 and (len(second) < 4 or len(first) == 4)
    if "–" in dash or (alike and int(first) < int(second)):
        return f"{first}{dash.rstrip('– -')} to "
    return match.group()


def _money(match: re.Match[str]) -> str:
    """$5.50 as "5 dollars 50", $0.99 as "99 cents", $2 million as "2 million dollars"."""
    one, many, cent, cents = _COINS[match["coin"]]
    land = match["land"] or ""
    whole, part = match["whole"], match["part"] or ""
    scale = match["scale"] or _SCALES.get((match["short"] or "").lower(), "")
    after = ""
    if len(part) == 2 and cent and not scale:
        if whole == "0" and int(part):
            return f"{int(part)} {cent if part == '01' else cents}"
        part, after = "", str(int(part) or "")
    unit = one if whole == "1" and not part and not scale else many
    amount = f"{whole}.{part}" if part else whole
    return " ".join(filter(None, (amount, scale, land, unit, after)))


def _decade(match: re.Match[str]) -> str:
    """1990s as "19 nineties", 1900s as "19 hundreds", 2000s as "2 thousands"."""
    if match["short"]:
        return _TENS[int(match["short"])]
    century, ten = match["century"], int(match["ten"])
    if ten:
        return f"{century} {_TENS[ten]}"
    return f"{century[0]} thousands" if century[1] == "0" else f"{century} hundreds"


_THINK_TAGS = ("<think>", "<thinking>", "</think>", "</thinking>")
_THINK = re.compile("|".join(_THINK_TAGS), re.IGNORECASE | re.ASCII)


class ThinkFilter:
    """Removes `<think>…</think>` from a stream of text; also `<thinking>`.

    Tags may be split over deltas, in any case. A block that is never closed lasts to the end. A tag
    that a backtick precedes is being talked about, and stays. White space after a leading block
    belongs to it.
    """

    def __init__(self) -> None:
        self._held = ""  # the end of the input, if it may be a tag's beginning
        self._last = ""  # the last visible character
        self._inside = False
        self._blank = True  # nothing visible yet but white space
        self._trim = False

    def push(self, delta: str) -> str:
        """The visible part of what is now known to be visible."""
        text = self._held + delta
        out: list[str] = []
        done = 0
        for tag in _THINK.finditer(text):
            out.append(self._shown(text[done : tag.start()]))
            if not self._inside and self._last == "`":
                out.append(self._shown(tag.group()))
            else:
                self._inside = tag.group()[1] != "/"
                self._trim = self._blank
            done = tag.end()
        keep = text.rfind("<", done)
        if keep < 0 or not any(t.startswith(text[keep:].lower()) for t in _THINK_TAGS):
            keep = len(text)
        out.append(self._shown(text[done:keep]))
        self._held = text[keep:]
        return "".join(out)

    def flush(self) -> str:
        """The text is over: what was held back because it might have begun a tag."""
        held, self._held = self._held, ""
        return self._shown(held)

    def _shown(self, text: str) -> str:
        """What is visible of the next stretch between two tags."""
        if self._inside:
            return ""
        if self._trim:
            text = text.lstrip()
        if text:
            self._trim = False
            self._blank = self._blank and text.isspace()
            self._last = text[-1]
        return text
