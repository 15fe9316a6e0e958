"""Where tools come from, and what runs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from pipeline.engines.tools import Tool
from pipeline.errors import CascadeError


class ToolFailed(CascadeError):
    """A tool gave no result; the message is for the model, which tells the user."""


class ToolSource(Protocol):
    """Tools, and what runs them. An async context manager: inside it they can be called."""

    async def __aenter__(self) -> Self:
        """Make ready.

        Raises:
            CascadeError: It cannot be made ready; the message says why.
        """
        ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop, promptly and completely; what still runs is cancelled."""
        ...

    @property
    def tools(self) -> Sequence[Tool]:
        """What may be called just now; it may change while it is entered."""
        ...

    def watch(self, tell: Callable[[], None]) -> None:
        """Tell whenever `tools` change."""
        ...

    async def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        """Run a tool, and give its whole result as text.

        Args:
            name: One of `tools`.
            arguments: As the model wrote them; not checked yet.

        Raises:
            ToolFailed: It has no result.
        """
        ...
