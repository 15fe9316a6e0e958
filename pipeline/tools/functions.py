"""Python functions as tools: what the model is told of them, and how they are run.

A tool is a public function with a docstring and type hints, defined in the file that is named; the
docstring says when to call it, and what each parameter means. The hints become the JSON schema that
the model sees, and what it calls with is checked against them (pydantic).

A function runs in a thread of its own; an `async` one in an event loop of its own, which all of
them share. So neither blocks the conversation, whatever it does.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import importlib.util
import inspect
import re
import sys
import threading
import typing
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType, TracebackType
from typing import Any, Self, TypeVar, get_args, overload

import docstring_parser
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind
from pydantic_core import to_json

from pipeline.engines.tools import NAME_CHARS, Told, Tool
from pipeline.errors import BadInput, first_line, one_line
from pipeline.tools.toolbox import ToolFailed

AT_ONCE = 16
"""Calls that may run at a time. A thread cannot be stopped, so those of functions that never come
back are among them: the next calls fail, and the machine does not fill up."""

LEAVE_S = 1.0
"""How long the end waits for the async functions to stop (s); what blocks is left behind."""

STUCK_S = 0.5
"""An event loop that does nothing for so long (s) is blocked for good, and left behind."""

DONE = "Done."
"""Stands for the result of a function that gives None."""

BINARY = "data:application/octet-stream;base64,"
"""What bytes that are no text begin with, as text."""

_MARK = "__cascade_tool__"

_KINDS = inspect.Parameter

Function = TypeVar("Function", bound=Callable[..., Any])
T = TypeVar("T")


@overload
def tool(function: Function, /) -> Function: ...
@overload
def tool(
    *, told: Told = ..., timeout_s: float = ..., approved: bool = ...
) -> Callable[[Function], Function]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    told: Told = "idle",
    timeout_s: float = 30.0,
    approved: bool = True,
) -> Any:
    """Mark a function of a tools file, to say more than its signature does. A decorator.

    Args:
        function: The function, where the decorator is written without parentheses.
        told: When the user hears of a result that comes after the reply has gone on: `idle`, once
            nobody has spoken for a second; `now`, right after what is being said; `silent`, never.
        timeout_s: How long a call may take (s).
        approved: Whether it may run without asking the user.

    Raises:
        BadInput: One of these is not possible.
    """
    if told not in get_args(Told):
        raise BadInput(f"told is {told!r}; allowed: {' | '.join(get_args(Told))}")
    if not 0 < timeout_s < float("inf"):
        raise BadInput(f"timeout_s is {timeout_s!r}; allowed: a number of seconds above 0")

    def mark(function: Function) -> Function:
        setattr(function, _MARK, {"told": told, "timeout_s": timeout_s, "approved": approved})
        return function

    return mark if function is None else mark(function)


class FunctionTools:
    """The functions of Python files, as a `ToolSource`."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Import the files.

        Args:
            files: Python files; each may import what stands beside it.

        Raises:
            BadInput: One cannot be imported, has no tools, or has a function of which no model can
                be told; the message says which, and what to do.
        """
        self._functions: dict[str, _Function] = {}
        for file in files:
            for function in _functions_of(file):
                before = self._functions.get(function.tool.name)
                if before is not None:
                    raise BadInput(
                        f"{file}: {function.tool.name} is a tool of {before.file} too; rename one"
                    )
                self._functions[function.tool.name] = function
        self._running: set[Future[str]] = set()
        self._loop: _LoopThread | None = None

    async def __aenter__(self) -> Self:
        """Nothing is made ready before it is needed."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Cancel the async functions that run; what blocks in a thread is left to itself."""
        if self._loop is not None:
            loop, self._loop = self._loop, None
            loop.stop()
            await asyncio.to_thread(loop.join, LEAVE_S)

    @property
    def tools(self) -> Sequence[Tool]:
        """The functions, in the order of their files."""
        return [function.tool for function in self._functions.values()]

    def watch(self, tell: Callable[[], None]) -> None:
        """Nothing: they stay the same."""

    async def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        """Run a function, and give its result as text.

        Cancelling this cancels an async function; another runs on, and nobody hears of it.

        Raises:
            ToolFailed: The arguments do not fit, it raises, or too many run already.
        """
        function = self._functions[name]
        given = function.checked(arguments)
        if len(self._running) >= AT_ONCE:
            raise ToolFailed(f"{AT_ONCE} calls are running already; wait until one is over")
        if function.is_async:
            if self._loop is None or not await self._loop.comes_back():
                self._loop = _LoopThread()
            running = self._loop.start(_awaited(given))
        else:
            running = _in_thread(name, functools.partial(_returned, given))
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        try:
            return await asyncio.wrap_future(running)
        except asyncio.CancelledError:
            if function.is_async and self._loop is not None:
                self._loop.suspect()
            raise


