"""Written text into text that a voice can say.

A language model writes for the eye: markdown, emoji, links. `speakable` turns a stretch of it into
what is said aloud. Plain numbers are left to the phonemiser (espeak-ng, in Piper). What it
misspeaks is put into words: "$5" comes out as "dollar five", "Dr. Smith" as two sentences,
"word—word" without a pause.
"""

from __future__ import annotations

import html
import re

from pipeline.text.directions import DIRECTION
from pipeline.text.english import in_english
from pipeline.text.english.rules import words
from pipeline.text.formulas import FORMULA, formula_in_words, is_formula, is_prose, show
from pipeline.text.language_names import code_of

HTML_TAGS = words(
    "a abbr article b blockquote body br caption center code dd del details div dl dt em font"
    " footer h1 h2 h3 h4 h5 h6 head header hr html i img ins kbd li main mark nav ol p pre q s"
    " section small span strike strong sub summary sup table tbody td tfoot th thead tr u ul"
    " var wbr speak break prosody emphasis say-as phoneme voice"
)
"""Only these (HTML's and SSML's) are tags, so that `List<String>` and "a < b" keep their words."""

_EMOJI_CLASS = (
    r"\u2300-\u23ff\u2500-\u27bf\u2b00-\u2bff\u3030\u303d\u3297\u3299"
    r"\U0001f000-\U0001fbff"
)
EMOJI = re.compile(
    rf"(?:[{_EMOJI_CLASS}][\ufe0e\ufe0f\u20e3\U000e0020-\U000e007f]*\u200d?|[#*]\ufe0f?\u20e3)+"
)
"""Pictographs, dingbats, box drawing, with their joiners, skin tones, flags and tags.

A joiner between letters is spelling (Sinhala, Malayalam) and stays. A keycap keeps its digit."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_PRIVATE = re.compile(r"[\ue000-\uf8ff]+")
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
    | (?P<tag></?(?P<name>[a-z][a-z0-9-]*)
        (?:\s+(?:[\w:-]+\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'<>]+)|open|reversed|hidden))*\s*/?>
      | <!--.*?--> | <\|[^|<>]*\|>)
    | (?P<url><?(?:\b[a-z][a-z0-9+.-]{1,9}://|\bwww\.)[^\s<>"“”。，、！？；：）」』】]+>?)
    | (?P<mark>\*+ | _+ | ~~ | ={2,})
    """,
    re.VERBOSE | re.IGNORECASE,
)
_HOST = re.compile(r"(?:[a-z][a-z0-9+.-]*://)?(?:[^/?#@]*@)?(?:www\.)?([^/?#:]*)", re.IGNORECASE)

_ENTITY = re.compile(r"&(?:#\d+|\w+);|&#x[\da-f]+;", re.IGNORECASE)
_TIMES = re.compile(r"(?<=[\w)]) \* (?=[\w(])|(?<=\d)\*(?=\d)")
_MINUS = re.compile(r"(?<=\d) - (?=[-−]?\d)")
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

    Markdown, HTML, stage directions, emoji and emoticons are removed; links are said by their text
    and bare URLs by their host; formulas are read out; dashes and ellipses become pauses the
    phonemiser understands. Fenced code is the chunker's to leave out. Punctuation stays, for the
    intonation.

    Args:
        text: Written text; whole constructs (no half links or code spans).
        language: Of the voice, as "en" or "en-US": in its words signs and abbreviations are said.
        line_start: Whether `text` begins a line, so that a leading "- " is a list marker.

    Returns:
        One line of text, or "" if nothing in it can be pronounced.
    """
    text = _PRIVATE.sub(" ", text)
    if "\\" in text or "$" in text:
        text = FORMULA.sub(lambda found: _formula(found, language), text)
    text = DIRECTION.sub(" ", text)
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
    if not any(map(str.isalnum, show(said))):
        return ""
    said = _MINUS.sub(" − ", _TIMES.sub(" × ", said))
    if code_of(language) == "en":
        said = in_english(said)
    else:
        from pipeline.text.wording import in_words  # 20 ms that English does not need

        said = in_words(said, language, line_start=line_start)
    return show(_tidy(said), language)


def _formula(match: re.Match[str], language: str) -> str:
    """What is said for a formula; prose between prices or brackets stays prose."""
    latex = match["block"] or next(filter(None, match.groups()))
    if match["inline"] and not is_formula(latex):
        return match.group()
    if match["block"]:
        latex = rf"\begin{{aligned}}{latex}\end{{aligned}}"
    prose = "\\" not in latex and is_prose(latex)
    said = latex if prose else formula_in_words(latex, language)
    before, after = match.string[: match.start()][-1:], match.string[match.end() :]
    joined = not after[:1].isalnum() or re.match(r"(?:th|st|nd|rd|s)\b", after)
    return f"{' ' if before.isalnum() else ''}{said.strip()}{'' if joined else ' '}"


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
    """A run of `*`, `_`, `~~` or `==` if it is part of the text, "" if it is markup.

    Markup hugs a word on one side; `2 * 3`, `a*b` and `snake_case` do not.
    """
    inside = before.isalnum() and after.isalnum()
    if run[0] in "_=" and inside:
        return run
    if run in ("*", "==") and before.isspace() and after.isspace():
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
