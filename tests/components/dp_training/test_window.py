"""The spans of a training as one set of examples."""

import numpy as np
import pytest

from components.common.errors import DataError
from components.common.tfx_nodes import standard_artifacts
from components.dp_training.window import window_of
from tests.components.settings import DATA


@pytest.fixture
def examples(artifact, public, encode, example, write_split):
    """Makes Examples of a span, whose images are all of one brightness, the span's number."""

    def made(span: int, count: int = 3):
        found = artifact(standard_artifacts.Examples, f"examples-{span}")
        found.set_int_custom_property("span", span)
        found.set_string_custom_property("input_fingerprint", f"f{span}")
        image = encode(np.full((12, 12, 1), span, np.uint8))
        for role in ("train", "public"):
            write_split(found.uri, role, [example(image, 0)] * count)
        return found

    return made


def test_it_is_all_spans_by_their_number_whatever_order_they_came_in(examples):
    window = window_of(examples(10), [examples(9), examples(2, count=2)], DATA)
    assert window.spans == ("d/span-2", "d/span-9", "d/span-10") and window.fingerprints == ("f2", "f9", "f10")
    assert [int(i) for split in window.private() for i in split.images[:, 0, 0, 0]] == [2, 2, 9, 9, 9, 10, 10, 10]
    assert [int(i) for i in window.public().images[:, 0, 0, 0]] == [2, 2, 9, 9, 9, 10, 10, 10]
    assert len(window.public()) == 8


def test_without_others_it_is_the_runs_own_span(examples):
    assert window_of(examples(4), None, DATA).spans == ("d/span-4",)


def test_a_span_that_is_there_twice_is_refused(examples):
    with pytest.raises(DataError, match="^a span must be trained on once. Received: d/span-4, d/span-4$"):
        window_of(examples(4), [examples(4)], DATA)
