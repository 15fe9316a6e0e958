"""Who may come in: rules alone, no server."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.serve.access import EPHEMERAL, SUBPROTOCOL_KEY, Access, is_local
from pipeline.serve.refused import RequestRefused

TOKEN = "0123456789abcdefGHIJ-._~"
NOW_S = 1_800_000_000.0
HERE = {"host": "127.0.0.1:8765"}
SESSION = {"type": "realtime", "instructions": "Be brief.", "tools": []}


def bearer(key: str) -> dict[str, str]:
    return {"host": "cascade.example", "authorization": f"Bearer {key}"}


def code(access: Access, headers: dict[str, str], **more: Any) -> str:
    """Why a request is refused; empty: it is not."""
    try:
        access.check(headers, more.pop("query", {}), NOW_S, **more)
    except RequestRefused as refused:
        return refused.code
    return ""


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("LOCALHOST:8765", True),
        ("127.0.0.1:1", True),
        ("127.8.8.8", True),
        ("[::1]:8765", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example:8765", False),
        ("evil.example@127.0.0.1", True),  # it is the host's name that counts
        ("127.0.0.1@evil.example", False),
        ("192.168.0.5:8765", False),
        ("0.0.0.0", False),
        ("[::1", False),
        ("", False),
    ],
)
def test_a_server_without_a_token_is_asked_for_as_its_own_machine(host: str, local: bool) -> None:
    assert is_local(host) == local
    assert code(Access(), {"host": host}) == ("" if local else "forbidden_host")


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://127.0.0.1:8765", True),
        ("HTTP://127.0.0.1:8765", True),
        ("https://127.0.0.1:8765", True),  # there is TLS in front
        ("http://127.0.0.1:3000", False),
        ("http://127.0.0.1", False),
        ("http://localhost:8765", False),
        ("http://evil.example", False),
        ("http://127.0.0.1:8765.evil.example", False),
        ("chrome-extension://127.0.0.1:8765", False),
        ("null", False),
        ("", False),
    ],
)
def test_a_page_of_another_origin_may_not_use_a_server_without_a_token(
    origin: str, allowed: bool
) -> None:
    found = code(Access(), {**HERE, "origin": origin})
    assert found == ("" if allowed else "forbidden_origin")


@pytest.mark.parametrize("port", ["", ":80"])
def test_the_port_of_a_scheme_need_not_be_said(port: str) -> None:
    assert code(Access(), {"host": f"localhost{port}", "origin": "http://localhost"}) == ""


def test_programs_of_the_machine_need_no_key_and_may_have_any() -> None:
    access = Access()
    assert code(access, HERE) == ""
    assert code(access, {**HERE, "authorization": "Bearer sk-whatever"}) == ""


def test_a_token_is_presented_in_a_header_or_a_subprotocol() -> None:
    access = Access(TOKEN)
    assert code(access, bearer(TOKEN)) == ""
    assert code(access, {"authorization": f"bearer  {TOKEN} "}) == ""
    offered = ["realtime", SUBPROTOCOL_KEY + TOKEN]
    assert code(access, {"origin": "https://elsewhere.example"}, offered=offered) == ""


@pytest.mark.parametrize(
    "headers",
    [
        {},
        HERE,
        bearer(""),
        bearer(TOKEN[:-1]),
        bearer(TOKEN + "x"),
        bearer(TOKEN.upper()),
        {"authorization": TOKEN},
        {"authorization": f"Basic {TOKEN}"},
        bearer("\u00e9\u00ff"),
        bearer("\udcff"),
    ],
)
def test_nothing_but_the_token_will_do(headers: dict[str, str]) -> None:
    assert code(Access(TOKEN), headers) == "invalid_api_key"


@given(st.text(st.characters(codec="latin-1")), st.text(), st.text(), st.text())
def test_whatever_is_sent_is_let_in_or_refused(key: str, host: str, origin: str, name: str) -> None:
    headers = {"authorization": f"Bearer {key}", "host": host, "origin": origin}
    for access in (Access(TOKEN), Access()):
        for keys in (key, EPHEMERAL + key, f"{EPHEMERAL}{key}.{key}"):
            headers["authorization"] = f"Bearer {keys}"
            assert code(access, headers, query={name: key}, ephemeral=True) != ""


@pytest.mark.parametrize("name", ["token", "api_key", "KEY", "Access_Token", "authorization"])
@pytest.mark.parametrize("access", [Access(), Access(TOKEN)])
def test_a_key_in_a_url_is_refused_even_if_it_is_right(access: Access, name: str) -> None:
    headers = {**HERE, "authorization": f"Bearer {TOKEN}"}
    assert code(access, headers, query={"model": "any"}) == ""
    with pytest.raises(RequestRefused, match="never in a URL") as refused:
        access.check(headers, {name: TOKEN}, NOW_S)
    assert TOKEN not in str(refused.value.error)


@pytest.mark.parametrize("token", ["short", "has a space in it", "ek_0123456789abcdef", "é" * 20])
def test_a_token_that_cannot_be_presented_is_none(token: str) -> None:
    with pytest.raises(BadInput) as wrong:
        Access(token)
    assert token not in str(wrong.value)


@pytest.mark.parametrize("access", [Access(), Access(TOKEN)])
def test_an_ephemeral_key_opens_its_session_from_anywhere_until_it_expires(access: Access) -> None:
    key = access.sealed(SESSION, int(NOW_S) + 60)
    headers = {**HERE, "origin": "https://elsewhere.example"}
    offered = ["realtime", SUBPROTOCOL_KEY + key]
    assert access.check(headers, {}, NOW_S + 59, offered, ephemeral=True).session == SESSION
    with pytest.raises(RequestRefused, match="expired"):
        access.check(headers, {}, NOW_S + 60, offered, ephemeral=True)
    assert code(access, headers, offered=offered) == "invalid_api_key"  # it opens nothing else


def test_two_keys_of_one_session_are_two() -> None:
    access = Access()
    keys = {access.sealed(SESSION, 1) for _ in range(10)}
    assert len(keys) == 10


def test_servers_with_one_token_take_each_others_keys_and_no_others() -> None:
    key = Access(TOKEN).sealed(SESSION, int(NOW_S) + 60)
    assert Access(TOKEN).opened(key, NOW_S) == SESSION
    for other in (Access(TOKEN + "x"), Access(), Access()):
        with pytest.raises(RequestRefused):
            other.opened(key, NOW_S)


def test_a_key_that_was_changed_anywhere_opens_nothing() -> None:
    access = Access(TOKEN)
    key = access.sealed(SESSION, int(NOW_S) + 60)
    for place in range(len(EPHEMERAL), len(key)):
        changed = [key[:place] + other + key[place + 1 :] for other in "Aa0_-."]
        for wrong in (key[:place], *changed):
            if wrong != key:
                with pytest.raises(RequestRefused):
                    access.opened(wrong, NOW_S)


def test_a_key_that_somebody_made_opens_nothing() -> None:
    said = json.dumps([int(NOW_S) + 10**6, "", SESSION]).encode()
    told = base64.urlsafe_b64encode(zlib.compress(said)).decode().rstrip("=")
    for signature in ("", "x", "0" * 43):
        with pytest.raises(RequestRefused):
            Access().opened(f"{EPHEMERAL}{told}.{signature}", NOW_S)


def test_a_session_that_does_not_fit_into_a_header_has_no_key() -> None:
    access = Access()
    instructions = "".join(f"Rule {n}: never say {n * n * 7919}. " for n in range(1000))
    with pytest.raises(RequestRefused, match="too large") as refused:
        access.sealed({"instructions": instructions}, 1)
    assert refused.value.code == "invalid_value"
    # What people write is shorter, and repeats itself.
    assert access.sealed({"instructions": "Answer in one short sentence. " * 500}, 1)
