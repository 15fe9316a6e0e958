"""Loading all engines at once, and letting go of them."""

from __future__ import annotations

import gc

from pipeline.config import load
from pipeline.engines.local import LocalEngines

TOYS = {
    "stt.model": "whisper-mini-en",
    "tts.voice": "en_US-mini",
    "turns.endpoint_model": "",
}


async def test_what_is_loaded_is_no_garbage_until_it_is_let_go_of() -> None:
    async with LocalEngines(load(None, TOYS), writes=False):
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
