"""What of a model's text is for the user. Pure, incremental.

A model writes more than its answer: thoughts, calls of tools, headers, marks that end its turn. A
server that knows the model takes them out of the text; many do not, and then they come as they are,
in the model's own dialect. `_TABLE` is what is known of their names, in any form (`<think>`,
`<seed:think>`, `[THINK]`, `◁think▷`, `<|begin_of_thought|>`); the patterns below it are of what has
no marks, or none left.
"""

from __future__ import annotations

import enum
import json
import re

import regex

from pipeline.text.written_calls import (
    ARGUMENT_KEYS,
    CALL_KEYS,
    Offered,
    WrittenCall,
    exact_calls,
    keyword_calls,
    read_calls,
)


class _Kind(enum.Enum):
    """What a mark says of the text that follows it."""

    SHOWN = enum.auto()
    """It is for the user, as without the mark."""

    END = enum.auto()
    """The turn, or the message, is over; should there be more, it is for the user."""

    THOUGHT = enum.auto()
    """It is a thought."""

    CALL = enum.auto()
    """It calls a tool."""

    RESULT = enum.auto()
    """It is what a tool gives, as the model imagines it."""

    TURN = enum.auto()
    """It is what somebody else says, as the model imagines it: the reply is over."""

    HEADER = enum.auto()
    """It tells who speaks, or on which channel."""


_TABLE = (
    (
        _Kind.THOUGHT,
        r"(?:ant|(?:[a-z]+_){1,2})?(?:think(?:ing)?|thoughts?|reasoning|reflection)(?:_\w+)?"
        r"|(?:[a-z]+_)?monologue|reason|reflect|scratch_?pad|analysis|cot|unused9[45]",
    ),
    (_Kind.RESULT, r"(?:tool|function)_(?:response|result|output)s?"),
    (_Kind.CALL, r"(?:[a-z]\w*_)?(?:tool|function)_?(?:calls?|use|code|requests?)"),
    (_Kind.HEADER, r"start_of_turn"),
    (
        _Kind.SHOWN,
        r"final(?:_answer)?|answer|output|response|solution|assistant|bos|pad|unk|sep|cls|0x[\da-f]{2}"
        r"|(?:extra_id|reserved|special|unused)_?\d+",
    ),
    (_Kind.END, r"s|eos|eot|eom|eod|endoftext|end_of_(?:turn|text|sentence|utterance)"),
)
_PLAIN = (*_TABLE, (_Kind.CALL, r"tools?|function|invoke|action"))
"""These names are common words: in `<>` they count only around what may be a call."""

_SPECIAL = (
    *_PLAIN,
    (_Kind.CALL, r"python|plugin|interpreter"),
    (_Kind.TURN, r"(?:im_)?(?:user|human|system|developer)(?:_token)?"),
    (_Kind.RESULT, r"observation"),
    (_Kind.HEADER, r"|im|im_assistant|header|role|turn|channel|recipient|from"),
    (_Kind.END, r"return|call"),
)
"""Between `<|` and `|>` common words count too; any other name there is `SHOWN`."""

_BRACKETED = (
    (_Kind.THOUGHT, r"think(?:ing)?|begin\ final\ response"),
    (_Kind.CALL, r"(?:tool|function)_calls?|tool_request"),
    (_Kind.RESULT, r"tool_results"),
    (_Kind.TURN, r"inst|system_prompt|available_tools"),
    (_Kind.END, r"eos|bos|pad|unk|sep|cls|end\ final\ response"),
)
"""In square brackets, in capitals, only these: a template has "[REASON]"."""

_AROUND = frozenset(("begin", "start", "of", "end", "section", "id", "prefix", "suffix", "tag"))
"""Words in a mark's name that only say where it stands…"""

_LAST = frozenset(("end", "suffix", "unused95", "begin final response"))
"""…and those that say that it is the second of two, as MedGemma's and Apriel's do."""


def _names(table: tuple[tuple[_Kind, str], ...]) -> str:
    return "|".join(names for _, names in table)