@dataclass(frozen=True, slots=True)
class _Function:
    """A function that is a tool.

    Attributes:
        tool: What the model is told.
        run: The function.
        file: Where it was found.
        parameters: Of the function, in order: the name, and whether it is given by position.
        model: Checks the arguments; its fields are called by number, for a parameter may have a
            name that no field can have.
    """

    tool: Tool
    run: Callable[..., Any]
    file: Path
    parameters: tuple[tuple[str, bool], ...]
    model: type[BaseModel]

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.run)

    def checked(self, arguments: Mapping[str, Any]) -> functools.partial[Any]:
        """The function with its arguments, which fit.

        Raises:
            ToolFailed: They do not; the message says what is wrong, for the model to try again.
        """
        try:
            given = self.model.model_validate(dict(arguments))
        except ValidationError as error:
            wrong = "; ".join(
                ": ".join([".".join(map(str, each["loc"])) or "arguments", each["msg"]])
                for each in error.errors(include_url=False, include_context=False)
            )
            raise ToolFailed(f"the arguments do not fit: {one_line(wrong, 500)}") from None
        values = [getattr(given, _field(i)) for i in range(len(self.parameters))]
        pairs = list(zip(self.parameters, values, strict=True))
        positional = [value for (_, by_position), value in pairs if by_position]
        named = {name: value for (name, by_position), value in pairs if not by_position}
        return functools.partial(self.run, *positional, **named)


def _functions_of(file: Path) -> list[_Function]:
    """The tools of a file.

    Raises:
        BadInput: See `FunctionTools`.
    """
    module = _imported(file)
    named = getattr(module, "__all__", None)
    if not isinstance(named, list | tuple | None):
        raise BadInput(f"{file}: its __all__ is no list of names")
    found = [
        _function(file, value)
        for name, value in vars(module).items()
        if isinstance(value, FunctionType)
        and value.__module__ == module.__name__
        and (hasattr(value, _MARK) or (value.__doc__ and not name.startswith("_")))
        and (named is None or name in named)
    ]
    if not found:
        raise BadInput(
            f"{file}: has no tools; a tool is a public function with type hints and a docstring"
        )
    return found


