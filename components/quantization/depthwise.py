"""Files whose depthwise convolutions TFLite would compute wrongly."""

import flatbuffers
import numpy as np
from tensorflow.lite.python import schema_py_generated as schema


def with_scales_by_channel(content: bytes) -> bytes:
    """A file in which each depthwise kernel that has one scale has it once a channel, which means the same.

    TFLite's kernel for floats and int8 weights takes both, reads a scale a channel from either, and so computes with
    what lies behind the one (`Prepare` and `EvalHybridPerChannel` in its depthwise_conv.cc).
    """
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(content), 0))
    for graph in model.subgraphs:
        for operator in graph.operators:
            if model.operatorCodes[operator.opcodeIndex].builtinCode == schema.BuiltinOperator.DEPTHWISE_CONV_2D:
                _spread(graph.tensors[operator.inputs[1]])
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _spread(kernel: schema.TensorT) -> None:
    quantized = kernel.quantization
    if quantized is not None and quantized.scale is not None and len(quantized.scale) == 1:
        quantized.quantizedDimension = len(kernel.shape) - 1
        quantized.scale = np.repeat(quantized.scale, kernel.shape[-1])
        quantized.zeroPoint = np.repeat(quantized.zeroPoint, kernel.shape[-1])
