"""The embedded language model: llama.cpp's own OpenAI-compatible server inside this process."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import secrets
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pipeline.config import LlmSettings, Settings
from pipeline.engines.servers import TEMPLATE_OFF, ChatServer
from pipeline.engines.worker import apart
from pipeline.errors import StageError

REPEAT_PENALTY = 1.1
"""Without it small models fall into loops."""

PENALTY_TOKENS = 256
"""How far back a repetition counts: the reply, and the one before it."""

BATCH = 64
"""Tokens read at once. A cancelled request is noticed only between batches: 64 tokens take a tenth
longer to read than 2048, and are let go of in under a second instead of four."""

REUSED = 32
"""So many tokens in a row that were read before are not read again where what stood before them is
left out, as old turns are: their keys are shifted. Without it each time costs as much as a new
conversation of half the budget, a second of one core and more."""

CONTEXT_TOKENS = 2048
"""What is reserved at least; ample for the default budget of 1,000 tokens."""


TOOL_TOKENS = 4096
"""What is reserved in `cascade talk` for tools, where there will be some: each has some 150."""

PICTURE_BATCH = 512
"""Tokens read at once by a model that sees: some (Gemma 3) read a picture whole, of 256 tokens."""

MOST_PICTURE_TOKENS = 640
"""That a picture may have where a model makes more of larger ones: Qwen2.5-VL would read 1,300
of a megapixel. Half of that still shows print, and comes in half the time."""

PICTURES = 3
"""So many have room beside what is said: more are not in a prompt of the default budget."""

_QUANTISED = re.compile(r"[-._](ud|i?q\d|f16|f32|bf16|mxfp4).*$", re.I)
"""The end of a model's name that says how its numbers are kept."""


def projector(model: Path) -> Path | None:
    """What lets a model see: the `mmproj*.gguf` beside it, which belongs to it by its name.

    Where the folder has one model alone, and one projector, these belong together. None: there is
    none, and the model does not see.
    """
    beside = sorted(path for path in model.parent.glob("*.gguf") if path.name != model.name)
    found = [path for path in beside if "mmproj" in path.name.lower()]
    name = _QUANTISED.sub("", model.stem).lower()
    named = [path for path in found if name in path.name.lower()]
    alone = found if len(beside) == len(found) else []
    return next(iter(named or alone), None)


def trained_context(model: Path) -> int | None:
    """Tokens that a model was trained for, as its file tells near its beginning; None: it does not.

    llama.cpp reserves memory for more, and then uses no more than these.
    """
    with contextlib.suppress(OSError), model.open("rb") as file:
        # A key, the number of its type (uint32, uint64), its value.
        key = rb"\.context_length(?:\x04\0{3}(.{4})|\x0a\0{3}(.{8}))"
        if found := re.search(key, file.read(1 << 20), re.S):
            return int.from_bytes(found[1] or found[2], "little") or None
    return None


def context_tokens(settings: Settings, sessions: int = 1) -> int:
    """Tokens to reserve for each: for a prompt, whose size the budget only guesses, and a reply.

    Beside long instructions there is room for what is said. With the default model each token takes
    23 KB, so that of many sessions none has more than it needs.
    """
    room = 3 * settings.conversation.budget_tokens // 2 + settings.llm.max_tokens
    told = settings.llm.instructions
    # A letter beyond ASCII may be as many tokens as it has bytes.
    room += len(told) // 3 + len(told.encode("utf-8", "surrogatepass")) - len(told)
    if sessions > 1:
        return room
    room += TOOL_TOKENS if settings.tools.files or settings.mcp else 0
    return max(CONTEXT_TOKENS, room)


def unusable(error: ImportError) -> str:
    """Why llama.cpp cannot be loaded, and what to do. Its wheel brings no OpenMP library."""
    return (
        f"the embedded model cannot run here ({error}); install what is missing "
        "(on Debian and Ubuntu: sudo apt-get install libgomp1)"
    )


def thread_count(setting: int, cores: int) -> int:
    """Threads for the embedded model.

    On two cores one: a second one would fight with the recogniser and the voice. On more, all but
    the two that those use.
    """
    return setting or max(1, cores - 2)


