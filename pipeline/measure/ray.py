"""Measures the variants of a profile on a Ray cluster, each on a node that it has to itself.

A variant is one Ray task, which yields its turns as it measures them. It claims all processors and
accelerators of a node, so that Ray runs nothing beside it, for whomever; only nodes as large as the
largest are used, for variants on unlike machines could not be compared. Where a node or a process
is lost, Ray runs the task again on another; what has come back already comes no second time. What a
node needs is Cascade, with the models, as on this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.metadata
import logging
import os
import platform
import socket
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.config import without_password
from pipeline.errors import BadInput, CascadeError, StageError, first_line
from pipeline.measure.corpus import apart
from pipeline.measure.noise import Noise, Reading, summarise
from pipeline.measure.plan import Executor, Job, Variant
from pipeline.measure.record import Record
from pipeline.measure.recording import Unwritten
from pipeline.measure.run import WAVS, Made
from pipeline.terminal import stderr
from pipeline.trace import machine

RETRIES = 2
"""So often Ray measures a variant again after its node or its process was lost."""

PATIENCE_S = 60.0
"""How long to wait for a node that is busy with other work, and for any node at all."""

TICK_S = 0.5
"""How often to look whether there is a node."""

ADDRESS = "RAY_ADDRESS"
"""Environment variable that names the cluster, as for all of Ray."""

ANSWER_S = 5.0
"""A cluster answers a connection sooner than this; Ray itself would try for two minutes."""

QUIET = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000", "OPENBLAS_NUM_THREADS": "1"}
"""As `pipeline` sets them, for Ray may load numpy first."""

Maker = Callable[[Variant, Noise], Executor]
"""Makes what measures a variant on its node, with where it keeps its readings of the noise. The
node imports it by its name."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What a node sends: a turn, or only that it is there.

    Attributes:
        node: Ray's name for it.
        host: The machine's name.
        version: Of Cascade there.
        machine: As in a trace's first line.
        ahead_ns: From the node's monotonic clock, which is no other's, to the time since 1970.
        made: A turn on that clock.
        wav: Its stereo WAV; empty if there is none.
        readings: Of the node's noise, since the turn before.
        refusal: Why nothing more can be measured there; for people.
    """

    node: str
    host: str
    version: str
    machine: dict[str, Any]
    ahead_ns: int
    made: Made[Record] | None = None
    wav: bytes = b""
    readings: Sequence[Reading] = ()
    refusal: str = ""


@dataclass(slots=True)
class _Node:
    """What is known of a node: its name here, what it is, and what it has measured."""

    name: str
    machine: dict[str, Any]
    measured: set[str] = field(default_factory=set)
    readings: list[Reading] = field(default_factory=list)


class RayExecutor:
    """Measures variants side by side, each on a node of its own."""

    def __init__(
        self,
        tested: Sequence[Variant],
        maker: Maker,
        address: str | None = None,
        *,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Connect to the cluster.

        Args:
            tested: All variants.
            maker: Makes what measures, on the node.
            address: Of the cluster, `HOST:PORT`; None: what `RAY_ADDRESS` names, or the cluster
                that this machine belongs to.
            patience_s: How long to wait for a node (s).

        Raises:
            BadInput: Ray is not installed, no cluster answers, or it has no node.
        """
        self._tested = tested
        self._maker = maker
        self._patience_s = patience_s
        self._nodes: dict[str, _Node] = {}
        self._ray = _joined(address)
        self._claim = self._largest()
        if not self._claim[0]:
            self._ray.shutdown()
            raise BadInput("--executor ray: no node of the cluster has a processor to offer")

    @property
    def models(self) -> Mapping[str, str]:
        """Names of the first variant's models, by kind, as asked for."""
        settings = self._tested[0].settings
        llm = without_password(settings.llm.model)
        return {"stt": settings.stt.model, "llm": llm, "tts": settings.tts.voice}

    def prepare(self, console: Console) -> None:
        """Nothing is missing here: each node fetches what it lacks."""

    async def run(self, jobs: Sequence[Job], folder: Path) -> AsyncGenerator[Made[Record], None]:
        """Measure all jobs; those of one variant in their order.

        Raises:
            BadInput: A recording is gone.
            StageError: There is no node, or some variants could not be measured whole.
            Unwritten: The disk here does not take a WAV.
        """
        inbox: asyncio.Queue[tuple[Job | None, Sent | str]] = asyncio.Queue()
        left = {job.order: job for job in jobs}
        problems: list[str] = []
        followed: list[asyncio.Task[None]] = []
        waited_s, begun = 0.0, False
        try:
            sounds = self._ray.put({job.item.name: _sound(job.item.path) for job in jobs})
            for variant in self._tested:
                own = [job for job in jobs if job.variant is variant]
                followed.append(asyncio.create_task(self._follow(variant, own, sounds, inbox)))
            while not all(task.done() for task in followed) or not inbox.empty():
                try:
                    job, came = await asyncio.wait_for(inbox.get(), TICK_S)
                except TimeoutError:
                    there = begun and self._largest() >= self._claim
                    waited_s = 0.0 if there else waited_s + TICK_S
                    if waited_s >= self._patience_s:
                        raise self._no_node(left.values()) from None
                    continue
                waited_s, begun = 0.0, True
                if isinstance(came, str):
                    problems.append(came)
                elif job is not None and came.made is not None:
                    del left[job.order]
                    yield self._kept(job, came, folder)
            await asyncio.gather(*followed)  # raises where one met a defect
        finally:
            for task in followed:
                task.cancel()
            await asyncio.gather(*followed, return_exceptions=True)
            self._ray.shutdown()
        if problems:
            raise StageError("ray", "; ".join(problems))

    def facts(self) -> Mapping[str, Any]:
        """How steady the nodes were, and what each is and has measured."""
        used = [node for node in self._nodes.values() if node.measured]
        nodes = {
            node.name: {
                "machine": node.machine,
                "variants": sorted(node.measured),
                "noise": summarise(node.readings),
            }
            for node in used
        }
        return {"noise": pooled([node.readings for node in used]), "nodes": nodes}

    async def _follow(
        self,
        variant: Variant,
        jobs: Sequence[Job],
        sounds: Any,
        inbox: asyncio.Queue[tuple[Job | None, Sent | str]],
    ) -> None:
        """Have a variant measured, and pass on what comes of it."""
        cpus, gpus = self._claim
        task = self._ray.remote(
            num_cpus=cpus,
            num_gpus=gpus,
            max_retries=RETRIES,
            runtime_env={"env_vars": QUIET},
        )(measured)
        left, wrong = [*jobs], ""
        try:
            async for reference in task.remote(self._maker, variant, jobs, sounds):
                sent = await reference
                wrong = sent.refusal or _unlike(sent)
                if wrong:
                    wrong = f"{self._node(sent).name}: {wrong}"
                    break
                self._node(sent).readings += sent.readings
                if sent.made is not None:
                    self._node(sent).measured.add(variant.name)
                inbox.put_nowait((None if sent.made is None else left.pop(0), sent))
        except Exception as error:
            wrong = self._lost(error)
        if wrong:
            done = f"{len(jobs) - len(left)} of {len(jobs)} turns measured"
            inbox.put_nowait((None, f"{variant.name} ({done}): {wrong}"))

    def _lost(self, error: Exception) -> str:
        """Why nothing came any more, in words.

        Raises:
            Exception: It is none of Ray's errors: a defect.
        """
        if not isinstance(error, importlib.import_module("ray.exceptions").RayError):
            raise error
        if "No module named" in str(error):
            return "a node cannot be used: Cascade is not installed there, or not all of it"
        cause = getattr(error, "cause", None)
        if cause is not None:
            return f"{type(cause).__name__}: {cause}"
        return f"its node or its process was lost {RETRIES + 1} times: {first_line(error)}"

    def _kept(self, job: Job, sent: Sent, folder: Path) -> Made[Record]:
        """A turn on this machine's clock, signed, with its WAV written here."""
        assert sent.made is not None
        if sent.wav:
            wav = folder / job.wav
            try:
                wav.write_bytes(sent.wav)
            except OSError:
                raise Unwritten(wav) from None
        made = shifted(sent.made, sent.ahead_ns - ahead_ns())
        record = replace(made.result, wav=job.wav if sent.wav else "", node=self._node(sent).name)
        return Made(job.signed(record), made.lines)

    def _node(self, sent: Sent) -> _Node:
        """The node that sends: its host's name, with a number behind it if another has the same."""
        if sent.node not in self._nodes:
            taken = {node.name for node in self._nodes.values()}
            self._nodes[sent.node] = _Node(apart(sent.host, taken), sent.machine)
        return self._nodes[sent.node]

    def _largest(self) -> tuple[float, float]:
        """Processors and accelerators of the largest node that is alive."""
        offered = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        return max(((one.get("CPU", 0), one.get("GPU", 0)) for one in offered), default=(0, 0))

    def _no_node(self, left: Iterable[Job]) -> StageError:
        names = ", ".join(dict.fromkeys(job.variant.name for job in left))
        return StageError(
            "ray",
            f"no node of the cluster is free: those with {self._claim[0]:g} processors are busy "
            f"with other work, or gone, for {self._patience_s:.0f} s; not measured whole: {names}; "
            "try again later",
        )


