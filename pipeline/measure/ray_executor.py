"""Measures the variants of a profile on the nodes of an existing Ray cluster, one on each.

A variant has a node to itself: its process is pinned to the node and claims all of the node's
processors and accelerators, so that Ray starts nothing else there, be it of another profile, until
it is done. What a node needs is Cascade, with the models, as on this machine.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import time
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.errors import StageError
from pipeline.measure.executor import Job, Made
from pipeline.measure.noise import Reading, summarise
from pipeline.measure.plan import Variant, without_password
from pipeline.measure.ray_cluster import Cluster, Node
from pipeline.measure.ray_node import CascadeBench, Maker, Refusal, Sent, Slot, version
from pipeline.profile.instrument import Bounds, Unwritten

RETRIES = 2
"""So often the rest of a variant is measured on another node after one was lost."""

PATIENCE_S = 60.0
"""How long to wait for a node that is busy with other work, and for any node at all."""

TICK_S = 0.5
"""How often to look for nodes that have joined."""

log = logging.getLogger(__name__)


@dataclass
class _Share:
    """All turns of one variant.

    Attributes:
        jobs: In order; warm-ups first.
        done: Positions in the run of those that were measured.
        losses: How often it lost its node.
    """

    jobs: Sequence[Job]
    done: set[int] = field(default_factory=set)
    losses: int = 0

    @property
    def name(self) -> str:
        return self.jobs[0].variant.name

    def left(self) -> list[Job]:
        """What is to be measured; warm-ups always, for each process must be warm."""
        return [job for job in self.jobs if job.order not in self.done or job.repeat == 0]

    def __str__(self) -> str:
        return f"{self.name} ({len(self.done)} of {len(self.jobs)} turns measured)"


@dataclass(frozen=True, slots=True)
class _Turn:
    """A turn that came back from a node."""

    job: Job
    node: Node
    sent: Sent


@dataclass(slots=True)
class _End:
    """A node is done with a share.

    Attributes:
        node: Which.
        share: Its rest is to be measured elsewhere if there is one.
        unfit: Why the node cannot be used now; empty: it could.
        lost: The node, or the process on it, is gone.
        refusal: Why this share can be measured nowhere.
        error: A defect.
    """

    node: Node
    share: _Share
    unfit: str = ""
    lost: bool = False
    refusal: str = ""
    error: BaseException | None = None


class RayExecutor:
    """Measures variants side by side, each on a node of its own."""

    def __init__(
        self,
        tested: Sequence[Variant],
        bounds: Bounds,
        address: str | None = None,
        *,
        maker: Maker = CascadeBench,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Connect to the cluster.

        Args:
            tested: All variants.
            bounds: When a turn is over.
            address: Of the cluster, `HOST:PORT`; None: what `RAY_ADDRESS` names, or the cluster
                that this machine belongs to.
            maker: Makes what measures, on the node.
            patience_s: How long to wait for a node (s).

        Raises:
            BadInput: Ray is not installed, no cluster answers, or it has no node.
        """
        self._tested = tested
        self._bounds = bounds
        self._maker = maker
        self._patience_s = patience_s
        self._readings: dict[str, list[Reading]] = {}
        self._machines: dict[str, dict[str, Any]] = {}
        self._measured: dict[str, set[str]] = {}
        self._pending: deque[_Share] = deque()
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._resting: dict[str, str] = {}
        self._problems: list[str] = []
        self._lost = False
        self._cluster = Cluster(address)

    @property
    def models(self) -> Mapping[str, str]:
        """Names of the first variant's models, by kind, as asked for."""
        settings = self._tested[0].settings
        llm = without_password(settings.llm.model)
        return {"stt": settings.stt.model, "llm": llm, "tts": settings.tts.voice}

    def prepare(self, console: Console) -> None:
        """Nothing is missing here: each node fetches what it lacks."""

    async def run(self, jobs: Sequence[Job], folder: Path) -> AsyncGenerator[Made, None]:
        """Measure all jobs; those of one variant in their order.

        Raises:
            StageError: There is no node any more, or some variants could not be measured whole.
            Unwritten: The disk here does not take a WAV.
        """
        for variant in self._tested:
            self._pending.append(_Share([job for job in jobs if job.variant is variant]))
        inbox: asyncio.Queue[_Turn | _End] = asyncio.Queue()
        waited_s = 0.0
        try:
            while self._pending or self._busy:
                self._assign(inbox)
                if not self._busy and (not self._lost or waited_s >= self._patience_s):
                    raise self._no_node()
                try:
                    came = await asyncio.wait_for(inbox.get(), TICK_S)
                except TimeoutError:
                    waited_s += TICK_S
                    continue
                waited_s = 0.0
                if isinstance(came, _Turn):
                    yield self._keep(came, folder)
                else:
                    self._ended(came)
        finally:
            for task in self._busy.values():
                task.cancel()
            await asyncio.gather(*self._busy.values(), return_exceptions=True)
            self._cluster.leave()
        if self._problems:
            raise StageError("ray", "; ".join(self._problems))

    def facts(self) -> Mapping[str, Any]:
        """How steady the nodes were, and what each is and has measured."""
        nodes = {
            name: {
                "machine": self._machines[name],
                "variants": sorted(self._measured.get(name, ())),
                "noise": summarise(self._readings.get(name, [])),
            }
            for name in self._machines
        }
        return {"noise": pooled(self._readings), "nodes": nodes}

    def _assign(self, inbox: asyncio.Queue[_Turn | _End]) -> None:
        """Give each idle node a variant."""
        for node in self._cluster.nodes():
            if self._pending and node.id not in self._busy and node.id not in self._resting:
                work = self._work(node, self._pending.popleft(), inbox)
                self._busy[node.id] = asyncio.create_task(work)

    def _ended(self, end: _End) -> None:
        """Decide what becomes of a node, and of what it has left undone."""
        node, share = end.node, end.share
        del self._busy[node.id]
        if end.error is not None:
            raise end.error
        if end.unfit:
            log.warning("%s: %s", node.name, end.unfit)
            self._resting[node.id] = f"{node.name}: {end.unfit}"
            self._pending.appendleft(share)
            return
        # Others may have become free meanwhile, too.
        self._resting.clear()
        if end.refusal:
            self._problems.append(f"{share}: {node.name}: {end.refusal}")
        if not end.lost:
            return
        self._lost = True
        share.losses += 1
        if share.losses > RETRIES:
            self._problems.append(f"{share}: its node or its process was lost {share.losses} times")
            return
        log.warning("%s: lost; what is left of %s is measured again", node.name, share)
        self._pending.appendleft(share)

    def _keep(self, turn: _Turn, folder: Path) -> Made:
        """Write the WAV here, and sign the record."""
        job, name, made = turn.job, turn.node.name, turn.sent.made
        if turn.sent.wav:
            wav = folder / job.wav
            try:
                wav.write_bytes(turn.sent.wav)
            except OSError:
                raise Unwritten(wav) from None
        self._measured.setdefault(name, set()).add(job.variant.name)
        self._readings.setdefault(name, []).extend(turn.sent.readings)
        record = replace(made.record, wav=job.wav if turn.sent.wav else "", node=name)
        return Made(job.signed(record), made.lines)

    async def _work(self, node: Node, share: _Share, inbox: asyncio.Queue[_Turn | _End]) -> None:
        """Measure a share on a node, as far as it goes."""
        end = _End(node, share)
        slot = None
        try:
            settings = (self._maker, share.jobs[0].variant, self._bounds)
            slot = self._cluster.start(node, Slot, *settings)
            end.unfit = await self._greet(node, slot)
            if not end.unfit:
                end.refusal = await self._measure(node, share, slot, inbox)
        except self._cluster.errors.RayTaskError as error:
            log.debug("%s: %s", node.name, error)
            end.refusal = f"{type(error.cause).__name__}: {error.cause}"
        except self._cluster.errors.RayError as error:
            log.debug("%s: %s", node.name, error)
            end.lost = True
        except Exception as error:
            end.error = error
        finally:
            if slot is not None:
                self._cluster.stop(slot)
            inbox.put_nowait(end)

    async def _greet(self, node: Node, slot: Any) -> str:
        """Wait until the node is there for us; gives the reason if it cannot be used."""
        try:
            greeting = await asyncio.wait_for(
                self._cluster.answer(slot.hello.remote()), self._patience_s
            )
        except TimeoutError:
            return f"busy with other work for {self._patience_s:.0f} s"
        except self._cluster.errors.RayError as error:
            said = str(error).strip()
            if "No module named" in said:
                return "Cascade is not installed there, or not all of it"
            return f"cannot be used: {said.splitlines()[0] if said else type(error).__name__}"
        if greeting.version != version():
            here, there = version() or "a source tree", greeting.version or "a source tree"
            return f"has Cascade {there}, and this machine {here}; install the same version"
        self._machines[node.name] = greeting.machine
        return ""

    async def _measure(
        self, node: Node, share: _Share, slot: Any, inbox: asyncio.Queue[_Turn | _End]
    ) -> str:
        """Measure what is left of a share; gives the reason if the node cannot."""
        ahead_ns = await self._ahead_ns(slot)
        answer: Any = await self._cluster.answer(slot.open.remote())
        for job in share.left():
            if isinstance(answer, Refusal):
                return answer.reason
            try:
                sound = await asyncio.to_thread(job.item.path.read_bytes)
            except OSError as error:
                answer = Sent(job.failed(f"{job.item.path}: {error.strerror}"))
            else:
                answer = await self._cluster.answer(slot.measure.remote(job, sound))
            if isinstance(answer, Sent) and job.order not in share.done:
                share.done.add(job.order)
                made = answer.made.shifted(ahead_ns)
                inbox.put_nowait(_Turn(job, node, replace(answer, made=made)))
        if isinstance(answer, Refusal):
            return answer.reason
        last = await self._cluster.answer(slot.close.remote())
        if not isinstance(last, Refusal):
            self._readings.setdefault(node.name, []).extend(last)
        return ""

    async def _ahead_ns(self, slot: Any) -> int:
        """By how much this machine's clock is ahead of the node's, to half a round trip (ns)."""
        before_ns = time.monotonic_ns()
        there_ns = await self._cluster.answer(slot.clock_ns.remote())
        return (before_ns + time.monotonic_ns()) // 2 - int(there_ns)

    def _no_node(self) -> StageError:
        left = ", ".join(map(str, self._pending))
        why = "; ".join(self._resting.values()) or "all are gone"
        return StageError(
            "ray", f"no node of the cluster is free ({why}); not measured: {left}; try again later"
        )


def pooled(readings: Mapping[str, Sequence[Reading]]) -> dict[str, Any]:
    """The noise of several machines as if it were one's (see `noise.summarise`).

    Machines that differ in speed are noisy, however steady each is: `relative` is the largest of
    each one's own and of half the distance between the slowest and the fastest; `drift` the largest
    of any.
    """
    by_node = [summarise(made) for made in readings.values() if made]
    if not by_node:
        return {}
    medians = [one["loop_ms"]["median"] for one in by_node]
    between = (max(medians) - min(medians)) / 2 / statistics.median(medians)
    return {
        **summarise([reading for made in readings.values() for reading in made]),
        "relative": round(max(between, *(one["relative"] for one in by_node)), 5),
        "drift": max((one["drift"] for one in by_node), key=abs),
    }
