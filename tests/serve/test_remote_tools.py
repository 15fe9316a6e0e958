"""MCP servers in Realtime sessions: real servers, OpenAI's client, and the strict grammar."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import AsyncOpenAI, BadRequestError
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from support.mcp_servers import (
    AWKWARD,
    CLIENTS,
    NODE,
    awkward,
    free_port,
    needs_everything,
    running,
)
from support.scripted import Engines, Model
from support.served import served

from pipeline.clock import Clock
from pipeline.config import McpSettings, ServeSettings, Settings
from pipeline.conversation.history import RUNNING
from pipeline.engines.tools import tools_of
from pipeline.serve.link import Link, Opening
from pipeline.serve.protocol import ServerSide
from pipeline.serve.realtime import RealtimeConversation
from pipeline.serve.remote_tools import allows
from pipeline.serve.session_object import JsonObject
from pipeline.tools.mcp import closing, servers_of

ADD = 'CALL:add:{"a":2,"b":3}'
DELETE = 'CALL:delete_file:{"path":"a"}'
STDIO = McpSettings(command=AWKWARD[0], args=[*AWKWARD[1:], "stdio"], approval="never")


class Session:
    """A session of OpenAI's client, and what it received."""

    def __init__(self, connection: AsyncRealtimeConnection, model: Model, url: str) -> None:
        self.connection = connection
        self.url = url
        self.model = model
        self.events: list[Any] = []

    async def update(self, *tools: dict[str, Any], **more: Any) -> None:
        session = {"type": "realtime", "output_modalities": ["text"], "tools": [*tools], **more}
        await self.connection.session.update(session=session)  # type: ignore[arg-type]

    async def say(self, text: str) -> None:
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content}
        await self.connection.conversation.item.create(item=item)  # type: ignore[arg-type]
        await self.connection.response.create()

    async def until(self, kind: str, number: int = 1) -> Any:
        """Read until there are so many events of a kind; gives the last."""
        async with asyncio.timeout(30):
            while len(found := [e for e in self.events if e.type == kind]) < number:
                event = await self.connection.recv()
                self.events.append(event)
                if event.type == "error" and kind != "error":
                    raise AssertionError(event.error)
        return found[-1]

    async def until_item(self, kind: str) -> Any:
        """Read until an item of a kind is done; gives it."""
        count = 0
        while True:
            count += 1
            event = await self.until("conversation.item.done", count)
            if event.item.type == kind:
                return event.item

    async def refusal(self) -> Any:
        return (await self.until("error")).error

    def kinds(self, *, since: str = "session.updated") -> list[str]:
        """The kinds of events since the first of that kind, without deltas."""
        kinds = [event.type for event in self.events]
        return [k for k in kinds[kinds.index(since) + 1 :] if not k.endswith(".delta")]

    def told(self, prompt: int = -1) -> list[str]:
        """What the model was told of tools, in one of its prompts."""
        messages = self.model.prompts[prompt]
        return [str(m["content"]) for m in messages if m["role"] == "tool"]

    def offered(self, prompt: int = -1) -> list[str]:
        return [tool["function"]["name"] for tool in tools_of(self.model.prompts[prompt])]


Open = Callable[..., Any]


@pytest.fixture
def opened() -> Open:
    """Opens sessions with a model that writes scripts; all that is told keeps to the grammar."""

    @asynccontextmanager
    async def open_session(
        *scripts: str, settings: Settings | None = None
    ) -> AsyncIterator[Session]:
        settings = settings or Settings()
        model = Model(list(scripts))
        servers = servers_of(settings)

        async def talk(link: Link, opening: Opening) -> None:
            engines = Engines([], model)
            held = RealtimeConversation(engines, settings, Clock(), link, opening, mcp=servers)
            await held.run()

        async with closing(servers), served(talk) as server:
            url = f"{server.http}/v1"
            client = AsyncOpenAI(base_url=url, api_key="none")
            async with client.realtime.connect(model="cascade") as connection:
                yield Session(connection, model, server.url)

    return open_session