def measured(
    maker: Maker, variant: Variant, jobs: Sequence[Job], sounds: Mapping[str, bytes]
) -> Iterator[Sent]:
    """What a node runs: measure one variant, in a process that has the node to itself.

    Args:
        maker: Makes what measures.
        variant: Which.
        jobs: Its turns, in order; warm-ups first.
        sounds: The recordings' files, by their names.

    Yields:
        That the node is there; then a turn each; at the end the last readings of the noise.
    """
    ray = importlib.import_module("ray")
    node = ray.get_runtime_context().get_node_id()
    hello = Sent(node, platform.node(), version(), machine(), ahead_ns())
    yield hello
    noise = Noise()
    with tempfile.TemporaryDirectory() as name, asyncio.Runner() as runner:
        folder = Path(name)
        (folder / WAVS).mkdir()
        try:
            executor = maker(variant, noise)
            executor.prepare(stderr())
            work = executor.run([_here(job, sounds, folder) for job in jobs], folder)
            while (made := runner.run(_next(work))) is not None:
                wav = (folder / made.result.wav).read_bytes() if made.result.wav else b""
                readings, noise.readings = noise.readings, []
                yield replace(hello, made=made, wav=wav, readings=readings)
        except (CascadeError, OSError) as error:
            yield replace(hello, refusal=str(error))
            return
    yield replace(hello, readings=noise.readings)


