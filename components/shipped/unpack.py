"""Decodes a download: `python unpack.py model.lockgate model.tflite`.

This file alone is enough: it needs Python 3.10 and no package.

A download is `LKG1`, one byte that names the coding (an index of `CODINGS`), the CRC-32 of all that follows (4 bytes,
little endian), the SHA-256 of the model (32 bytes), and the coded model.

The coding `weights` splits the model into weight buffers and the rest. A buffer becomes a lookup table and an index a
weight; indices and rest are coded bit by bit by one binary arithmetic coder, whose probabilities come from a logistic
mixture of adaptive counters (Mahoney 2005, "Adaptive weighing of context models for lossless data compression", Florida
Tech CS-2005-16). All arithmetic is on integers, so every machine decodes the same bytes.
"""

import gzip
import hashlib
import lzma
import os
import sys
import zlib

MAGIC = b"LKG1"
CODINGS = ("gzip", "xz", "weights")
HEADER = len(MAGIC) + 1 + 4 + 32
RAW = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]
# What nearly every .tflite holds: the coder has read it before it starts.
KNOWN = (
    b"TFL3 CONVERSION_METADATA\0\0\0\0min_runtime_version\0\0\0\0"
    b"1.14.0\0\0\0\0\0\0\0\0\0\0"
    b"2.16.2\0\0MLIR Converted.\0main\0\0\0\0serving_default\0\0\0image\0\0\0logits\0\0\0"
    b"output_0\0\0\0arith.constant\0\0\0"
    b"tfl.pseudo_qconst1\0\0\0tfl.pseudo_qconst\0\0\0StatefulPartitionedCall:0\0\0\0serving_default_image:0\0\0\0"
    b"model/dense/Relu;model/dense/BiasAdd\0\0\0/MatMul;/depthwise;/separable_conv2d;/BiasAdd/ReadVariableOp\0\0\0"
    b"/Conv2D/ReadVariableOp\0\0\0/MatMul/ReadVariableOp\0\0\0/max_pooling2d/MaxPool\0\0\0/flatten/Reshape\0\0\0"
    b"/conv2d/Relu;/conv2d/BiasAdd;/conv2d/Conv2D;/conv2d/BiasAdd/ReadVariableOp1\0\0\0/batch_normalization/FusedBatchNormV3"
)


class Damaged(ValueError):
    """A download that is not what was packed."""


class Decoder:
    """The arithmetic decoder; the encoder has the same `code` and writes instead (carry-less, 32 bits, as in lpaq)."""

    def __init__(self, data):
        self.data, self.at, self.low, self.high = data + bytes(4), 4, 0, 0xFFFFFFFF
        self.value = int.from_bytes(self.data[:4], "big")

    def code(self, one, bit=None):
        """The next bit. one: 65,536 times the probability that it is set, in (0, 65,536); bit: for the encoder."""
        middle = self.low + ((self.high - self.low) * one >> 16)
        bit = int(self.value <= middle)
        if bit:
            self.high = middle
        else:
            self.low = middle + 1
        while not (self.low ^ self.high) & 0xFF000000:
            self.low = self.low << 8 & 0xFFFFFFFF
            self.high = (self.high << 8 & 0xFFFFFFFF) | 255
            self.value = (self.value << 8 & 0xFFFFFFFF) | (self.data[self.at] if self.at < len(self.data) else 0)
            self.at += 1
        return bit


