"""Python functions as tools: which count, what the model is told, and how they run."""

from __future__ import annotations

import asyncio
import json
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import BadInput
from pipeline.tools.functions import AT_ONCE, BINARY, FunctionTools
from pipeline.tools.toolbox import Toolbox, ToolFailed

WEATHER = '''
    from __future__ import annotations
    import dataclasses, datetime, enum
    from typing import Annotated, Literal
    from pydantic import BaseModel, Field
    from pipeline import tool

    class Place(BaseModel):
        """Where."""
        city: str
        title: str = ""

    def weather(city: str, days: Annotated[int, Field(ge=1, le=7)] = 1,
                unit: Literal["C", "F"] = "C", json: bool = False) -> str:
        """Tell the weather of a city.

        Not of a country.

        Args:
            city: Its name, such as
                Rome.
            unit: Of the temperature.
        """
        return f"{city} {days} {unit} {json}"

    @tool(told="silent", timeout_s=2, approved=False)
    async def remind(at: datetime.date, where: Place, /, notes: list[str] | None = None):
        """Remind the user.

        Parameters
        ----------
        at : date
            The day.
        notes
            What to say.
        """
        return {"at": at, "where": where, "notes": notes}

    def plain():
        """Ring."""

    def _helper(x):
        """Not a tool."""

    def undocumented(x): ...

    class Thing:
        """Not a function."""
'''


def written(folder: Path, code: str, name: str = "mine.py") -> Path:
    file = folder / name
    file.write_text(textwrap.dedent(code), encoding="utf-8")
    return file


def tools(folder: Path, code: str) -> FunctionTools:
    return FunctionTools([written(folder, code)])


def call(found: FunctionTools, name: str, **arguments: Any) -> str:
    async def run() -> str:
        async with found:
            return await found.call(name, arguments)

    return asyncio.run(run())


def test_what_the_model_is_told(tmp_path: Path) -> None:
    weather, remind, plain = tools(tmp_path, WEATHER).tools
    assert weather.name == "weather"
    assert weather.description == "Tell the weather of a city.\nNot of a country."
    assert weather.parameters == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Its name, such as Rome."},
            "days": {"type": "integer", "minimum": 1, "maximum": 7, "default": 1},
            "unit": {
                "type": "string",
                "enum": ["C", "F"],
                "default": "C",
                "description": "Of the temperature.",
            },
            "json": {"type": "boolean", "default": False},
        },
        "required": ["city"],
        "additionalProperties": False,
    }
    assert (remind.told, remind.timeout_s, remind.approved) == ("silent", 2, False)
    assert remind.description == "Remind the user."
    assert remind.parameters["properties"]["at"] == {
        "type": "string",
        "format": "date",
        "description": "The day.",
    }
    assert set(remind.parameters["$defs"]["Place"]["properties"]) == {"city", "title"}
    assert plain.parameters["properties"] == {}


@pytest.mark.parametrize(
    ("docstring", "description", "x"),
    [
        ("Tell.\n\n:param x: The x.\n:returns: y", "Tell.", "The x."),
        ("Tell.\n\nParameters\n----------\nx, y : int\n    Both.", "Tell.", "Both."),
        ("Tell.\n\nArgs:\n  x (int): The x.\n\nReturns:\n  It.", "Tell.", "The x."),
        ("Tell: the price.\n\nUse it for: gold.", "Tell: the price.\nUse it for: gold.", None),
        (": :", ": :", None),
    ],
)
def test_docstrings_of_all_styles(
    tmp_path: Path, docstring: str, description: str, x: str | None
) -> None:
    [tool] = tools(tmp_path, f"def f(x: int = 1):\n {docstring!r}").tools
    assert tool.description == description
    assert tool.parameters["properties"]["x"].get("description") == x


