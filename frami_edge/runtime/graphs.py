"""Changing and making ONNX models as bytes, without the ``onnx`` package: a device has numpy and ONNX Runtime.

The protobuf wire format is a sequence of fields, each a key (field number and wire type) and a value; a few lines read
and write as much of it as is needed here. Field numbers are those of onnx.proto.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

MODEL_IR_VERSION, MODEL_GRAPH, MODEL_OPSET, OPSET_VERSION = 1, 7, 8, 2
GRAPH_NODE, GRAPH_NAME, GRAPH_INPUT, GRAPH_OUTPUT = 1, 2, 11, 12
NODE_INPUT, NODE_OUTPUT, NODE_OP = 1, 2, 4
VALUE_NAME, VALUE_TYPE, TYPE_TENSOR, TENSOR_ELEMENT, TENSOR_SHAPE, SHAPE_DIM, FLOAT = 1, 2, 1, 1, 2, 1, 1
IR_VERSION, OPSET = 8, 18  # of the models made here; ONNX Runtime 1.14 and later
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types


class Field(NamedTuple):
    number: int
    payload: bytes  # what a message or a string holds; of other wire types empty
    raw: bytes  # the whole field


def with_outputs(content: bytes, names: Iterable[str]) -> bytes:
    """The model with further values of its graph as outputs.

    A message that follows another of the same type is merged into it, and repeated fields of both are
    joined. So a second, tiny model behind the first one, whose graph holds nothing but outputs, adds these outputs.
    """
    return content + message(MODEL_GRAPH, b"".join(_output(name) for name in names))


def up_to(content: bytes, name: str) -> bytes:
    """The part of the model that computes the value ``name``, which becomes its only output.

    ONNX Runtime runs every node of a graph, needed or not, so the others are taken out.

    Raises:
        ValueError: the bytes are no model.
    """
    return b"".join(message(MODEL_GRAPH, _graph_up_to(field.payload, name)) if field.number == MODEL_GRAPH
                    else field.raw for field in fields(content))


def matrix_product() -> bytes:
    """A model of one MatMul of two float32 inputs, ``a`` and ``b``, into ``c``: what the GEMM rate is measured with."""
    node = message(NODE_INPUT, b"a") + message(NODE_INPUT, b"b") + message(NODE_OUTPUT, b"c") \
        + message(NODE_OP, b"MatMul")
    any_matrix = message(TENSOR_SHAPE, 2 * message(SHAPE_DIM, b""))
    tensor = message(VALUE_TYPE, message(TYPE_TENSOR, number(TENSOR_ELEMENT, FLOAT) + any_matrix))
    values = b"".join(message(place, message(VALUE_NAME, name) + tensor)
                      for place, name in ((GRAPH_INPUT, b"a"), (GRAPH_INPUT, b"b"), (GRAPH_OUTPUT, b"c")))
    graph = message(GRAPH_NODE, node) + message(GRAPH_NAME, b"matrix_product") + values
    return number(MODEL_IR_VERSION, IR_VERSION) + message(MODEL_GRAPH, graph) \
        + message(MODEL_OPSET, number(OPSET_VERSION, OPSET))


def _graph_up_to(graph: bytes, name: str) -> bytes:
    parts = [field for field in fields(graph) if field.number != GRAPH_OUTPUT]
    needed, kept = {name.encode()}, list[bytes]()
    for field in reversed(parts):  # nodes are sorted: what makes a value comes before what uses it
        if field.number != GRAPH_NODE:
            kept.append(field.raw)
            continue
        node = list(fields(field.payload))
        if needed & {part.payload for part in node if part.number == NODE_OUTPUT}:
            needed |= {part.payload for part in node if part.number == NODE_INPUT}
            kept.append(field.raw)
    return b"".join(reversed(kept)) + _output(name)


def fields(content: bytes) -> Iterator[Field]:
    """The fields of a message, in their order."""
    at = 0
    while at < len(content):
        start = at
        key, at = _read_varint(content, at)
        payload = b""
        if key & 7 == VARINT:
            _, at = _read_varint(content, at)
        elif key & 7 == BYTES:
            size, at = _read_varint(content, at)
            payload = content[at : at + size]
            at += size
        elif key & 7 in (FIXED32, FIXED64):
            at += 4 if key & 7 == FIXED32 else 8
        else:
            raise ValueError(f"wire type {key & 7} at byte {start}")
        if at > len(content):
            raise ValueError(f"the field at byte {start} is cut off")
        yield Field(key >> 3, payload, content[start:at])


def message(field: int, payload: bytes) -> bytes:
    """A field that holds a message, a string or bytes."""
    return _varint(field << 3 | BYTES) + _varint(len(payload)) + payload


def number(field: int, value: int) -> bytes:
    """A field that holds an integer of 0 or more."""
    return _varint(field << 3 | VARINT) + _varint(value)


def _output(name: str) -> bytes:
    return message(GRAPH_OUTPUT, message(VALUE_NAME, name.encode()))


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(encoded + bytes([value]))


def _read_varint(content: bytes, at: int) -> tuple[int, int]:
    """The number that begins at ``at``, and where it ends."""
    value = shift = 0
    while True:
        if at >= len(content):
            raise ValueError("the bytes end within a number")
        byte = content[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