def mcp(url: str | None = None, label: str = "own", **more: Any) -> dict[str, Any]:
    place = {} if url is None else {"server_url": url}
    return {"type": "mcp", "server_label": label, **place, "require_approval": "never", **more}


def allowing(*urls: str, **servers: McpSettings) -> Settings:
    return Settings(serve=ServeSettings(mcp_urls=list(urls)), mcp=servers)


LISTED = [
    "conversation.item.added",
    "mcp_list_tools.in_progress",
    "conversation.item.done",
    "mcp_list_tools.completed",
]
SAID = ["conversation.item.added", "conversation.item.done"]
CALLED = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.mcp_call_arguments.done",
    "response.output_item.done",
    "response.done",
    "rate_limits.updated",
]
RAN = ["response.mcp_call.in_progress", "response.mcp_call.completed", "conversation.item.done"]


async def test_tools_are_listed_called_and_told(opened: Open) -> None:
    """As OpenAI's own clients have it: the client asks for the response that tells the result."""
    with awkward() as url:
        async with opened(ADD, "It is five.", settings=allowing(url)) as session:
            await session.update(mcp(url, allowed_tools=["add", "wait"]))
            listed = await session.until_item("mcp_list_tools")
            assert listed.server_label == "own"
            assert [tool.name for tool in listed.tools] == ["add", "wait"]
            assert listed.tools[0].description == "Add two numbers."
            assert listed.tools[0].annotations == {"readOnlyHint": True}
            assert set(listed.tools[0].input_schema["properties"]) == {"a", "b"}
            await session.until("mcp_list_tools.completed")
            await session.say("How much is two and three?")
            call = await session.until_item("mcp_call")
            assert (call.name, call.server_label, call.output) == ("add", "own", "5")
            assert json.loads(call.arguments) == {"a": 2, "b": 3}
            assert session.kinds() == [*LISTED, *SAID, *CALLED, *RAN]
            done = await session.until("response.done")
            assert [(i.type, i.id) for i in done.response.output] == [("mcp_call", call.id)]
            assert session.offered() == ["add", "wait"]
            await session.connection.response.create()
            done = await session.until("response.done", 2)
            assert done.response.output[0].content[0].text == "It is five. "
            assert session.told() == ["5"]


