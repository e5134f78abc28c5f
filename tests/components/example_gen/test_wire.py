"""Features counted from an example's bytes, against TensorFlow's own parser."""

import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from components.example_gen.wire import counted

features = st.one_of(
    st.tuples(st.just("bytes"), st.lists(st.binary(max_size=300), max_size=3)),
    st.tuples(st.just("int64"), st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5)),
    st.tuples(st.just("float"), st.lists(st.floats(width=32, allow_nan=False), max_size=5)),
)


def made(given: dict) -> bytes:
    example = tf.train.Example()
    for key, (kind, values) in given.items():
        feature = example.features.feature[key]
        {"bytes": feature.bytes_list, "int64": feature.int64_list, "float": feature.float_list}[kind].SetInParent()
        {"bytes": feature.bytes_list, "int64": feature.int64_list, "float": feature.float_list}[kind].value.extend(
            values
        )
    return example.SerializeToString()


def by_tensorflow(payload: bytes) -> dict[str, tuple[str, int]] | None:
    try:
        found = tf.train.Example.FromString(payload).features.feature
    except DecodeError:
        return None
    kinds = {key: feature.WhichOneof("kind") for key, feature in found.items()}
    return {k: (kind[:-5], len(getattr(found[k], kind).value)) for k, kind in kinds.items() if kind}


def here(payload: bytes) -> dict[str, tuple[str, int]] | None:
    try:
        return counted(payload)
    except ValueError:
        return None


@given(st.dictionaries(st.text(max_size=12), features, max_size=6))
def test_every_feature_is_counted_as_tensorflow_counts_it(example):
    assert counted(made(example)) == {key: (kind, len(values)) for key, (kind, values) in example.items()}


def test_every_prefix_is_taken_or_refused_as_tensorflow_does_it():
    whole = made(
        {"image": ("bytes", [b"p" * 200]), "label": ("int64", [300, -1]), "x": ("float", [1.5]), "e": ("bytes", [])}
    )
    for size in range(len(whole) + 1):
        assert here(whole[:size]) == by_tensorflow(whole[:size]), size
    assert len(here(whole)) == 4


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_but_a_value_error(payload):
    here(payload)


@pytest.mark.parametrize(
    "payload", [b"no example at all", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\x07", b"\x00\x00"]
)
def test_what_is_no_message_is_refused(payload):
    with pytest.raises(ValueError):
        counted(payload)


def test_whoever_looks_at_arrivals_imports_no_tensorflow():
    program = (
        "import sys\nfrom components.example_gen.arrivals import arrivals\nfrom pipeline.config import load\n"
        "print([a.state for a in arrivals(load('tiny').data)], 'tensorflow' in sys.modules)"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root, timeout=300)
    assert done.stdout.strip() == "['ready'] False", done.stderr
