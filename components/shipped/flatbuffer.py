"""A `.tflite` as objects that can be changed, and back."""

import flatbuffers

from components.shipped.schema import schema


def unpacked(content: bytes) -> schema.ModelT:
    """The model in the bytes of a file."""
    return schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(content), 0))


def packed(model: schema.ModelT) -> bytes:
    """The bytes of a file that holds the model."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