async def test_the_client_approves_a_call(opened: Open, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("")
    with awkward(AWKWARD_LOG=str(log)) as url:
        scripts = [DELETE, "It is gone.", DELETE, "It stays."]
        async with opened(*scripts, settings=allowing(url)) as session:
            asks = {"always": {"tool_names": ["delete.file"]}}
            await session.update(mcp(url, require_approval=asks))
            await session.until("mcp_list_tools.completed")
            for number, approve in enumerate((True, False), 1):
                await session.say("Delete the file a.")
                await session.until("response.done", 2 * number - 1)
                asked = await session.until_item("mcp_approval_request")
                assert (asked.name, asked.server_label) == ("delete.file", "own")
                assert json.loads(asked.arguments) == {"path": "a"}
                await asyncio.sleep(0.2)
                assert log.read_text().count("delete a") == number - 1
                answer = {"type": "mcp_approval_response", "approval_request_id": asked.id}
                answer |= {"approve": approve} | ({} if approve else {"reason": "Not now."})
                await session.connection.conversation.item.create(item=answer)  # type: ignore[arg-type]
                call = await session.until_item("mcp_call")
                assert call.approval_request_id == asked.id
                assert (call.output, call.error is None) == (
                    ("a is deleted", True) if approve else (None, False)
                )
                await session.connection.response.create()
                await session.until("response.done", 2 * number)
                session.events = [e for e in session.events if e.type == "response.done"]
            assert session.told() == [
                "a is deleted",
                "Error: The user does not allow this call: Not now.",
            ]
            assert log.read_text().splitlines() == ["delete a"]
            again = {"type": "mcp_approval_response", "approval_request_id": asked.id}
            again |= {"approve": True}
            await session.connection.conversation.item.create(item=again)  # type: ignore[arg-type]
            assert (await session.refusal()).param == "item.approval_request_id"


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("CALL:raises:{}", ("tool_execution_error", None, "raises")),
        ("CALL:add:{}", ("tool_execution_error", None, "add")),
        ("CALL:die:{}", ("protocol_error", -32000, "own went away while it ran die")),
        ('CALL:wait:{"seconds":60}', ("tool_execution_error", None, "no result in 1 s")),
    ],
)
async def test_a_call_that_fails_says_why(
    script: str, error: tuple[str, int | None, str], opened: Open
) -> None:
    settings = allowing(own=STDIO.model_copy(update={"timeout_s": 1}))
    async with opened(script, "Sorry.", ADD, "Five.", settings=settings) as session:
        await session.update(mcp())
        await session.until("mcp_list_tools.completed")
        await session.say("Go on.")
        call = await session.until_item("mcp_call")
        assert session.kinds()[-3:] == [
            "response.mcp_call.in_progress",
            "response.mcp_call.failed",
            "conversation.item.done",
        ]
        kind, code, said = error
        assert (call.error.type, getattr(call.error, "code", None)) == (kind, code)
        assert said in call.error.message
        await session.connection.response.create()
        await session.until("response.done", 2)
        assert session.told()[0].startswith("Error: ")
        # The server is there for the next call, whatever became of it.
        await session.say("How much is two and three?")
        await session.until("response.mcp_call.completed")


async def test_the_conversation_goes_on_while_a_tool_runs(opened: Open) -> None:
    with awkward() as url:
        scripts = ['CALL:wait:{"seconds":1}', "Hello.", "It is done."]
        async with opened(*scripts, settings=allowing(url)) as session:
            await session.update(mcp(url))
            await session.until("mcp_list_tools.completed")
            await session.say("Wait.")
            await session.until("response.done")
            await session.say("Hello?")
            await session.until("response.done", 2)
            assert session.told() == [RUNNING]
            await session.until("response.mcp_call.completed")
            await session.connection.response.create()
            await session.until("response.done", 3)
            # It stands where it came, or the model would not know that it is new.
            told = [(m["role"], m["content"]) for m in session.model.prompts[-1]]
            assert told[-3:] == [
                ("user", "Wait. Hello?"),
                ("assistant", "Hello."),
                ("tool", "done waiting"),
            ]


async def test_what_the_operator_offers_everybody_has_and_is_told_of(opened: Open) -> None:
    """A client that knows nothing of MCP: the server asks for the response itself."""
    settings = allowing(own=STDIO.model_copy(update={"offered": True}))
    async with opened(f"{ADD} {DELETE}", "It is five.", settings=settings) as session:
        await session.until("mcp_list_tools.completed")
        await session.update()
        await session.say("How much is two and three?")
        done = await session.until("response.done", 2)
        assert done.response.output[0].content[0].text == "It is five. "
        assert sorted(session.told()) == ["5", "a is deleted"]
        assert len(session.model.prompts) == 2


