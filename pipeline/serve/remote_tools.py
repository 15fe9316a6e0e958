"""The MCP servers of one Realtime conversation: admitted, listed, called, approved by the client.

A call is an item of the response in which the model asks for it; that response ends, and the call
goes on beside the conversation. What comes of it is told in its item. Then the client asks for the
next response; where it named no server, the operator's are on offer to it all the same, and the
server asks.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from pipeline.config import McpSettings, Settings
from pipeline.engines.tools import Tool
from pipeline.serve.items import KeptItem
from pipeline.serve.link import MOST_SENT
from pipeline.serve.protocol import ServerSide
from pipeline.serve.refused import invalid
from pipeline.serve.responses import RealtimeResponse
from pipeline.serve.session_object import MCP_SECRETS, JsonObject
from pipeline.tools.mcp import (
    LOST,
    McpFailed,
    McpServer,
    McpTool,
    as_tool,
    in_time,
    named,
    needs_approval,
)

log = logging.getLogger(__name__)

GOES_ON_S = 0.2
"""So long a client may take to ask for the response that tells a result (s), before the server
does: those that know MCP ask at once."""

MOST_OPEN = 32
"""Calls of a conversation under way at the same time."""

NOT_ALLOWED = (
    "is of no MCP server that this server may connect to: its operator lists them, "
    "as [mcp.NAME] or in serve.mcp_urls"
)

_NOTHING: JsonObject = {}
"""What a client says of a server that the operator offers."""

Place = tuple[str, str]
"""A tool: the label of its server, and that server's name of it."""


@dataclass(slots=True, eq=False)
class _Named:
    """A server as a conversation has it.

    Attributes:
        server: It.
        wanted: What the client says of it; empty where the operator offers it.
        own: Whether it is connected to for this conversation alone.
        listing: The work of listing its tools.
        is_listed: Whether its tools are known to the client.
    """

    server: McpServer
    wanted: JsonObject
    own: bool
    listing: asyncio.Task[None] | None = None
    is_listed: bool = False
    again: Callable[[], None] | None = None

    def allowed(self, wanted: JsonObject) -> list[McpTool]:
        """Its tools that a client wants to be called."""
        allowed = wanted.get("allowed_tools")
        return [each for each in self.server.tools if allowed is None or _matches(each, allowed)]


@dataclass(slots=True, eq=False)
class _Call:
    """A call under way.

    Attributes:
        item: It, for the client.
        place: Where its item stands in the response.
        server: Is asked.
        tool: What of it.
        asks: Whether the client has to approve.
        goes_on: Whether the server asks for the next response.
    """

    item: KeptItem
    place: int
    server: McpServer
    tool: McpTool
    asks: bool
    goes_on: bool


@dataclass(slots=True)
class _Answer:
    """What the client says to a call that it has to approve."""

    approve: bool = False
    reason: str = ""
    given: asyncio.Event = field(default_factory=asyncio.Event)


