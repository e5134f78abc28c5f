"""FarmHash's two fingerprints (Pike and Alakuijala, Google 2014), the functions that TFDV takes from `pyfarmhash`.

That package has no wheels: on a machine without a C++ compiler its install fails, and TFX's with it. Lockgate's graph
never calls it; TFDV imports it all the same, for its skew detector and for splitting very wide tables.
"""

_C1, _C2, _M = 0xCC9E2D51, 0x1B873593, 0xFFFFFFFF
_ADD = 0xE6546B64


def fingerprint64(text: str | bytes) -> int:
    """The 64-bit fingerprint, unsigned; by TensorFlow, which has it built in."""
    import tensorflow as tf

    return int.from_bytes(tf.fingerprint([_bytes(text)]).numpy()[0].tobytes(), "little")


def fingerprint32(text: str | bytes) -> int:
    """The 32-bit fingerprint, unsigned (farmhashmk::Hash32)."""
    data = _bytes(text)
    if len(data) <= 4:
        return _up_to_4(data)
    if len(data) <= 12:
        return _up_to_12(data)
    return _up_to_24(data) if len(data) <= 24 else _longer(data)


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _fetch(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def _rotate(value: int, shift: int) -> int:
    """Rotates a 32-bit value to the right."""
    return (value >> shift | value << (32 - shift)) & _M


def _mix(h: int) -> int:
    """Murmur3's finalizer."""
    h = (h ^ h >> 16) * 0x85EBCA6B & _M
    h = (h ^ h >> 13) * 0xC2B2AE35 & _M
    return h ^ h >> 16


def _murmur(a: int, h: int) -> int:
    """One round of Murmur3."""
    a = _rotate(a * _C1 & _M, 17) * _C2 & _M
    return (_rotate(h ^ a, 19) * 5 + _ADD) & _M


def _up_to_4(data: bytes) -> int:
    b, c = 0, 9
    for byte in data:
        b = (b * _C1 + (byte - 256 if byte > 127 else byte)) & _M
        c ^= b
    return _mix(_murmur(b, _murmur(len(data), c)))


def _up_to_12(data: bytes) -> int:
    size = len(data)
    a, b = (size + _fetch(data, 0)) & _M, (size * 5 + _fetch(data, size - 4)) & _M
    c = (9 + _fetch(data, size >> 1 & 4)) & _M
    return _mix(_murmur(c, _murmur(b, _murmur(a, size * 5))))


def _up_to_24(data: bytes) -> int:
    size, half = len(data), len(data) >> 1
    a, b, c = _fetch(data, half - 4), _fetch(data, 4), _fetch(data, size - 8)
    d, e, f = _fetch(data, half), _fetch(data, 0), _fetch(data, size - 4)
    h = (d * _C1 + size) & _M
    a = (_rotate(a, 12) + f) & _M
    h = (_murmur(c, h) + a) & _M
    a = (_rotate(a, 3) + c) & _M
    h = (_murmur(e, h) + a) & _M
    a = (_rotate((a + f) & _M, 12) + d) & _M
    return _mix((_murmur(b, h) + a) & _M)


def _longer(data: bytes) -> int:
    size = len(data)
    tail = [_rotate(_fetch(data, size - k) * _C1 & _M, 17) * _C2 & _M for k in (4, 8, 16, 12, 20)]
    h, g = size, _C1 * size & _M
    f = (_rotate((g + tail[4]) & _M, 19) + 113) & _M
    for near, far in ((tail[0], tail[1]), (tail[2], tail[3])):
        h = (_rotate(h ^ near, 19) * 5 + _ADD) & _M
        g = (_rotate(g ^ far, 19) * 5 + _ADD) & _M
    for at in range(0, (size - 1) // 20 * 20, 20):
        a, b, c, d, e = (_fetch(data, at + 4 * i) for i in range(5))
        h, g, f = (h + a) & _M, (g + b) & _M, (f + c) & _M
        h = (_murmur(d, h) + e) & _M
        g = (_murmur(c, g) + a) & _M
        f = (_murmur((b + e * _C1) & _M, f) + d) & _M
        f = (f + g) & _M
        g = (g + f) & _M
    g = _rotate(_rotate(g, 11) * _C1 & _M, 17) * _C1 & _M
    f = _rotate(_rotate(f, 11) * _C1 & _M, 17) * _C1 & _M
    for other in (g, f):
        h = (_rotate((h + other) & _M, 19) * 5 + _ADD) & _M
        h = _rotate(h, 17) * _C1 & _M
    return h
