"""The language model: messages in, text and tool calls out. Any OpenAI-compatible server.

One code path for the embedded model, Ollama, vLLM, llama.cpp and the OpenAI API: the `openai`
client. Closing a stream closes its connection, which makes those servers stop generating.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import re
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, Self

from pipeline.config import LlmSettings
from pipeline.engines.chat_stream import (
    DONE,
    FAILED,
    CallPart,
    Chunks,
    ToolCalls,
    Used,
    cut_off,
    events,
)
from pipeline.engines.client import (
    CONNECT_TIMEOUT_S,
    explained,
    following,
    message_of,
    open_client,
    posted,
)
from pipeline.engines.context import TooLong, find_context, too_long
from pipeline.engines.servers import ChatServer, httpx2, openai
from pipeline.engines.sight import (
    may_mean_pictures,
    pictures,
    refuses_pictures,
    without_pictures,
)
from pipeline.engines.tokens import TokenGauge
from pipeline.engines.tools import (
    ANSWER,
    Prompt,
    ToolUse,
    answered,
    call_format,
    complaint,
    in_words,
    tool_call,
    tools_of,
)
from pipeline.errors import StageError
from pipeline.text.visible import VisibleText
from pipeline.text.written_calls import Offered

Messages = Sequence[Mapping[str, Any]]
"""As the chat API takes them; a `tools.Prompt` brings the tools too."""

REST_S = 0.3
"""After the end of a reply: so long its count of tokens is waited for, and the end of the answer,
without which the connection cannot be used again."""


class CallLost(StageError):
    """The model wrote a call that cannot be passed on; its words are all there."""


class Unanswered(StageError):
    """The reply was over before there was anything in it to say, or a whole call.

    Attributes:
        why: What ended it: the limit of its tokens, a filter of its content, or the model itself.
    """

    def __init__(self, message: str, why: Literal["limit", "filter", "model"]) -> None:
        super().__init__("llm", message)
        self.why = why


NEXT_SHARE = 1 / 3
"""Share of `llm.timeout_s` for each token after the first: a model that writes need not load."""


@dataclass(frozen=True, slots=True)
class Unsaid:
    """All text before was a thought, and no part of the reply: only its end was marked."""


@dataclass(frozen=True, slots=True)
class Incomplete:
    """The text ended before its own end: the server cut it off.

    Attributes:
        reason: A line for people.
        filtered: A filter of its content did.
    """

    reason: str
    filtered: bool = False


@dataclass(frozen=True, slots=True)
class Calling:
    """More of the first call that the model writes, which is no call yet: `ToolUse` has all of it.

    Attributes:
        name: Of the tool.
        delta: Of its arguments, JSON text.
    """

    name: str
    delta: str


@dataclass(frozen=True, slots=True)
class _Ask:
    """A request.

    Attributes:
        messages: What the model reads.
        more: Parameters that offer tools, or demand a call.
        offered: The tools that may be called.
        demands: Whether one has to be.
        again: Whether it is about what the model wrote amiss: that is asked for once.
    """

    messages: Sequence[Mapping[str, Any]]
    more: Mapping[str, Any]
    offered: Offered
    demands: bool = False
    again: bool = False


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A request as it is tried, with less after each refusal.

    Attributes:
        ask: What is asked.
        optional: Parameters that only help.
        shows: Whether the pictures are sent.
        refused: How the server refused the tools; None: it did not.
    """

    ask: _Ask
    optional: dict[str, Any]
    shows: bool
    refused: openai.APIStatusError | None = None


@dataclass(slots=True)
class _Learnt:
    """What is known of a server.

    Attributes:
        shows_tools: Whether its model sees the tools of a request; None: not known.
    """

    shows_tools: bool | None = None


Piece = str | Unsaid | Incomplete | Used | Calling | ToolUse
"""What comes of a reply."""


class Writer(Protocol):
    """What writes, and may call tools: a `ChatModel`, or what stands between it and the reply."""

    def stream(self, messages: Messages) -> AsyncGenerator[Piece, None]:
        """Yield text as it is written, whether that was cut off, what it cost, and tool calls."""
        ...


