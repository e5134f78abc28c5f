"""CRC-32C as a TFRecord file keeps it, for the few bytes of a frame's length; no reader of payloads needs this one."""

_POLYNOMIAL, _MASK = 0x82F63B78, 0xA282EAD8  # Castagnoli's, bits reversed; TensorFlow's core/lib/hash/crc32c.h


def _entry(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (_POLYNOMIAL if byte & 1 else 0)
    return byte


_TABLE = tuple(_entry(byte) for byte in range(256))


def masked_crc32c(data: bytes) -> int:
    """The masked checksum, in [0, 2**32), that stands after a record's length and after its payload."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + _MASK) & 0xFFFFFFFF