def _squash_table():
    """65,536 / (1 + exp(-x / 256)) for x in [-2047, 2047], by integers: exp(1/256) as a fraction of 2^48."""
    step, power, table = 282578800148738, 1 << 48, [32768]  # round(2^48 exp(1/256))
    for _ in range(2047):
        power = power * step >> 48
        table.append(65536 * power // (power + (1 << 48)))
    return [65536 - p for p in reversed(table[1:])] + table


SQUASH = _squash_table()  # [4095]; x is at x + 2047


def _stretch_table():
    """The inverse of SQUASH, for probabilities in steps of 1/4,096."""
    table, x = [], -2047
    for p in range(4096):
        while x < 2047 and SQUASH[x + 2047] < 16 * p + 8:
            x += 1
        table.append(x)
    return table


STRETCH = _stretch_table()
RATE = [65536 * 5 // (5 * n + 8) for n in range(1024)]
LEVEL = [min(n.bit_length(), 7) if n > 2 else n for n in range(1024)]


class Mixer:
    """Codes bits that are predicted from several contexts at once.

    Each context has a counter: a probability (22 bits) and how often it was seen. A mixing weight belongs to an input
    and to how often its counter was seen, so new contexts count as much as they deserve.
    """

    def __init__(self, coder, inputs, first, rate, limit):
        self.coder, self.rate, self.limit = coder, rate, limit
        self.counters = [{} for _ in range(inputs)]
        self.weights = [[first] * 8 for _ in range(inputs)]  # 65,536 is one

    def code(self, keys, bit=None):
        """Codes one bit under the contexts `keys`, one an input; `bit` is for the encoder."""
        found, total, rate, limit = [], 0, self.rate, self.limit
        for counters, weights, key in zip(self.counters, self.weights, keys, strict=True):
            counter = counters.get(key)
            if counter is None:
                counter = counters[key] = [1 << 21, 0]
            stretched, level = STRETCH[counter[0] >> 10], LEVEL[counter[1]]
            total += stretched * weights[level]
            found.append((counter, weights, level, stretched))
        total >>= 16
        one = SQUASH[2047 + (-2047 if total < -2047 else 2047 if total > 2047 else total)]
        bit = self.coder.code(one, bit)
        error, target = (bit << 16) - one, bit * 4194303
        for counter, weights, level, stretched in found:
            weights[level] += stretched * error >> rate
            seen = counter[1]
            counter[0] += (target - counter[0]) * RATE[seen] >> 16
            if seen < limit:
                counter[1] = seen + 1
        return bit


class Bytes:
    """Codes bytes: by orders 0 to 3 and 6, what stood 4 and 8 before, and what followed the last like place."""

    def __init__(self, coder):
        self.mixer, self.past = Mixer(coder, 11, 14000, 14, 127), bytearray(8)
        self.places, self.match, self.length = {}, 0, 0

    def code(self, wanted=None):
        past, place, node = self.past, len(self.past) & 3, 1
        guess = past[self.match] | 256
        bases = [base << 8 for base in self._contexts(past, place)]
        bases.append((guess << 5 | self.length) << 8)
        bases.append((guess << 16 | past[-1] << 8 | past[self.match - 1]) << 8)
        for shift in range(7, -1, -1):
            bit = None if wanted is None else wanted >> shift & 1
            keys = [base | node for base in bases]
            keys.append((self.length << 1 | (guess >> shift & 1)) + 1 if guess >> shift + 1 == node else 0)
            node = node << 1 | self.mixer.code(keys, bit)
        past.append(node & 255)
        self._find_match()
        return node & 255

    @staticmethod
    def _contexts(past, place):
        word, fourth, eighth = int.from_bytes(past[-6:], "big"), past[-4], past[-8]
        orders = (place, word & 0xFF, word & 0xFFFF, word & 0xFFFFFF, word)
        return *orders, fourth << 2 | place, (fourth << 8 | eighth) << 2 | place, (fourth << 8 | past[-1]) << 2 | place

    def _find_match(self):
        """Follows the match as long as it guesses right; else looks for the last place with the same eight bytes."""
        if self.length and self.past[self.match] == self.past[-1]:
            self.match, self.length = self.match + 1, min(self.length + 1, 31)
        else:
            found = self.places.get(bytes(self.past[-8:]), 0)
            self.match, self.length = (found, 1) if found else (self.match + 1, 0)
        self.places[bytes(self.past[-8:])] = len(self.past)

    def number(self, wanted=None):
        """A whole number, seven bits a byte."""
        value, shift = 0, 0
        while True:
            byte = None if wanted is None else (wanted >> shift & 127) | (128 if wanted >> shift + 7 else 0)
            byte = self.code(byte)
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value


def _bucket(count):
    """A count on a scale of its own: exact to 3, then four steps an octave."""
    return count if count < 4 else (count.bit_length() << 2) + (count >> count.bit_length() - 3 & 3)


class Indices:
    """Codes the indices of a weight tensor [rows, columns] whose last dimension is `inner`; 0 is the commonest value.

    First, is it 0: from the neighbours (before, at the last position of the same input, in the row above) and from
    how full the row, the column and the input were so far. Then which of the others, down a tree of bits.
    """

    def __init__(self, coder, values):
        self.zero, self.symbol = Mixer(coder, 5, 14000, 17, 1023), Mixer(coder, 5, 14000, 17, 1023)
        self.depth = max((values - 2).bit_length(), 0)

    def code(self, rows, columns, inner, wanted=None):
        done = [0] * (rows * columns)
        full, last, inputs = [0] * columns, [0] * columns, [0] * inner
        before = 0
        for row in range(rows):
            in_row, height = 0, _bucket(row)
            for column in range(columns):
                at = row * columns + column
                index = None if wanted is None else wanted[at]
                left = done[at - 1] if column else 0
                left2 = done[at - 2] if column > 1 else 0
                up = done[at - columns] if row else 0
                near = done[at - inner] if column >= inner else 0
                around = (left > 0) << 3 | (left2 > 0) << 2 | (up > 0) << 1 | (near > 0)
                tall, wide, deep = _bucket(full[column]), _bucket(in_row), _bucket(inputs[column % inner])
                keys = (
                    around,
                    wide << 8 | _bucket(column),
                    (tall << 6 | wide) << 4 | around,
                    deep << 8 | height,
                    column,
                )
                if not self.zero.code(keys, None if wanted is None else int(index > 0)):
                    continue
                index = self._symbol(row, column, before, last[column], near, index)
                done[at] = last[column] = before = index
                full[column] += 1
                inputs[column % inner] += 1
                in_row += 1
        return done

    def _symbol(self, row, column, before, above, near, index):
        node = 1
        for level in range(self.depth):
            bit = None if index is None else index - 1 >> (self.depth - 1 - level) & 1
            keys = (node, node << 16 | before, node << 16 | above, node << 16 | near, node << 16 | row)
            node = node << 1 | self.symbol.code(keys, bit)
        return node - (1 << self.depth) + 1


class _Known:
    """A coder that only lets its mixer learn."""

    def code(self, one, bit):
        return bit


def byte_coder(coder):
    """A `Bytes` that has read what is `KNOWN`."""
    made = Bytes(_Known())
    for byte in KNOWN:
        made.code(byte)
    made.mixer.coder = coder
    return made


def decode_weights(payload):
    """Decodes the coding `weights`: a length, the arithmetic code, and what LZMA codes; gives the model."""
    size = int.from_bytes(payload[:4], "little")
    coder, stored = Decoder(payload[4 : 4 + size]), lzma.decompress(payload[4 + size :], lzma.FORMAT_RAW, filters=RAW)
    plain, parts, at = byte_coder(coder), [], 0
    for _ in range(plain.number()):
        gap, rows, columns, inner, item, values = [plain.number() for _ in range(6)]
        parts.append(bytes(plain.code() for _ in range(gap)))
        if values:
            table = [bytes(plain.code() for _ in range(item)) for _ in range(values)]
            parts.append(b"".join(table[index] for index in Indices(coder, values).code(rows, columns, inner)))
        else:
            parts.append(stored[at : at + rows])
            at += rows
    parts.append(bytes(plain.code() for _ in range(plain.number())))
    return b"".join(parts)


def unpack(content):
    """The model in a download, bit for bit.

    Raises:
        Damaged: the download is not one, or not whole.
    """
    magic, coding, check, digest = content[:4], content[4:5], content[5:9], content[9:HEADER]
    if magic != MAGIC or len(content) < HEADER or coding[0] >= len(CODINGS):
        raise Damaged(f"a download must start with {MAGIC.decode()} and its header. Received: {content[:8]!r}")
    if int.from_bytes(check, "little") != zlib.crc32(content[9:]):
        raise Damaged("the download must be what was packed. Received: bytes with another CRC-32")
    payload = content[HEADER:]
    model = (gzip.decompress, lzma.decompress, decode_weights)[coding[0]](payload)
    if hashlib.sha256(model).digest() != digest:
        raise Damaged("the model must have the SHA-256 that the download names. Received: another")
    return model


def main(arguments):
    """Decodes one file into another, which is written aside and then renamed. The exit code."""
    if len(arguments) != 2:
        print("usage: python unpack.py model.lockgate model.tflite", file=sys.stderr)
        return 2
    source, target = arguments
    aside = f"{target}.{os.getpid()}.part"
    try:
        with open(source, "rb") as file:
            model = unpack(file.read())
        with open(aside, "wb") as file:
            file.write(model)
        os.replace(aside, target)
    except (Damaged, OSError) as error:
        if os.path.exists(aside):
            os.remove(aside)
        print(f"unpack.py: {source}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
