"""What a `.tflite` holds, read from its flatbuffer: weights, operators, and the numbers they run in."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from components.common.errors import ModelError
from components.shipped.schema import schema

_NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
_TYPES = {code: name.lower() for name, code in vars(schema.TensorType).items() if not name.startswith("_")}
_INDEX_TYPES = {"int32", "int64", "uint32", "uint64", "bool", "string", "resource", "variant"}
_WEIGHT_TYPES = {"float32", "float16", "int16", "int8", "uint8", "int4"}
# Which input is a bias.
_BIAS = {
    "CONV_2D": 2,
    "DEPTHWISE_CONV_2D": 2,
    "FULLY_CONNECTED": 2,
    "TRANSPOSE_CONV": 3,
    "CONV_3D": 2,
}
_BIAS_ONLY = {"ADD", "SUB"}
_CHANNELS_LAST = {"DEPTHWISE_CONV_2D", "BATCH_MATMUL", "CONV_3D"}


@dataclass(frozen=True, kw_only=True)
class Weight:
    """A constant that an operator computes with; biases are none.

    name: of the tensor, or of its operator where it has none. operator: the code name of the first operator that uses
    it. values: as stored, in the tensor's shape. dtype: its type's name, `int4` among them. start, bytes: where the
    file holds it. scales, zeros: float32 and int64 [channels] or [1], empty where the tensor is not quantized.
    scale_axis: of the scales, None unless each channel has its own. channel_axis: of the output channels.
    """

    name: str
    operator: str
    values: np.ndarray
    dtype: str
    start: int
    bytes: int
    scales: np.ndarray
    zeros: np.ndarray
    scale_axis: int | None
    channel_axis: int

    def real(self) -> np.ndarray:
        """The values that are meant, float32: (stored - zero) * scale."""
        if not len(self.scales):
            return self.values.astype(np.float32)
        return (self.values - self._along(self.zeros)).astype(np.float32) * self._along(self.scales)

    def sparsity(self) -> float:
        """Fraction of stored values that mean zero."""
        return float(np.mean(self.values == (self._along(self.zeros) if len(self.zeros) else 0)))

    def distinct(self) -> int:
        """Number of distinct stored values in the tensor."""
        return len(np.unique(self.values))

    def distinct_in_a_channel(self) -> int:
        """The largest number of distinct stored values in any output channel."""
        return max(len(np.unique(channel)) for channel in np.moveaxis(self.values, self.channel_axis, 0))

    def _along(self, numbers: np.ndarray) -> np.ndarray:
        shape = [1] * self.values.ndim
        shape[self.scale_axis or 0] = -1
        return numbers.reshape(shape) if self.values.ndim else numbers[0]


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One operation. code: its name, of a custom one too. types: of the numbers that go in and out, constants, indices
    and shapes apart."""

    code: str
    types: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Contents:
    """All weights and operators of all subgraphs."""

    weights: tuple[Weight, ...]
    operators: tuple[Operator, ...]

    @property
    def integer_operators(self) -> float:
        """Fraction of operators that take and give int8 or int16 only, of those that compute with anything but shapes;
        0 without any."""
        found = [o.types <= {"int8", "int16"} for o in self.operators if o.types]
        return sum(found) / max(len(found), 1)

    @property
    def int8_weights(self) -> float:
        """Fraction of weights that are stored as int8; 0 without any."""
        return sum(w.values.size for w in self.weights if w.dtype == "int8") / max(self._count, 1)

    @property
    def sparsity(self) -> float:
        """Fraction of all weights that are zero; 0 without any."""
        return sum(w.sparsity() * w.values.size for w in self.weights) / max(self._count, 1)

    @property
    def _count(self) -> int:
        return sum(w.values.size for w in self.weights)


def read(content: bytes) -> Contents:
    """Reads a file.

    Raises:
        ModelError: the bytes are no `.tflite`, or hold a weight in TFLite's sparse format.
    """
    if content[4:8] != b"TFL3":
        raise ModelError(f"a .tflite must hold TFL3 after its first four bytes. Received: {content[4:8]!r}")
    graphs = list(_graphs(content))
    return Contents(
        weights=tuple(weight for graph in graphs for weight in graph.weights()),
        operators=tuple(graph.operator(made) for graph in graphs for made in graph.made.operators or ()),
    )


