"""One thread that computes for one stage, and the word that stops it.

Engines (Whisper, Piper) block while they compute and release Python's interpreter lock. Each gets a
thread of its own, made once; asyncio code waits for it, streams from it, and can stop it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


class Stop:
    """Says to a computation in another thread that its result is no longer wanted.

    The computation looks at `is_set` between steps, and registers with `on_set` what ends a step
    that is already running (onnxruntime's `RunOptions.terminate`).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._set = False
        self._callbacks: list[Callable[[], None]] = []

    @property
    def is_set(self) -> bool:
        """Whether `set` has been called."""
        return self._set

    def set(self) -> None:
        """Stop now. Safe from any thread, and more than once."""
        with self._lock:
            callbacks = [] if self._set else self._callbacks
            self._set = True
            self._callbacks = []
        for callback in callbacks:
            callback()

    def on_set(self, callback: Callable[[], None]) -> None:
        """Call `callback` when `set` is called; at once if it already was."""
        with self._lock:
            if not self._set:
                self._callbacks.append(callback)
                return
        callback()


Due = Callable[[], float]
"""When something is wanted (s, of `time.monotonic`). Asked whenever the thread chooses its next
work, for that may change while it waits."""


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """What is to be computed, and who is told."""

    work: Callable[[], Any]
    due: Due
    done: Future[Any]

    def run(self) -> None:
        if self.done.set_running_or_notify_cancel():
            try:
                self.done.set_result(self.work())
            except BaseException as error:
                self.done.set_exception(error)


class Worker:
    """A thread that runs one piece of work at a time: of all that waits, what is due first.

    What is due at the time at which it is asked for, as nearly everything is, is done in order of
    arrival, so that nobody can hold up others by asking for much.
    """

    def __init__(self, name: str) -> None:
        # It gets a token for each job; which job a token is for is chosen when its turn comes.
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._waiting: list[_Job] = []

    async def run(self, work: Callable[[], T], *, within_s: float = 0.0) -> T:
        """Compute `work()` in the thread. Cancelling the caller does not stop the computation.

        Args:
            work: The computation; one that was cancelled before its turn came is not begun.
            within_s: So long nobody waits for it (s).
        """
        due = time.monotonic() + within_s
        return await asyncio.wrap_future(self._submit(work, lambda: due))

    async def stream(
        self, work: Callable[[Stop], Iterator[T]], *, depth: int = 4, due: Due | None = None
    ) -> AsyncGenerator[T, None]:
        """Iterate over `work(stop)` in the thread, at most `depth` items ahead of the reader.

        Each item is a piece of work of its own: a reader that takes its time holds up nobody.
        Closing the generator (or cancelling its reader) sets `stop` and returns when the thread has
        let go, so that the next piece of work never waits behind a dropped one.

        Args:
            work: The computation.
            depth: See above.
            due: When its next item is wanted; None: when it is asked for.
        """
        asked = time.monotonic()
        stop = Stop()
        items: Iterator[T] | None = None

        def step() -> tuple[T] | None:
            nonlocal items
            if items is None:
                items = work(stop)
            for item in items:
                return (item,)
            return None

        steps = deque(self._submit(step, due or (lambda: asked)) for _ in range(depth))
        try:
            while (item := await asyncio.wrap_future(steps[0])) is not None:
                steps.popleft()
                steps.append(self._submit(step, due or (lambda: asked)))
                yield item[0]
        finally:
            stop.set()
            # What cannot be cancelled is being computed, or done.
            running = [step for step in steps if not step.cancel() and not step.done()]
            if running:
                # A stopped computation may fail of it; nobody wants to know.
                rest = asyncio.gather(*map(asyncio.wrap_future, running), return_exceptions=True)
                await asyncio.shield(rest)
            if isinstance(items, Generator):
                items.close()

    @property
    def late_s(self) -> float:
        """How long somebody has waited by now for work that has not been begun (s)."""
        now = time.monotonic()
        with self._lock:
            wanted = (job.due() for job in self._waiting if not job.done.cancelled())
            return now - min(wanted, default=now)

    def close(self) -> None:
        """Let the thread end after its current work; does not wait for it."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            dropped, self._waiting = self._waiting, []
        for job in dropped:
            job.done.cancel()

    def _submit(self, work: Callable[[], T], due: Due) -> Future[T]:
        job = _Job(work, due, Future())
        with self._lock:
            self._executor.submit(self._next)
            self._waiting.append(job)
        return job.done

    def _next(self) -> None:
        with self._lock:
            if not self._waiting:
                return  # closed meanwhile
            job = min(self._waiting, key=lambda job: job.due())
            self._waiting.remove(job)
        job.run()


async def apart(work: Callable[[], T]) -> T:
    """Compute `work()` in a thread of its own, for which nobody waits who is cancelled.

    Native code that loads a model cannot be stopped, and an event loop that closes waits for the
    threads of `asyncio.to_thread`.
    """
    worker = Worker("apart")
    try:
        return await worker.run(work)
    finally:
        worker.close()


def onnx_session(model: Path | bytes, *, weights: Path | None = None, log_severity: int = 4) -> Any:
    """An onnxruntime session of one thread that does not spin while it waits.

    Two spinning threads cost 1.8 times the CPU of one, and threads that spin between runs take the
    core from the language model. The arena stays on: without it a run costs a quarter to a half
    more. With it, a plan of which tensors may share memory saves neither time nor memory, and for
    the 2,700 nodes of a voice's encoder that plan is three quarters of the time to load it (0.9
    instead of 3 s of CPU, beside other work). A pattern of the memory of every length of input
    seen is no faster either, and keeps 40 MB more of a voice's vocoder.

    Args:
        model: The file, or what is in it.
        weights: The folder of the files that have those of its weights that are not in it.
        log_severity: From which one on onnxruntime logs: 3 errors, 4 only what ends it.

    Raises:
        Exception: It cannot be loaded; onnxruntime's own classes share no base but this.
    """
    import onnxruntime  # 0.1 s, and not every run needs it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_mem_reuse = False
    options.enable_mem_pattern = False
    options.log_severity_level = log_severity
    if weights is not None:
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(weights)
        )
    source = str(model) if isinstance(model, Path) else model
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    # It keeps what it was made from (1.31), 56 MB of a voice, to be made again elsewhere.
    session._model_bytes = None
    return session