async def test_names_that_clash_and_a_choice_of_one(opened: Open) -> None:
    own = {"type": "function", "name": "add", "parameters": {"type": "object", "properties": {}}}
    settings = allowing(a=STDIO, b=STDIO.model_copy(update={"allowed": ["add"]}))
    async with opened("Yes.", "Yes.", "Yes.", settings=settings) as session:
        await session.update(own, mcp(label="a", allowed_tools={"read_only": True}), mcp(label="b"))
        await session.until("mcp_list_tools.completed", 2)
        await session.say("Add.")
        await session.until("response.done")
        assert session.offered() == ["add", "a_add", "b_add"]
        choice = {"type": "mcp", "server_label": "b"}
        await session.connection.response.create(response={"tool_choice": choice})  # type: ignore[typeddict-item]
        await session.until("response.done", 2)
        assert (session.offered(), session.model.prompts[-1].choice) == (["b_add"], "required")  # type: ignore[attr-defined]
        aside = {"conversation": "none", "input": [], "instructions": "Sum up."}
        await session.connection.response.create(response=aside)  # type: ignore[arg-type]
        await session.until("response.done", 3)
        assert session.offered() == ["add"]  # what it called would be told nowhere
        choice["server_label"] = "c"
        await session.connection.response.create(response={"tool_choice": choice})  # type: ignore[typeddict-item]
        assert (await session.refusal()).param == "response.tool_choice.server_label"


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        (mcp("http://169.254.169.254/latest/meta-data"), "server_url"),
        (mcp("http://127.0.0.1:1/mcp/../admin"), "server_url"),
        (mcp("http://127.0.0.1:1/mcpx"), "server_url"),
        (mcp("http://127.0.0.1:1/mcp", authorization="a${HOME}"), "headers"),
        (mcp(label="other"), "server_label"),
        (mcp(label="own", headers={"a": "b"}), "server_label"),
        (mcp(connector_id="connector_gmail"), "connector_id"),
        (mcp(label="no such label"), "server_label"),
    ],
)
async def test_only_what_the_operator_allows_is_connected_to(
    tool: dict[str, Any], param: str, opened: Open
) -> None:
    async with opened(settings=allowing("http://127.0.0.1:1/mcp", own=STDIO)) as session:
        await session.update(tool)
        refused = await session.refusal()
        assert refused.param.endswith(f"tools[0].{param}"), refused
        assert "HOME" not in refused.message


async def test_secrets_are_told_to_the_mcp_server_alone(opened: Open) -> None:
    with awkward(MCP_TOKEN="hush") as url:
        async with opened(ADD, settings=allowing(url)) as session:
            await session.update(mcp(url, label="no"), mcp(url, authorization="hush"))
            await session.until("mcp_list_tools.completed")
            await session.until("mcp_list_tools.failed")
            # The same again, without what was said before.
            await session.update(mcp(url, label="no"), mcp())
            await session.say("How much is two and three?")
            assert (await session.until_item("mcp_call")).output == "5"
            told = "".join(event.model_dump_json() for event in session.events)
            assert "hush" not in told


async def test_a_key_that_can_be_read_holds_no_secrets(opened: Open) -> None:
    async with opened() as session:
        client = AsyncOpenAI(base_url=session.url.replace("ws", "http", 1)[:-9], api_key="none")
        tool = mcp("https://a.org/", authorization="hush")
        with pytest.raises(BadRequestError) as refused:
            await client.realtime.client_secrets.create(
                session={"type": "realtime", "tools": [tool]}  # type: ignore[typeddict-item]
            )
        assert refused.value.param == "session.tools"
        assert "hush" not in str(refused.value)


async def test_a_server_that_is_not_there_can_be_named_again(opened: Open) -> None:
    port = free_port()
    async with opened("Yes.", settings=allowing(f"http://127.0.0.1:{port}/mcp")) as session:
        tool = mcp(f"http://127.0.0.1:{port}/mcp")
        await session.update(tool)
        await session.until("mcp_list_tools.failed")
        with awkward(port):
            await session.update(tool)
            await session.until("mcp_list_tools.completed")
            # One that is named no more is on offer no more.
            await session.update()
            await session.say("Add.")
            await session.until("response.done")
            assert session.offered() == []


