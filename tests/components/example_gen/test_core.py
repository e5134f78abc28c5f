"""Finding a span, walking frames, and refusing records."""

import struct
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from components.common.errors import DataError
from components.common.examples import decode
from components.example_gen.config import ROLES, DataConfig, RolesConfig
from components.example_gen.core import Record, check_framing, find_span, raise_if_refused, refused

SHAPE = (12, 12, 1)


def layout(root, *paths: str):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")


def config(root, span=None, **roles) -> DataConfig:
    patterns = {role: f"span-{{SPAN}}/{role}/*.tfrecord" for role in ROLES}
    return DataConfig(
        name="d",
        root=str(root),
        schema="s",
        roles=RolesConfig(**{**patterns, **roles}),
        image_shape=SHAPE,
        classes=("a", "b"),
        public_source="",
        span=span,
    )


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "data [x]"  # its name is no glob
    for span in (1, 2, 10):
        layout(folder, *(f"span-{span}/{role}/{part}.tfrecord" for role in ROLES for part in ("b", "a")))
    return folder


def test_the_newest_span_is_the_largest_number_and_files_are_sorted(root):
    span, files = find_span(config(root))
    assert span == 10
    assert list(files) == list(ROLES)
    assert files["holdout"] == [root / "span-10/holdout/a.tfrecord", root / "span-10/holdout/b.tfrecord"]


def test_a_span_that_is_asked_for_is_taken(root):
    span, files = find_span(config(root, span=2))
    assert span == 2 and files["train"][0] == root / "span-2/train/a.tfrecord"


@pytest.mark.parametrize("folder", ["span-99-backup", "span-099", "span-x", "span-99.old"])
def test_a_folder_that_only_resembles_a_span_is_none(root, folder):
    layout(root, *(f"{folder}/{role}/a.tfrecord" for role in ROLES))
    assert find_span(config(root))[0] == 10


def test_without_a_placeholder_the_span_is_0(root):
    roles = {role: f"span-1/{role}/*" for role in ROLES}
    span, files = find_span(config(root, **roles))
    assert span == 0 and len(files["public"]) == 2


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda root: config(root / "nowhere"), "^`data.root` must be a folder that exists. Received: data.root="),
        (lambda root: config(root, span=3), r"must hold span 3 .* Found: \[1, 2, 10\]$"),
        (lambda root: config(root, train="part-{SPAN}/*"), r"must hold a span .* Found: \[\]$"),
        (
            lambda root: config(root, public="span-{SPAN}/public/*.gz"),
            "^role `public` must have files. Nothing matches",
        ),
        (lambda root: config(root, public="span-{SPAN}/public"), "^role `public` must have files. Nothing matches"),
        (
            lambda root: config(root, public="span-{SPAN}/train/a*"),
            "^role `public` must have files of its own. Received: .*/train/a.tfrecord, which `train` has too",
        ),
        (lambda root: config(root, holdout="span-{SPAN}/../span-10/validation/*"), "^role `holdout` must .*validation"),
    ],
)
def test_what_is_missing_or_plays_two_roles_is_one_line(root, make, says):
    with pytest.raises(DataError, match=says) as caught:
        find_span(make(root))
    assert "\n" not in str(caught.value)


@pytest.fixture
def whole(tmp_path):
    path = tmp_path / "whole.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for payload in (b"one", b"", b"three" * 100):
            writer.write(payload)
    return path


def test_records_of_a_whole_file_are_counted(whole):
    assert check_framing(whole) == 3


def test_a_file_that_ends_anywhere_inside_a_record_is_refused(whole, tmp_path):
    content, boundaries = whole.read_bytes(), {19, 35}
    cut = tmp_path / "cut.tfrecord"
    for size in range(1, len(content)):
        cut.write_bytes(content[:size])
        if size in boundaries:
            assert check_framing(cut) == sorted(boundaries).index(size) + 1
        else:
            with pytest.raises(
                DataError, match=f"cut off or damaged after record {sum(size > b for b in boundaries)}$"
            ):
                check_framing(cut)