def _imported(file: Path) -> ModuleType:
    """A file as a module.

    Raises:
        BadInput: It cannot be imported.
    """
    if not file.is_file():
        raise BadInput(f"{file}: there is no such file; name a Python file with functions in it")
    # Not its own name: that may be the one of a library's.
    name = "cascade_tools_" + re.sub(r"\W", "_", str(file.resolve()))
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise BadInput(f"{file}: is no Python file; its name has to end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    folder = str(file.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)  # last: what stands beside it must not hide a library
    # stdout belongs to --json.
    vars(module)["print"] = functools.partial(print, file=sys.stderr)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            spec.loader.exec_module(module)
    except SyntaxError as error:
        raise BadInput(f"{file}, line {error.lineno}: {error.msg}") from None
    except BadInput as error:
        raise BadInput(f"{file}: {error}") from None
    except (Exception, SystemExit) as error:
        what = f"{type(error).__name__}: {first_line(Exception(*error.args))}"
        raise BadInput(f"{file}: cannot be imported: {what}") from error
    return module


def _function(file: Path, function: FunctionType) -> _Function:
    """What there is to know of a function.

    Raises:
        BadInput: No model can be told of it.
    """
    name = function.__name__
    where = f"{file}, line {function.__code__.co_firstlineno}: {name}"
    if not re.fullmatch(rf"[a-zA-Z0-9_-]{{1,{NAME_CHARS}}}", name):
        raise BadInput(
            f"{where}: models take names of up to {NAME_CHARS} letters without accents, digits "
            "and _; rename it"
        )
    if not function.__doc__:
        raise BadInput(f"{where}: has no docstring; say in one when to call it")
    if inspect.isasyncgenfunction(function):
        raise BadInput(f"{where}: yields; return a list")
    description, about = _described(function.__doc__)
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception as error:
        raise BadInput(f"{where}: its type hints cannot be read: {first_line(error)}") from None
    fields: dict[str, Any] = {}
    parameters = []
    for parameter in inspect.signature(function).parameters.values():
        mine = f"{where}: its parameter {parameter.name}"
        if parameter.kind in (_KINDS.VAR_POSITIONAL, _KINDS.VAR_KEYWORD):
            raise BadInput(f"{mine} stands for any number of arguments; name each of them")
        if parameter.name not in hints:
            raise BadInput(
                f"{mine} has no type hint; write one, such as {parameter.name}: str, or begin the "
                "function's name with _ if it is no tool"
            )
        default = ... if parameter.default is parameter.empty else parameter.default
        field = Field(default, alias=parameter.name, description=about.get(parameter.name) or None)
        fields[_field(len(fields))] = (hints[parameter.name], field)
        parameters.append((parameter.name, parameter.kind is _KINDS.POSITIONAL_ONLY))
    forbid = ConfigDict(extra="forbid", arbitrary_types_allowed=False, defer_build=False)
    try:
        model = create_model(name, __config__=forbid, **fields)
        schema = model.model_json_schema(schema_generator=_Schema)
    except Exception as error:  # not only pydantic's own: a pattern that is none, a hint's own code
        raise BadInput(
            f"{where}: no JSON schema can be made of its type hints: {one_line(str(error))}"
        ) from None
    schema.pop("title", None)
    options = getattr(function, _MARK, {})
    described = Tool(name, description, {"properties": {}, **schema}, **options)
    return _Function(described, function, file, tuple(parameters), model)


def _described(docstring: str) -> tuple[str, dict[str, str]]:
    """What a docstring says of a function, and of each parameter; not what it gives or raises."""
    try:
        told = docstring_parser.parse(docstring)
    except Exception:  # not only its own: it stumbles over odd ones
        return inspect.cleandoc(docstring), {}
    words = [told.short_description, told.long_description]
    about = {
        name.strip(): one_line(each.description or "", 1000)
        for each in told.params
        for name in each.arg_name.split(",")
    }
    return "\n".join(filter(None, words)) or inspect.cleandoc(docstring), about


def _field(number: int) -> str:
    """The name of a field of a `_Function.model`."""
    return f"p{number}"


class _Schema(GenerateJsonSchema):
    """JSON schemas without what no model needs: titles cost tokens, and repeat the names."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def emit_warning(self, kind: JsonSchemaWarningKind, detail: str) -> None:
        """Nothing: a default that is no JSON is left out."""

    def generate_inner(self, schema: Any) -> Any:
        found = super().generate_inner(schema)
        if isinstance(found, dict) and isinstance(found.get("title"), str):
            found.pop("title")
        return found


# --- running them ---


def _returned(given: Callable[[], Any]) -> str:
    """What a function gives, as text.

    Raises:
        ToolFailed: It raises.
    """
    try:
        return as_text(given())
    except BaseException as error:  # whatever a tool does ends neither thread nor conversation
        raise _failed(error) from error


async def _awaited(given: Callable[[], Any]) -> str:
    """The same of an async function."""
    try:
        return as_text(await given())
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise _failed(error) from error
    except BaseException as error:
        raise _failed(error) from error


def _failed(error: BaseException) -> ToolFailed:
    if isinstance(error, ToolFailed):
        return error
    told = one_line(str(error), 500)
    return ToolFailed(f"{type(error).__name__}: {told}" if told else type(error).__name__)


def as_text(result: Any) -> str:
    """What a function gave, as text: JSON, unless it is text already."""
    if result is None:
        return DONE
    if isinstance(result, str):
        return result
    if isinstance(result, bytes | bytearray | memoryview):
        data = bytes(result)
        with contextlib.suppress(UnicodeDecodeError):
            if b"\0" not in data:
                return data.decode()
        return BINARY + base64.b64encode(data).decode()
    try:
        made = to_json(result, bytes_mode="base64", serialize_unknown=True, inf_nan_mode="strings")
    except ValueError:  # it contains itself, or text that is none
        return str(result)
    return made.decode()


def _in_thread(name: str, work: Callable[[], str]) -> Future[str]:
    """Run in a thread of its own, which keeps no program from ending (as an executor's would)."""
    done: Future[str] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    done.set_running_or_notify_cancel()
    threading.Thread(target=run, name=f"tool {name}", daemon=True).start()
    return done


class _LoopThread:
    """An event loop in a thread of its own: what blocks in it blocks nothing else."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._came_back = threading.Event()
        self._came_back.set()
        self._thread = threading.Thread(target=self._run, name="async tools", daemon=True)
        self._thread.start()

    async def comes_back(self) -> bool:
        """Whether it does anything; asks for a moment if it was suspected to be blocked."""
        return self._came_back.is_set() or await asyncio.to_thread(self._came_back.wait, STUCK_S)

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin work in it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def suspect(self) -> None:
        """Something in it took too long: see whether it does anything at all."""
        self._came_back.clear()
        self._loop.call_soon_threadsafe(self._came_back.set)

    def stop(self) -> None:
        """Cancel all work."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    def join(self, seconds: float) -> None:
        """Wait until it has stopped."""
        self._thread.join(seconds)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()