def _graphs(content: bytes) -> Iterator["_Graph"]:
    model, packed = schema.ModelT.InitFromPackedBuf(content, 0), schema.Model.GetRootAs(content, 0)
    codes = [_code(code) for code in model.operatorCodes]
    tables = [packed.Buffers(i)._tab for i in range(packed.BuffersLength())]
    starts = [table.Vector(table.Offset(4)) if table.Offset(4) else 0 for table in tables]
    for made in model.subgraphs:
        yield _Graph(made=made, codes=codes, buffers=model.buffers, starts=starts)


def _code(made: schema.OperatorCodeT) -> str:
    if made.customCode:
        return made.customCode.decode()
    return _NAMES[max(made.builtinCode, made.deprecatedBuiltinCode)]


@dataclass(frozen=True, kw_only=True)
class _Graph:
    """A subgraph in the flatbuffer. starts: the position in the file of each buffer's data."""

    made: schema.SubGraphT
    codes: list[str]
    buffers: list[schema.BufferT]
    starts: list[int]

    def type(self, index: int) -> str:
        return _TYPES[self.made.tensors[index].type]

    def is_constant(self, index: int) -> bool:
        data = self.buffers[self.made.tensors[index].buffer].data
        return data is not None and len(data) > 0

    def operator(self, made: schema.OperatorT) -> Operator:
        moving = [i for i in (*made.inputs, *made.outputs) if i >= 0 and not self.is_constant(i)]
        types = frozenset(self.type(i) for i in moving) - _INDEX_TYPES
        return Operator(code=self.codes[made.opcodeIndex], types=types)

    def weights(self) -> Iterator[Weight]:
        """Every constant once. One that an operator turns into float32 first belongs to whoever takes the float32."""
        operators = self.made.operators or ()
        unpacked = {
            o.outputs[0]: o.inputs[0]
            for o in operators
            if self.codes[o.opcodeIndex] == "DEQUANTIZE" and self.is_constant(o.inputs[0])
        }
        seen = set()
        for operator in operators:
            code = self.codes[operator.opcodeIndex]
            for place, taken in enumerate(operator.inputs):
                index = unpacked.get(taken, taken)
                if index in seen or code in _BIAS_ONLY | {"DEQUANTIZE"} or not self._is_weight(code, place, index):
                    continue
                seen.add(index)
                yield self._weight(code, self.made.tensors[index])

    def _is_weight(self, code: str, place: int, index: int) -> bool:
        if index < 0 or not self.is_constant(index) or self.type(index) not in _WEIGHT_TYPES:
            return False
        shape = self.made.tensors[index].shape
        several = shape is not None and len(shape) >= 1 and np.prod(shape) >= 2
        return place != _BIAS[code] if code in _BIAS else several

    def _weight(self, code: str, made: schema.TensorT) -> Weight:
        name, dtype, quantized = (made.name or code.encode()).decode(), _TYPES[made.type], made.quantization
        if made.sparsity is not None:
            raise ModelError(f"tensor {name} must be stored dense. Received: TFLite's sparse format")
        data = np.asarray(self.buffers[made.buffer].data, np.uint8)
        shape = tuple(made.shape) if made.shape is not None else ()
        scales = _numbers(quantized and quantized.scale, np.float32)
        return Weight(
            name=name,
            operator=code,
            values=_four_bits(data, shape) if dtype == "int4" else data.view(dtype).reshape(shape),
            dtype=dtype,
            start=self.starts[made.buffer],
            bytes=len(data),
            scales=scales,
            zeros=_numbers(quantized and quantized.zeroPoint, np.int64) if len(scales) else np.zeros(0, np.int64),
            scale_axis=quantized.quantizedDimension if len(scales) > 1 else None,
            channel_axis=len(shape) - 1 if code in _CHANNELS_LAST else 0,
        )


def _numbers(found: np.ndarray | None, dtype: type) -> np.ndarray:
    return np.zeros(0, dtype) if found is None else np.asarray(found, dtype)


def _four_bits(data: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Two values a byte, the lower half first, in two's complement."""
    halves = np.stack([data << 4, data], -1).reshape(-1).view(np.int8) >> 4
    return halves[: int(np.prod(shape))].reshape(shape)
