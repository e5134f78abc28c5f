"""Files that TFLite would compute wrongly, as its converter writes them."""

import copy
from collections import Counter

import numpy as np

from components.shipped.schema import schema

_BIAS = {  # the input that is the bias, by operator; the kernel is the one of index 1
    schema.BuiltinOperator.CONV_2D: 2,
    schema.BuiltinOperator.DEPTHWISE_CONV_2D: 2,
    schema.BuiltinOperator.FULLY_CONNECTED: 2,
}


def mend(model: schema.ModelT) -> None:
    """Changes two things in a file's model, in place.

    A depthwise kernel of int8 whose inputs are floats has a scale a channel, be it the same one: TFLite takes it with
    one scale too, reads a scale a channel nevertheless, and so computes with what lies behind the one (`Prepare` and
    `EvalHybridPerChannel` in its depthwise_conv.cc).

    A bias is in the scale of its operator's inputs and kernel: of a layer that is called twice, the converter to
    int16x8 writes it once, in the scale of one call.
    """
    for graph in model.subgraphs:
        uses = Counter(index for operator in graph.operators for index in operator.inputs)
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex].builtinCode
            if code not in _BIAS:
                continue
            taken, kernel, *_ = (graph.tensors[i] for i in operator.inputs)
            bias = operator.inputs[_BIAS[code]] if len(operator.inputs) > _BIAS[code] else -1
            if _has_scales(taken) and bias >= 0 and uses[bias] > 1:
                _rescale_bias(model, graph, operator, _BIAS[code])
            elif not _has_scales(taken) and code == schema.BuiltinOperator.DEPTHWISE_CONV_2D and _has_scales(kernel):
                _spread_scale(kernel)


def _has_scales(tensor: schema.TensorT) -> bool:
    return tensor.quantization is not None and tensor.quantization.scale is not None


def _spread_scale(kernel: schema.TensorT) -> None:
    quantized, channels = kernel.quantization, kernel.shape[-1]
    if len(quantized.scale) == 1:
        quantized.quantizedDimension = len(kernel.shape) - 1
        quantized.scale, quantized.zeroPoint = (np.repeat(n, channels) for n in (quantized.scale, quantized.zeroPoint))


def _rescale_bias(model: schema.ModelT, graph: schema.SubGraphT, operator: schema.OperatorT, place: int) -> None:
    """Gives an operator a bias of its own where the one that it has is in another scale."""
    taken, kernel, bias = (graph.tensors[operator.inputs[i]] for i in (0, 1, place))
    data = model.buffers[bias.buffer].data
    if not _has_scales(bias) or data is None:
        return
    wanted = (taken.quantization.scale * kernel.quantization.scale).astype(np.float32)
    if np.allclose(wanted, bias.quantization.scale, rtol=1e-3, atol=0):
        return
    kind = {schema.TensorType.INT32: np.int32, schema.TensorType.INT64: np.int64}[bias.type]
    values = np.asarray(data, np.uint8).view(kind) * (bias.quantization.scale.astype(np.float64) / wanted)
    own, buffer = copy.copy(bias), schema.BufferT()
    own.quantization = copy.copy(bias.quantization)
    own.quantization.scale, own.buffer = wanted, len(model.buffers)
    buffer.data = np.round(values).astype(kind).view(np.uint8)
    model.buffers.append(buffer)
    operator.inputs[place] = len(graph.tensors)
    graph.tensors.append(own)
