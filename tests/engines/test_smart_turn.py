from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from support.cli_child import recording as path_of
from support.real_engines import fetched, sound

from pipeline.engines.smart_turn import RATE, WINDOW_S, Audio, SmartTurn
from pipeline.errors import StageError


@pytest.fixture(scope="module")
def path() -> Path:
    return fetched("endpoint", "smart-turn-v3.2")


@pytest.fixture(scope="module")
def model(path: Path) -> SmartTurn:
    model = SmartTurn(path)
    model.warm()
    return model


def recording(number: int) -> Audio:
    return sound(path_of(number))


@pytest.mark.parametrize("number", [2, 4, 6, 14])
def test_a_whole_question_is_likelier_to_be_over_than_its_first_half(
    model: SmartTurn, number: int
) -> None:
    audio = recording(number)
    whole, half = model.probability(audio), model.probability(audio[: len(audio) // 2])
    assert 0 <= half < 0.5 < whole <= 1


# Computed with the model's own code (Pipecat 1.14.0, `compute_whisper_log_mel_features`).
@pytest.mark.parametrize(
    ("number", "share", "expected"),
    [(2, 1, 0.9256), (2, 2, 0.0223), (5, 2, 0.4509), (6, 1, 0.9854), (6, 2, 0.083)],
)
def test_it_hears_what_its_authors_code_hears(
    model: SmartTurn, number: int, share: int, expected: float
) -> None:
    audio = recording(number)
    # Rounding moves the quantised activations: 0.005 was seen.
    assert model.probability(audio[: len(audio) // share]) == pytest.approx(expected, abs=0.03)


def test_the_loudness_does_not_matter(model: SmartTurn) -> None:
    audio = recording(2)
    quiet = (audio * np.float32(0.1)).astype(np.float32)
    assert model.probability(quiet) == pytest.approx(model.probability(audio), abs=0.03)


def test_only_the_last_seconds_are_heard(model: SmartTurn) -> None:
    last = np.concatenate([np.zeros(WINDOW_S * RATE, np.float32), recording(2)])[-WINDOW_S * RATE :]
    long = np.concatenate([recording(14), last])
    assert model.probability(long) == model.probability(last)


@pytest.mark.parametrize("n", [0, 1, 159, 160, WINDOW_S * RATE, WINDOW_S * RATE + 1])
def test_any_length_will_do(model: SmartTurn, n: int) -> None:
    assert 0 <= model.probability(np.zeros(n, np.float32)) <= 1


def test_what_is_no_sound_is_refused(model: SmartTurn) -> None:
    with pytest.raises(ValueError, match="not finite float32"):
        model.probability(np.full(RATE, np.nan, np.float32))


def test_a_missing_model_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="models pull smart-turn") as caught:
        SmartTurn(tmp_path / "absent.onnx")
    assert caught.value.stage == "endpoint"
    assert caught.value.fatal


def test_a_damaged_model_says_so(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    with pytest.raises(StageError, match="cannot be loaded"):
        SmartTurn(tmp_path)


def test_another_model_is_refused(tmp_path: Path) -> None:
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "other", [value], [result])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(StageError, match="it takes x, not input_features"):
        SmartTurn(tmp_path / "other.onnx")
