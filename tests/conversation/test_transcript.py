"""The saved conversation: whole or not at all, wherever it is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.conversation import transcript
from pipeline.conversation.history import Message
from pipeline.engines.tools import ToolUse
from pipeline.errors import BadInput, StageError

SAID = [Message("user", "What time is it?", 1), Message("assistant", "It is nine.", 1)]
DEVICE = Path("/dev/full")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.text(), st.integers(1))))
def test_what_is_saved_is_read_again(tmp_path: Path, said: list[tuple[str, str, int]]) -> None:
    messages = [Message(role, text, turn) for role, text, turn in said]  # type: ignore[arg-type]
    transcript.save(tmp_path / "said", messages)
    assert transcript.load(tmp_path / "said") == messages
    assert [path.name for path in tmp_path.iterdir()] == ["said"]


CALLED = [
    Message("user", "Weather?", 1),
    Message("assistant", "", 1, (ToolUse("a", "weather", '{"city": "Rome"}'),)),
    Message("tool", "sunny", 1, call_id="a"),
    Message("assistant", "It is sunny.", 1),
]


def test_calls_and_results_are_saved_too(tmp_path: Path) -> None:
    transcript.save(tmp_path / "said", CALLED)
    assert transcript.load(tmp_path / "said") == CALLED


def test_a_file_from_before_there_were_tools_is_read_and_written_alike(tmp_path: Path) -> None:
    old = '{"role": "user", "content": "Hi.", "turn": 1}\n'
    (tmp_path / "old").write_text(old)
    messages = transcript.load(tmp_path / "old")
    assert messages == [Message("user", "Hi.", 1)]
    transcript.save(tmp_path / "new", messages)
    assert (tmp_path / "new").read_text() == old


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "folder" / "said")
    for _ in range(2):
        transcript.check(link)
        transcript.save(link, SAID)
        assert link.is_symlink()
        assert transcript.load(tmp_path / "folder" / "said") == SAID


def test_a_check_leaves_nothing_and_changes_nothing(tmp_path: Path) -> None:
    transcript.check(tmp_path / "new")
    assert not list(tmp_path.iterdir())
    transcript.save(tmp_path / "old", SAID)
    transcript.check(tmp_path / "old")
    assert transcript.load(tmp_path / "old") == SAID


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be written"):
        transcript.check(tmp_path / "no" / "said")


@pytest.mark.skipif(not DEVICE.exists(), reason=f"needs {DEVICE}")
def test_a_device_is_written_to_and_stays_one() -> None:
    transcript.check(DEVICE)
    with pytest.raises(StageError, match="not saved: No space left"):
        transcript.save(DEVICE, SAID)
    assert DEVICE.is_char_device()


@pytest.mark.parametrize(
    "text",
    [
        *("not JSON", "[1]", '{"role": "user"}', '{"role": "system", "content": "", "turn": 1}'),
        '{"role": "tool", "content": "sunny", "turn": 1}',
        '{"role": "user", "content": "Hi.", "turn": 1, "call_id": "a"}',
        '{"role": "assistant", "content": "", "turn": 1, "calls": 5}',
        '{"role": "assistant", "content": "", "turn": 1, "calls": ["x"]}',
        '{"role": "assistant", "content": "", "turn": 1, "calls": [{"id": "a"}]}',
        '{"role": "user", "content": "", "turn": 1, '
        '"calls": [{"id": "a", "name": "b", "arguments": ""}]}',
        '{"role": "assistant", "content": "", "turn": 1, '
        '"calls": [{"id": 1, "name": "b", "arguments": ""}]}',
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, text: str) -> None:
    transcript.save(tmp_path / "said", SAID)
    with (tmp_path / "said").open("a") as file:
        file.write(text + "\n")
    with pytest.raises(BadInput, match=r"said, line 3: not a message"):
        transcript.load(tmp_path / "said")
