"""What is left out of an ONNX file is found in it, and what is damaged is seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.engines.onnx_file import KEPT_BYTES, mapped_session, outline

WEIGHT = np.random.default_rng(0).normal(size=(32, 48)).astype(np.float32)
GIVEN = np.linspace(-1, 1, 32, dtype=np.float32)[np.newaxis]


def written(path: Path, *, raw: bool = True) -> Path:
    """A model that multiplies by `WEIGHT`, and then adds something small."""
    weight = numpy_helper.from_array(WEIGHT, "weight")
    if not raw:
        numbers = WEIGHT.reshape(-1).tolist()
        weight = helper.make_tensor("weight", TensorProto.FLOAT, WEIGHT.shape, numbers)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "weight"], ["product"]),
            helper.make_node("Add", ["product", "small"], ["y"]),
        ],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 48])],
        [numpy_helper.from_array(np.array([0.5], np.float32), "small"), weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


def test_what_is_large_stays_in_the_file(tmp_path: Path) -> None:
    path = written(tmp_path / "a.onnx")
    found = outline(path)
    assert found.ByteSize() < KEPT_BYTES < path.stat().st_size
    small, weight = found.graph.initializer
    assert numpy_helper.to_array(small) == 0.5
    told = {entry.key: entry.value for entry in weight.external_data}
    offset, length = int(told["offset"]), int(told["length"])
    assert told["location"] == "a.onnx"
    assert path.read_bytes()[offset : offset + length] == WEIGHT.tobytes()
    whole = onnx.load(path)
    for model in (found, whole):
        del model.graph.initializer[1]
    assert found == whole, "nothing else is changed"


@pytest.mark.parametrize("raw", [True, False], ids=["bytes", "numbers"])
def test_it_computes_the_same(tmp_path: Path, raw: bool) -> None:
    path = written(tmp_path / "a.onnx", raw=raw)
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "b.onnx"
    link.symlink_to(path)
    expected = ort.InferenceSession(str(path)).run(None, {"x": GIVEN})[0]
    for found in (path, link):
        np.testing.assert_array_equal(mapped_session(found).run(None, {"x": GIVEN})[0], expected)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    data = written(tmp_path / "a.onnx").read_bytes()
    path = tmp_path / "b.onnx"
    cut = [data[:n] for n in (0, 1, 20, len(data) // 2, len(data) - 1)]
    for damaged in (*cut, b"\x00" * 500, b"\xff" * 500, b"no model at all, but a text\n" * 50):
        path.write_bytes(damaged)
        with pytest.raises(Exception, match=r"\S"):
            mapped_session(path)
