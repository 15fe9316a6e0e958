"""What a client asks for and cannot have, said as OpenAI's API says it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

if TYPE_CHECKING:
    from starlette.responses import JSONResponse

INVALID_EVENT = "invalid_event"
INVALID_VALUE = "invalid_value"
MISSING = "missing_required_parameter"
UNKNOWN = "unknown_parameter"
TOO_LONG = "string_above_max_length"

_STAGES = {"stt": "recogniser", "llm": "language model", "tts": "voice"}

_HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 426: {"Upgrade": "websocket"}}
"""What an answer of that status has to say besides."""

MOST_SAID = 500
"""Characters of a message, and of the name of a field: both may hold what the client wrote."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class RequestRefused(Exception):
    """What a client sent cannot be done; a session that it has goes on.

    Attributes:
        code: A code of the API, such as `invalid_value`.
        message: What is wrong, for the client's author; never a secret that was sent.
        param: Which field, such as `session.audio.output.voice`.
        event_id: The client's own id of the event, once it is known.
        status: Of HTTP.
        retry_after_s: When it may be tried again (s); 0: that would not help.
    """

    code: str
    message: str
    param: str | None = None
    event_id: str | None = None
    status: int = 400
    retry_after_s: float = 0

    def __post_init__(self) -> None:
        self.message = _clipped(self.message)
        self.param = self.param and _clipped(self.param)

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    @property
    def error(self) -> dict[str, Any]:
        """What is told of it."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"message": self.message, "type": kind, "param": self.param, "code": self.code}

    def response(self) -> JSONResponse:
        """The answer to a request over HTTP."""
        from starlette.responses import JSONResponse

        headers = dict(_HEADERS.get(self.status, {}))
        if self.retry_after_s:
            headers["Retry-After"] = f"{self.retry_after_s:.0f}"
        return JSONResponse({"error": self.error}, self.status, headers)


def stage_failed(stage: str, why: str) -> RequestRefused:
    """A stage failed. Why is for the server's log alone: it may name servers and files."""
    log.warning("%s", why)
    message = f"The {_STAGES.get(stage, 'server')} failed; the server's log says why."
    return RequestRefused(f"{stage}_failed", message, status=500)


def invalid(param: str, what: str) -> RequestRefused:
    """A field is not what it may be; `what` says why, as the rest of a sentence."""
    return RequestRefused(INVALID_VALUE, f"Invalid value: '{_clipped(param)}' {what}.", param)


def refusal(error: ValidationError, data: Any, prefix: str = "") -> RequestRefused:
    """The first thing that is wrong with `data`, as the protocol says it.

    Args:
        error: What its model found.
        data: What was checked.
        prefix: Of the fields' names, such as `session.`.
    """
    found = error.errors(include_url=False)
    # Of a union the type that is meant is the one in which most is found.
    alike = [problem for problem in found if problem["loc"][:1] == found[0]["loc"][:1]]
    problem = max(alike, key=lambda problem: len(_places(problem, data)))
    kind, path = problem["type"], "".join(_places(problem, data))
    if kind.startswith("union_tag"):
        path += f".{problem['ctx']['discriminator'].strip(chr(39))}"
    param = _clipped(prefix + path.removeprefix("."))
    if kind in ("missing", "union_tag_not_found"):
        return RequestRefused(MISSING, f"Missing required parameter: '{param}'.", param)
    if kind == "extra_forbidden":
        return RequestRefused(UNKNOWN, f"Unknown parameter: '{param}'.", param)
    what = problem["msg"].removeprefix("Input ").removeprefix("Value error, ")
    return invalid(param, what[0].lower() + what[1:])


def _places(problem: ErrorDetails, data: Any) -> list[str]:
    """The way into the data to what is wrong."""
    way = []
    for part in problem["loc"]:
        # What is no place in the data is the name of a type in a union, or what is missing there.
        if isinstance(part, int):
            way.append(f"[{part}]")
            data = data[part]
        elif isinstance(data, dict) and part in data:
            way.append(f".{part}")
            data = data[part]
        elif problem["type"] == "missing" and part is problem["loc"][-1]:
            way.append(f".{part}")
    return way


def _clipped(text: str) -> str:
    return text if len(text) <= MOST_SAID else text[: MOST_SAID - 1] + "…"
