"""The weights and operators of a `.tflite`, read from its flatbuffer and from nothing else."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

_TYPES = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.FLOAT16: np.float16,
    schema.TensorType.INT8: np.int8,
    schema.TensorType.INT16: np.int16,
}
_INTEGERS = {schema.TensorType.INT8, schema.TensorType.INT16}
_MOVED = {schema.TensorType.INT32, schema.TensorType.INT64, schema.TensorType.BOOL}  # shapes and the like


@dataclass(frozen=True, kw_only=True)
class Weight:
    """A stored weight tensor of rank 2 or more; biases, paddings and shapes are none.

    index: of the tensor in its subgraph. values: as stored. scales: float32, one a channel or one or none.
    channel_axis: of the scales, None where there is one or none. zero: the stored value that means 0.
    """

    index: int
    name: str
    values: np.ndarray
    scales: np.ndarray
    channel_axis: int | None
    zero: int

    def sparsity(self) -> float:
        """Fraction of stored values that mean zero."""
        return float(np.mean(self.values == self.zero))

    def distinct(self) -> int:
        """Number of distinct stored values."""
        return len(np.unique(self.values))

    def distinct_in_a_channel(self) -> int:
        """The largest number of distinct stored values in any output channel, which are the first axis, or the last one
        of a depthwise kernel."""
        axis = self.channel_axis or 0
        return max(len(np.unique(channel)) for channel in np.moveaxis(self.values, axis, 0))

    def real(self) -> np.ndarray:
        """The float32 weights that the stored values stand for."""
        values = self.values.astype(np.float32)
        if not len(self.scales):
            return values
        shape = [1] * values.ndim
        shape[self.channel_axis or 0] = -1 if self.channel_axis is not None else 1
        return (values - self.zero) * self.scales.reshape(shape)


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a file holds. integer_operators: fraction of operators that take and give integers only; shapes, indices and
    constants aside."""

    weights: tuple[Weight, ...]
    integer_operators: float

    @property
    def int8_weights(self) -> float:
        """Fraction of weights that are stored as int8; 0 where there are none."""
        total = sum(w.values.size for w in self.weights)
        return sum(w.values.size for w in self.weights if w.values.dtype == np.int8) / total if total else 0.0

    @property
    def sparsity(self) -> float:
        """Fraction of all weights that are zero; 0 where there are none."""
        total = sum(w.values.size for w in self.weights)
        return sum(w.sparsity() * w.values.size for w in self.weights) / total if total else 0.0


def contents(file: bytes) -> Contents:
    """Reads a `.tflite`, all its subgraphs."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(file), 0))
    weights = tuple(w for graph in model.subgraphs for w in _weights(model, graph))
    operators = [_is_integer(model, graph, o) for graph in model.subgraphs for o in graph.operators]
    return Contents(weights=weights, integer_operators=float(np.mean(operators)) if operators else 0.0)


def _weights(model: schema.ModelT, graph: schema.SubGraphT) -> Iterator[Weight]:
    for index, tensor in enumerate(graph.tensors):
        data, shape = model.buffers[tensor.buffer].data, tensor.shape
        if data is None or tensor.type not in _TYPES or shape is None or len(shape) < 2 or not len(data):
            continue
        quantization = tensor.quantization
        has_scales = quantization is not None and quantization.scale is not None
        scales = np.asarray(quantization.scale, np.float32) if has_scales else np.zeros(0, np.float32)
        zeros = quantization.zeroPoint if has_scales and quantization.zeroPoint is not None else [0]
        yield Weight(
            index=index,
            name=tensor.name.decode(),
            values=np.frombuffer(bytes(data), _TYPES[tensor.type]).reshape(shape),
            scales=scales,
            channel_axis=int(quantization.quantizedDimension) if len(scales) > 1 else None,
            zero=int(zeros[0]),
        )


def _is_integer(model: schema.ModelT, graph: schema.SubGraphT, operator: schema.OperatorT) -> bool:
    tensors = [graph.tensors[i] for i in [*operator.inputs, *operator.outputs] if i >= 0]
    moving = [t for t in tensors if not _is_constant(model, t) and t.type not in _MOVED]
    return all(t.type in _INTEGERS for t in moving)


def _is_constant(model: schema.ModelT, tensor: schema.TensorT) -> bool:
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0
