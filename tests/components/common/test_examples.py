"""Reading Examples artifacts: gzipped TFRecords in `Split-<role>`."""

import os

import numpy as np
import pytest
import tensorflow as tf

from components.common.errors import DataError
from components.common.examples import decode, read_split, records, scaled

SHAPE = (12, 12, 1)


@pytest.fixture(scope="module")
def uri(tmp_path_factory, public, encode, example, write_split):
    """An artifact of 5 examples in two files, whose folder's name has glob characters, beside an empty split."""
    folder = tmp_path_factory.mktemp("examples [1]")
    made = [example(encode(public.images[i]), int(public.labels[i]), f"k{i}") for i in range(5)]
    write_split(folder, "train", made[3:], "data_tfrecord-00001-of-00002.gz")
    write_split(folder, "train", made[:3], "data_tfrecord-00000-of-00002.gz")
    write_split(folder, "empty", [])
    return str(folder)


def test_a_split_is_read_in_the_order_of_its_files(uri, public):
    split = read_split(uri, "train", SHAPE)
    assert len(split) == 5
    assert (split.images.dtype, split.images.shape, split.labels.dtype) == (np.uint8, (5, *SHAPE), np.int64)
    np.testing.assert_array_equal(split.images, public.images[:5])
    np.testing.assert_array_equal(split.labels, public.labels[:5])


def test_a_limit_takes_the_first_examples(uri, public):
    np.testing.assert_array_equal(read_split(uri, "train", SHAPE, limit=2).images, public.images[:2])
    assert len(read_split(uri, "train", SHAPE, limit=50)) == 5


@pytest.mark.parametrize(("split", "says"), [("nowhere", "must have files"), ("empty", "It is empty")])
def test_a_missing_and_an_empty_split_are_one_line(uri, split, says):
    with pytest.raises(DataError, match=f"^split `{split}` .*{says}") as caught:
        read_split(uri, split, SHAPE)
    assert "\n" not in str(caught.value)


def test_features_that_are_missing_come_as_empty_and_minus_one(tmp_path, example, write_split):
    write_split(tmp_path, "train", [example(None, None), example(b"x", 3, "k")])
    (batch,) = records(str(tmp_path), "train").as_numpy_iterator()
    assert (batch["id"].tolist(), batch["image"].tolist(), batch["label"].tolist()) == (
        [b"", b"k"],
        [b"", b"x"],
        [-1, 3],
    )


@pytest.mark.parametrize(
    "damage",
    [
        lambda example, image: b"no example at all",
        lambda example, image: example(image, 1.0),
    ],
    ids=["not an Example", "a label that is a float"],
)
def test_records_that_cannot_be_parsed_are_a_data_error(tmp_path, example, write_split, encode, public, damage):
    image = encode(public.images[0])
    write_split(tmp_path, "train", [example(image, 1), damage(example, image)])
    with pytest.raises(DataError, match="^split `train` must hold tf.train.Examples") as caught:
        read_split(str(tmp_path), "train", SHAPE)
    assert "\n" not in str(caught.value)


def test_a_file_cut_in_the_middle_is_a_data_error(uri, tmp_path):
    whole = next(p for p in sorted(os.scandir(os.path.join(uri, "Split-train")), key=lambda p: p.name))
    os.makedirs(tmp_path / "Split-train")
    with open(whole.path, "rb") as file:
        content = file.read()
    (tmp_path / "Split-train" / whole.name).write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="^split `train` must") as caught:
        read_split(str(tmp_path), "train", SHAPE)
    assert "\n" not in str(caught.value)


def test_decoding_is_exact_for_png_and_refuses_another_shape(encode, public):
    encoded = encode(public.images[0])
    np.testing.assert_array_equal(decode(tf.constant(encoded), SHAPE), public.images[0])
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(tf.constant(encoded), (11, 12, 1))


def test_scaling_maps_0_and_255_to_0_and_1():
    found = scaled(np.array([0, 51, 255], np.uint8))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [0.0, 0.2, 1.0], rtol=1e-7)
