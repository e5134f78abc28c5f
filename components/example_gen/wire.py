"""What a serialized tf.train.Example holds, counted without TensorFlow: importing it takes seconds, and who looks at
spans that have arrived looks often."""

from collections.abc import Iterator

_KINDS = {1: "bytes", 2: "float", 3: "int64"}  # of tensorflow/core/example/feature.proto's Feature
_FIXED = {1: 8, 5: 4}  # bytes by wire type; protobuf's encoding guide
_LONGEST_VARINT = 10


def counted(example: bytes) -> dict[str, tuple[str, int]]:
    """The kind (bytes, float or int64) and the number of values of each feature; one without a kind is left out.

    Raises:
        ValueError: the bytes are no tf.train.Example.
    """
    found = {}
    for features in _messages(example, 1):
        for entry in _messages(features, 1):
            key = b"".join(list(_messages(entry, 1))[-1:]).decode()
            for feature in _messages(entry, 2):
                for number, values in _fields(feature):
                    if number in _KINDS and isinstance(values, bytes):
                        found[key] = (_KINDS[number], _length(_KINDS[number], values))
    return found


def _length(kind: str, values: bytes) -> int:
    """The number of values in a list, whose numbers may be packed."""
    sizes = {"bytes": lambda _: 1, "float": lambda packed: len(packed) // 4, "int64": _varints}
    return sum(1 if isinstance(v, int) else sizes[kind](v) for number, v in _fields(values) if number == 1)


def _varints(packed: bytes) -> int:
    return sum(byte < 0x80 for byte in packed)


def _messages(message: bytes, number: int) -> Iterator[bytes]:
    yield from (value for n, value in _fields(message) if n == number and isinstance(value, bytes))


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message, each with its number: an int for a varint, else bytes."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        wire = tag & 7
        if wire == 0:
            value, position = _varint(message, position)
        elif wire == 2 or wire in _FIXED:
            size, position = _varint(message, position) if wire == 2 else (_FIXED[wire], position)
            value, position = message[position : position + size], position + size
        else:
            raise ValueError("a field must have a wire type that is in use")
        if position > len(message) or tag >> 3 == 0:
            raise ValueError("a field must be numbered, and end within its message")
        yield tag >> 3, value


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """An unsigned number, and the position after it."""
    value = 0
    for i, byte in enumerate(message[position : position + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, position + i + 1
    raise ValueError("a number must end within its message")
