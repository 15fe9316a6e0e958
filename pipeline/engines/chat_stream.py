"""What the events of a chat stream bring: text, tool calls, counts, errors, and the end.

The shape is the OpenAI API's; the servers that have it fill it in many ways, and what is here reads
them all. `events` takes the stream apart; the rest does no I/O.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.engines.servers import httpx2
from pipeline.engines.tools import ToolUse, arguments
from pipeline.errors import one_line

DONE = "[DONE]"
"""The data of the last event of a stream."""

FAILED = "error"
"""How a stream ends that the server could not finish."""

ENDS = {
    **dict.fromkeys(("tool_calls", "function_call", "tool_use"), "stop"),
    **dict.fromkeys(("eos", "eos_token", "end_turn", "stop_sequence"), "stop"),
    **dict.fromkeys(("complete", "completed", "finished", "normal"), "stop"),
    **dict.fromkeys(("max_tokens", "max_output_tokens", "model_length"), "length"),
    **dict.fromkeys(("safety", "refusal", "recitation", "sensitive"), "content_filter"),
    **dict.fromkeys(("prohibited_content", "blocklist", "spii"), "content_filter"),
    **dict.fromkeys(("null", "none"), ""),
}
"""How a stream ends, from the names that servers give it (Text Generation Inference, Anthropic,
Gemini, Cohere, Mistral, Qianfan, Zhipu) to the OpenAI API's; a call of tools ends it as it
should."""


@dataclass(frozen=True, slots=True)
class Used:
    """Tokens of one reply: read, of those from the server's cache, and written."""

    input_tokens: int
    cached_tokens: int
    output_tokens: int


async def events(response: httpx2.Response) -> AsyncGenerator[str, None]:
    """The data of an answer's events, as they come. Those without are nothing, by the standard.

    A bare word or number, as some servers send to keep the connection, is nothing either, but for
    the words of an error. A server that does not stream answers in one piece of JSON: that is all
    of it.
    """
    blocks = response.aiter_bytes()
    first = await anext(blocks, b"")
    if first.lstrip().startswith(b"{"):
        rest = [block async for block in blocks]
        yield b"".join([first, *rest]).decode("utf-8", "replace")
        yield DONE
        return

    async def body() -> AsyncGenerator[bytes, None]:
        yield first
        async for block in blocks:
            yield block
        yield b"\n\n"  # some servers do not end the last event

    # Whatever a server calls it, it is read as what was asked for; a mark at its beginning is none
    # of its words.
    stream = httpx2.Response(
        response.status_code,
        headers={"content-type": "text/event-stream"},
        content=body(),
        request=response.request,
        default_encoding="utf-8-sig",
    )
    async for event in httpx2.EventSource(stream):
        data = event.data.strip()
        if data.startswith(("{", "[")):
            yield data
        elif data and event.event == "error":
            yield json.dumps({"error": data})


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one event of a stream brings.

    Attributes:
        text: More of the reply's.
        end: How the stream ends, if it does.
        used: What the reply has cost so far.
        calls: More of the tools that are called.
        error: What went wrong, in whatever shape.
    """

    text: str = ""
    end: str = ""
    used: Used | None = None
    calls: Sequence[CallPart] = ()
    error: Any = None


class Chunks:
    """Reads the events of one reply; `read` them in order.

    The OpenAI API sends the text in pieces, as `delta`. Others send some of it again, or all of it
    each time, or all of it at the end as a `message`; what came before is left out then.
    """

    def __init__(self) -> None:
        self._seen = ""
        self._pieces = 0

    def read(self, data: str) -> Chunk:
        """Read an event's data, which is whatever the server sent.

        Raises:
            ValueError: It is no JSON, or has not the shape of a chunk.
        """
        if data.startswith(DONE):
            return Chunk(end="stop")
        try:
            chunk = json.loads(data)
            if isinstance(chunk, list):  # Gemini's errors
                (chunk,) = chunk or [{}]
            # One answer was asked for; a server that gives more numbers them.
            choices = [one for one in chunk.get("choices") or () if not one.get("index")]
            if error := _error(chunk, choices):
                return Chunk(error=error)
            deltas = [one.get("delta") or {} for one in choices]
            messages = [one.get("message") or {} for one in choices]
            text = self._new("".join(map(_said, deltas)))
            ends = [_end(one.get("finish_reason")) for one in choices]
            counts = [_used(one.get("usage")) for one in (chunk, *choices)]
            return Chunk(
                text or self._rest("".join(map(_said, messages))),
                next(filter(None, ends), ""),
                next(filter(None, counts), None),
                [part for said in (*deltas, *messages) for part in call_parts(said)],
            )
        except (AttributeError, TypeError, RecursionError):
            raise ValueError("not a chunk of a chat completion") from None

    def _new(self, delta: str) -> str:
        """What of a delta has not come before."""
        self._pieces += bool(delta)
        longer = delta.startswith(self._seen) and len(delta) > len(self._seen)
        # The first pieces may be alike ("ha", "ha"; "1", "10"); later ones are not by chance all
        # there was.
        again = self._is_all(delta) if self._pieces > 3 else longer and not self._seen.isdigit()
        if self._seen.strip() and again:
            return self._rest(delta)
        self._seen += delta
        return delta

    def _rest(self, text: str) -> str:
        """What has not come before of a text that is all there is so far."""
        if self._seen.strip() and not self._is_all(text):
            return ""
        rest = text[len(self._seen) :] if self._seen.strip() else text
        self._seen += rest
        return rest

    def _is_all(self, text: str) -> bool:
        """Whether a text begins with all that has come."""
        return text.startswith(self._seen.rstrip())


def _error(chunk: Any, choices: Sequence[Any]) -> object:
    """What a chunk tells of a failure; some servers send an error's own object instead of one."""
    errors = [error for one in (chunk, *choices) if (error := one.get("error"))]
    if errors or "choices" in chunk:
        return errors[0] if errors else None
    return chunk if error_words(chunk.get("message") or chunk.get("detail")) else None


