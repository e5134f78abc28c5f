"""Bad input ends in one line and exit code 2; nothing is pushed, nothing is charged, and the next run works."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.e2e.conftest import kept, lockgate, run_tiny

TRAIN, PUBLIC = "span-1/train/images-00000-of-00018.tfrecord", "span-1/public/images-00000-of-00002.tfrecord"


def png(height: int, width: int) -> bytes:
    written = io.BytesIO()
    Image.fromarray(np.zeros((height, width), np.uint8)).save(written, "PNG")
    return written.getvalue()


def rewrite_first(path: Path, **changes: bytes | int | None) -> None:
    """Replaces features of a file's first record; None takes one away."""
    import tensorflow as tf

    records = [r.numpy() for r in tf.data.TFRecordDataset(str(path))]
    example = tf.train.Example.FromString(records[0])
    for name, value in changes.items():
        feature = example.features.feature[name]
        feature.Clear()
        if value is None:
            del example.features.feature[name]
        elif isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        else:
            feature.int64_list.value.append(value)
    records[0] = example.SerializeToString()
    write(path, records)


def write(path: Path, records: list[bytes]) -> None:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[struct.calcsize("<QI") + 40] ^= 0xFF
    path.write_bytes(bytes(content))


BEFORE_ANYTHING = {
    "truncated": (TRAIN, cut, "It is cut off or damaged after record 999"),
    "empty": (TRAIN, lambda p: p.write_bytes(b""), "must hold examples. It is empty"),
    "no TFRecord": (TRAIN, lambda p: p.write_bytes(b"PNG\n" * 500), "It is cut off or damaged after record 0"),
    "missing": (PUBLIC, lambda p: p.unlink(), "role `public` must have files"),
}
IN_THE_RUN = {
    "damaged": (TRAIN, flip_a_byte, "every TFRecord file must be whole"),
    "no example": (TRAIN, lambda p: write(p, [b"\xff\xff nonsense"]), "every record must be a tf.train.Example"),
    "another size": (TRAIN, lambda p: rewrite_first(p, image=png(28, 27)), "the image is 28x27x1, not 28x28x1"),
    "undecodable": (TRAIN, lambda p: rewrite_first(p, image=b"\x89PNG\r\n\x1a\n" + bytes(40)), "cannot be decoded"),
    "no image": (TRAIN, lambda p: rewrite_first(p, image=None), "there is no image"),
    "no label": (TRAIN, lambda p: rewrite_first(p, label=None), "label -1 is not in [0, 9]"),
    "unknown public label": (PUBLIC, lambda p: rewrite_first(p, label=10), "split `public` must match the schema"),
}


@pytest.mark.parametrize("case", BEFORE_ANYTHING)
def test_files_that_are_not_whole_are_refused_before_anything_starts(tmp_path, sample, case):
    file, damage, says = BEFORE_ANYTHING[case]
    damage(sample / file)
    done = lockgate("run", "--config", "tiny", "--set", f"data.root={sample}", root=tmp_path / "root")
    assert done.returncode == 2
    assert says in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "root").exists()


def refuse(root: Path, sample: Path, says: str) -> None:
    """Runs on a damaged sample, and sees that it was refused before training and changed nothing."""
    before = kept(root)
    code, record = run_tiny(root, f"data.root={sample}")
    assert code == 2, record["error"]
    assert says in record["error"] and "\n" not in record["error"]
    assert record["pushed"] is None and record["state"] == "failed"
    assert "DPTrainer" not in {n["id"] for n in record["nodes"]}
    assert kept(root) == before


@pytest.mark.parametrize("case", IN_THE_RUN)
def test_bad_records_stop_the_run_before_training(finished, sample, case):
    file, damage, says = IN_THE_RUN[case]
    damage(sample / file)
    refuse(finished[0], sample, says)


def test_an_unknown_label_does_too_and_after_a_refusal_the_mended_data_run(finished, sample):
    """What was refused left nothing behind that stops a good run, which the cache serves."""
    root, first = finished
    rewrite_first(sample / TRAIN, label=10)
    refuse(root, sample, "label 10 is not in [0, 9]")
    code, record = run_tiny(root)
    assert code == 0 and record["pushed"] == first["pushed"]
    always = {"Baseline", "Served", "Lineage", "PrivacyAuditor", "Pusher"}
    assert {n["id"] for n in record["nodes"] if n["state"] == "ran"} <= always


def test_a_schema_that_is_none_is_one_line(tmp_path):
    (tmp_path / "schema.pbtxt").write_text("this is { no schema")
    done = lockgate("run", "--set", f"data.schema={tmp_path / 'schema.pbtxt'}", root=tmp_path / "root")
    assert done.returncode == 2
    assert "`data.schema` must be a TFMD schema" in done.stderr and done.stderr.count("\n") == 1
