"""Downloads: bit for bit, smaller than xz where weights are few, decoded by one file, and refused when damaged."""

import hashlib
import lzma
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.clustering.config import ClusterConfig
from components.clustering.core import cluster
from components.common.compressed import Compressed
from components.common.errors import ModelError
from components.common.examples import scaled
from components.common.legacy_keras import keras
from components.pruning.config import PruneConfig
from components.pruning.core import prune
from components.quantization.config import QuantizeConfig
from components.quantization.core import convert, quantize
from components.shipped import unpack
from components.shipped.packing import Encoder, Segment, encode_weights, manifest, pack

L = keras.layers
UNPACK = Path(unpack.__file__)


@pytest.fixture(scope="module")
def sparse():
    """The int8 file of a model with 50,000 weights, of which 3 % are not zero, in four values."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential([L.Input((12, 12, 1)), L.Flatten(), L.Dense(320, "relu"), L.Dense(10)], name="wide")
    pruned = prune(Compressed(model=model), PruneConfig(sparsity=0.97), None)
    clustered = cluster(pruned, ClusterConfig(clusters=5), None)
    images = np.random.default_rng(0).random((20, 12, 12, 1), np.float32)
    return quantize(clustered, QuantizeConfig(per_channel=False), images, None)[1]


@pytest.mark.parametrize("mode", ["float32", "float16", "dynamic", "int8"])
def test_a_file_comes_back_bit_for_bit(make_model, public, mode):
    content = convert(make_model(), mode, scaled(public.images) if mode == "int8" else None)
    packed = pack(content)
    assert unpack.unpack(packed) == content
    assert len(packed) < len(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))


def test_clustered_weights_are_a_fifth_smaller_than_with_xz_and_close_to_their_entropy(sparse):
    packed = pack(sparse)
    assert unpack.unpack(packed) == sparse and unpack.CODINGS[packed[4]] == "weights"
    assert len(packed) < 0.8 * len(lzma.compress(sparse, preset=9 | lzma.PRESET_EXTREME))
    zeros, codes = 49_280, 0.03 * 49_280
    p = 0.03
    entropy = -zeros * (p * np.log2(p) + (1 - p) * np.log2(1 - p)) / 8 + codes * 2 / 8
    assert len(packed) < entropy + 1000  # the graph and its tables besides


@given(st.binary(max_size=300), st.data())
@settings(max_examples=40)
def test_any_bytes_come_back_whatever_is_coded_by_table(content, data):
    length = len(content) // 2
    table = sorted(set(content[:length]))
    chosen = []
    if table:
        columns = data.draw(st.sampled_from([c for c in range(1, length + 1) if length % c == 0]))
        indices = [table.index(b) for b in content[:length]]
        items = [bytes([b]) for b in table]
        whole = {"rows": length // columns, "columns": columns, "inner": columns, "item": 1}
        chosen = [Segment(start=0, stop=length, table=items, indices=indices, **whole)]
    assert unpack.decode_weights(encode_weights(content, chosen)) == content


@given(st.lists(st.tuples(st.integers(1, 65535), st.integers(0, 1)), max_size=400))
@settings(max_examples=60)
def test_the_decoder_reads_what_the_encoder_wrote_at_any_probability(bits):
    encoder = Encoder()
    for one, bit in bits:
        encoder.code(one, bit)
    decoder = unpack.Decoder(encoder.finish())
    assert [decoder.code(one) for one, _ in bits] == [bit for _, bit in bits]


def test_what_is_no_model_is_not_packed():
    with pytest.raises(ModelError, match="^a .tflite must hold TFL3 after its first four bytes"):
        pack(b"not a model at all")


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """The decoder as a person runs it: the one file, alone in a folder, by a Python without packages."""
    (folder / "unpack.py").write_bytes(UNPACK.read_bytes())
    command = [sys.executable, "-I", "-S", "unpack.py", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def test_the_decode_command_of_the_manifest_gives_the_model(sparse, tmp_path):
    packed = pack(sparse)
    told = manifest(sparse, packed, "r")
    (tmp_path / told["packed"]["file"]).write_bytes(packed)
    assert told["decode"].split()[0] == "python"
    done = run(tmp_path, *told["decode"].split()[2:])
    assert (done.returncode, done.stderr) == (0, "")
    decoded = (tmp_path / told["unpacked"]["file"]).read_bytes()
    assert decoded == sparse and hashlib.sha256(decoded).hexdigest() == told["unpacked"]["sha256"]
    assert (told["recipe"], told["packed"]["bytes"]) == ("r", len(packed))
    assert told["packed"]["sha256"] == hashlib.sha256(packed).hexdigest()


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "another file", "unknown coding"])
def test_a_damaged_download_is_refused_in_one_line_and_leaves_nothing(sparse, tmp_path, damage):
    packed = bytearray(pack(sparse))
    if damage == "cut":
        packed = packed[:-20]
    elif damage == "flipped":
        packed[len(packed) // 2] ^= 4
    elif damage == "empty":
        packed = b""
    elif damage == "another file":
        packed = b"PK\x03\x04" + packed[4:]
    else:
        packed[4] = 99
    (tmp_path / "m").write_bytes(packed)
    done = run(tmp_path, "m", "model.tflite")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and done.stderr.startswith("unpack.py: m: ")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m", "unpack.py"]


def test_wrong_arguments_and_missing_files_are_one_line(tmp_path):
    assert run(tmp_path).stderr == "usage: python unpack.py model.lockgate model.tflite\n"
    done = run(tmp_path, "nowhere", "model.tflite")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
