"""A Ray cluster on this machine, whose nodes have this project and its tests."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import pytest

from support.cli_child import ROOT

STORE_BYTES = 80_000_000
"""Of each node's object store: nearly the least that Ray takes."""


@contextlib.contextmanager
def running(cpus: int = 0, **environment: str) -> Iterator[Any]:
    """The cluster: its head, to which nodes are added.

    Args:
        cpus: Processors that the head has to offer.
        environment: Of the nodes, beside this process's.
    """
    from ray import cluster_utils

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
        patch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.delenv("RAY_ADDRESS", raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        arguments = {
            "num_cpus": cpus,
            "object_store_memory": STORE_BYTES,
            "include_dashboard": False,
        }
        cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=arguments)
        try:
            yield cluster
        finally:
            cluster.shutdown()


def add_node(cluster: Any, cpus: int = 1) -> None:
    """Add a node of so many processors."""
    cluster.add_node(num_cpus=cpus, object_store_memory=STORE_BYTES)