def test_a_length_that_was_changed_is_noticed_wherever_the_file_then_ends(tmp_path):
    """Two records of which the first claims to hold the second: the frames still end with the file."""
    file, payload = tmp_path / "f", b"x" * 16
    with tf.io.TFRecordWriter(str(file)) as writer:
        writer.write(payload), writer.write(payload)
    content = file.read_bytes()
    assert check_framing(file) == 2
    file.write_bytes(struct.pack("<Q", 2 * len(payload) + 16) + content[8:])
    with pytest.raises(DataError, match="damaged after record 0$"):
        check_framing(file)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "must hold examples. It is empty$"),
        (b"\x1f\x8b\x08" + b"\0" * 40, "damaged after record 0$"),
        (struct.pack("<Q", 2**64 - 1) + b"\0" * 8, "damaged after record 0$"),
        (bytes(16 * 50), "damaged after record 0$"),
    ],
    ids=["empty", "gzip", "absurd length", "room that was never written"],
)
def test_what_is_no_tfrecord_file_is_refused(tmp_path, content, says):
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(DataError, match=says):
        check_framing(tmp_path / "f")


@pytest.fixture(scope="module")
def good(encode, public):
    return encode(public.images[0])


def sentences(*made: Record, shape=SHAPE) -> list[str]:
    return list(refused(made, shape, range(3)))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_good_record_is_not_refused(encode, public, kind):
    image = encode(public.images[0], kind)
    assert sentences(*(Record(key="k", image=image, label=label) for label in (0, 1, 2))) == []


@pytest.mark.parametrize("label", [-1, 3, None])
def test_a_label_outside_is_refused_by_key(good, label):
    assert sentences(Record(key="k7", image=good, label=label)) == [f"k7: label {label} is not in [0, 2]"]


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((11, 12, 1), "12x12x1, not 11x12x1"),
        ((12, 13, 1), "12x12x1, not 12x13x1"),
        ((12, 12, 3), "12x12x1, not 12x12x3"),
    ],
)
def test_another_size_is_refused(good, shape, says):
    assert sentences(Record(key="k", image=good, label=1), shape=shape) == [f"k: the image is {says}"]


def test_a_colour_image_is_refused_where_grey_is_meant(encode):
    image = encode(np.zeros((12, 12, 3), np.uint8))
    assert sentences(Record(key="k", image=image, label=1)) == ["k: the image is 12x12x3, not 12x12x1"]
    assert sentences(Record(key="k", image=image, label=1), shape=(12, 12, 3)) == []


@pytest.mark.parametrize("image", [None, b""])
def test_a_missing_image_is_refused(image):
    assert sentences(Record(key="k", image=image, label=1)) == ["k: there is no image"]


@pytest.mark.parametrize("kind", ["GIF", "BMP"])
def test_a_format_that_training_cannot_decode_is_refused(encode, public, kind):
    assert sentences(Record(key="k", image=encode(public.images[0], kind), label=1)) == [
        "k: the image cannot be decoded"
    ]


def test_only_the_refused_records_are_named_and_in_order(good):
    made = [Record(key=str(i), image=b"junk" if i in (1, 3) else good, label=1) for i in range(5)]
    assert sentences(*made) == ["1: the image cannot be decoded", "3: the image cannot be decoded"]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP"])
def test_what_is_not_refused_is_what_training_decodes(encode, public, kind):
    """Damaged at random, 120 times: the check never raises, and lets through exactly what `decode` takes."""
    rng, base = np.random.default_rng(5), np.frombuffer(encode(public.images[0], kind), np.uint8)
    outcomes = set()
    for _ in range(120):
        damaged = base.copy()
        damaged[rng.integers(0, len(base), rng.integers(1, 4))] = rng.integers(0, 256)
        encoded = damaged.tobytes()[: rng.integers(1, len(base)) if rng.random() < 0.2 else None]
        passed = not sentences(Record(key="k", image=encoded, label=1))
        outcomes.add(passed)
        if passed:
            assert decode(tf.constant(encoded), SHAPE).shape == SHAPE
    assert False in outcomes


def test_nothing_refused_raises_nothing():
    raise_if_refused({"train": [], "public": []})


def test_the_first_five_are_named_with_their_split_and_the_rest_counted():
    with pytest.raises(DataError) as caught:
        raise_if_refused(
            {"train": [f"k{i}: bad" for i in range(4)], "public": [], "holdout": ["a: bad", "b: bad", "c: bad"]}
        )
    says = str(caught.value)
    assert says.endswith(
        "Refused: train/k0: bad; train/k1: bad; train/k2: bad; train/k3: bad; holdout/a: bad … and 2 more"
    )
    assert "\n" not in says


def test_the_configs_span_of_0_is_not_the_newest(root):
    layout(root, *(f"span-0/{role}/a.tfrecord" for role in ROLES))
    assert find_span(replace(config(root), span=0))[0] == 0
