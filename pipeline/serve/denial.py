"""A request that is not served, and how a client is told: as OpenAI's API does."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.responses import JSONResponse

_HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 426: {"Upgrade": "websocket"}}
"""What else an answer of that status has to say."""


class Refused(Exception):
    """A request that is not served.

    Args:
        status: Of the HTTP answer.
        code: A code of OpenAI's API.
        message: What is wrong, for the client's author; never a secret that was sent.
        param: Which parameter.
        retry_after_s: When it may be tried again (s); 0: that would not help.

    Attributes:
        code: As given.
        message: As given.
        error: What is told of it.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        param: str | None = None,
        retry_after_s: float = 0,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        kind = "server_error" if status >= 500 else "invalid_request_error"
        self.error = {"message": message, "type": kind, "param": param, "code": code}
        self._status = status
        self._headers = dict(_HEADERS.get(status, {}))
        if retry_after_s:
            self._headers["Retry-After"] = f"{retry_after_s:.0f}"

    def response(self) -> JSONResponse:
        """The HTTP answer."""
        from starlette.responses import JSONResponse

        return JSONResponse({"error": self.error}, self._status, self._headers)
