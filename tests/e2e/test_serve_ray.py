"""The server as a Ray Serve application, on a cluster of two nodes, both of them this machine.

Its configuration is that of the documentation, exactly as it is printed but for its places.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from servers.llm_server import LlmServer, reply
from support import api_talk, ray_cluster
from support.api_talk import talking
from support.cli_child import HANG_S, scripted
from support.replicas import KEY, TOKEN, WAIT_S, asked, blocks, room, told
from support.serve_child import free_port
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from pipeline.errors import BadInput
from pipeline.events import ReplyDone
from pipeline.speech_to_speech.brief import SystemSpec

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'voice-cascade[ray]'")
serve = pytest.importorskip("ray.serve")

FULL = 3
"""Sessions of a replica, in the documentation's example."""


class Application:
    """The application on a cluster, as `serve run` has it."""

    def __init__(self, cluster: Any, llm: LlmServer, folder: Path) -> None:
        self.port = free_port()
        self.url = f"ws://127.0.0.1:{self.port}/v1/realtime"
        (example,) = blocks("yaml")
        config = yaml.safe_load(example)
        config["http_options"] = {"host": "127.0.0.1", "port": self.port}
        # All nodes are one machine, on which one proxy can have the port.
        config["proxy_location"] = "HeadOnly"
        (application,) = config["applications"]
        assert application["args"]["serve.sessions"] == FULL
        application["args"] |= {
            "llm.model": llm.url,
            "stt.model": "whisper-mini-en",
            "tts.voice": "en_US-mini",
        }
        (deployment,) = application["deployments"]
        deployment["autoscaling_config"] |= {"upscale_delay_s": 1, "downscale_delay_s": 2}
        file = folder / "cascade.yaml"
        file.write_text(yaml.safe_dump(config))
        command = ["-m", "ray.serve.scripts", "run", file, "--address", cluster.address]
        self._log = folder / "serve.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, *command], stdout=log, stderr=subprocess.STDOUT
            )

    def __enter__(self) -> Application:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(HANG_S)
        finally:
            self._process.kill()

    def session(self) -> connect:
        return connect(self.url, additional_headers=KEY)

    @property
    def replicas(self) -> dict[str, int]:
        """How many are in which state."""
        try:
            return dict(
                serve.status().applications["cascade"].deployments["cascade"].replica_states
            )
        except KeyError:
            return {}

    async def until(self, there: Callable[[dict[str, int]], bool]) -> None:
        """Wait until the replicas are as they should be."""
        async with asyncio.timeout(HANG_S):
            while not there(await asyncio.to_thread(lambda: self.replicas)):
                assert self._process.poll() is None, self._log.read_text()
                await asyncio.sleep(0.2)


def running(number: int) -> Callable[[dict[str, int]], bool]:
    """So many replicas, and none that comes or goes."""
    return lambda states: states == {"RUNNING": number}


@pytest.fixture
def cluster() -> Iterator[Any]:
    # A replica on the machine of the proxy is preferred by Ray's own router, full or not.
    with ray_cluster.running(cpus=2, CASCADE_SERVE__TOKEN=TOKEN) as cluster:
        ray_cluster.add_node(cluster, cpus=2)
        cluster.wait_for_nodes()
        ray.init(cluster.address, log_to_driver=False)
        yield cluster
        ray.shutdown()


def kill(replica: str) -> None:
    """A process of Ray's is gone from one moment to the next."""
    ray.kill(ray.get_actor(replica, namespace="serve"))


def names() -> set[str]:
    """Of all replicas."""
    actors = ray.util.list_named_actors(all_namespaces=True)
    return {one["name"] for one in actors if one["name"].startswith("SERVE_REPLICA::")}


async def test_sessions_are_on_replicas_that_come_and_go(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASCADE_REALTIME_KEY", TOKEN)
    monkeypatch.setattr(api_talk, "WAIT_S", WAIT_S)
    with (
        scripted(otherwise=reply("It is open until nine.")) as llm,
        Application(cluster, llm, tmp_path) as here,
    ):
        await here.until(running(1))
        (first,) = names()
        spec = SystemSpec("ray", "realtime", "cascade", here.url)
        async with talking(spec) as talk, contextlib.AsyncExitStack() as stack:

            async def more(session: Awaitable[ClientConnection]) -> ClientConnection:
                connection = await stack.enter_async_context(await session)
                await told(connection)
                return connection

            await talk.say()
            assert (await talk.see(ReplyDone)).status == "completed"
            said = [*asked(llm)[1:], ("assistant", "It is open until nine.")]
            others = [await more(here.session()) for _ in range(FULL - 1)]
            # Full: the server itself says so, and Ray starts another.
            with pytest.raises(InvalidStatus) as refused:
                await more(here.session())
            response = refused.value.response
            assert response.status_code == 503
            assert response.headers["Retry-After"]
            assert json.loads(response.body or b"")["error"]["code"] == "server_overloaded"
            await here.until(running(2))
            # Ray's proxy hears of it a little later than who asks for its state.
            late = [await more(room(here.session)) for _ in range(FULL - 1)]
            # The first replica is lost: its clients go on with the second, with what was said.
            known = names()
            await asyncio.to_thread(kill, first)
            for one in others:
                with pytest.raises(ConnectionClosed) as closed:
                    await told(one, "nothing more")
                assert closed.value.rcvd is None
            await talk.until(lambda: talk.session.reconnects == 1)
            await talk.say()
            assert (await talk.see(ReplyDone, 2)).status == "completed"
            assert asked(llm)[1:-1] == said
            # Ray starts it again, and there the next session goes. Of two replicas with a session
            # each one is to go; it waits for its own, which goes on.
            await here.until(lambda states: states == {"RUNNING": 2} and not names() <= known)
            last = await stack.enter_async_context(await room(here.session))
            for one in late:
                await one.close()
            await here.until(lambda states: states == {"RUNNING": 1, "STOPPING": 1})
            await last.send(json.dumps({"type": "nonsense"}))
            await told(last, "error")
            await talk.say()
            assert (await talk.see(ReplyDone, 3)).status == "completed"
            assert talk.session.reconnects == 1
            assert here.replicas == {"RUNNING": 1, "STOPPING": 1}
        await here.until(running(1))
        # What comes then is served by the one that is left.
        async with here.session() as connection:
            await told(connection)
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{here.port}") as http:
            assert (await http.get("/readyz")).status_code == 200
            assert (await http.get("/v1/models")).status_code == 401
            assert (await http.get("/v1/models", headers=KEY)).json()["data"]


def test_replicas_need_a_token_and_known_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.serve.ray import app

    with pytest.raises(BadInput, match="CASCADE_SERVE__TOKEN"):
        app({})
    monkeypatch.setenv("CASCADE_SERVE__TOKEN", TOKEN)
    with pytest.raises(BadInput, match=r"serve\.room"):
        app({"serve.room": 3})