def _said(delta: Any) -> str:
    """The text of a delta or message: what it says, or why it will not."""
    return _words(delta.get("content")) or _words(delta.get("refusal"))


def _words(content: object) -> str:
    """The text of a content, which may come in parts: thoughts and the like are no text."""
    parts = content if isinstance(content, list) else [content]
    texts = (
        part.get("text") or part.get("refusal")
        if isinstance(part, dict) and part.get("type") in (None, "text", "output_text", "refusal")
        else part
        for part in parts
    )
    return "".join(map(_text, texts))


def _end(reason: object) -> str:
    """How a stream ends, by the names of the OpenAI API where there is one."""
    end = _text(reason).strip().lower().replace("-", "_")
    return ENDS.get(end, end)


def cut_off(end: str, max_tokens: int, *, said: bool, called: bool) -> str:
    """What a server did that cut a reply off, and what to do; empty: the reply is whole.

    Args:
        end: How the stream ended.
        max_tokens: That the reply might have.
        said: Whether it had words.
        called: Whether tools were called in it.
    """
    where = "in the middle of the reply" if said else "before it said a word"
    where = "before its tool call was whole" if called else where
    match end:
        case "" | "stop":
            return ""
        case "length":
            less = "ask for less" if said or called else "take a model that thinks less"
            return f"spent all {max_tokens} tokens {where}; raise llm.max_tokens, or {less}"
        case "content_filter":
            return f"stopped by its content filter {where}; ask otherwise, or take another model"
        case "error":
            return f"failed {where}; its log may say why"
    return f"stopped {where} (finish_reason: {one_line(end)}); its log may say why"


def _used(usage: Any) -> Used | None:
    """The tokens of a chunk's `usage`, if it has one.

    Raises:
        AttributeError: It has not the shape of that.
    """
    if usage is None:
        return None
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    return Used(*map(_count, (usage.get("prompt_tokens"), cached, usage.get("completion_tokens"))))


def _count(tokens: object) -> int:
    """A number of tokens; 0 where the server gives none."""
    return tokens if isinstance(tokens, int) else 0


@dataclass(frozen=True, slots=True)
class CallPart:
    """What one entry of a chunk's `tool_calls` brings; empty where it brings nothing.

    Attributes:
        index: Of the call among those of the reply; None: not told.
        id: Of the call.
        name: Of the tool.
        arguments: More of their text.
    """

    index: int | None
    id: str
    name: str
    arguments: str


