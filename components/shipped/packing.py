"""The compressed download of a `.tflite`, in the smallest of several codings; `unpack.py` gives it back bit for bit."""

import functools
import gzip
import lzma
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise

import numpy as np

from components.common.content import sizes
from components.shipped import unpack
from components.shipped.reading import Weight, read

FORMAT = unpack.MAGIC.decode()
NAME = "model.lockgate"
_SMALLEST = 64  # bytes of a weight buffer that is worth a table of its own
_FEW = 64  # distinct values
_PATIENCE = 6_000_000  # bits that the decoder mixes, about 5 us each
_PLAIN = 1 << 17  # bytes that are coded bit by bit


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Bytes [start, stop) that are coded by a table, seen as values of `item` bytes in [rows, columns, inner]'s order;
    `table` is None where LZMA takes them."""

    start: int
    stop: int
    rows: int
    columns: int
    inner: int
    item: int
    table: list[bytes] | None
    indices: list[int]


@functools.lru_cache(maxsize=8)  # a variant is packed when it is made, and again when it is pushed
def pack(content: bytes) -> bytes:
    """Packs a `.tflite` in the coding that makes it smallest. zstd is none of them: Python has no decoder for it.

    Raises:
        ModelError: the bytes are no `.tflite`.
    """
    coded = {
        "gzip": gzip.compress(content, 9, mtime=0),
        "xz": lzma.compress(content, preset=9 | lzma.PRESET_EXTREME),
        "weights": encode_weights(content, segments(content)),
    }
    coding = min(coded, key=lambda name: len(coded[name]))
    checked = sha256(content).digest() + coded[coding]
    check = zlib.crc32(checked).to_bytes(4, "little")
    return unpack.MAGIC + bytes([unpack.CODINGS.index(coding)]) + check + checked


def manifest(content: bytes, packed: bytes, recipe: str) -> dict:
    """What a person needs to know of the download `packed` of `content`, to be written beside it as JSON."""
    return {
        "format": FORMAT,
        "recipe": recipe,
        "coding": unpack.CODINGS[packed[4]],
        "packed": {"file": NAME, "bytes": len(packed), "sha256": sha256(packed).hexdigest()},
        "unpacked": {"file": "model.tflite", **sizes(content)},
        "decode": f"python unpack.py {NAME} model.tflite",
    }


class Encoder:
    """The arithmetic encoder that `unpack.Decoder` reads."""

    def __init__(self):
        self.written, self.low, self.high = bytearray(), 0, 0xFFFFFFFF

    def code(self, one: int, bit: int) -> int:
        """Writes `bit`, which is set with probability `one` / 65,536."""
        middle = self.low + ((self.high - self.low) * one >> 16)
        if bit:
            self.high = middle
        else:
            self.low = middle + 1
        while not (self.low ^ self.high) & 0xFF000000:
            self.written.append(self.high >> 24)
            self.low = self.low << 8 & 0xFFFFFFFF
            self.high = (self.high << 8 & 0xFFFFFFFF) | 255
        return bit

    def finish(self) -> bytes:
        """All that was written; the decoder reads zeros after it."""
        return bytes(self.written) + bytes([self.high >> 24])


def encode_weights(content: bytes, chosen: Sequence[Segment]) -> bytes:
    """The coding `weights` of any bytes: `chosen` segments, in order and apart, by their tables or by LZMA."""
    encoder = Encoder()
    plain, at = unpack.byte_coder(encoder), 0
    plain.number(len(chosen))
    for segment in chosen:
        size, table = segment.stop - segment.start, segment.table or []
        shape = (segment.rows if table else size, segment.columns, segment.inner)
        for number in (segment.start - at, *shape, segment.item, len(table)):
            plain.number(number)
        for byte in content[at : segment.start] + b"".join(table):
            plain.code(byte)
        if table:
            coder = unpack.Indices(encoder, len(table))
            coder.code(segment.rows, segment.columns, segment.inner, segment.indices)
        at = segment.stop
    plain.number(len(content) - at)
    for byte in content[at:]:
        plain.code(byte)
    stored = b"".join(content[s.start : s.stop] for s in chosen if s.table is None)
    code = encoder.finish()
    return len(code).to_bytes(4, "little") + code + lzma.compress(stored, lzma.FORMAT_RAW, filters=unpack.RAW)


def segments(content: bytes) -> list[Segment]:
    """The parts of a `.tflite` that are not coded byte by byte: weights by their tables, as many as the decoder has
    patience for, and by LZMA what is left and long. Small parts choose first."""
    weights = {w.start: w for w in read(content).weights if w.bytes >= _SMALLEST}
    tabled, bits = [], _PATIENCE
    for weight in sorted(weights.values(), key=lambda w: (w.bytes, w.start)):
        segment = by_table(weight)
        if segment and _bits(segment) <= bits:
            bits -= _bits(segment)
            tabled.append(segment)
    taken = {segment.start for segment in tabled}
    edges = {0, len(content)}.union(*((w.start, w.start + w.bytes) for w in weights.values()))
    stored, plain = [], _PLAIN
    for start, stop in sorted(pairwise(sorted(edges)), key=lambda part: part[1] - part[0]):
        plain -= 0 if start in taken else stop - start
        if plain < 0 and start not in taken:
            stored.append(by_lzma(start, stop))
    return sorted(tabled + stored, key=lambda segment: segment.start)


def _bits(segment: Segment) -> int:
    """How many bits the decoder must mix, weighed by what they are worth against LZMA: many values gain little."""
    depth = unpack.Indices(None, len(segment.table)).depth
    bits = len(segment.indices) + depth * (len(segment.indices) - segment.indices.count(0))
    return bits if len(segment.table) <= _FEW else 6 * bits


def by_table(weight: Weight) -> Segment | None:
    """A weight buffer's table and indices; None if it has more than 256 distinct values or fewer bytes than values."""
    item = weight.bytes // max(weight.values.size, 1)
    if weight.dtype == "int4" or item * weight.values.size != weight.bytes:
        return None
    values = weight.values.reshape(-1).view(f"i{item}")
    distinct, indices, counts = np.unique(values, return_inverse=True, return_counts=True)
    if len(distinct) > 256:
        return None
    first = int(np.argmax(counts))
    order = [first, *(i for i in range(len(distinct)) if i != first)]
    shape = weight.values.shape or (1,)
    rows = shape[0] if weight.channel_axis == 0 else int(np.prod(shape[:-1]))
    return Segment(
        start=weight.start,
        stop=weight.start + weight.bytes,
        rows=rows,
        columns=len(values) // rows,
        inner=shape[-1],
        item=item,
        table=[distinct[i].tobytes() for i in order],
        indices=np.argsort(order)[indices.reshape(-1)].tolist(),
    )


def by_lzma(start: int, stop: int) -> Segment:
    """Bytes that LZMA takes."""
    return Segment(start=start, stop=stop, rows=0, columns=0, inner=0, item=1, table=None, indices=[])