class LocalServer:
    """Runs a `.gguf` behind a loopback port of its own choosing, with a key of its own.

    An async context manager; `address` is valid inside it. No Python runs while it starts (0.3 s
    for a small model) and stops (0.03 s), Ctrl-C included: xllamacpp does not release the
    interpreter's lock then.
    """

    def __init__(
        self,
        path: Path,
        settings: LlmSettings,
        *,
        context_tokens: int = CONTEXT_TOKENS,
        sessions: int = 1,
        tools_in_words: bool = False,
    ) -> None:
        self._path = path
        self._projector = projector(path)
        self._settings = settings
        self._context_tokens = context_tokens
        self._sessions = sessions
        self._tools_in_words = tools_in_words
        self._server: Any = None
        self._key = secrets.token_urlsafe(24)

    @property
    def address(self) -> ChatServer:
        """How to reach it."""
        return ChatServer(
            f"{self._server.listening_address}/v1",
            self._path.stem,
            self._key,
            "the embedded model",
            optional=TEMPLATE_OFF,
            # It says that it keeps a connection and closes it all the same when a stream ends: a
            # request sent in that moment is lost.
            keeps=False,
            shows_tools="template",
            tools_in_words=self._tools_in_words,
            remedy="start Cascade again",
            sees=self._projector is not None,
        )

    async def __aenter__(self) -> Self:
        """Load the model and listen.

        Raises:
            StageError: The file is no model that llama.cpp can run, or llama.cpp is not installed.
        """
        try:
            self._server = await apart(self._start)
        except ImportError as error:
            raise StageError(
                "llm", f"{unusable(error)}, or use another --llm", fatal=True
            ) from None
        except (RuntimeError, ValueError, OSError):
            # Its own words are always the same: "Failed to init server".
            raise StageError(
                "llm",
                f"{self._path}: llama.cpp cannot load it; it is damaged (`cascade models verify` "
                "tells), not a language model, too new, or too large for the memory, as a large "
                "conversation.budget_tokens makes it",
                fatal=True,
            ) from None
        return self

    def _start(self) -> Any:
        xllamacpp = importlib.import_module("xllamacpp")
        params = xllamacpp.CommonParams()
        params.model.path = str(self._path)
        if self._projector is not None:
            params.mmproj.path = str(self._projector)
            params.image_max_tokens = MOST_PICTURE_TOKENS
        params.hostnames = ["127.0.0.1"]
        params.port = 0
        params.api_keys = [self._key]
        # Each conversation has a slot, and keeps what was read of it there. Slots of one common
        # context write a quarter faster side by side than slots with one each; what a slot may take
        # of it is limited, or a long prompt would take what others need.
        params.n_parallel = self._sessions
        room = self._context_tokens + (
            0 if self._projector is None else PICTURES * MOST_PICTURE_TOKENS
        )
        room = min(room, trained_context(self._path) or room)
        params.n_ctx = self._sessions * room
        if self._sessions > 1:
            params.kv_unified = True
            params.kv_unified_per_slot = room
        cores = os.cpu_count() or 1
        threads = thread_count(self._settings.threads, cores)
        params.cpuparams.n_threads = threads
        # What is read before the first token is waited for, and neither the recogniser nor the
        # voice has anything to do then: with a second thread it comes in half the time.
        params.cpuparams_batch.n_threads = self._settings.threads or min(cores, max(2, threads))
        params.n_batch = params.n_ubatch = BATCH if self._projector is None else PICTURE_BATCH
        params.cache_prompt = True
        params.n_cache_reuse = REUSED
        # One that is read over is forgotten: by default up to 8 GB of them are kept, 5 MB of each
        # 240 tokens, and a conversation does not come back to what it has cut off.
        params.cache_ram_mib = 0
        params.sampling.penalty_repeat = REPEAT_PENALTY
        params.sampling.penalty_last_n = PENALTY_TOKENS
        # A closed stream is noticed at the next ping at the latest.
        params.sse_ping_interval = 1
        # Nobody but the client in this process has a use for these.
        params.ui = params.endpoint_slots = False
        # What would be fitted is the share of a graphics card. Without one there is nothing to fit,
        # and to find that out costs as much as loading the model.
        processor = xllamacpp.ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_CPU
        devices = xllamacpp.get_device_info()
        params.fit_params = any(device["type"] != processor for device in devices)
        # -1 is silence; errors are raised all the same.
        params.verbosity = -1
        # Its answer shows that it has begun to take tasks: one that is told to stop before that
        # never stops, and nothing else runs any more (2026.10.11549).
        params.endpoint_metrics = True
        server = xllamacpp.Server(params)
        server.handle_metrics()
        return server

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop. The server has no close method: dropping the last reference stops it.

        Close the client first: an open stream can delay the stop until the next ping but one.
        """
        self._server = None
