"""The end of a turn by its melody: Smart Turn v3, which hears whether the speaker has finished."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from faster_whisper.feature_extractor import FeatureExtractor

from pipeline.engines.onnx_file import mapped_session
from pipeline.engines.whisper import RATE, Audio, require_audio
from pipeline.errors import StageError, first_line

WINDOW_S = 8
"""How much the model hears (s): the last of it where there is more."""

_MEL_FRAMES = WINDOW_S * 100  # one each 10 ms
_EPSILON = 1e-7  # of the variance, as in Whisper's own feature extractor
_INPUT = "input_features"


class SmartTurn:
    """Smart Turn v3, in a session of its own with one thread. Blocking, and not thread-safe.

    A call takes 35 to 50 ms of one core, whatever the length of the audio. Of people it tells
    pauses from ends best right after the last word (area under the ROC curve 0.75 to 0.9 there, 0.6
    after 0.6 s of silence), so that it is asked once, at the beginning of the pause.
    """

    def __init__(self, path: Path) -> None:
        """Load the model.

        Args:
            path: Its `.onnx`, or the folder that holds it as the only one.

        Raises:
            StageError: It is missing or damaged, or another model.
        """
        self._path = path
        self._session = _session(path)
        self._extract = FeatureExtractor()

    def warm(self) -> None:
        """Run everything once, so that the first call is as fast as the others.

        Raises:
            StageError: The model failed.
        """
        self.probability(np.zeros(RATE, np.float32))

    def probability(self, audio: Audio) -> float:
        """How likely the speaker has finished, 0 to 1.

        Args:
            audio: The turn so far with what silence there is yet, mono, 16 kHz, ±1, shape (n,).

        Raises:
            ValueError: `audio` is not float32, not one-dimensional, or not finite.
            StageError: The model failed.
        """
        require_audio(audio)
        try:
            (result,) = self._session.run(None, {_INPUT: self._features(audio)})
        except Exception as error:  # onnxruntime's own classes share no base but this
            raise StageError(
                "endpoint", f"{self._path.name} failed: {first_line(error)}"
            ) from error
        # The output is called logits, yet it is a probability already.
        return float(np.clip(np.asarray(result).reshape(-1)[0], 0.0, 1.0))

    def _features(self, audio: Audio) -> Audio:
        """Whisper's log-mel columns of the last 8 s, silence in front of less; (1, 80, 800)."""
        whole = np.zeros(WINDOW_S * RATE, np.float32)
        kept = audio[-len(whole) :]
        if len(kept):
            whole[-len(kept) :] = kept
        level = (whole - whole.mean()) / np.sqrt(whole.var() + _EPSILON)
        features: Audio = self._extract(level.astype(np.float32), padding=0)
        return np.ascontiguousarray(features[np.newaxis, :, :_MEL_FRAMES], np.float32)


def _session(path: Path) -> Any:
    """An onnxruntime session on the model."""
    found = sorted(path.glob("*.onnx")) if path.is_dir() else [path]
    if len(found) != 1 or not found[0].is_file():
        raise StageError(
            "endpoint",
            f"{path}: no Smart Turn model (.onnx) is there\n"
            "`cascade models pull smart-turn-v3.2` fetches it",
            fatal=True,
        )
    try:
        session = mapped_session(found[0])
        inputs = [value.name for value in session.get_inputs()]
        if inputs != [_INPUT]:
            raise ValueError(f"it takes {', '.join(inputs)}, not {_INPUT}")
    except Exception as error:
        raise StageError(
            "endpoint",
            f"{found[0]}: cannot be loaded: {first_line(error)}\n"
            "Delete it and get it again with `cascade models pull smart-turn-v3.2`",
            fatal=True,
        ) from error
    return session
