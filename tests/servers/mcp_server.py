"""A real MCP server with tools that are awkward, of the SDK: over stdio, or at a port.

It writes on stdout what is no JSON and no text, and on stderr, as servers do. With `MCP_TOKEN` it
lets in only who presents that. `AWKWARD_LOG` is a file for what it was told; an addition ends once
there is a file `ADDING_UNTIL`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver import Image as McpImage
from mcp_types import (
    BlobResourceContents,
    EmbeddedResource,
    ResourceLink,
    TextContent,
    TextResourceContents,
    ToolAnnotations,
)

server = MCPServer("awkward")


def note(line: str) -> None:
    if path := os.environ.get("AWKWARD_LOG"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(line + "\n")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    note(f"add {a} {b}")
    until = os.environ.get("ADDING_UNTIL")
    while until and not Path(until).exists():
        await asyncio.sleep(0.02)
    return a + b


@server.tool(name="delete.file")
def delete_file(path: str) -> str:
    """Delete a file."""
    note(f"delete {path}")
    return f"{path} is deleted"


@server.tool()
async def wait(seconds: float) -> str:
    """Take a while."""
    note("wait begins")
    try:
        await asyncio.sleep(seconds)
    except BaseException:
        note("wait is cancelled")
        raise
    return "done waiting"


@server.tool()
def die() -> str:
    """End the server in the middle of a call."""
    os._exit(3)


@server.tool()
def raises() -> str:
    """Fail."""
    raise ValueError("no such order")


@server.tool(structured_output=False)
def kinds() -> list[Any]:
    """Give many kinds of content."""
    return [
        TextContent(type="text", text="It is sunny."),
        McpImage(data=b"x" * 6000, format="png"),
        EmbeddedResource(
            type="resource", resource=TextResourceContents(uri="file:///a.txt", text="In a file.")
        ),
        EmbeddedResource(
            type="resource",
            resource=BlobResourceContents(uri="file:///b.pdf", mime_type="x/pdf", blob="AAAA"),
        ),
        ResourceLink(type="resource_link", name="page", uri="https://example.org/"),
    ]


@server.tool()
async def grow(ctx: Context[Any, Any]) -> str:
    """Have one more tool from now on."""

    def late() -> str:
        """Came later."""
        return "late"

    server.add_tool(late)
    await ctx.notify_tools_changed()
    return "grown"


def main() -> None:
    if sys.argv[1:2] == ["stdio"]:
        sys.stdout.buffer.write(b"Starting up \xff\xfe\n{}\n")
        sys.stdout.flush()
        print("a line on stderr", file=sys.stderr, flush=True)
        server.run()
        return
    app = server.streamable_http_app()
    token = os.environ.get("MCP_TOKEN")

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        given = dict(scope.get("headers", ())).get(b"authorization", b"").decode()
        if scope["type"] == "http" and token and given != f"Bearer {token}":
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        await app(scope, receive, send)

    uvicorn.run(guarded, host="127.0.0.1", port=int(sys.argv[1]), log_level="critical")


if __name__ == "__main__":
    main()