class RemoteTools:
    """The MCP servers of one conversation.

    Args:
        side: The protocol's side of the conversation.
        settings: Of the server.
        configured: The operator's servers, by their labels; shared by all conversations.
        changed: Is told that the tools on offer are others.
        respond: Asks for a response that tells what came of calls.
    """

    def __init__(
        self,
        side: ServerSide,
        settings: Settings,
        configured: Mapping[str, McpServer],
        changed: Callable[[], None],
        respond: Callable[[], None],
    ) -> None:
        self._side = side
        self._allowed = settings.serve.mcp_urls
        self._configured = configured
        self._changed = changed
        self._respond = respond
        self._secrets: dict[Place, JsonObject] = {}
        self._named: dict[str, _Named] = {}
        self._open: list[_Call] = []
        self._asked: dict[str, _Answer] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """End all calls and listings, and the connections of this conversation's own."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        for each in self._named.values():
            self._forget(each)
        await asyncio.gather(*self._running, return_exceptions=True)

    # --- which there are ---

    def admit(self, tool: JsonObject, param: str) -> JsonObject:
        """See that a server may be connected to; gives what is told of it, without secrets.

        A server is one of the operator's, by its label alone or its URL, or one whose URL the
        operator allows. What a client has said of a label before need not be said again.

        Raises:
            RequestRefused: It may not; `param` is where it stands.
        """
        for name in ("connector_id", "tunnel_id"):
            if name in tool:
                raise invalid(f"{param}.{name}", "is OpenAI's own: give server_url")
        label = tool["server_label"]
        known = self._named.get(label)
        if "server_url" not in tool and known is not None and "server_url" in known.wanted:
            tool = tool | {"server_url": known.wanted["server_url"]}
        url = tool.get("server_url")
        secrets = {name: tool[name] for name in MCP_SECRETS if tool.get(name)}
        if url is None:
            if label not in self._configured:
                raise invalid(f"{param}.server_label", NOT_ALLOWED)
            if secrets:
                raise invalid(f"{param}.server_label", "needs server_url where it has secrets")
        elif self._of(url) is None and not any(allows(each, url) for each in self._allowed):
            raise invalid(f"{param}.server_url", NOT_ALLOWED)
        elif "${" in json.dumps(secrets):
            # Which are variables of this process in the operator's own settings.
            raise invalid(f"{param}.headers", "may not hold '${'")
        elif secrets:
            self._secrets[label, url] = secrets
        return {name: value for name, value in tool.items() if name not in MCP_SECRETS}

    def use(self, tools: list[JsonObject]) -> None:
        """Have these servers, and list the tools of those that are new; forget all others."""
        wanted = {tool["server_label"]: tool for tool in tools if tool["type"] == "mcp"}
        for label, each in tuple(self._named.items()):
            if label not in wanted and each.wanted:
                self._forget(self._named.pop(label))
        for tool in wanted.values():
            self._want(tool)
        for label, server in self._configured.items():
            if server.settings.offered and label not in self._named:
                self._begin(label, _Named(server, {}, own=False))

    def use_for_one(self, tools: list[JsonObject]) -> None:
        """Have these servers too, for a response that names them."""
        for tool in tools:
            if tool["type"] == "mcp":
                self._want(tool)

    def _want(self, tool: JsonObject) -> None:
        label = tool["server_label"]
        own = self._settings_of(tool)
        server = McpServer(label, own) if own is not None else self._shared(tool)
        before = self._named.get(label)
        if before is not None and before.server.settings == server.settings:
            before.wanted = tool
            if before.again and before.listing and before.listing.done() and not before.is_listed:
                before.again()  # it failed
            return
        if before is not None:
            self._forget(before)
        self._begin(label, _Named(server, tool, own is not None))

    def _shared(self, tool: JsonObject) -> McpServer:
        """The operator's server that a client names."""
        url = tool.get("server_url")
        found = self._configured.get(tool["server_label"]) if url is None else self._of(url)
        assert found is not None, "admitted"
        return found

    def _settings_of(self, tool: JsonObject) -> McpSettings | None:
        """How a server is connected to for this conversation alone; None: it is the operator's."""
        url = tool.get("server_url")
        secrets = self._secrets.get((tool["server_label"], url or ""), {})
        known = None if url is None else self._of(url)
        if url is None or (known is not None and not secrets):
            return None
        headers = dict(secrets.get("headers") or {})
        if token := secrets.get("authorization"):
            headers["Authorization"] = token if " " in token else f"Bearer {token}"
        allowed = [] if known is None else known.settings.allowed
        return McpSettings(url=url, headers=headers, allowed=allowed)

    def _of(self, url: str) -> McpServer | None:
        """The operator's server of that URL."""
        return next((s for s in self._configured.values() if s.settings.url == url), None)

    def _begin(self, label: str, each: _Named) -> None:
        self._named[label] = each
        each.again = lambda: self._list(label, each)
        each.server.changed.add(each.again)
        each.again()

    def _forget(self, each: _Named) -> None:
        assert each.again is not None
        each.server.changed.discard(each.again)
        if each.listing is not None:
            each.listing.cancel()
        if each.own:
            self._start(each.server.__aexit__(None, None, None))

    def _list(self, label: str, each: _Named) -> None:
        """List the tools of a server, and tell the client how that goes."""
        about = {"id": self._side.items.new_id(), "object": "realtime.item", "status": "completed"}
        item = KeptItem({**about, "type": "mcp_list_tools", "server_label": label, "tools": []})
        self._side.items.begin(item)
        self._side.author.tell("mcp_list_tools.in_progress", item_id=item.id)

        async def work() -> None:
            try:
                await each.server.connect()
                told = [_told(tool) for tool in each.allowed(each.wanted)]
                if len(json.dumps(told)) > MOST_SENT:
                    raise McpFailed("it lists more than goes into a message", "protocol_error")
            except McpFailed as failed:
                # Why is for the log alone, for it may name what is inside the network; and what a
                # client names is not logged as a rule.
                log.log(logging.DEBUG if each.own else logging.WARNING, "%s", failed)
                self._side.author.tell("mcp_list_tools.failed", item_id=item.id)
                return
            item.about["tools"] = told
            self._side.items.finish(item)
            self._side.author.tell("mcp_list_tools.completed", item_id=item.id)
            each.is_listed = True
            self._changed()

        each.listing = self._start(work())

    # --- what the model is offered ---

    def places_for(self, asked: JsonObject) -> dict[str, Place]:
        """The tools that a model may call under these settings, by the names that it is told."""
        own = {tool["name"] for tool in asked["tools"] if tool["type"] == "function"}
        return named(
            ((label, tool.name) for label, tools in self._on_offer(asked) for tool in tools), own
        )

    def tools_for(self, asked: JsonObject) -> list[Tool]:
        """The tools that a model may call under these settings."""
        found = {
            (label, tool.name): tool for label, tools in self._on_offer(asked) for tool in tools
        }
        return [
            as_tool(name, self._named[place[0]].server.settings, found[place], approved=True)
            for name, place in self.places_for(asked).items()
        ]

    def _on_offer(self, asked: JsonObject) -> list[tuple[str, list[McpTool]]]:
        """The servers and their tools; a response beside the conversation has none."""
        if not asked.get("in_band", True):
            return []
        wanted = {tool["server_label"]: tool for tool in asked["tools"] if tool["type"] == "mcp"}
        offered = dict.fromkeys((k for k, each in self._named.items() if not each.wanted), _NOTHING)
        return [
            (label, self._named[label].allowed(tool))
            for label, tool in (offered | wanted).items()
            if label in self._named and self._named[label].is_listed
        ]

    # --- what it calls ---

    def call(self, response: RealtimeResponse, name: str, arguments: str) -> bool:
        """Call a tool, if it is one; the response's item of it is whole then."""
        place = self.places_for(response.settings).get(name) if response.in_band else None
        if place is None:
            return False
        label, tool_name = place
        each = self._named[label]
        tool = next(tool for tool in each.server.tools if tool.name == tool_name)
        tools = response.settings["tools"]
        wanted = next((each for each in tools if each.get("server_label") == label), _NOTHING)
        item, at = response.remote_call(label, tool_name, arguments)
        call = _Call(item, at, each.server, tool, _asks(each, wanted, tool), not each.wanted)
        self._open.append(call)
        self._start(self._see_through(call))
        return True

    def waits_for(self, approval_request_id: str) -> bool:
        """Whether that is a call that the client has still to approve."""
        answer = self._asked.get(approval_request_id)
        return answer is not None and not answer.given.is_set()

    def decide(self, item: KeptItem) -> None:
        """The client approves a call, or does not."""
        answer = self._asked[item.about["approval_request_id"]]
        answer.approve, answer.reason = item.about["approve"], item.about.get("reason") or ""
        answer.given.set()

    async def _see_through(self, call: _Call) -> None:
        """Run a call, and tell what comes of it."""
        item = call.item
        try:
            if call.asks:
                await self._approved(call)
            self._tell(call, "in_progress")
            if len(self._open) > MOST_OPEN:
                raise McpFailed(f"More than {MOST_OPEN} calls are under way.")
            given = json.loads(item.about["arguments"])
            item.about["output"] = await in_time(call.server, call.tool.name, given)
        except McpFailed as failed:
            item.about["error"] = _error(failed)
        self._open.remove(call)
        item.about["status"] = "completed"
        kept = self._side.items.kept
        if item in kept:
            if kept[-1] is not item:
                item.late_after = kept[-1]
            self._tell(call, "completed" if item.about["error"] is None else "failed")
            self._side.items.finish(item)
            self._changed()
        if call.goes_on and not any(each.goes_on for each in self._open):
            await asyncio.sleep(GOES_ON_S)
            self._respond()

    async def _approved(self, call: _Call) -> None:
        """Wait until the client approves.

        Raises:
            McpFailed: It does not.
        """
        about = call.item.about
        asked = {name: about[name] for name in ("server_label", "name", "arguments")}
        request = self._side.items.new_id()
        answer = self._asked[request] = _Answer()
        kept = {"id": request, "object": "realtime.item", "status": "completed"}
        item = KeptItem({**kept, "type": "mcp_approval_request", **asked})
        about["approval_request_id"] = request
        self._side.items.begin(item)
        self._side.items.finish(item)
        await answer.given.wait()
        if not answer.approve:
            why = f": {answer.reason}" if answer.reason else "."
            raise McpFailed(f"The user does not allow this call{why}")

    def _tell(self, call: _Call, what: str) -> None:
        where = {"item_id": call.item.id, "output_index": call.place}
        self._side.author.tell(f"response.mcp_call.{what}", **where)

    def _start(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task


def allows(pattern: str, url: str) -> bool:
    """Whether an operator's allow-list allows a URL: the same one, or one below it. Pure.

    Args:
        pattern: A URL; one that ends in `/` allows all below it.
        url: The client's.
    """
    if re.search(r"[\0- \x7f]", url):  # which some leave out
        return False
    try:
        asked, own = urlsplit(url), urlsplit(pattern)
        if (asked.scheme, asked.hostname, asked.port) != (own.scheme, own.hostname, own.port):
            return False
        if own.scheme not in ("http", "https"):
            return False
    except ValueError:  # a port or an address that is none
        return False
    # What servers read otherwise than we do: another user, a step up, a slash that is none.
    path = unquote(asked.path)
    if asked.username is not None or asked.fragment or re.search(r"\\|//|/\.{1,2}(/|$)|%", path):
        return False
    if own.path.endswith("/"):
        return asked.path.startswith(own.path)
    return (asked.path, asked.query) == (own.path, own.query)


def _matches(tool: McpTool, wanted: list[str] | JsonObject) -> bool:
    """Whether a tool is one of those that a list or a filter names."""
    if isinstance(wanted, list):
        return tool.name in wanted
    names, read_only = wanted.get("tool_names"), wanted.get("read_only")
    is_read_only = bool(tool.annotations.get("readOnlyHint"))
    return (names is None or tool.name in names) and (
        read_only is None or is_read_only == read_only
    )


def _asks(each: _Named, wanted: JsonObject, tool: McpTool) -> bool:
    """Whether the client has to approve a call; unless it says something, as the operator does."""
    match wanted.get("require_approval"):
        case None if not each.own:
            return needs_approval(each.server.settings, tool)
        case "never":
            return False
        case {"never": dict(never)} if _matches(tool, never):
            return False
        case {"always": dict(always)} if not _matches(tool, always):
            return False
    return True


def _told(tool: McpTool) -> JsonObject:
    """A tool as the client is told of it: JavaScript's takes no null for a description."""
    about: JsonObject = {"name": tool.name, "description": tool.description}
    about["input_schema"] = dict(tool.parameters)
    return about | ({"annotations": dict(tool.annotations)} if tool.annotations else {})


def _error(failed: McpFailed) -> JsonObject:
    """Why a call has no output, as the protocol says it."""
    about: JsonObject = {"type": failed.by, "message": str(failed)}
    return about if failed.by == "tool_execution_error" else about | {"code": failed.code or LOST}
