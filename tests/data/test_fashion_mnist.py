"""The embedded sample is what it says it is, and its script refuses whatever is not Fashion-MNIST."""

import contextlib
import dataclasses
import gzip
import hashlib
import http.server
import importlib
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import skip_without

DATA = Path(__file__).resolve().parents[2] / "data"
sys.path.insert(0, str(DATA))  # what Python does for `python data/fashion_mnist.py`; the folder is no package
script = importlib.import_module("fashion_mnist")
originals = importlib.import_module("fashion_mnist_originals")

COUNTS = {"train": 18_000, "public": 2_000, "validation": 2_000, "holdout": 8_000}
TINY = script.Carve(train=2, public=1, reserved=2, validation=1)
TINY_COUNTS = {"train": 20, "public": 10, "validation": 10, "holdout": 20}
IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Role:
    """A role's records in the file's order. ids: str [n]; images: uint8 [n, 28, 28]; labels: int64 [n]."""

    ids: list[str]
    images: np.ndarray
    labels: np.ndarray


def read_role(output: Path, role: str) -> Role:
    tf = script._tensorflow()
    kinds = {"id": tf.string, "image": tf.string, "label": tf.int64}
    features = {name: tf.io.FixedLenFeature([], kind) for name, kind in kinds.items()}
    files = sorted(str(path) for path in output.glob(f"span-1/{role}/*.tfrecord"))
    parsed = tf.io.parse_example(next(iter(tf.data.TFRecordDataset(files).batch(100_000))), features)
    decode = tf.function(lambda encoded: tf.map_fn(tf.io.decode_png, encoded, fn_output_signature=tf.uint8))
    images = decode(parsed["image"]).numpy()
    assert images.shape[1:] == (28, 28, 1)
    ids = [key.decode() for key in parsed["id"].numpy()]
    return Role(ids=ids, images=images[..., 0], labels=parsed["label"].numpy())


@pytest.fixture(scope="module")
def sample() -> dict[str, Role]:
    return {role: read_role(DATA / "fashion-mnist", role) for role in COUNTS}


@pytest.fixture(scope="module")
def real() -> dict[str, originals.Split]:
    if not originals.ORIGINS.debian.is_dir():
        skip_without("the originals to compare with: apt-get install dataset-fashion-mnist")
    return originals.find_originals(None, originals.ORIGINS)


@pytest.fixture
def origins(tmp_path, monkeypatch) -> originals.Origins:
    """Tiny originals in tmp_path/source, with their checksums; temporary folders go to tmp_path/scratch."""
    source = tmp_path / "source"
    source.mkdir()
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    monkeypatch.setitem(script.CARVES, "sample", TINY)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    sha256, random = {}, np.random.default_rng(0)
    for prefix, count in (("train", 50), ("t10k", 30)):
        images = random.integers(0, 256, (count, 28, 28), np.uint8)
        for name, array in (
            (f"{prefix}-images-idx3", images),
            (f"{prefix}-labels-idx1", np.arange(count) % 10),
        ):
            content = struct.pack(f">{array.ndim + 1}I", 0x0800 + array.ndim, *array.shape)
            content += array.astype(np.uint8).tobytes()
            (source / f"{name}-ubyte.gz").write_bytes(gzip.compress(content))
            sha256[f"{name}-ubyte.gz"] = hashlib.sha256(content).hexdigest()
    return originals.Origins(debian=tmp_path / "absent", mirrors=(), sha256=sha256)