@needs_everything
async def test_the_reference_server_in_a_session(opened: Open) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    with running([*NODE, "streamableHttp"], port, PORT=str(port)):
        scripts = ['CALL:get-sum:{"a":2,"b":3}', 'CALL:echo:{"message":"hi"}', "Done."]
        settings = allowing(url, every=McpSettings(command=NODE[0], args=[*NODE[1:], "stdio"]))
        async with opened(*scripts, settings=settings) as session:
            await session.update(
                mcp(url, allowed_tools=["get-sum"]), mcp(label="every", allowed_tools=["echo"])
            )
            await session.until("mcp_list_tools.completed", 2)
            await session.say("Add.")
            assert (await session.until_item("mcp_call")).output == "The sum of 2 and 3 is 5."
            await session.say("Echo.")
            await session.until("response.mcp_call.completed", 2)
            await session.connection.response.create()
            await session.until("response.done", 3)
            assert session.told() == ["The sum of 2 and 3 is 5.", "Echo: hi"]


@pytest.mark.parametrize(
    ("pattern", "url", "expected"),
    [
        ("https://a.org/mcp", "https://a.org/mcp", True),
        ("https://a.org/mcp", "https://a.org/mcp?all=1", False),
        ("https://a.org/mcp", "https://a.org/mcp/", False),
        ("https://a.org/mcp", "http://a.org/mcp", False),
        ("https://a.org/mcp", "https://a.org:444/mcp", False),
        ("https://a.org/", "https://a.org/mcp?all=1", True),
        ("https://a.org/", "https://a.org.evil.org/", False),
        ("https://a.org/", "https://a.org@evil.org/", False),
        ("https://a.org/", "https://user@a.org/", False),
        ("https://a.org/x/", "https://a.org/x/../y", False),
        ("https://a.org/x/", "https://a.org/x/%2e%2E/y", False),
        ("https://a.org/x/", "https://a.org/x/%252e%252e/y", False),
        ("https://a.org/x/", "https://a.org/x/..\\y", False),
        ("https://a.org/x/", "https://a.org:x/x/", False),
        ("https://a.org/x/", "https://[a.org/x/", False),
        ("https://a.org/x/", " https://a.org/x/a", False),
        ("https://a.org/x/", "ht\ntps://a.org/x/a", False),
        ("file:///", "file:///etc/passwd", False),
    ],
)
def test_what_an_allow_list_allows(pattern: str, url: str, expected: bool) -> None:
    assert allows(pattern, url) is expected


@given(st.text(max_size=20))
def test_no_url_leads_elsewhere(more: str) -> None:
    import httpx2

    url = f"https://a.org/x/{more}"
    if allows("https://a.org/x/", url):
        try:
            reached = httpx2.URL(url)
        except httpx2.InvalidURL:
            return
        assert (reached.scheme, reached.host, reached.userinfo) == ("https", "a.org", b"")
        assert re.match(r"/x/", reached.path)


@needs_everything
async def test_the_javascript_client_approves_and_asks_for_the_answer(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`@openai/agents-realtime`, unmodified: it does all that by itself."""
    # It asks for the item of a call that begins, and takes what it is then told for a call under
    # way, even one that is over: the call lasts until it has been told.
    told, begin = tmp_path / "told", ServerSide.begin

    def watch(side: ServerSide) -> None:
        begin(side)
        send = side.author.send

        def note(event: JsonObject) -> None:
            send(event)
            item = event.get("item") or {}
            if (event["type"], item.get("type")) == ("conversation.item.retrieved", "mcp_call"):
                told.touch()

        side.author.send = note

    monkeypatch.setattr(ServerSide, "begin", watch)
    with awkward(ADDING_UNTIL=str(told)) as url:
        async with opened(ADD, "It is five.", settings=allowing(url)) as session:
            client = await asyncio.create_subprocess_exec(
                *("node", str(CLIENTS / "mcp.mjs"), session.url, url, "Two and three?", "five"),
                stdout=-1,
            )
            out, _ = await asyncio.wait_for(client.communicate(), 60)
            seen = json.loads(out)
            assert seen["errors"] == []
            assert "delete.file" in seen["tools"]
            call = next(item for item in seen["history"] if item["type"] == "mcp_call")
            assert (call["name"], call["output"], call["status"]) == ("add", "5", "completed")
            assert session.told() == ["5"]
