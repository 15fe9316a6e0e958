"""Pictures that the user shows in a session, in virtual time."""

from __future__ import annotations

import asyncio

import pytest
from support import virtual_time
from support.scene import LONG, Scene, check_prompt
from support.scripted import Engines, Model

from pipeline.conversation.history import Message
from pipeline.events import PicturesUnseen, ReplyDone

URL = "data:image/png;base64,AAAA"
SHOWN = {"type": "image_url", "image_url": {"url": URL}}


def hold(scene: Scene, shows_at: float, *parts: tuple[float, bool]) -> Scene:
    """Play a scene in which a picture is shown after so many seconds."""

    async def both() -> None:
        async def show() -> None:
            await asyncio.sleep(shows_at)
            scene.session.show(URL)

        showing = asyncio.create_task(show())
        await scene.script(*parts)
        await showing

    virtual_time.run(both())
    for prompt in scene.engines.model.prompts:
        check_prompt(prompt)
    return scene


@pytest.mark.parametrize("shows_at", [0.2, 1.0, 1.8])
def test_it_is_seen_with_the_words_before_during_and_in_the_pause_after(shows_at: float) -> None:
    """In the pause a reply is held, to the words alone: it is made again."""
    model = Model(["It is red."] * 2)
    scene = Scene(Engines(["What is this?"], model))
    hold(scene, shows_at, (0.5, False), (1.2, True), (3.0, False))
    assert scene.kept() == [
        ("user", ""),
        ("user", "What is this?"),
        ("assistant", "It is red."),
    ]
    told = [{"type": "text", "text": "What is this?"}, SHOWN]
    assert model.prompts[-1][-1] == {"role": "user", "content": told}
    assert [event.status for event in scene.of(ReplyDone)] == ["completed"]


def test_shown_over_a_reply_it_belongs_to_the_next_words() -> None:
    model = Model([LONG, "It is red."])
    scene = Scene(Engines(["Sing.", "What is this?"], model))
    hold(scene, 3.0, (0.5, False), (1.2, True), (8.0, False), (1.2, True), (3.0, False))
    roles = [(message.role, bool(message.pictures)) for message in scene.session.history]
    assert roles == [
        ("user", False),
        ("assistant", False),
        ("user", True),
        ("user", False),
        ("assistant", False),
    ]
    assert "image_url" not in str(model.prompts[0]) and SHOWN in model.prompts[-1][-1]["content"]


def test_a_picture_asks_nothing_by_itself() -> None:
    """Not even with a cough."""
    model = Model([])
    scene = Scene(Engines([""], model))
    hold(scene, 0.2, (0.5, False), (1.2, True), (3.0, False))
    assert model.prompts == [] and scene.kept() == [("user", "")]


def test_a_model_that_does_not_see_is_told_of_once_a_picture() -> None:
    said = [Message("user", "", 0, pictures=("data:image/png;base64,BBBB",))]
    model = Model(["No.", "No."])
    scene = Scene(Engines(["What is this?"], model, sees=False), said)
    hold(scene, 3.0, (0.5, False), (1.2, True), (3.0, False), (1.2, True), (3.0, False))
    assert len(scene.of(PicturesUnseen)) == 2
    assert [event.status for event in scene.of(ReplyDone)] == ["completed"] * 2


def test_one_that_turns_out_not_to_see_is_told_of_with_its_reply() -> None:
    class Asked(Engines):
        """Nobody knows whether it sees before it was asked."""

        @property
        def sees(self) -> bool | None:  # type: ignore[override]
            return False if self.model.prompts else None

        @sees.setter
        def sees(self, value: bool | None) -> None:
            pass

    scene = Scene(Asked(["What is this?"], Model(["No."])))
    hold(scene, 0.2, (0.5, False), (1.2, True), (3.0, False))
    told = [type(event) for event in scene.events]
    assert told.count(PicturesUnseen) == 1
    assert told.index(PicturesUnseen) < told.index(ReplyDone)
