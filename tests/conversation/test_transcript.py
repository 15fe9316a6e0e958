"""The saved conversation: on the disk after each turn, whole at every moment."""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.conversation import transcript
from pipeline.conversation.history import Message
from pipeline.conversation.transcript import ConversationFile, added
from pipeline.engines.tools import ToolUse
from pipeline.errors import BadInput

SAID = [Message("user", "What time is it?", 1), Message("assistant", "It is nine.", 1)]
MORE = [Message("user", "Thanks, Zoë.", 2), Message("assistant", "Any time.", 2)]
DEVICE = Path("/dev/full")
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX devices and signals")


def save(path: Path, messages: Sequence[Message]) -> ConversationFile:
    """Save a conversation that is over."""
    file = ConversationFile(path)
    file.close(messages)
    return file


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.text(), st.integers(1))))
def test_what_is_saved_is_read_again(tmp_path: Path, said: list[tuple[str, str, int]]) -> None:
    messages = [Message(role, text, turn) for role, text, turn in [("user", "a", 1), *said]]  # type: ignore[arg-type]
    save(tmp_path / "said", messages)
    assert transcript.load(tmp_path / "said") == messages
    assert [path.name for path in tmp_path.iterdir()] == ["said"]


CALLED = [
    Message("user", "Weather?", 1),
    Message("assistant", "", 1, (ToolUse("a", "weather", '{"city": "Rome"}'),)),
    Message("tool", "sunny", 1, call_id="a"),
    Message("assistant", "It is sunny.", 1),
]


def test_calls_and_results_are_saved_too(tmp_path: Path) -> None:
    save(tmp_path / "said", CALLED)
    assert transcript.load(tmp_path / "said") == CALLED


def test_a_file_from_before_there_were_tools_is_read_and_written_alike(tmp_path: Path) -> None:
    old = '{"role": "user", "content": "Hi.", "turn": 1}\n'
    (tmp_path / "old").write_text(old)
    messages = transcript.load(tmp_path / "old")
    assert messages == [Message("user", "Hi.", 1)]
    save(tmp_path / "new", messages)
    assert (tmp_path / "new").read_text() == old


# ---- turn by turn ----------------------------------------------------------------------------

saids = st.lists(st.builds(Message, st.just("user"), st.sampled_from("ab"), st.integers(1, 2)))


@given(saids, saids)
def test_what_is_added_makes_the_file_what_it_is_to_be(
    written: list[Message], wanted: list[Message]
) -> None:
    more = added(written, wanted)
    if more is None:
        assert not written or wanted[: len(written)] != written
    else:
        assert [*written, *more] == wanted


def test_a_turn_is_in_the_file_when_it_is_saved_and_costs_no_more_than_itself(
    tmp_path: Path,
) -> None:
    """Nothing is written anew: the file stays the same one, however long the conversation is."""
    path, file = tmp_path / "said", ConversationFile(tmp_path / "said")
    said: list[Message] = []
    numbers = set()
    for turn in range(1, 201):
        said += [Message("user", "And then?", turn), Message("assistant", "That.", turn)]
        file.save([*said]).result()
        assert transcript.load(path) == said
        numbers.add(path.stat().st_ino)
    file.close(said)
    assert len(numbers) == 1
    assert not file.failed


def test_a_reply_that_is_cut_later_is_corrected(tmp_path: Path) -> None:
    path, file = tmp_path / "said", ConversationFile(tmp_path / "said")
    for said in (SAID, [SAID[0], Message("assistant", "It is", 1), *MORE], [SAID[0], *MORE]):
        file.save(said).result()
        assert transcript.load(path) == said
    file.close(SAID)
    assert transcript.load(path) == SAID
    assert [each.name for each in tmp_path.iterdir()] == ["said"]


def test_another_conversation_stays_until_something_is_said(tmp_path: Path) -> None:
    path = tmp_path / "said"
    save(path, SAID)
    file = ConversationFile(path)
    file.save([]).result()
    assert transcript.load(path) == SAID
    file.save(MORE).result()
    assert transcript.load(path) == MORE
    save(path, [])
    assert transcript.load(path) == MORE


@pytest.mark.parametrize("harm", ["deleted", "longer", "shorter"])
def test_what_others_do_to_the_file_costs_nothing(tmp_path: Path, harm: str) -> None:
    path, file = tmp_path / "said", ConversationFile(tmp_path / "said")
    file.save(SAID).result()
    if harm == "deleted":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes() + b"x" if harm == "longer" else b"")
    file.close([*SAID, *MORE])
    assert transcript.load(path) == [*SAID, *MORE]