_MARK = regex.compile(
    rf"""
      <(?P<tag>(?i:/?(?:[a-z]\w{{0,19}}[:|])?(?:(?:start|end)_)?(?:{_names(_TABLE)})))
      (?:\s+(?:[\w:.-]+\s*=[^<>]{{0,80}})?)?/?>
    | <(?P<tag>(?i:/(?:[a-z]\w{{0,19}}:)?(?:{_PLAIN[-1][1]})))>
    | <(?P<tag>(?i:(?:{_PLAIN[-1][1]})))>(?=\s*[<\[{{])
    | <(?P<named>(?i:(?:[a-z]\w{{0,19}}:)?(?:function|invoke|tool)))(?=\s*=|\s+name\s*=|\()
    | <(?P<special>/?[|｜]/?\w[^\s<>]{{0,60}}|[a-z_]{{1,30}}\|)>
    | \[(?P<special>\|\w{{1,30}}\|)\]
    | \[(?P<bracket>/?(?:END_)?(?:{_names(_BRACKETED).upper()}))\]
    | ◁(?P<diamond>/?\w{{1,20}})▷
    """,
    regex.VERBOSE,
)
_MARK_CHARS = 150
"""No mark is longer."""

_IS_NAMED = (
    r"[,;]|[ \t]+(?:tag|token|block|element|mark"
    r"|(?:is|are|means|stands|begins|starts|opens|ends|closes|comes)\s)"
)
_NAMED = regex.compile(_IS_NAMED)
"""What follows a mark that begins a sentence about it."""

_TALK = regex.compile(rf"[-.:!?)]|[ \t]+(?:and|or|to)\s|{_IS_NAMED}")
"""What follows a mark in the middle of a sentence that is about the mark."""

_SENTENCE_ENDS = frozenset(".!?:…\n")
_QUOTES = frozenset("\"'“”‘’«»()")

_OPENING = regex.compile(
    r"""
      (?P<call>(?:assistant\s*)?commentary\s+(?=to=) | functools(?=\[\s*\{) | Action:\s*(?=```json))
    | (?P<thought>(?:assistant\s*)?(?:analysis|commentary)(?:\s*(?=[A-Z])|(?=[^\sa-z.,;:!?'’()-])))
    | (?P<shown>assistant\s*final\s*(?=\S) | final(?=[A-Z]) | (?:assistant|model)[ \t]*\n)
    | (?P<process>Here(?:['’]s|\ is)\ my\ thought\ process:)
    """,
    regex.VERBOSE,
)
"""What a message may begin with: harmony's channels and headers without their marks, Phi's,
Command R's and Granite's words."""

_BARE_END = regex.compile(r"assistant\s*(?:(?P<call>commentary\s+(?=to=))|final\s*)")
_PROCESS_END = regex.compile(r"Here(?:['’]s| is) my response:")
_RECIPIENT = regex.compile(r">>>(?=\w+\n)")
"""Functionary's header."""

_HEADER_ENDS = frozenset(("message", "content", "im_middle", "im_sep"))
_SHORT = frozenset(("im", "turn"))
"""Headers of a single word."""

_HEADER_CHARS = 100
"""No header is longer."""

_SOMEBODY = regex.compile(r"\s*(?:(?P<tool>tool|function|ipython|observation)|user|human|system)")
_HIDDEN_CHANNEL = regex.compile(r"analysis|commentary|think|thought|reason")
_FINAL_CHANNEL = regex.compile(r"\bfinal\b")
_TO_TOOL = regex.compile(r"\bto=(?!(?:all|user|assistant)\b)")

_CALL_KEY = regex.compile(rf"""(?:\[\s*)?\{{\s*["'](?:{"|".join(sorted(CALL_KEYS))})["']\s*:""")
_CALL_CUT = regex.compile(
    rf"""[^{{]*\{{[^{{}}]*["'](?:{"|".join(ARGUMENT_KEYS)})["']\s*:\s*["{{]"""
)
"""A call that is JSON, and one that would be had it not been cut off."""

_AFTER_CALL = regex.compile(r"\s*(?:[;,}\]]|(?=[^\s;,}\]]))")
_PYTHON = regex.compile(r"\[\s*[a-zA-Z_][\w.]*\(")
_PYTHON_END = regex.compile(r"\)\s*\]")
_ARGUMENTS = r"""(?:\{(?=\s*["}])|\((?=\s*(?:[)"'\d\[({-]|\w+\s*[=,)])))"""
"""How those of a call by name may begin: other words in brackets are to be heard at once."""
_CALL_END = regex.compile(r"\)(?:[ \t]*;?(?=[ \t]*\n)|(?P<goes_on>(?=[ \t]*[^\s;,)])))")
_PYTHON_CHARS = 2000
"""Calls in Python are no longer."""

