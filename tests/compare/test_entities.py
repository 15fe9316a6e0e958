"""Entities: the same however they are written or spelled, and never another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.compare.entities import (
    entity_checks,
    found_in,
    heard_instead,
    kind_of,
    tokens,
    understood,
)


@pytest.mark.parametrize(
    ("entity", "text", "there"),
    [
        ("B7K", "The code is B seven K.", True),
        ("B7K", "b 7 k", True),
        ("B7K", "B-7-K, thank you", True),
        ("B seven K", "It's B, 7, K.", True),
        ("B7K", "It is a B7K 20 times", True),
        ("B7K", "B7 okay", False),
        ("B7K", "be seven k", False),
        ("B7K", "AB7K", False),
        ("B7K", "B7KX", False),
        ("B7K", "B17K", False),
        ("BO7", "B zero 7", True),
        ("B07", "bee oh seven", False),
        ("B07", "B oh seven", True),
        ("QF32", "flight Q F thirty-two", True),
        ("QF 32", "qf32", True),
        ("15", "fifteen", True),
        ("15", "fifty", False),
        ("50", "fifteen", False),
        ("15", "a table for 15, please", True),
        ("15", "115 or 151", False),
        ("15", "1.5 or 15.5", False),
        ("-15", "minus fifteen", True),
        ("minus fifteen", "It is -15.", True),
        ("-15", "15", False),
        ("15", "one, five, nine", False),
        ("15", "room 15, 9 o'clock", True),
        ("159", "one five nine", True),
        ("77", "double seven", True),
        ("007", "double oh seven", True),
        ("555", "triple five", True),
        ("5550177", "555-0177", True),
        ("five five five, oh one double seven", "555 0177", True),
        ("5550177", "five five five zero one seven", False),
        ("20th", "the twentieth", True),
        ("the 20th", "on the twentieth of May", True),
        ("20th", "twenty", False),
        ("20th", "May 20", True),
        ("May 20", "May twentieth", True),
        ("twentieth of May", "the 20th of May", True),
        ("20", "May 20, 1985", True),
        ("30th", "the 13th", False),
        ("2023-03-28", "March 28th, 2023", True),
        ("2023-99-28", "March 28th, 2023", False),
        ("1985", "nineteen eighty-five", True),
        ("1985", "nineteen ninety-five", False),
        ("1500", "fifteen hundred", True),
        ("1500", "1,500 of them", True),
        ("1500000", "1.5 million", True),
        ("2300", "23 hundred", True),
        ("602", "600 and 2", True),
        ("six hundred and two", "602", True),
        ("3.5", "three point five", True),
        ("3.5", "3 point 5", True),
        ("3.5", "thirty-five", False),
        ("2.5", "two and a half", True),
        ("6:40", "six forty", True),
        ("6:40 pm", "6.40 p.m.", False),
        ("3 pm", "3PM", True),
        ("3 p.m.", "three pm", True),
        ("$3.50", "three fifty", True),
        ("15%", "fifteen percent", True),
        ("sixteen ounce", "a 16 ounce cup", True),
        ("16 oz", "16oz", True),
        ("Anna", "this is Anna.", True),
        ("Anna", "Anna's table", True),
        ("Anna", "A-N-N-A", True),
        ("Tom", "T O M", True),
        ("Anna", "Hannah", False),
        ("Anna", "Ann, a friend", False),
        ("Anna|Hannah", "Hannah", True),
        ("Zürich", "to Zurich", True),
        ("New York", "new  york!", True),
        ("New York", "New, or old York", False),
        ("O'Brien", "OBrien", True),
        ("USA", "the U.S.A.", True),
        ("Müller", "", False),
    ],
)
def test_an_entity_in_a_text(entity: str, text: str, there: bool) -> None:
    assert understood(text, entity) is there


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("What is twelve plus thirty?", ["12", "30"]),
        ("My code is B seven K, four two.", ["b 7 k 4 2"]),
        ("Call five five five, oh one double seven.", ["5 5 5 0 1 7 7"]),
        ("Twenty-eight, twenty-nine, thirty.", ["28", "29", "30"]),
        ("I was born on the twentieth of March nineteen eighty-five.", ["20th", "19 85"]),
        ("I would like that one, please. Wait a second, at first.", []),
        ("one", ["1"]),
        ("seven", ["7"]),
        ("One five one", ["1 5 1"]),
        ("Is it a 7?", ["7"]),
        ("12 + 30 = 42", ["12", "30", "42"]),
        ("Call (555) 1234.", ["555", "1234"]),
        ("On May 20, at 6:40.", ["20|20th", "6 40"]),
        ("The date is 2023-03-28.", ["28|28th", "2023"]),
        ("I have a dog.", []),
        ("In the U S A", ["u s a"]),
        ("The U.S. is large.", []),
        ("Fifteen, I said fifteen.", ["15"]),
        ("", []),
    ],
)
def test_numbers_and_codes_are_found_by_themselves(said: str, found: list[str]) -> None:
    assert found_in(said) == found


@pytest.mark.parametrize(
    ("entity", "kind"),
    [
        ("15", "number"),
        ("fifteen", "number"),
        ("20th", "number"),
        ("3 pm", "number"),
        ("3pm", "number"),
        ("sixteen ounce", "number"),
        ("B7K", "code"),
        ("B seven K", "code"),
        ("QF32", "code"),
        ("b 7 k", "code"),
        ("U S A", "code"),
        ("Anna", "name"),
        ("New York", "name"),
    ],
)
def test_kinds(entity: str, kind: str) -> None:
    assert kind_of(entity) == kind


@pytest.mark.parametrize(
    ("entity", "said", "heard", "instead"),
    [
        ("15", "A table for fifteen people", "a table for fifty people", "50"),
        ("B7K", "the code B seven K please", "the code be 7k please", "be 7 k"),
        ("B7K", "the code B seven K please", "the code please", "nothing"),
        ("Anna", "My name is Anna.", "My name is Hannah.", "hannah"),
        ("Anna", "", "My name is Hannah.", "my name is hannah"),
        ("Anna", "My name is Anna.", "", "nothing"),
    ],
)
def test_what_was_heard_instead(entity: str, said: str, heard: str, instead: str) -> None:
    assert heard_instead(entity, said, heard) == instead


def test_checks_of_a_turn() -> None:
    said = "Fifteen people, code B seven K."
    told = [(c.kind, c.wanted, c.met, c.found) for c in entity_checks((), said, "50 people, B7K")]
    assert told == [("number", "15", False, "50"), ("code", "B7K", True, "")]
    (check,) = entity_checks(("Anna",), said, "Anna, 15")
    assert (check.kind, check.met, check.topic) == ("name", True, "entities")
    assert [c.met for c in entity_checks((), said, None)] == [None, None]
    assert [c.met for c in entity_checks((), said, "")] == [False, False]
    assert entity_checks((), "", "fifteen") == ()
    (check,) = entity_checks((), "on May 20", "on the twentieth of May")
    assert (check.wanted, check.met) == ("20", True)


@given(st.integers(0, 999_999), st.integers(0, 999_999))
def test_no_number_is_another(one: int, other: int) -> None:
    assert understood(f"there are {one:,} of them", str(one))
    assert understood(f"there are {one} of them", str(other)) is (one == other)


@given(st.text())
def test_whatever_is_found_is_understood(text: str) -> None:
    found = found_in(text)
    assert all(understood(text, entity) for entity in found), (tokens(text), found)
    heard_instead("15", text, text)
