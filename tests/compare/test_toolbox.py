"""Tools with canned results."""

from __future__ import annotations

import json

import pytest

from pipeline.compare.scenario import Instrumented, Response
from pipeline.compare.toolbox import Toolbox, agrees, text
from pipeline.engines.tools import Tool

WEATHER = Instrumented(
    Tool("weather"),
    (
        Response({"sky": "clear"}, when={"city": "Paris"}),
        Response("rain", when={"city": "Oslo"}, delay_s=2.0),
        Response("snow", when={"city": "Oslo"}),
    ),
)


def test_the_first_response_that_fits_is_used_up_but_not_the_last() -> None:
    box = Toolbox([WEATHER])
    oslo = json.dumps({"city": "oslo"})
    assert box.answer("weather", oslo) == ("rain", 2.0)
    assert box.answer("weather", oslo) == ("snow", 0.0)
    assert box.answer("weather", oslo) == ("snow", 0.0)
    assert box.answer("weather", '{"city": "Paris, France"}') == ('{"sky": "clear"}', 0.0)


@pytest.mark.parametrize(
    ("name", "arguments", "why"),
    [
        ("time", "{}", "no tool"),
        ("weather", "{", "no JSON"),
        ("weather", "[]", "no JSON"),
        ("weather", '{"city": "Rome"}', "nothing is known"),
        ("weather", "", "nothing is known"),
    ],
)
def test_what_cannot_be_answered_is_an_error_for_the_model(
    name: str, arguments: str, why: str
) -> None:
    output, _ = Toolbox([WEATHER]).answer(name, arguments)
    assert why in json.loads(output)["error"]


def test_a_result_is_filled_up_to_its_size() -> None:
    filled = text(Response({"year": 1950}, size=1_000_000))
    assert len(filled.encode()) == 1_000_000
    assert filled.startswith('{"year": 1950}\n')


@pytest.mark.parametrize(
    ("wanted", "given", "same"),
    [
        ({"n": 2}, {"n": "2"}, True),
        ({"n": 2}, {"n": 2.0}, True),
        ({"n": 2}, {"n": 3}, False),
        ({"item": "lamp"}, {"item": " Lamp "}, True),
        ({"item": "lamp"}, {"item": "lampshade"}, False),
        ({"item": "lamp"}, {}, False),
        ({}, {"anything": 1}, True),
        ({"list": [1, 2]}, {"list": [1, 2]}, True),
        ({"item": ""}, {"item": "lamp"}, False),
    ],
)
def test_arguments_agree(wanted: dict[str, object], given: dict[str, object], same: bool) -> None:
    assert agrees(wanted, given) is same
