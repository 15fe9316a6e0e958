"""A Ray cluster as a profile uses it: its nodes, and processes that have one to themselves."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.errors import BadInput

ADDRESS = "RAY_ADDRESS"
"""Environment variable that names the cluster, as for all of Ray."""

ANSWER_S = 5.0
"""A cluster answers a connection sooner than this; Ray itself would try for two minutes."""

QUIET = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"}
"""As `pipeline` sets them, for Ray may load numpy first."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the cluster.

    Attributes:
        id: Ray's name for it.
        name: Its host's name; with a number behind it if another node has the same.
        cpus: All processors that it offers.
        gpus: Likewise.
    """

    id: str
    name: str
    cpus: float
    gpus: float


class Cluster:
    """A cluster that this process has joined; there is at most one.

    Attributes:
        errors: The module of Ray's errors.
    """

    def __init__(self, address: str | None) -> None:
        """Join it.

        Args:
            address: `HOST:PORT`; None: what `RAY_ADDRESS` names, or the cluster that this machine
                belongs to.

        Raises:
            BadInput: Ray is not installed, no cluster answers, or it has no node to offer.
        """
        self._ray = _imported()
        self.errors: Any = importlib.import_module("ray.exceptions")
        self._names: dict[str, str] = {}
        _connect(self._ray, address)
        if not self.nodes():
            self.leave()
            raise BadInput("--executor ray: no node of the cluster has a processor to offer")

    def nodes(self) -> list[Node]:
        """The nodes that are alive and have processors."""
        found = []
        for node in self._ray.nodes():
            cpus = node["Resources"].get("CPU", 0)
            if node["Alive"] and cpus:
                name = self._name(node["NodeID"], node["NodeManagerHostname"])
                found.append(Node(node["NodeID"], name, cpus, node["Resources"].get("GPU", 0)))
        return found

    def _name(self, node_id: str, host: str) -> str:
        """The host's name; with a number behind it if another node has the same."""
        if node_id not in self._names:
            taken = set(self._names.values())
            name, number = host, 2
            while name in taken:
                name, number = f"{host} ({number})", number + 1
            self._names[node_id] = name
        return self._names[node_id]

    def start(self, node: Node, kind: type, *args: Any) -> Any:
        """Start a process on a node, which is all its own.

        It is pinned to the node and claims all that the node has, so that Ray starts nothing else
        there, for whomever, until it has stopped. Whoever works there already is waited for.

        Args:
            node: Where.
            kind: Class of the actor; the node imports it by its name.
            args: Of its constructor.

        Returns:
            Ray's handle: calls of its methods with `.remote(…)` give what `answer` takes.
        """
        pinned = importlib.import_module("ray.util.scheduling_strategies")
        actor = self._ray.remote(kind).options(
            num_cpus=node.cpus,
            num_gpus=node.gpus,
            scheduling_strategy=pinned.NodeAffinitySchedulingStrategy(node.id, soft=False),
            # What was lost is made again by us, who know what of it came back.
            max_restarts=0,
            max_task_retries=0,
            runtime_env={"env_vars": QUIET},
        )
        return actor.remote(*args)

    async def answer(self, reference: Any) -> Any:
        """What a call gives.

        Raises:
            RayTaskError: It raised something (`errors`).
            RayError: The process or its node is gone.
        """
        return await reference

    def stop(self, handle: Any) -> None:
        """End a process, whatever it does."""
        self._ray.kill(handle)

    def leave(self) -> None:
        """Leave the cluster, which ends all that was started there."""
        self._ray.shutdown()


def _imported() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise BadInput(
            '--executor ray: needs an optional package: pip install "voice-cascade[ray]"'
        ) from None


def _connect(ray: Any, address: str | None) -> None:
    """Join the cluster.

    Raises:
        BadInput: It is not there, or not one that this program can join.
    """
    where = address or os.environ.get(ADDRESS) or "auto"
    how = f"start one (ray start --head), or name one: --ray-address HOST:PORT or {ADDRESS}"
    if "://" in where:
        raise BadInput(
            f"--ray-address {where}: is for Ray's client; run this on a machine of the cluster, "
            "or as a Ray job, and give HOST:PORT or nothing"
        )
    if where != "auto" and not _answers(where):
        raise BadInput(f"--executor ray: no Ray cluster answers at {where}; {how}")
    try:
        with _signals_kept():
            ray.init(address=where, log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError:
        raise BadInput(f"--executor ray: there is no Ray cluster on this machine; {how}") from None
    except (RuntimeError, ValueError) as error:
        said = str(error).strip().splitlines()
        raise BadInput(f"--executor ray: cannot join the cluster at {where}: {said[0]}") from None


def _answers(address: str) -> bool:
    """Whether somebody listens at `HOST:PORT`."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), ANSWER_S):
            return True
    except (OSError, ValueError, OverflowError):
        return False


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself; here it stops a run as cleanly as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