def test_what_is_called_is_checked_and_converted(tmp_path: Path) -> None:
    found = tools(tmp_path, WEATHER)
    assert call(found, "weather", city="Rome", days="3", json=True) == "Rome 3 C True"
    given = call(found, "remind", at="2026-11-30", where={"city": "Rome"}, notes=["a"])
    assert json.loads(given)["where"] == {"city": "Rome", "title": ""}
    assert call(found, "plain") == "Done."
    with pytest.raises(ToolFailed) as failed:
        call(found, "weather", days=12, town="Rome")
    assert str(failed.value) == (
        "the arguments do not fit: city: Field required; "
        "days: Input should be less than or equal to 7; town: Extra inputs are not permitted"
    )


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("def f(:", "line 1: invalid syntax"),
        ("import not_installed_anywhere", "cannot be imported: ModuleNotFoundError"),
        ("import sys; sys.exit(3)", "cannot be imported: SystemExit: 3"),
        ("x = 1", "has no tools"),
        ('def f(x):\n "Doc."', "its parameter x has no type hint"),
        ('def f(*x: int):\n "Doc."', "any number of arguments"),
        ('def f(x: "Nothing"):\n "Doc."', "its type hints cannot be read"),
        ('class A: ...\ndef f(x: A):\n "Doc."', "no JSON schema can be made"),
        ('from typing import Callable\ndef f(x: Callable[[], int]):\n "D."', "no JSON schema"),
        ('__all__ = 5\ndef f():\n "D."', "its __all__ is no list of names"),
        (
            "from typing import Annotated\nfrom pydantic import Field\n"
            'def f(x: Annotated[str, Field(pattern="(")]):\n "D."',
            "no JSON schema can be made of its type hints",
        ),
        ('def größe():\n "Doc."', "without accents"),
        ('async def f():\n "Doc."\n yield 1', "return a list"),
        ("from pipeline import tool\n@tool\ndef f(): ...", "has no docstring"),
        ('from pipeline import tool\n@tool(told="soon")\ndef f():\n "D."', "idle | now | silent"),
        ('from pipeline import tool\n@tool(timeout_s=0)\ndef f():\n "D."', "above 0"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_in_a_line(tmp_path: Path, code: str, told: str) -> None:
    file = written(tmp_path, code)
    with pytest.raises(BadInput) as wrong:
        FunctionTools([file])
    assert told in str(wrong.value)
    assert str(wrong.value).startswith(str(file))
    assert len(str(wrong.value).splitlines()) == 1


def test_names_are_unique_and_what_stands_beside_can_be_imported(tmp_path: Path) -> None:
    written(tmp_path, "ANSWER = 42", "beside_the_tools.py")
    one = written(tmp_path, 'import beside_the_tools as b\ndef f():\n "D."\n return b.ANSWER')
    other = written(tmp_path, 'def f():\n "D."', "other.py")
    with pytest.raises(BadInput, match=r"f is a tool of .*mine\.py too; rename one"):
        FunctionTools([one, other])
    assert call(FunctionTools([one]), "f") == "42"
    with pytest.raises(BadInput, match="there is no such file"):
        FunctionTools([tmp_path / "none.py"])
    listed = written(tmp_path, '__all__ = ["g"]\ndef f():\n "D."\ndef g():\n "D."', "listed.py")
    assert [tool.name for tool in FunctionTools([listed]).tools] == ["g"]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("return None", "Done."),
        ("return b'caf\\xc3\\xa9'", "café"),
        ("return bytes(range(3))", BINARY + "AAEC"),
        ("return {'a': [1, 2.5, None], 'b': {3}}", '{"a":[1,2.5,null],"b":[3]}'),
        ("return float('nan')", '"NaN"'),
        ("import pathlib; return object", "\"<class 'object'>\""),
        ("a = []; a.append(a); return a", '["..."]'),
        ("import numpy; return numpy.float64(2)", "2.0"),
        ("return (i for i in range(3))", "[0,1,2]"),
    ],
)
def test_any_result_becomes_text(tmp_path: Path, body: str, text: str) -> None:
    assert call(tools(tmp_path, f'def f():\n "D."\n {body}'), "f") == text


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize(
    ("raised", "told"),
    [
        ("ValueError('no such\\ncity')", "ValueError: no such city"),
        ("SystemExit(2)", "SystemExit: 2"),
        ("KeyboardInterrupt", "KeyboardInterrupt"),
        ("StopIteration", "StopIteration"),
        ("asyncio.CancelledError", "CancelledError"),
    ],
)
def test_whatever_it_raises_is_told(tmp_path: Path, kind: str, raised: str, told: str) -> None:
    found = tools(tmp_path, f'import asyncio\n{kind} f():\n "D."\n raise {raised}')
    with pytest.raises(ToolFailed) as failed:
        call(found, "f")
    # A coroutine cannot raise StopIteration: Python makes another error of it.
    assert told in (str(failed.value), "StopIteration")


HANGS = '''
    import asyncio, time
    from pipeline import tool

    @tool(timeout_s=0.2)
    def asleep():
        """Hang in a thread."""
        time.sleep(3600)

    cancelled = []

    @tool(timeout_s=0.2)
    async def awaiting():
        """Hang in the loop."""
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(1)

    def how_many() -> int:
        """Tell how often that was cancelled."""
        return len(cancelled)

    @tool(timeout_s=0.2)
    async def blocking():
        """Block the loop."""
        time.sleep(60)

    async def quick() -> str:
        """Come back at once."""
        return "here"
'''


def test_what_hangs_stalls_neither_the_others_nor_the_end(tmp_path: Path) -> None:
    async def run() -> None:
        async with Toolbox([tools(tmp_path, HANGS)]) as box:
            names = ("asleep", "awaiting", "blocking")
            results = await asyncio.gather(*(box.call(name, "{}") for name in names))
            for text, _ in results:
                assert text == "Error: it took longer than 0.2 s and was given up"
            assert (await box.call("quick", "")).text == "here"
            waits = asyncio.create_task(box.call("awaiting", ""))
            await asyncio.sleep(0.1)
            waits.cancel()
            await asyncio.wait([waits])
            while (await box.call("how_many", "")).text != "1":
                await asyncio.sleep(0.01)
            # A thread that hangs counts for ever.
            more = [box.call("asleep", "{}") for _ in range(AT_ONCE)]
            assert "calls are running already" in [*await asyncio.gather(*more)][-1].text

    begun = time.monotonic()
    asyncio.run(run())
    assert time.monotonic() - begun < 60, "none of them was waited for"
    assert all(t.daemon for t in threading.enumerate() if t.name.startswith(("tool", "async")))


def test_calls_run_side_by_side_and_async_ones_share_a_loop(tmp_path: Path) -> None:
    code = '''
        import asyncio, threading
        both = threading.Barrier(2, timeout=5)
        event = asyncio.Event()

        def meet() -> int:
            """Wait for the other one."""
            return both.wait() * 0

        async def wait() -> str:
            """Wait for the other one."""
            await event.wait()
            return "met"

        async def go() -> None:
            """Wake the other one."""
            event.set()
    '''

    async def run() -> list[str]:
        async with Toolbox([tools(tmp_path, code)]) as box:
            names = ("meet", "meet", "wait", "go")
            return [r.text for r in await asyncio.gather(*(box.call(name, "") for name in names))]

    assert asyncio.run(run()) == ["0", "0", "met", "Done."]


def test_print_goes_to_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    call(tools(tmp_path, 'def f():\n "D."\n print("here")'), "f")
    assert capfd.readouterr() == ("", "here\n")
    tools(tmp_path, 'import sys\nsys.stdout.write("at once")\ndef f():\n "D."')
    assert capfd.readouterr() == ("", "at once")
