"""The server as a Ray Serve application: `serve run pipeline.serve.ray:app`.

Each replica is one server with one set of models, in a process that Ray starts, watches and starts
again. A session is one long request to it, so that Ray scales replicas by their open sessions. Ray
gives a replica that is to go no new session, and waits for those it has; they end by themselves
when they have lasted `serve.minutes`. What a node needs is Cascade, as here.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import ray
from ray import serve
from ray.serve.request_router import FIFOMixin, PendingRequest, RequestRouter, RunningReplica
from starlette.applications import Starlette
from starlette.routing import Mount

from pipeline.config import load
from pipeline.engines.local import LocalEngines
from pipeline.errors import BadInput
from pipeline.measure.ray import QUIET
from pipeline.models.fetch import provide
from pipeline.serve.access import Access
from pipeline.serve.admission import expected
from pipeline.serve.serving import composed
from pipeline.terminal import stderr
from pipeline.tools.mcp import closing, servers_of

CPUS = 2
"""Processors of a replica, unless the deployment's `ray_actor_options` say otherwise."""

BUSY = 0.75
"""Where replicas have so much of what they take, on average, there is to be one more: before all
are full, for its models take a while to load."""

MOST_REPLICAS = 100
"""Unless the deployment's `autoscaling_config` says otherwise; Ray's resources end sooner."""

SOON_S, LATER_S = 5.0, 300.0
"""How long to see more sessions before a replica is added, and fewer before one goes (s)."""

HAPROXY = os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "1"
"""Clients come through HAProxy, which Ray then runs, and which knows where the fewest are."""

LAST_S = 10.0
"""How much longer than a session a replica may take to go (s)."""


class LeastSessions(FIFOMixin, RequestRouter):
    """Gives a session to the replica that has the fewest.

    Ray's own router compares two of them, and fills those on its own machine first. For sessions,
    which last, that is too little.
    """

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """All replicas, of which Ray takes the one with the fewest requests."""
        return [candidate_replicas]


def app(args: Mapping[str, Any]) -> serve.Application:
    """The application.

    Args:
        args: Settings by their dotted names, such as `llm.model`, before those in the environment
            and in `cascade.toml`.

    Raises:
        BadInput: One of them is none, or there is no token: replicas take each other's ephemeral
            keys only where they share one.
    """
    settings = load(None, args)
    if not settings.serve.token:
        raise BadInput("ray: needs a token: put a secret into CASCADE_SERVE__TOKEN")
    most = expected(settings.serve.sessions, CPUS)

    def server() -> Starlette:
        """Of one replica; Ray tells it to load its models, and to let go of them."""
        found = provide(settings, stderr(), instead=True)
        context: Any = ray.get_runtime_context()
        cores = max(1, int(context.get_assigned_resources().get("CPU", 1)))
        engines = LocalEngines(found, sessions=expected(found.serve.sessions, cores))
        servers = servers_of(found)
        inner, sessions = composed(found, engines, Access(found.serve.token), cores, servers)

        @contextlib.asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncGenerator[None]:
            async with closing(servers), engines:
                sessions.state = "ready"
                yield

        return Starlette(routes=[Mount("/", inner)], lifespan=lifespan)

    deployment = serve.deployment(
        name="cascade",
        ray_actor_options={"num_cpus": CPUS, "runtime_env": {"env_vars": QUIET}},
        # A replica says itself that it is full. Ray would let the client wait, in silence.
        max_ongoing_requests=1000,
        request_router_config={} if HAPROXY else {"request_router_class": LeastSessions},
        autoscaling_config={
            "min_replicas": 1,
            "max_replicas": MOST_REPLICAS,
            "target_ongoing_requests": BUSY * most,
            "upscale_delay_s": SOON_S,
            "downscale_delay_s": LATER_S,
        },
        graceful_shutdown_timeout_s=settings.serve.minutes * 60 + LAST_S,
    )
    return deployment(serve.ingress(server)()).bind()