async def _next(work: AsyncGenerator[Made[Record], None]) -> Made[Record] | None:
    return await anext(work, None)


def _here(job: Job, sounds: Mapping[str, bytes], folder: Path) -> Job:
    """The job with its recording on this machine."""
    path = folder / f"{job.order}{job.item.path.suffix}"
    path.write_bytes(sounds[job.item.name])
    return replace(job, item=replace(job.item, path=path))


def _sound(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from None


def _unlike(sent: Sent) -> str:
    """Why a node cannot be used: it has another Cascade; empty if it has the same."""
    if sent.version == version():
        return ""
    here, there = version() or "a source tree", sent.version or "a source tree"
    return f"has Cascade {there}, and this machine {here}; install the same version"


def version() -> str:
    """Of Cascade as installed here; empty where it runs from its source."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version("voice-cascade")
    return ""


def ahead_ns() -> int:
    """From this machine's monotonic clock to the time since 1970, which machines agree on (ns)."""
    return time.time_ns() - time.monotonic_ns()


def shifted(made: Made[Record], by_ns: int) -> Made[Record]:
    """The same turn on a clock that is `by_ns` ahead."""
    record = made.result
    spans = tuple(
        replace(span, start_ns=span.start_ns + by_ns, end_ns=span.end_ns + by_ns)
        for span in record.spans
    )
    marks = {name: t_ns + by_ns for name, t_ns in record.marks.items()}
    begun_ns = record.wav_start_ns + by_ns
    moved = replace(record, marks=marks, spans=spans, wav_start_ns=begun_ns)
    return Made(moved, [{**line, "t_ns": line["t_ns"] + by_ns} for line in made.lines])


def pooled(readings: Sequence[Sequence[Reading]]) -> dict[str, Any]:
    """The noise of several machines as if it were one's (see `noise.summarise`).

    Machines that differ in speed are noisy, however steady each is: `relative` is the largest of
    each one's own and of half the distance between the slowest and the fastest; `drift` the largest
    of any.
    """
    by_node = [summarise(made) for made in readings if made]
    if not by_node:
        return {}
    medians = [one["loop_ms"]["median"] for one in by_node]
    between = (max(medians) - min(medians)) / 2 / statistics.median(medians)
    return {
        **summarise([reading for made in readings for reading in made]),
        "relative": round(max(between, *(one["relative"] for one in by_node)), 5),
        "drift": max((one["drift"] for one in by_node), key=abs),
    }


def _joined(address: str | None) -> Any:
    """Join the cluster; gives Ray's module.

    Raises:
        BadInput: Ray is not installed, or the cluster is not there, or cannot be joined.
    """
    try:
        ray = importlib.import_module("ray")
    except ImportError:
        raise BadInput(
            '--executor ray: needs an optional package: pip install "voice-cascade[ray]"'
        ) from None
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
        # Ray takes SIGTERM for itself; whoever runs the loop (`cli.run_to_end`) takes it back.
        ray.init(address=where, log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError:
        raise BadInput(f"--executor ray: there is no Ray cluster on this machine; {how}") from None
    except (RuntimeError, ValueError) as error:
        why = first_line(error)
        raise BadInput(f"--executor ray: cannot join the cluster at {where}: {why}") from None
    return ray


def _answers(address: str) -> bool:
    """Whether somebody listens at `HOST:PORT`."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), ANSWER_S):
            return True
    except (OSError, ValueError, OverflowError):
        return False