@contextlib.contextmanager
def served(folder: Path):
    """Serves a folder over HTTP; gives its address."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def refusal(capsys, arguments: list[str], origins: originals.Origins) -> str:
    """Runs the script, which must refuse with exit code 2; gives the one line that it must say why in."""
    assert script.main(arguments, origins) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def bytes_by_file(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_sample_has_its_counts_balanced_over_the_classes(sample):
    assert {role: len(records.ids) for role, records in sample.items()} == COUNTS
    for role, records in sample.items():
        assert np.bincount(records.labels, minlength=10).tolist() == [COUNTS[role] // 10] * 10


def test_no_image_of_the_sample_is_in_two_roles(sample):
    ids = [i for records in sample.values() for i in records.ids]
    assert len(set(ids)) == len(ids) == 30_000
    assert len({image.tobytes() for records in sample.values() for image in records.images}) == 30_000
    for role, prefix in (
        ("train", "train-"),
        ("public", "train-"),
        ("validation", "test-"),
        ("holdout", "test-"),
    ):
        assert all(i.startswith(prefix) for i in sample[role].ids)


def test_sample_is_shuffled(sample):
    for records in sample.values():
        assert len(set(records.labels[:200].tolist())) == 10


def test_sample_and_its_licence_fit_in_the_repository():
    files = [path for path in (DATA / "fashion-mnist").rglob("*") if path.is_file()]
    assert len(files) == 18 + 2 + 2 + 8
    assert sum(path.stat().st_size for path in files) <= 20e6
    assert "Copyright (c) 2017 Zalando SE" in (DATA / "LICENSE-fashion-mnist").read_text()


def test_every_pixel_and_label_of_the_sample_is_the_originals(sample, real):
    for role, (split, rows) in script.carve_rows(real, script.CARVES["sample"]).items():
        assert sample[role].ids == [f"{split}-{row:05d}" for row in rows]
        np.testing.assert_array_equal(sample[role].images, real[split].images[rows])
        np.testing.assert_array_equal(sample[role].labels, real[split].labels[rows])


def test_full_set_keeps_the_samples_roles(real):
    sample, full = (script.carve_rows(real, script.CARVES[name]) for name in ("sample", "full"))
    sizes = {role: len(rows) for role, (_, rows) in full.items()}
    assert sizes == {"train": 54_000, "public": 6_000, "validation": 2_000, "holdout": 8_000}
    assert len({*full["train"][1], *full["public"][1]}) == 60_000
    for role in ("train", "public"):
        assert set(sample[role][1]) < set(full[role][1])
    for role in ("validation", "holdout"):
        np.testing.assert_array_equal(sample[role][1], full[role][1])


def test_two_runs_write_the_same_bytes(tmp_path, origins):
    for output in ("first", "second", "second"):
        assert (
            script.main(["sample", "--source", str(tmp_path / "source"), "--output", str(tmp_path / output)], origins)
            == 0
        )
    assert bytes_by_file(tmp_path / "first") == bytes_by_file(tmp_path / "second")
    assert len(bytes_by_file(tmp_path / "first")) == 4


def test_download_passes_over_mirrors_that_are_broken(tmp_path, origins):
    shutil.copytree(tmp_path / "source", tmp_path / "bad")
    (tmp_path / "bad" / LABELS).write_bytes(b"<html>Please log in</html>")
    with served(tmp_path) as address:
        mirrors = tuple(f"{address}/{folder}/" for folder in ("gone", "bad", "source"))
        mirrored = dataclasses.replace(origins, mirrors=mirrors)
        assert script.main(["sample", "--output", str(tmp_path / "out")], mirrored) == 0
    counts = {role: len(read_role(tmp_path / "out", role).ids) for role in TINY_COUNTS}
    assert counts == TINY_COUNTS
    assert not any((tmp_path / "scratch").iterdir())


def test_installed_package_is_used_before_any_mirror(tmp_path, origins):
    installed = dataclasses.replace(origins, debian=tmp_path / "source", mirrors=("http://127.0.0.1:1/",))
    assert script.main(["sample", "--output", str(tmp_path / "out")], installed) == 0


def test_no_source_names_what_was_tried_and_the_remedy(tmp_path, capsys, origins):
    with served(tmp_path) as address:
        mirrors = (f"{address}/gone/", "http://127.0.0.1:1/")
        mirrored = dataclasses.replace(origins, mirrors=mirrors)
        line = refusal(capsys, ["sample", "--output", str(tmp_path / "out")], mirrored)
    for part in (
        str(tmp_path / "absent"),
        *mirrors,
        "404",
        "apt-get install dataset-fashion-mnist",
        "--source DIR",
    ):
        assert part in line
    assert not (tmp_path / "out").exists()
    assert not any((tmp_path / "scratch").iterdir())


def _flipped(packed: bytes) -> bytes:
    return packed[:200] + bytes([packed[200] ^ 0xFF]) + packed[201:]


def _with_content(change):
    return lambda packed: gzip.compress(change(gzip.decompress(packed)))


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (IMAGES, lambda packed: packed[:-100], "must be a whole gzip file"),
        (IMAGES, _flipped, "must be a whole gzip file"),
        (IMAGES, lambda packed: b"", "must have 16 bytes or more"),
        (
            IMAGES,
            _with_content(lambda c: b"\0\0\x08\x01" + c[4:]),
            "must have the magic number 2051. Received: 2049",
        ),
        (
            IMAGES,
            _with_content(lambda c: c[:8] + struct.pack(">2I", 14, 56) + c[16:]),
            "must hold images of (28, 28)",
        ),
        (IMAGES, _with_content(lambda c: c[:-1]), "must have 39216 bytes for 50 entries. Received: 39215"),
        (IMAGES, _with_content(lambda c: c[:-1] + bytes([c[-1] ^ 1])), "must have content with sha256"),
        (LABELS, _with_content(lambda c: c + b"\0"), "must have 58 bytes for 50 entries. Received: 59"),
        (LABELS, _with_content(lambda c: c[:-1] + b"\5"), "must have content with sha256"),
    ],
)
def test_corrupt_source_is_refused_and_leaves_nothing(tmp_path, capsys, origins, name, change, said):
    path = tmp_path / "source" / name
    path.write_bytes(change(path.read_bytes()))
    arguments = ["sample", "--source", str(path.parent), "--output", str(tmp_path / "out")]
    line = refusal(capsys, arguments, origins)
    assert f"{name} {said}" in line
    assert "Remedy: " in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.zeros(49, np.uint8), "50 images must have as many labels. Received: 49"),
        (np.full(50, 10), "Received: 10"),
    ],
)
def test_images_and_labels_must_fit(labels, said):
    with pytest.raises(originals.SourceError, match=said):
        originals.Split(images=np.zeros((50, 28, 28), np.uint8), labels=labels)


def test_class_with_too_few_images_is_refused(tmp_path, capsys, monkeypatch, origins):
    monkeypatch.setitem(script.CARVES, "sample", dataclasses.replace(TINY, train=4))
    arguments = ["sample", "--source", str(tmp_path / "source"), "--output", str(tmp_path / "out")]
    assert "class 0 must have at least 6 images. Received: 5" in refusal(capsys, arguments, origins)
    assert not (tmp_path / "out").exists()


def test_failed_write_leaves_the_earlier_sample(tmp_path, capsys, monkeypatch, origins):
    arguments = ["sample", "--source", str(tmp_path / "source"), "--output", str(tmp_path / "out")]
    assert script.main(arguments, origins) == 0
    before = bytes_by_file(tmp_path / "out")

    def full_disk(image):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(script, "_encode_png", full_disk)
    assert "No space left" in refusal(capsys, arguments, origins)
    assert bytes_by_file(tmp_path / "out") == before
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["span-1"]


def test_folder_with_other_files_is_not_replaced(tmp_path, capsys, origins):
    own = tmp_path / "out" / "span-1" / "train" / "own.tfrecord"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    arguments = ["sample", "--source", str(tmp_path / "source"), "--output", str(tmp_path / "out")]
    assert "train/own.tfrecord" in refusal(capsys, arguments, origins)
    assert own.read_bytes() == b"mine"


def test_script_ends_with_2_and_one_line(tmp_path):
    command = [
        sys.executable,
        DATA / "fashion_mnist.py",
        "full",
        "--source",
        tmp_path,
        "--output",
        tmp_path / "out",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
