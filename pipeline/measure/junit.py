"""`junit.xml`: a run as tools for continuous integration read it. A suite for each system.

The format is the one that Ant's JUnit task began and Jenkins, GitLab and GitHub's reporters read:
a `failure` is a gate that is not met, an `error` a conversation or turn that went wrong, `skipped`
what nobody could judge.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.errors import one_line
from pipeline.measure.gates import shown
from pipeline.measure.record import Record

NAME = "junit.xml"

MOST = 2000
"""Of a reason so many characters are told: what a server says may be long."""


class Case(NamedTuple):
    """A conversation or turn.

    Attributes:
        suite: The system.
        name: What was held.
        seconds: How long that took; None: not known.
        error: What went wrong; empty: nothing.
        skipped: Why it could not be measured; empty: it was.
    """

    suite: str
    name: str
    seconds: float | None = None
    error: str = ""
    skipped: str = ""


def turns(records: Iterable[Record]) -> list[Case]:
    """Each turn of a profile that counts."""
    return [
        Case(
            one.variant,
            f"{one.file} repeat {one.repeat}",
            error="" if one.answered else f"{one.status}: {one.reason}",
            skipped=one.reason if one.status == "unmeasurable" else "",
        )
        for one in records
        if one.repeat > 0
    ]


def rendered(
    kind: str, header: Mapping[str, Any], summary: Mapping[str, Any], cases: Sequence[Case]
) -> str:
    """The file.

    Args:
        kind: `compare` or `profile`.
        header: What describes the run.
        summary: Its systems and gates.
        cases: What counts.
    """
    root = ET.Element("testsuites", name=f"cascade {kind}")
    for system in summary["variants"]:
        suite = ET.SubElement(root, "testsuite", name=_text(system))
        if started := str(header.get("started") or "")[:19]:
            suite.set("timestamp", started)
        mine = [one for one in cases if one.suite == system]
        for one in mine:
            case = _case(suite, kind, one.name, one.seconds)
            _say(case, "error", one.error)
            _say(case, "skipped", one.skipped)
        for judged in summary.get("gates") or ():
            if judged["system"] == system:
                case = _case(suite, "gates", shown(judged)["wanted"])
                if judged["met"] is None:
                    _say(case, "skipped", judged["reason"])
                elif not judged["met"]:
                    _say(case, "failure", judged["told"])
        _count(suite, sum(one.seconds or 0.0 for one in mine))
    _count(root, sum(float(suite.get("time", 0)) for suite in root))
    ET.indent(root)
    return f"<?xml version='1.0' encoding='utf-8'?>\n{ET.tostring(root, encoding='unicode')}"


def _case(suite: ET.Element, kind: str, name: str, seconds: float | None = None) -> ET.Element:
    # Readers take what is before a dot for a package.
    place = f"{kind}.{suite.get('name', '').replace('.', '_')}"
    case = ET.SubElement(suite, "testcase", classname=place, name=_text(name))
    case.set("time", f"{seconds or 0:.3f}")
    return case


def _say(case: ET.Element, what: str, why: str) -> None:
    if why:
        said = ET.SubElement(case, what, message=_text(why))
        if what != "skipped":
            said.set("type", case.get("classname", "").partition(".")[0])
            said.text = _text(why)


def _count(over: ET.Element, seconds: float) -> None:
    """Tell how many cases there are inside, and of what kinds."""
    for name, tag in (
        ("tests", "testcase"),
        ("failures", "failure"),
        ("errors", "error"),
        ("skipped", "skipped"),
    ):
        over.set(name, str(sum(1 for _ in over.iter(tag))))
    over.set("time", f"{seconds:.3f}")


def _text(text: str) -> str:
    """On one line, without what XML cannot hold."""
    return one_line(text, MOST)