def call_parts(said: Any) -> list[CallPart]:
    """Read the `tool_calls` of a delta or message, which are whatever JSON the server sent.

    A `function_call`, as the OpenAI API had it before, is a call too.

    Raises:
        AttributeError, TypeError: They have not the shape of that.
    """
    entries = [entry for entry in said.get("tool_calls") or () if entry]
    if function := said.get("function_call"):
        entries.append({"function": function})
    return [_part(entry) for entry in entries]


class ToolCalls:
    """The tool calls of one reply, put together as a server streams them; `push` parts in order.

    The OpenAI API sends the id and the name of a call first, then its arguments in pieces, all
    under the call's index. Others send whole calls in one piece, leave out index or id, use one
    index for all, repeat id and name with every piece, or make up a new id for each. Some send
    empty arguments before or after the real ones, or a call that is whole again: arguments that are
    whole cannot go on, so what follows takes their place.
    """

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._at: dict[int | None, _Call] = {}
        self._told = 0

    def push(self, part: CallPart) -> None:
        """Take the next part."""
        call = self._at.get(part.index) if part.index is not None else self._last()
        if call is None or _begins(part, call):
            call = _Call(part.id, part.name)
            self._calls.append(call)
        else:
            call.id = call.id or part.id
            # A name in pieces is told apart from one that is repeated.
            if part.name and part.name != call.name:
                call.name += part.name
        if not _complete(call.arguments):
            call.arguments += part.arguments
        elif arguments(part.arguments) != "{}":
            call.arguments = part.arguments
        self._at[part.index] = call

    def more(self) -> tuple[str, str]:
        """The name of the first call, and what is new in its arguments; empty: nothing is.

        What is whole already may yet be taken back, and only `uses` has it.
        """
        call = self._calls[0] if self._calls else _Call("", "")
        if not call.name or not call.arguments.startswith("{") or _complete(call.arguments):
            return call.name, ""
        start, self._told = self._told, len(call.arguments)
        return call.name, call.arguments[start:]

    @property
    def uses(self) -> tuple[ToolUse, ...]:
        """The calls so far, in order, each once. Without a name there is none.

        Ids may be empty, or alike.
        """
        uses = (ToolUse(c.id, c.name, _unquoted(c.arguments)) for c in self._calls if c.name)
        return tuple(dict.fromkeys(uses))

    @property
    def whole(self) -> bool:
        """Whether the last call's arguments are no beginning of something longer."""
        return not self._calls or _complete(self._calls[-1].arguments)

    def _last(self) -> _Call | None:
        return self._calls[-1] if self._calls else None


@dataclass(slots=True)
class _Call:
    id: str
    name: str
    arguments: str = ""


def _begins(part: CallPart, call: _Call) -> bool:
    """Whether a part begins a new call, and does not go on with this one of the same index.

    What brings no name never does, whatever its id. A name under another id does; under no id, if
    the call before it is complete, or could be, since nothing told its index. The same name does
    not while the call has no real arguments.
    """
    if not part.name or not call.name:
        return False
    if part.id and call.id:
        return part.id != call.id
    if part.name == call.name and arguments(call.arguments) == "{}":
        return False
    return _complete(call.arguments) or (part.index is None and not call.arguments)


def _complete(arguments: str) -> bool:
    try:
        json.loads(arguments)
    except (ValueError, RecursionError):
        return False
    return True


def _unquoted(arguments: str) -> str:
    """Arguments, of which some servers make JSON twice."""
    try:
        inner = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    return inner if isinstance(inner, str) and inner.startswith("{") else arguments


def _part(entry: Any) -> CallPart:
    function = entry.get("function") or {}
    index = entry.get("index")
    return CallPart(
        index if isinstance(index, int) else None,
        _text(entry.get("id")),
        # gpt-oss lets its marks run into the name.
        _text(function.get("name")).partition("<|")[0].strip(),
        _arguments(function.get("arguments")),
    )


def _arguments(given: object) -> str:
    """The text of arguments; some servers send the object itself."""
    return json.dumps(given) if isinstance(given, dict) else _text(given)


def _text(given: object) -> str:
    return given if isinstance(given, str) else ""


def error_words(body: object) -> str | None:
    """The words of an error, wherever in its body they are; None if there is no place for them."""
    match body:
        case str():
            return body
        case [inner, *_] | {"message": inner} | {"msg": inner} | {"detail": inner}:
            return error_words(inner)
        case {"error": inner}:
            return error_words(inner)
    return None