def test_two_that_save_to_the_same_file_lose_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever wrote last has the file; what the other one has said lies beside it."""
    path, other = tmp_path / "said", tmp_path / "said.other"
    one, two = ConversationFile(path), ConversationFile(path)
    ours, theirs = [Message("user", "Left?", 1)], [Message("user", "Down?", 1)]
    for turn in (2, 3):
        one.save([*ours]).result()
        two.save([*theirs]).result()
        ours.append(Message("user", "And now?", turn))
        theirs.append(Message("user", "And then?", turn))
    one.close(ours)
    assert (transcript.load(path), transcript.load(other)) == (ours, theirs[:-1])
    two.close(theirs)
    assert (transcript.load(path), transcript.load(other)) == (theirs, ours)
    assert [str(other) in r.getMessage() for r in caplog.records] == [True, True]


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "folder" / "said")
    for said in (SAID, MORE):
        file = ConversationFile(link)
        file.save(said[:1]).result()
        file.close(said)
        assert link.is_symlink()
        assert transcript.load(tmp_path / "folder" / "said") == said


@POSIX
def test_who_may_read_the_file_stays_the_same(tmp_path: Path) -> None:
    save(tmp_path / "said", SAID)
    (tmp_path / "said").chmod(0o600)
    save(tmp_path / "said", MORE)
    assert (tmp_path / "said").stat().st_mode & 0o777 == 0o600


# ---- what is no file, or full ----------------------------------------------------------------


@pytest.mark.skipif(not DEVICE.exists(), reason=f"needs {DEVICE}")
def test_a_device_is_written_to_once_and_stays_one(caplog: pytest.LogCaptureFixture) -> None:
    assert not transcript.replaceable(DEVICE)
    file = ConversationFile(DEVICE)
    file.save(SAID).result()
    assert not caplog.records
    file.close(SAID)
    assert file.failed
    assert "not saved: No space left" in caplog.text
    assert DEVICE.is_char_device()


@POSIX
def test_a_pipe_gets_the_conversation_when_it_is_over(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
        file = ConversationFile(pipe)
        file.save(SAID).result()
        file.close([*SAID, *MORE])
        got = reader.communicate()[0].decode()
    assert [json.loads(line)["content"] for line in got.splitlines()] == [
        message.content for message in [*SAID, *MORE]
    ]


@POSIX
def test_our_own_output_goes_on_though_it_is_a_file(tmp_path: Path) -> None:
    """A file that took its place would hold none of the events before."""
    script = """
        from pathlib import Path
        from pipeline.conversation.history import Message
        from pipeline.conversation.transcript import ConversationFile

        print("an event", flush=True)
        ConversationFile(Path("/dev/stdout")).close([Message("user", "Hello.", 1)])
    """
    with (tmp_path / "out").open("wb") as out:
        command = [sys.executable, "-c", textwrap.dedent(script)]
        subprocess.run(command, stdout=out, check=True)
    event, line = (tmp_path / "out").read_text().splitlines()
    assert (event, json.loads(line)["content"]) == ("an event", "Hello.")


def test_a_full_disk_is_told_once_and_a_turn_later_all_is_saved(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Old lines are neither lost nor torn; with room again everything is there."""
    resource = pytest.importorskip("resource", reason="no limit on file size on this system")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    path, file = tmp_path / "said", ConversationFile(tmp_path / "said")
    file.save(SAID).result()
    cut = [SAID[0], Message("assistant", "It is nine. " * 9, 1)]
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, limits[1]))
    try:
        for said in ([*SAID, *MORE], cut, [*SAID, *MORE]):
            file.save(said).result()
            assert transcript.load(path) == SAID
            assert file.failed
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(caplog.records) == 1
    assert "not saved" in caplog.text
    file.close([*SAID, *MORE])
    assert not file.failed
    assert transcript.load(path) == [*SAID, *MORE]
    assert [each.name for each in tmp_path.iterdir()] == ["said"]


# ---- killed ----------------------------------------------------------------------------------

KILLED = """
    import sys
    from pathlib import Path
    from pipeline.conversation.history import Message
    from pipeline.conversation.transcript import ConversationFile

    file = ConversationFile(Path(sys.argv[1]))
    said = []
    for turn in range(1, 1_000_000):
        said += [Message("user", "é" * 2000, turn), Message("assistant", "b" * 9000, turn)]
        file.save([*said]).result()
        if turn % 7 == 0:  # cut to what was heard
            said[-1] = Message("assistant", "b", turn)
            file.save([*said]).result()
        print(turn, flush=True)
"""


@POSIX
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment_it_has_what_was_saved(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "said"
    save(path, [Message("user", "Another conversation.", 1)])
    turns = random.Random(seed).randrange(1, 60)
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if int(line) == turns:
                break
        child.send_signal(signal.SIGKILL)
        saved = [int(line) for line in child.stdout]
    said = transcript.load(path)
    last = saved[-1] if saved else turns
    assert said[-1].turn >= last
    assert [message.turn for message in said[: 2 * last]] == [n // 2 + 1 for n in range(2 * last)]


@pytest.mark.parametrize("left", range(len('{"role": "user", "content": "Zoë')))
def test_a_last_line_that_is_cut_off_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, left: int
) -> None:
    """At any byte, also in the middle of a letter; the zeros of a power cut are nothing."""
    path = tmp_path / "said"
    torn = '{"role": "user", "content": "Zoë, '.encode()
    for zeros in (b"", bytes(100)):
        save(path, SAID)
        with path.open("ab") as file:
            file.write(torn[: left + 1] + zeros)
        with caplog.at_level(logging.WARNING):
            assert transcript.load(path) == SAID
        assert caplog.messages == [f"{path}: its last line is cut off; it is left out"]
        caplog.clear()
        save(path, [*transcript.load(path), *MORE])
        assert transcript.load(path) == [*SAID, *MORE]
        caplog.clear()


def test_a_last_line_without_an_end_is_read(tmp_path: Path) -> None:
    save(tmp_path / "said", SAID)
    (tmp_path / "said").write_bytes((tmp_path / "said").read_bytes().rstrip())
    assert transcript.load(tmp_path / "said") == SAID


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
    for end in ("\n", ""):
        save(tmp_path / "said", SAID)
        with (tmp_path / "said").open("a") as file:
            file.write(text + end)
        with pytest.raises(BadInput, match=r"said, line 3: not a message"):
            transcript.load(tmp_path / "said")


def test_a_line_that_is_cut_off_in_the_middle_is_damage(tmp_path: Path) -> None:
    save(tmp_path / "said", SAID)
    data = (tmp_path / "said").read_bytes()
    (tmp_path / "said").write_bytes(data[:20] + b"\n" + data)
    with pytest.raises(BadInput, match=r"said, line 1: not a message"):
        transcript.load(tmp_path / "said")
