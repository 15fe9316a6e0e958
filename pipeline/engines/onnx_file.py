"""An ONNX file without its weights, which stay where they are.

A voice's file is weights almost wholly: to read it into Python objects, cut these and write them
out again takes four times its size for a moment. Here the weights are left out of the objects, each
with a note of where in the file it is (ONNX's "external data"), and onnxruntime maps the file into
memory. What it computes with as it is there, is never copied.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto

from pipeline.engines.worker import onnx_session

KEPT_BYTES = 1024
"""Smaller weights are kept: they are the shapes, axes and the like, and tell what a graph does."""

# Fields of onnx.proto, and what stands for their number and type in a file of protobuf.
_MODEL_GRAPH, _GRAPH_INITIALIZER, _TENSOR_RAW_DATA = 7, 5, 9
_VARINT, _EIGHT_BYTES, _COUNTED, _FOUR_BYTES = 0, 1, 2, 5


def mapped_session(path: Path) -> Any:
    """An onnxruntime session of a file whose weights stay in it; see `onnx_session`.

    Args:
        path: The file.

    Raises:
        Exception: It cannot be loaded.
    """
    file = path.resolve()
    return onnx_session(outline(file).SerializeToString(), weights=file.parent)


def outline(path: Path) -> onnx.ModelProto:
    """The model in a file, with what is too large to be kept as external data in that very file.

    `onnx_session` needs the file's folder to find it.

    Args:
        path: An `.onnx`; no symbolic link.

    Raises:
        ValueError: The file is damaged.
        google.protobuf.message.DecodeError: Likewise.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        if not path.stat().st_size:
            raise ValueError("the file is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            model = bytearray()
            for field, head, start, stop in _fields(data, 0, len(data)):
                graph = field == _MODEL_GRAPH
                model += _graph(data, start, stop, path.name) if graph else data[head:stop]
    found: onnx.ModelProto = onnx.ModelProto.FromString(bytes(model))
    return found


def _graph(data: mmap.mmap, start: int, stop: int, name: str) -> bytes:
    """The graph that begins and ends there, as a field of the model."""
    graph = bytearray()
    for field, head, begin, end in _fields(data, start, stop):
        large = field == _GRAPH_INITIALIZER and end - begin > KEPT_BYTES
        graph += _tensor(data, begin, end, name) if large else data[head:end]
    return _counted(_MODEL_GRAPH, graph)


def _tensor(data: mmap.mmap, start: int, stop: int, name: str) -> bytes:
    """The tensor that begins and ends there, as a field of the graph."""
    tensor, raw = bytearray(), None
    for field, head, begin, end in _fields(data, start, stop):
        if field == _TENSOR_RAW_DATA:
            raw = begin, end - begin
        else:
            tensor += data[head:end]
    if raw is None:  # its numbers are written otherwise
        return _counted(_GRAPH_INITIALIZER, data[start:stop])
    told = TensorProto.FromString(bytes(tensor))
    told.data_location = TensorProto.EXTERNAL
    for key, value in (("location", name), ("offset", raw[0]), ("length", raw[1])):
        told.external_data.add(key=key, value=str(value))
    return _counted(_GRAPH_INITIALIZER, told.SerializeToString())


def _fields(data: mmap.mmap, at: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """The fields of the message between two places of a file.

    Yields:
        The number of each, where it begins, where its value does, and where it ends.
    """
    while at < stop:
        head = at
        key, at = _number(data, at)
        size = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4, _VARINT: 0}.get(key & 7)
        if key & 7 == _COUNTED:
            size, at = _number(data, at)
        elif key & 7 == _VARINT:
            _, at = _number(data, at)
        if size is None or at + size > stop:
            raise ValueError(f"it is damaged at byte {head}")
        yield key >> 3, head, at, at + size
        at += size


def _number(data: mmap.mmap, at: int) -> tuple[int, int]:
    """The number in seven-bit groups that stands there, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        value |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return value, at
    raise ValueError(f"it is damaged at byte {at}")


def _counted(field: int, value: bytes | bytearray) -> bytes:
    """A field as a file of protobuf has it."""
    head = bytearray()
    for number in (field << 3 | _COUNTED, len(value)):
        while number > 127:
            head.append(number & 127 | 128)
            number >>= 7
        head.append(number)
    return bytes(head + value)