_TICKS = regex.compile(r"`+(?=[^`])")
_FENCED = regex.compile(
    rf"```[ \t]*(?:(?i:tool|function)\w*[ \t]*\n|(?:json|xml)?[ \t]*\n\s*"
    rf"(?=(?P<tag><tool_call>|<function=)|(?P<json>{_CALL_KEY.pattern})))"
)

_INVISIBLE = dict.fromkeys((0x200B, 0x2060, 0xFEFF))
"""Neither white space nor seen: some models begin with them."""

_SPOT = regex.compile(r"[<\[{◁`>]")
_WORD = regex.compile(r"\S")
_EACH = regex.compile(r"(?s:.)")
_JSON = json.JSONDecoder()


class _More(Exception):
    """What follows decides."""


class VisibleText:
    """Takes what is not for the user out of a stream of text.

    Where the stream is cut does not matter, and nothing is held back but what may be the beginning
    of something in the table. What stands in code, in quotes, or in a sentence that is about it, is
    part of the answer. A thought that does not end lasts to the end. White space after what is
    taken out goes with it, where nothing stands before it.

    Attributes:
        begins_inside: Whether the text begins within a thought, as with models whose server has
            written the opening mark for them. It becomes true when a closing mark comes that
            nothing opened: all that was given before is a thought then.
    """

    def __init__(self, offered: Offered | None = None, *, begins_inside: bool = False) -> None:
        """Begin a text.

        Args:
            offered: The tools that the model may call.
            begins_inside: Whether to expect that: the text waits for the closing mark, and is given
                at its end if none comes.
        """
        self.begins_inside = begins_inside
        self._waits = begins_inside
        self._offered = offered or {}
        names = "|".join(map(regex.escape, self._offered))
        self._by_name = regex.compile(rf"(?i:{names})[\s:]*{_ARGUMENTS}") if names else None
        self._text = ""
        self._at = 0
        self._final = False
        self._looked = 0  # so much of what waits
        self._out: list[str] = []
        self._blocks: list[str] = []

        self._kind = _Kind.SHOWN
        self._name = ""  # of the mark that opened what is not shown
        self._inner: list[str] = []  # names of the thoughts within the thought
        self._bare = False  # the thought is a channel of harmony's without marks
        self._block = ""  # the call so far, or the header
        self._tagged = False  # whether the call is in an XML element
        self._code = ""  # the ticks that opened the code

        self._before = ""  # the last two characters
        self._blank = True  # nothing is shown yet but white space
        self._fresh = True  # nor in this message
        self._trim = False  # white space is part of what was left out
        self._gap = False  # something was left out
        self._last = ""  # the last character shown
        self._thought = False  # there was a thought
        self._talk = False  # the text is about marks
        self._closed = False  # a thought is over that nothing opened

    @property
    def over(self) -> bool:
        """Whether nothing more can come: the model speaks for somebody else."""
        return self._kind is _Kind.TURN

    @property
    def written(self) -> bool:
        """Whether tools are called."""
        return bool(self._blocks)

    @property
    def calls(self) -> list[WrittenCall]:
        """The calls of tools that can be read."""
        return [call for block in self._blocks for call in read_calls(block, self._offered)]

    def push(self, delta: str) -> str:
        """The visible part of what is now known to be visible."""
        self._text = self._text[self._at :] + delta.translate(_INVISIBLE)
        self._at = 0
        self._out = []
        if not self._waits or self._past_waiting():
            while self._at < len(self._text) and self._step():
                pass
        return "".join(self._out)

    def flush(self, *, whole: bool = True) -> str:
        """The text is over: what was held back.

        Args:
            whole: Whether the model had come to its end.
        """
        self._final = True
        shown = "" if self._waits and not whole else self.push("")
        if self._kind is _Kind.CALL or (self._kind is _Kind.THOUGHT and self._block):
            self._blocks.append(self._block)
            self._kind = _Kind.SHOWN
        return shown

    def _past_waiting(self) -> bool:
        """Whether the thought is over that the text is expected to begin in."""
        # A mark may have begun in what was looked at before.
        begin = max(0, self._looked - _MARK_CHARS)
        self._looked = len(self._text)
        for mark in _MARK.finditer(self._text, begin):
            kind, last, _ = _meaning(mark)
            inside = self._text[: mark.start()].strip()
            if kind is _Kind.THOUGHT and (last or not inside):
                self._waits, self._thought, self.begins_inside = False, last, last
                self._trim = last
                self._at = mark.end() if last else 0
                return True
        if self._final:
            self._waits = False
            self.begins_inside = not self._text.strip()
        return self._final

    def _step(self) -> bool:
        """Go on to the next place that may matter, and past it; False: what follows decides."""
        spots = _WORD if self._bare or (self._fresh and self._kind is _Kind.SHOWN) else _SPOT
        spots = _EACH if self._kind is _Kind.HEADER else spots
        spot = spots.search(self._text, self._at)
        end = spot.start() if spot else len(self._text)
        self._pass(self._text[self._at : end])
        self._at = end
        if spot is None:
            return False
        try:
            taken = self._take()
        except _More:
            return False
        if not taken:
            taken = 1
            self._pass(self._text[self._at])
        self._at += taken
        return True

    def _match(self, pattern: regex.Pattern[str], at: int | None = None) -> regex.Match[str] | None:
        """The match at a place, by default the current one.

        Raises:
            _More: It depends on what follows.
        """
        at = self._at if at is None else at
        found = pattern.match(self._text, at, partial=not self._final)
        if found and found.partial:
            raise _More
        return found

    def _take(self) -> int:
        """How many characters from here on are taken out, or dealt with; 0: it is ordinary."""
        match self._kind:
            case _Kind.SHOWN:
                return self._in_shown()
            case _Kind.CALL:
                return self._in_call()
            case _Kind.HEADER:
                return self._in_header()
            case _Kind.TURN:
                return 0
            case _:
                return self._in_hidden()

    # --- in what is shown ---

    def _in_shown(self) -> int:
        char = self._text[self._at]
        if char == "`":
            return self._ticks()
        if self._code:
            return self._last_mark()
        if char == ">":
            if recipient := self._match(_RECIPIENT):
                self._enter(_Kind.HEADER, "recipient")
            return len(recipient[0]) if recipient else 0
        if self._fresh and (taken := self._opening() or self._called_by_name()):
            return taken
        alone = not self._before[-1:].isalnum()
        if char in "{[" and alone and (taken := self._plain_call()):
            return taken
        if char not in "<[◁":
            return 0
        mark = self._match(_MARK)
        if mark is None or self._mentioned(mark.end()):
            return 0
        self._meet(mark)
        return len(mark[0])

    def _mentioned(self, end: int) -> bool:
        """Whether a mark that ends there is what the sentence is about."""
        if self._before[-1:] in _QUOTES:
            if end == len(self._text) and not self._final:
                raise _More
            return self._text[end : end + 1] in _QUOTES or self._match(_NAMED, end) is not None
        inside = self._before[1:] == " " and self._before[0] not in _SENTENCE_ENDS
        if not inside and self._before[-1:].strip():
            return False
        if inside and self._talk:
            return True
        about = _TALK if inside and self._before[0].isalnum() else _NAMED
        if self._match(about, end) is None:
            return False
        self._talk = True
        return True

    def _meet(self, mark: regex.Match[str]) -> None:
        """A mark counts: what follows it is of its kind."""
        kind, last, name = _meaning(mark)
        if not last:
            self._enter(kind, name, mark[0])
            return
        self._enter(kind if kind is _Kind.END else _Kind.SHOWN)
        if kind is _Kind.THOUGHT:
            self._end_unopened()

    def _enter(self, kind: _Kind, name: str = "", block: str = "") -> None:
        """From here on it is another kind of text."""
        if self._kind is _Kind.CALL:
            self._blocks.append(self._block)
        if self._closed and kind is _Kind.CALL:
            self._unsay()
        self._fresh = self._fresh or kind is _Kind.END or self._kind is _Kind.HEADER
        self._kind = _Kind.SHOWN if kind is _Kind.END else kind
        self._name = name
        self._block = block if kind is _Kind.CALL else ""
        self._tagged = block[:1] == "<" and block[1].isalpha()
        self._inner, self._bare = [], False
        self._thought = self._thought or kind is _Kind.THOUGHT
        self._before = ""
        self._gap = True
        self._trim = self._trim or self._blank

    def _end_unopened(self) -> None:
        """A thought ends here: if nothing opened it, it is all before.

        Where one was opened before, this has nothing to do with what came after that.
        """
        if not self._blank and not self._thought:
            self._closed = self._trim = True

    def _opening(self) -> int:
        """The words that a message may begin with, and that are none of it."""
        found = self._match(_OPENING)
        if found is None:
            return 0
        taken = found[0]
        match found.lastgroup:
            case "call":
                self._enter(_Kind.CALL, block=taken)
            case "thought":
                self._enter(_Kind.THOUGHT)
                self._bare = True
            case "shown":
                self._enter(_Kind.SHOWN)
            case _:
                # An answer may begin so too: what follows decides.
                end = _PROCESS_END.search(self._text, self._at)
                if end is None and not self._final:
                    raise _More
                if end is None:
                    return 0
                self._enter(_Kind.THOUGHT)
                self._enter(_Kind.SHOWN)
                taken = self._text[self._at : end.end()]
        return len(taken)

    def _ticks(self) -> int:
        """Code begins or ends, or a call that is fenced as if it were code."""
        if not self._code and (taken := self._fenced_call()):
            return taken
        found = self._match(_TICKS)
        ticks = found[0] if found else self._text[self._at :]
        block = len(ticks) >= 3
        if not self._code:
            self._code = ticks
        elif ticks == self._code or (block and len(self._code) >= 3):
            self._code = ""
        self._pass(ticks)
        return len(ticks)

    def _fenced_call(self) -> int:
        """A call in a fence: of a tool on offer, or the first thing of the reply."""
        found = self._match(_FENCED)
        if found is None:
            return 0
        if found["tag"] and not (self._blank or self._offered):
            return 0
        if found["json"]:
            calls = exact_calls(self._json(found.end())[0])
            if not calls or not (self._blank or any(c.name in self._offered for c in calls)):
                return 0
        self._enter(_Kind.CALL, "```")
        return len(found[0])

    def _json(self, at: int) -> tuple[object, int]:
        """The JSON value at a place, and its end; None if there is none."""
        try:
            return _JSON.raw_decode(self._text, at)
        except (ValueError, RecursionError):
            if self._final:
                return None, at
            raise _More from None

    def _plain_call(self) -> int:
        """A call without any marks."""
        if self._match(_CALL_KEY):
            value, end = self._json(self._at)
            cut = value is None and self._match(_CALL_CUT)
            if cut or exact_calls(value):
                end = len(self._text) if cut else end
                after = self._match(_AFTER_CALL, end)
                self._enter(_Kind.CALL, block=self._text[self._at : end])
                self._enter(_Kind.SHOWN)
                return (after.end() if after else end) - self._at
        elif (self._fresh or self._offered) and self._match(_PYTHON):
            return self._python(_PYTHON_END)
        return 0

    def _python(self, ends: regex.Pattern[str]) -> int:
        """Calls in Python, which may end at any of these places."""
        limit = self._at + _PYTHON_CHARS
        lines = f"{self._text}\n" if self._final else self._text
        for last in ends.finditer(lines, self._at, limit):
            text = self._text[self._at : last.end()]
            if keyword_calls(text, self._offered):
                if last.groupdict().get("goes_on") is not None:
                    return 0  # a sentence that begins so
                self._enter(_Kind.CALL, block=text)
                self._enter(_Kind.SHOWN)
                return len(text)
        if not self._final and len(self._text) < limit:
            raise _More
        return 0

    def _called_by_name(self) -> int:
        """A call of a tool on offer that begins a message: its name, and JSON or Python."""
        named = self._by_name and self._match(self._by_name)
        if not named:
            return 0
        if named[0][-1] == "(":
            return self._python(_CALL_END)
        given, end = self._json(named.end() - 1)
        if not isinstance(given, dict):
            return 0
        self._enter(_Kind.CALL, block=self._text[self._at : end])
        self._enter(_Kind.SHOWN)
        return end - self._at

    def _last_mark(self) -> int:
        """A mark in code counts if it ends the turn, and nothing comes after it."""
        mark = self._match(_MARK)
        if mark is None or _meaning(mark)[0] is not _Kind.END or self._text[mark.end() :].strip():
            return 0
        if not self._final:
            raise _More
        return len(mark[0])

    # --- in what is not shown ---

    def _in_hidden(self) -> int:
        """In a thought, or an imagined result."""
        if self._bare and (end := self._match(_BARE_END)):
            calls = end.lastgroup == "call"
            self._enter(_Kind.CALL if calls else _Kind.END, block=end[0])
            return len(end[0])
        mark = self._match(_MARK)
        if mark is None or self._before[-1:] == "`":
            return 0
        kind, last, name = _meaning(mark)
        if kind is self._kind and last:
            if name not in self._inner:
                self._enter(_Kind.SHOWN)
            else:
                del self._inner[self._inner.index(name) :]
        elif kind is _Kind.HEADER:
            self._enter(kind, name)
        elif kind is _Kind.END and (self._name == "channel" or self._kind is _Kind.RESULT):
            self._enter(kind)
        elif kind is self._kind and name not in (self._name, *self._inner):
            self._inner.append(name)
        elif kind is _Kind.CALL and not last and self._before[-1:] in ("", "\n"):
            # Some models call in the middle of a thought, and leave it open.
            self._block = mark[0]
            return len(mark[0])
        else:
            return 0
        return len(mark[0])

    def _in_call(self) -> int:
        """In a call: a mark of its own kind ends it, or one that ends the turn."""
        if self._name == "```":
            ticks = self._match(_TICKS) if self._text[self._at] == "`" else None
            if not ticks or len(ticks[0]) < 3:
                return 0
            self._enter(_Kind.SHOWN)
            return len(ticks[0])
        mark = self._match(_MARK)
        if mark is None:
            return 0
        kind, _, name = _meaning(mark)
        tag = mark.lastgroup in ("tag", "named")
        if self._tagged:
            over = tag and name in (self._name, "tool_call")
        else:
            over = kind is _Kind.CALL and not tag
        if not over and kind not in (_Kind.END, _Kind.HEADER):
            return 0
        self._meet(mark)
        return len(mark[0])

    def _in_header(self) -> int:
        """In a header, which says what the text after it is."""
        char = self._text[self._at]
        taken = 0
        if char == "<" and (mark := self._match(_MARK)):
            taken = len(mark[0])
            _, last, name = _meaning(mark)
            if not last and name not in _HEADER_ENDS:
                self._block += " "
                return taken
        elif char == "\n" or (char == " " and self._block.strip() and self._name in _SHORT):
            taken = 1
        elif len(self._block) < _HEADER_CHARS and not (
            char.isupper() and self._block.strip() in ("assistant", "model")
        ):
            return 0
        header, name = self._block, self._name
        tool = name == "recipient" and header.strip() not in ("all", "user")
        if tool or _TO_TOOL.search(header):
            self._enter(_Kind.CALL, block=f"{header}\n")
        elif somebody := _SOMEBODY.match(header):
            self._enter(_Kind.RESULT if somebody["tool"] else _Kind.TURN)
        elif _HIDDEN_CHANNEL.search(header):
            self._enter(_Kind.THOUGHT, "channel")
        else:
            self._enter(_Kind.SHOWN)
            if _FINAL_CHANNEL.search(header):
                self._end_unopened()
        return taken

    def _pass(self, text: str) -> None:
        """The next stretch without a mark."""
        if not text:
            return
        self._before = (self._before + text)[-2:]
        if self._kind is not _Kind.SHOWN:
            if self._kind in (_Kind.CALL, _Kind.HEADER) or self._block:
                self._block += text
            return
        if "\n" in text and len(self._code) < 3:
            self._code = ""
        if self._trim:
            text = text.lstrip()
        if not text:
            return
        if self._closed:
            self._unsay()
        joined = not self._last.isspace() and self._last not in "<([{"
        if self._gap and joined and text[0].isalnum():
            text = f" {text}"
        self._out.append(text)
        self._last = text[-1]
        self._trim = self._gap = False
        if not text.isspace():
            self._blank = self._fresh = False

    def _unsay(self) -> None:
        """All that was given is a thought."""
        self._closed = self._gap = False
        self._thought = self.begins_inside = True
        self._out.clear()


def _meaning(mark: regex.Match[str]) -> tuple[_Kind, bool, str]:
    """What a mark means: its kind, whether it is the second of two, and its name."""
    form = mark.lastgroup or ""
    written = mark[form].lower().replace("▁", "_").replace("｜", "|")
    word = re.split(r"[|:/]+", written.strip("|:/"))[-1]
    parts = word.split("_")
    name = "_".join(part for part in parts if part not in _AROUND)
    last = "/" in written or not _LAST.isdisjoint(parts)
    last = last or (form == "special" and written[0] != "|")
    table = {"special": _SPECIAL, "bracket": _BRACKETED}.get(form, _PLAIN)
    found = (kind for kind, names in table if any(re.fullmatch(names, n) for n in (name, word)))
    kind = next(found, _Kind.SHOWN)
    if mark[0].endswith("/>"):
        kind = _Kind.SHOWN
    elif last and kind in (_Kind.HEADER, _Kind.TURN):
        kind = _Kind.END
    return kind, last, name
