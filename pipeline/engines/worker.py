"""One thread that computes for one stage, and the word that stops it.

Engines (Whisper, Piper) block while they compute and release Python's interpreter lock. Each gets a
thread of its own, made once; asyncio code waits for it, streams from it, and can stop it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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


class Worker:
    """A thread that runs one piece of work at a time, in order of arrival."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def run(self, work: Callable[[], T]) -> T:
        """Compute `work()` in the thread. Cancelling the caller does not stop the computation."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    async def stream(
        self, work: Callable[[Stop], Iterator[T]], *, depth: int = 4
    ) -> AsyncGenerator[T, None]:
        """Iterate over `work(stop)` in the thread, at most `depth` items ahead of the reader.

        Closing the generator (or cancelling its reader) sets `stop` and returns when the thread has
        let go, so that the next piece of work never waits behind a dropped one.
        """
        loop = asyncio.get_running_loop()
        stop = Stop()
        room = threading.Semaphore(depth)
        items: asyncio.Queue[tuple[T] | None] = asyncio.Queue()
        stop.on_set(room.release)

        def produce() -> None:
            if stop.is_set:
                return
            for item in work(stop):
                room.acquire()
                if stop.is_set:
                    return
                loop.call_soon_threadsafe(items.put_nowait, (item,))

        done = loop.run_in_executor(self._executor, produce)
        # Not told by `produce`, which never runs if the worker is closed before its turn comes.
        done.add_done_callback(lambda _: items.put_nowait(None))
        try:
            while (item := await items.get()) is not None:
                yield item[0]
                room.release()
            await done
        finally:
            stop.set()
            await asyncio.shield(asyncio.wait([done]))
            if not done.cancelled():
                # A stopped computation may fail of it; asyncio logs what nobody has looked at.
                done.exception()

    def close(self) -> None:
        """Let the thread end after its current work; does not wait for it."""
        self._executor.shutdown(wait=False, cancel_futures=True)


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


def onnx_session(model: Path | bytes, *, log_severity: int = 4) -> Any:
    """An onnxruntime session of one thread that does not spin while it waits.

    Two spinning threads cost 1.8 times the CPU of one, and threads that spin between runs take the
    core from the language model. The arena stays on: without it a run costs a quarter to a half
    more. With it, a plan of which tensors may share memory saves neither time nor memory, and for
    the 2,700 nodes of a voice's encoder that plan is three quarters of the time to load it (0.9
    instead of 3 s of CPU, beside other work). A pattern of the memory of every length of input
    seen is no faster either, and keeps 40 MB more of a voice's vocoder.

    Args:
        model: The file, or what is in it.
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
    source = str(model) if isinstance(model, Path) else model
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    # It keeps what it was made from (1.31), 56 MB of a voice, to be made again elsewhere.
    session._model_bytes = None
    return session