class ChatModel:
    """A model behind a server, as an async client.

    Tools are offered as the API does it where the model sees them then; where it does not, or the
    server refuses them, they are described in the prompt. Where a call cannot be right the model is
    told so, once, and what it writes then counts; of what it was told nobody hears.

    Attributes:
        tokens: How many tokens prompts have for it; it learns with every reply.

    Raises:
        BadInput: The URL, or the proxy that the environment names for it, cannot be used.
    """

    def __init__(
        self,
        server: ChatServer,
        settings: LlmSettings,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> None:
        self.tokens = TokenGauge()
        self._server = server
        self._settings = settings
        self._connect_timeout_s = connect_timeout_s
        self._model = server.model
        # OpenAI's reasoning models take no temperature, and some servers count no tokens.
        self._optional: dict[str, Any] = {
            "temperature": settings.temperature,
            "stream_options": {"include_usage": True},
            **server.optional,
        }
        self._answered = False
        # Shared by all that write in slots of the same server.
        self._sight = {"sees": server.sees}
        shows = True if server.shows_tools == "yes" else None
        self._learnt = _Learnt(False if server.tools_in_words else shows)
        # Whether its replies begin within a thought that only ends in the text.
        self._begins_inside = False
        # All waiting but for the connection is timed here.
        self._client = open_client(server, connect_timeout_s=connect_timeout_s)

    @property
    def model(self) -> str:
        """The model's name; known once `warm` has asked a server that was given none."""
        return self._model or self._server.label

    @property
    def server(self) -> ChatServer:
        """Where it is."""
        return self._server

    @property
    def sees(self) -> bool | None:
        """Whether it sees pictures; None: that is not known yet. One that does not is told so."""
        return self._sight["sees"]

    def at(self, slot: int) -> Self:
        """The same model, which reads and writes in this slot of llama.cpp's server."""
        other = copy.copy(self)
        other.tokens = copy.copy(self.tokens)
        other._optional = self._optional | {"id_slot": slot}
        return other

    async def warm(self, messages: Messages, *, patience_s: float | None = None) -> None:
        """Find the model, open the connection, and let the server read the system prompt.

        Where a model that is known to think first begins with anything but a thought's opening
        mark, that mark is taken to be in the prompt.

        Args:
            messages: The system prompt.
            patience_s: How long that may take (s); None: as long as any first token.

        Raises:
            TooLong: The model cannot hold the system prompt.
            StageError: The server cannot be used; `fatal` where trying again cannot help.
        """
        said = False
        asked = self._stream(self._ask(messages), messages, 1, patience_s)
        async with contextlib.aclosing(asked) as deltas:
            async for piece in deltas:
                said = said or isinstance(piece, str)
        if said and _THINKERS.search(self.model) and "reasoning_effort" not in self._optional:
            self._begins_inside = True

    async def learn(self, messages: Messages) -> None:
        """Find out whether the model sees tools, if these messages bring any; once.

        Its chat template may leave them out without a word: the prompt is as long without them.
        A server that does not tell how long it is shows them.
        """
        tools = tools_of(messages)
        if not tools or self._learnt.shows_tools is not None:
            return
        shown = True
        with contextlib.suppress(openai.APIError, TimeoutError, ValueError, LookupError, TypeError):
            async with asyncio.timeout(self._settings.timeout_s):
                sizes = [await self._prompt_size(more) for more in ({"tools": tools}, {})]
            shown = sizes[0] != sizes[1]
            if not shown and self._server.shows_tools == "count":
                log.warning("%s shows its model no tools: the prompt says them", self._server.label)
        self._learnt.shows_tools = shown

    async def _prompt_size(self, more: Mapping[str, Any]) -> int:
        """How long a short prompt is with these parameters."""
        body = {"messages": [{"role": "user", "content": "Hello."}], **more}
        answer: Any
        if self._server.shows_tools == "template":
            url = f"{self._server.base_url.removesuffix('/v1')}/apply-template"
            answer = await self._client.post(url, body=body, cast_to=object)
            return len(answer["prompt"])
        body |= {"model": self._model, self._server.limit: 1}
        answer = await self._client.post("/chat/completions", body=body, cast_to=object)
        return int(answer["usage"]["prompt_tokens"])

    def as_read(self, messages: Messages) -> Messages:
        """The messages as they are sent, up to the last word: with the tools, or these in words."""
        if self.sees is False:
            messages = without_pictures(messages)
        if self._learnt.shows_tools is not False:
            return messages
        return in_words(messages, tools_of(messages), reminds=False)

    async def find_context(self) -> None:
        """Learn how much the model can hold, if its server tells; it has been asked before."""
        context = await find_context(self._client, self._server, self._model)
        if context is not None:
            self.tokens.fits(context, self._settings.max_tokens)

    async def find(self) -> None:
        """Find the server and the model, and leave the connection open; nothing is asked of it.

        Raises:
            StageError: The server cannot be used.
        """
        with self._explained(self._settings.timeout_s):
            if not self._model:
                self._model = await self._first_model()
                return
            try:
                async with asyncio.timeout(self._settings.timeout_s):
                    await self._client.get("/models", cast_to=object)
            except ValueError:
                pass
            except openai.APIStatusError as error:
                if error.status_code not in _NOT_LISTED:
                    raise

    async def stream(
        self, messages: Messages, *, max_tokens: int | None = None
    ) -> AsyncGenerator[Piece, None]:
        """Yield the reply's text as it is written, without what is not for the user; then `Used`.

        So is the first call of a tool (`Calling`), where the server sends it in parts.

        Between the two comes `Incomplete` if the server cut the text off. Last come the tools that
        the model asks for, if the prompt brings any; their ids may be empty, or alike. They may
        have been written into the text.

        Close it (`contextlib.aclosing`) to make the server stop.

        Args:
            messages: The prompt, as the chat API takes it.
            max_tokens: Limit on the reply; None takes the prompt's, and no more than
                `llm.max_tokens`.

        Raises:
            CallLost: A call is written into the text that cannot be read, or was not offered.
            Unanswered: A limit or a filter cut it off before there was anything to say or to call.
            TooLong: The prompt is too long for the model's context.
            StageError: The server cannot be reached, refuses, is silent for too long, or ends the
                stream in the middle; what was yielded before stands.
        """
        if self.sees is False:
            messages = without_pictures(messages)
        if self._server.shows_tools == "template":
            await self.learn(messages)
        async with contextlib.aclosing(
            self._stream(self._ask(messages), messages, max_tokens)
        ) as s:
            async for piece in s:
                yield piece

    def _ask(self, messages: Messages) -> _Ask:
        """The request that offers the prompt's tools in the way that works."""
        choice = messages.choice if isinstance(messages, Prompt) else "auto"
        tools = tools_of(messages) if choice != "none" else []
        offered = {tool["function"]["name"]: tool["function"]["parameters"] for tool in tools}
        if isinstance(choice, Mapping) and (name := choice["function"]["name"]) in offered:
            offered = {name: offered[name]}
        demands = bool(tools) and choice != "auto"
        more: dict[str, Any] = {}
        if self._learnt.shows_tools is False:
            if demands:
                more |= {"response_format": call_format(offered), **self._exact}
            return _Ask(in_words(messages, tools), more, offered, demands)
        if tools:
            more["tools"] = tools
        if demands:
            more["tool_choice"] = choice
            # The embedded server takes the choice, and lets the model write what it likes.
            if self._server.shows_tools == "template":
                more |= {"response_format": call_format(offered), **self._exact}
        return _Ask(list(messages), more, offered, demands)

    async def _stream(
        self,
        ask: _Ask,
        messages: Messages,
        max_tokens: int | None,
        patience_s: float | None = None,
    ) -> AsyncGenerator[Piece, None]:
        """See `stream`.

        Args:
            ask: What is asked; where its tools are refused, it is made anew of the messages.
            messages: The prompt.
            max_tokens: Limit on the reply.
            patience_s: How long the first token may take (s); None: as the settings say.
        """
        visible = VisibleText(ask.offered, begins_inside=self._begins_inside)
        calls = ToolCalls()
        chunks = Chunks()
        used: Used | None = None
        end = text = ""
        came = said = told = False
        patience_s = patience_s or self._settings.timeout_s
        with self._explained(patience_s):
            if not self._model:
                self._model = await self._first_model()
            limit = max_tokens or self._limit(messages)
            response, ask = await self._open(ask, messages, limit, patience_s)
            async with (
                contextlib.aclosing(response),
                contextlib.aclosing(events(response)) as coming,
            ):
                while not end and (data := await self._next(coming, patience_s)):
                    with self._readable():
                        piece = chunks.read(data)
                    if piece.error:
                        error = openai.APIError("", response.request, body=piece.error)
                        raise self._too_long(error, messages) or error
                    came = came or not data.startswith(DONE)
                    end = piece.end
                    used = piece.used or used
                    text += piece.text
                    for part in piece.calls:
                        calls.push(part)
                    if piece.text.strip() or piece.calls:
                        patience_s = self._settings.timeout_s * NEXT_SHARE
                    for news in self._news(visible, visible.push(piece.text)):
                        said = isinstance(news, str) and (said or bool(news.strip()))
                        yield news
                    name, delta = calls.more()
                    if ask.offered and delta:
                        told = True
                        yield Calling(name, delta)
                    if visible.over:
                        break
                if end:
                    used = await self._cost(coming, chunks) or used
        for news in self._news(visible, visible.flush(whole=end != "length")):
            said = isinstance(news, str) and (said or bool(news.strip()))
            yield news
        if visible.over:
            end = "stop"
        native = [tool_call(use) for use in calls.uses]
        if not native:
            for index, call in enumerate(visible.calls):
                calls.push(CallPart(index, "", call.name, call.arguments))
        uses = calls.uses
        called = bool(uses) or visible.written
        label = self._server.label
        cut = cut_off(end, self._limit(messages), said=said, called=called)
        if cut and said and not called and end != FAILED:
            yield Incomplete(f"{label} {cut}", filtered=end == "content_filter")
        if used:
            if used.input_tokens:
                self.tokens.learn(messages, used.input_tokens)
            yield used
        if not came:
            kind = response.headers.get("content-type", "nothing")
            raise StageError(
                "llm",
                f"{label} answers with no reply ({kind}); "
                "check that it is an OpenAI-compatible API",
                fatal="event-stream" not in kind,
            )
        if not end:
            raise StageError("llm", f"{label} broke off in the middle of the reply")
        usable = bool(uses) and calls.whole if called else said
        if end == FAILED or (cut and not usable and max_tokens is None):
            if end in ("length", "content_filter"):
                raise Unanswered(f"{label} {cut}", "limit" if end == "length" else "filter")
            raise StageError("llm", f"{label} {cut}")
        if max_tokens is not None:
            return
        wrote = {"role": "assistant", "content": text.strip(), "tool_calls": native}
        again, good = self._again(ask, messages, wrote, uses, unreadable=visible.written)
        # Of a call that was told as it was written it is too late to make another.
        if again is not None and not told:
            found: list[ToolUse] = []
            answers = False
            # What goes wrong with that is nobody's concern: there is what came at first.
            with contextlib.suppress(StageError):
                async with contextlib.aclosing(self._stream(again, messages, None)) as pieces:
                    async for second in pieces:
                        if isinstance(second, ToolUse):
                            found += [] if complaint([second], ask.offered) else [second]
                        elif isinstance(second, Used) or not again.more.get("response_format"):
                            answers = answers or isinstance(second, str)
                            yield second
            if found or answers:
                uses = (*good, *found)
                if not uses:
                    return
        if visible.written and not (ask.offered and uses):
            names = ", ".join(use.name for use in uses)
            what = f"calls {names}, which is not on offer" if names else "wrote an unreadable call"
            raise CallLost("llm", f"the model of {label} {what}; ask again, or take another model")
        for use in uses if ask.offered else ():
            yield use

    @property
    def _exact(self) -> Mapping[str, Any]:
        """Lets a call repeat what was said: elsewhere the embedded server discourages that."""
        return {"repeat_penalty": 1.0} if self._server.shows_tools == "template" else {}

    def _again(
        self,
        ask: _Ask,
        messages: Messages,
        wrote: Mapping[str, Any],
        uses: Sequence[ToolUse],
        *,
        unreadable: bool,
    ) -> tuple[_Ask | None, Sequence[ToolUse]]:
        """What to ask once more, where calls cannot be right; and those that are.

        Args:
            ask: What was asked.
            messages: The prompt.
            wrote: All that the model wrote, as a message.
            uses: The calls.
            unreadable: Whether there is one that is none of these.
        """
        if ask.again or not ask.offered:
            return None, uses
        good = [use for use in uses if not complaint([use], ask.offered)]
        done = answered(messages) if self._server.shows_tools == "template" else ()
        more: Mapping[str, Any] = ask.more
        offered = ask.offered
        if uses and all((use.name, use.arguments) in done for use in uses):
            # Small models call on and on, with the result before them; larger ones may have a
            # reason.
            problem, good, more, offered = ANSWER, [], {}, {}
        elif ask.demands and not uses:
            problem = "A tool has to be called."
        elif unreadable and not uses:
            problem = "That call cannot be read."
        else:
            problem = complaint(uses, ask.offered)
        if not problem:
            return None, uses
        unknown = any(use.name not in ask.offered for use in uses)
        if offered and (ask.demands or not unknown):
            # It has chosen to call: then in this form, and no other.
            meant = {use.name for use in uses if use not in good} & offered.keys()
            format = call_format(
                {name: offered[name] for name in offered if name in meant or not meant}
            )
            more = {**ask.more, "response_format": format, **self._exact}
        log.debug("the model is asked again: %s", problem)
        said = in_words([*ask.messages, wrote], ())
        return replace(
            ask,
            messages=[*said, {"role": "user", "content": problem}],
            more=more,
            offered=offered,
            again=True,
        ), good

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    def _limit(self, messages: Messages) -> int:
        """How many tokens the reply to these messages may have."""
        asked = messages.limit if isinstance(messages, Prompt) else None
        return min(asked or self._settings.max_tokens, self._settings.max_tokens)

    def _news(self, visible: VisibleText, text: str) -> Iterator[str | Unsaid]:
        """What is new in a reply, and whether that makes a thought of all before."""
        learnt = visible.begins_inside and not self._begins_inside
        self._begins_inside = visible.begins_inside
        if learnt:
            yield Unsaid()
        if text:
            yield text

    async def _first_model(self) -> str:
        """The first model that the server lists."""
        label, remedy = self._server.label, self._server.name_remedy
        listed: object = None
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                listed = await self._client.get("/models", cast_to=object)
        except (openai.NotFoundError, ValueError):
            pass
        match listed:
            case {"data": [{"id": str(name)}, *_]} if name:
                return name
            case {"data": [] | None}:
                raise StageError(
                    "llm", f"{label} lists no model; load one there, or {remedy}", fatal=True
                )
        raise StageError(
            "llm",
            f"{label} does not list its models; {remedy}, and check that the URL is an "
            "OpenAI-compatible API",
            fatal=True,
        )

    async def _open(
        self, ask: _Ask, messages: Messages, max_tokens: int, patience_s: float
    ) -> tuple[httpx2.Response, _Ask]:
        """Send the request; again without what the server refuses.

        What comes is read here: the client fails at events without data, and at the end does not
        tell whether the server said so or was cut off.

        Where tools are refused, the prompt says them from now on. Pictures are left out for good of
        what goes to a model that does not see.

        Returns:
            The answer, and what was asked in the end.
        """
        attempt = _Attempt(ask, self._optional, shows=bool(pictures(messages)))
        # A server may close a kept connection in the very moment of its reuse.
        may_be_stale = self._answered
        async with asyncio.timeout(patience_s):
            while True:
                try:
                    body = self._body(attempt, max_tokens)
                    response = await posted(self._client, "/chat/completions", body)
                except openai.APIStatusError as error:
                    attempt = self._with_less(attempt, error)
                except openai.APITimeoutError:
                    raise
                except openai.APIConnectionError:
                    if not may_be_stale:
                        raise
                    may_be_stale = False
                else:
                    self._keep(attempt, messages)
                    return response, attempt.ask

    def _body(self, attempt: _Attempt, max_tokens: int) -> dict[str, Any]:
        """What is sent."""
        messages = attempt.ask.messages
        return {
            "model": self._model,
            "messages": list(messages if attempt.shows else without_pictures(messages)),
            "stream": True,
            self._server.limit: max_tokens,
            **attempt.optional,
            **attempt.ask.more,
        }

    def _with_less(self, attempt: _Attempt, error: openai.APIStatusError) -> _Attempt:
        """The request without what the server refuses, or may refuse: one thing less each time.

        Pictures or tools that it names go first; else what only helps, then pictures, then tools,
        which are said in words, and at last the demand for a call.

        Raises:
            TooLong: That is not the reason: the prompt is too long.
            openai.APIStatusError: Nor is it what can be left out, or nothing is left.
        """
        ask, words = attempt.ask, message_of(error)
        if attempt.shows and refuses_pictures(words):
            self._sight["sees"] = False
            return replace(attempt, shows=False)
        if (too_much := self._too_long(error, ask.messages)) is not None:
            raise too_much from None
        if "tools" not in ask.more or not _names_tools(error, ask.messages):
            if error.status_code not in _BAD_REQUEST:
                raise error
            if attempt.optional:
                return replace(attempt, optional=_without_refused(attempt.optional, str(error)))
            if attempt.shows and may_mean_pictures(words):
                return replace(attempt, shows=False)
        if "tools" in ask.more:
            more = {"response_format": call_format(ask.offered)} if ask.demands else {}
            told = in_words(ask.messages, ask.more["tools"])
            return replace(attempt, ask=replace(ask, messages=told, more=more), refused=error)
        if ask.more:
            return replace(attempt, ask=replace(ask, more={}))
        raise (attempt.refused or error) from None

    def _keep(self, attempt: _Attempt, messages: Messages) -> None:
        """Ask like that from now on: it worked. Before, the request may be bad for any reason."""
        if not attempt.shows and pictures(messages):
            self._sight["sees"] = False
        if (refused := attempt.refused) is not None and not attempt.ask.again:
            self._learnt.shows_tools = False
            log.warning(
                "%s refuses the tools (%d: %s); the prompt says them instead",
                self._server.label,
                refused.status_code,
                message_of(refused),
            )
        self._optional = attempt.optional
        self._answered = True

    def _too_long(self, error: openai.APIError, messages: Messages) -> TooLong | None:
        """What an error says if it is that the prompt is too long, which is remembered."""
        found = too_long(error, self._server.label)
        if found is not None:
            self.tokens.refused(
                messages,
                context=found.context,
                counted=found.counted,
                reply=self._limit(messages),
            )
        return found

    async def _next(self, events: AsyncGenerator[str, None], limit_s: float) -> str:
        """The data of the stream's next event, within this time; empty at its end."""
        label = self._server.label
        return await following(events, "", limit_s, "llm", label, "the reply")

    async def _cost(self, events: AsyncGenerator[str, None], chunks: Chunks) -> Used | None:
        """What a reply cost that is over, if that is told: nothing else that comes is wanted."""
        used = None
        with contextlib.suppress(StageError, TimeoutError):
            async with asyncio.timeout(REST_S):
                while data := await self._next(events, REST_S):
                    with self._readable():
                        used = chunks.read(data).used or used
        return used

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        """Say so where the server sends bad JSON, bad UTF-8, or JSON of another shape."""
        try:
            yield
        except ValueError:
            raise StageError(
                "llm",
                f"{self._server.label} sends what is no chat stream; "
                "check that it is an OpenAI-compatible API",
            ) from None

    @contextlib.contextmanager
    def _explained(self, answer_s: float) -> Iterator[None]:
        """Turn the client's errors into words; it had so long to answer."""
        with explained(
            "llm",
            self._server,
            self._model,
            connect_s=self._connect_timeout_s,
            answer_s=answer_s,
            slow="it may still be loading, or raise llm.timeout_s",
        ):
            yield


_THINKERS = re.compile(r"(?<![a-z\d])r1(?!\d)|qwq|qvq|think|reason|minimax-m", re.I)
"""Names of models that think first and cannot be told not to (DeepSeek-R1, QwQ, Qwen3-Thinking,
MiniMax-M2): the chat templates of most open the thought for them. Ollama, which is asked by
`reasoning_effort`, tells thoughts apart itself."""

log = logging.getLogger(__name__)

_NOT_LISTED = (400, 404, 405, 501)
"""What a server answers that does not list its models."""

_BAD_REQUEST = (400, 422)


def _names_tools(error: openai.APIStatusError, messages: Messages) -> bool:
    """Whether a refusal is about the tools, and not about what came of them.

    Ollama answers 400 ("… does not support tools"), vLLM 400 ("tool choice requires …"), llama.cpp
    without its templates 500 ("tools param requires …"), OpenRouter 404 ("no endpoints … support
    tool use").
    """
    if any(message["role"] == "tool" for message in messages):
        return False
    text = message_of(error)
    if not re.search(r"\b(tools?|tool_choice|functions?|function.calling)\b", text, re.I):
        return False
    return error.status_code in _BAD_REQUEST or bool(re.search("support|require", text, re.I))


def _without_refused(parameters: Mapping[str, Any], refusal: str) -> dict[str, Any]:
    """The parameters without those that a refusal names; without any if it names none of them."""
    kept = {name: value for name, value in parameters.items() if name not in refusal}
    return kept if len(kept) < len(parameters) else {}
