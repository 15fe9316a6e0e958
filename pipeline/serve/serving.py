"""`cascade serve`: the cascade behind the Realtime protocol, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import time
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.clock import Clock
from pipeline.config import Settings
from pipeline.errors import BadInput
from pipeline.events import Usage
from pipeline.models.catalogue import Catalogue
from pipeline.models.fetch import provide
from pipeline.prompts import Prompts
from pipeline.serve.access import Access, is_local
from pipeline.serve.admission import Admission, expected
from pipeline.serve.link import PATH, Link, Opening
from pipeline.serve.refused import RequestRefused
from pipeline.serve.session_object import new_session, updated
from pipeline.terminal import stderr
from pipeline.tools.mcp import McpServer, check_installed, closing, servers_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from pipeline.engines.local import LocalEngines
    from pipeline.serve.app import Sessions

CORES = os.cpu_count() or 1

log = logging.getLogger(__name__)

EXTRA = "pip install 'voice-cascade[serve]'"


def prepare(
    settings: Settings,
    *,
    tls: tuple[Path, Path] | None = None,
    as_json: bool = False,
    tools: Sequence[dict[str, Any]] = (),
) -> Coroutine[Any, Any, int]:
    """Check all that can be checked, and fetch the default models that are missing.

    Not for an event loop: that would take notice of Ctrl-C only when the fetch is over.

    Args:
        settings: Of the server.
        tls: Files of a certificate and its key.
        as_json: Print a line for machines once it is ready.
        tools: Definitions of functions that a session begins with.

    Returns:
        The server, to be run. It gives the exit code when it was told to stop.

    Raises:
        CascadeError: It cannot begin.
    """
    console = stderr()
    try:
        from pipeline.serve import http_api, listening, metrics, page  # noqa: F401
    except ModuleNotFoundError as error:
        raise BadInput(f"serve: needs {error.name}: {EXTRA} brings it") from None
    if settings.mcp or settings.serve.mcp_urls:
        check_installed()
    host, port = settings.serve.host, settings.serve.port
    access = Access(settings.serve.token)
    prompts = known_prompts(settings)
    secured = None if tls is None else listening.secured(*tls)
    listener = listening.bound(host, port)
    if not settings.serve.token and not is_local(_place(listener)):
        listener.close()
        raise BadInput(
            f"serve: {host} can be reached from other machines, so it needs a token: put a secret "
            "into CASCADE_SERVE__TOKEN (`openssl rand -hex 32` makes one); clients present it as "
            "their API key"
        )
    from pipeline.engines.local import LocalEngines, check_models

    check_models(settings, Catalogue.load(settings.models.dir))
    settings = provide(settings, console, instead=True)
    engines = LocalEngines(settings, sessions=expected(settings.serve.sessions, CORES))
    servers = servers_of(settings)
    url = f"http{'' if tls is None else 's'}://{_place(listener)}"

    async def serve() -> int:
        app, sessions = composed(settings, engines, access, CORES, servers, prompts, tools)
        serving = listening.listening(app, sessions, listener, secured)
        async with closing(servers), serving as served:
            console.print(f"loading {', '.join(engines.names.values())}", style="dim")
            async with engines:
                sessions.state = "ready"
                if as_json:
                    print(json.dumps({"url": url, "realtime": f"ws{url[4:]}{PATH}"}), flush=True)
                told = f"listening at {url}; for Realtime clients: base URL {url}/v1"
                console.print(told, soft_wrap=True)
                # To be told to stop is how a server ends; nothing was interrupted.
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([served])
                    await served
                await sessions.drain()
        return 0

    return serve()


def known_prompts(settings: Settings) -> Prompts:
    """The prompts that a client may name.

    Raises:
        BadInput: One is none, or is none for a session.
    """
    prompts = Prompts.read(Path(settings.prompts.dir))
    for prompt in (each for versions in prompts.all.values() for each in versions.values()):
        session = new_session("sess_of_a_prompt", "", 0)
        update = {"type": "realtime", "tools": prompt.functions}
        try:
            updated(session, update)
        except RequestRefused as refused:
            raise BadInput(f"prompt {prompt.id} {prompt.version}: {refused.message}") from None
        if prompt.files:
            log.warning(
                "prompt %s: its Python files are tools of `cascade talk`; sessions get its "
                "definitions alone",
                prompt.id,
            )
    return prompts


def composed(
    settings: Settings,
    engines: LocalEngines,
    access: Access,
    cores: int,
    servers: Mapping[str, McpServer],
    prompts: Prompts | None = None,
    tools: Sequence[dict[str, Any]] = (),
) -> tuple[ASGIApp, Sessions]:
    """All that a server serves; no session begins before its state is `ready`.

    Args:
        settings: Of the server.
        engines: Shared by all sessions; whoever serves this enters them.
        access: Says who may come in.
        cores: How many processors it may take.
        servers: The operator's MCP servers; whoever serves this closes them.
        prompts: That clients may name; None: those of the settings' folder.
        tools: Definitions of functions that a session begins with.

    Raises:
        BadInput: A prompt is none.
    """
    from pipeline.serve import http_api, page
    from pipeline.serve.app import Sessions, application
    from pipeline.serve.metrics import Metrics
    from pipeline.serve.realtime import RealtimeConversation  # as slow to import as the engines

    prompts = known_prompts(settings) if prompts is None else prompts
    metrics = Metrics()
    admission = Admission(settings.serve.sessions, cores, time.monotonic, time.process_time)

    def over(turn: int, marks: Mapping[str, int], usage: Usage | None) -> None:
        metrics.over(turn, marks, usage)
        admission.over(turn, marks, usage)

    async def talk(link: Link, opening: Opening) -> None:
        with engines.seat() as seat:
            held = RealtimeConversation(
                *(seat, settings, Clock(), link, opening),
                over=over,
                mcp=servers,
                prompts=prompts,
                tools=tools,
                languages=seat.languages,
            )
            await held.run()

    sessions = Sessions(talk, admission, metrics, each=settings.serve.sessions_each)
    sessions.state = "loading"
    routes = [*http_api.routes(engines, settings), *metrics.routes()]
    app = application(
        sessions,
        access,
        prompts,
        routes=routes,
        public=page.routes(),
        begins={"instructions": settings.llm.instructions, "tools": [*tools]},
    )
    return metrics.counted(app), sessions


def _place(listener: socket.socket) -> str:
    """The `host:port` of a socket."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
