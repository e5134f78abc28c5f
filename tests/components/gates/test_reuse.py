"""Decisions of a holdout are counted, for good, whoever asks."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from components.common.errors import ServiceError
from components.gates.measured import Spent
from components.gates.reuse import Decisions


def holdout(*numbers: int) -> np.ndarray:
    """Digests of examples."""
    return np.array([hashlib.sha256(str(n).encode()).hexdigest() for n in numbers], dtype=str)


ONE, OTHER = holdout(*range(50)), holdout(*range(50, 100))


def test_every_decision_of_a_holdout_is_counted_with_what_earlier_ones_took(tmp_path):
    book = Decisions(tmp_path / "d.sqlite")
    assert book.take(ONE, "a", 0.01) == Spent(number=1, earlier=0)
    assert book.take(ONE, "b", 0.02) == Spent(number=2, earlier=0.01)
    assert book.take(ONE, "c", 0.03) == Spent(number=3, earlier=pytest.approx(0.03))


def test_the_same_models_are_the_same_decision(tmp_path):
    book = Decisions(tmp_path / "d.sqlite")
    first = [book.take(ONE, m, 0.01) for m in ("a", "b")]
    assert [Decisions(tmp_path / "d.sqlite").take(ONE, m, 0.01) for m in ("a", "b")] == first
    assert book.take(ONE, "c", 0.01).number == 3


def test_another_holdout_starts_anew(tmp_path):
    book = Decisions(tmp_path / "d.sqlite")
    book.take(ONE, "a", 0.05)
    assert book.take(OTHER, "a", 0.05) == Spent(number=1, earlier=0)


def test_a_holdout_with_an_example_of_an_earlier_one_inherits_its_decisions(tmp_path):
    book = Decisions(tmp_path / "d.sqlite")
    book.take(ONE, "a", 0.01)
    book.take(OTHER, "a", 0.02)
    both = holdout(49, *range(200, 240), 50)
    assert book.take(both, "a", 0.04) == Spent(number=3, earlier=pytest.approx(0.03))
    assert book.take(ONE, "b", 0.08) == Spent(number=3, earlier=pytest.approx(0.05))
    assert book.take(holdout(*range(300, 340)), "a", 0.01) == Spent(number=1, earlier=0)


def test_the_order_of_examples_does_not_make_another_holdout(tmp_path):
    book = Decisions(tmp_path / "d.sqlite")
    assert [book.take(order, "a", 0.01).number for order in (ONE, ONE[::-1])] == [1, 1]


def test_decisions_at_once_are_counted_one_by_one(tmp_path):
    with ThreadPoolExecutor(3) as pool:  # each with a connection of its own
        books = [Decisions(tmp_path / "d.sqlite") for _ in range(9)]
        numbers = pool.map(lambda i: books[i].take(ONE, f"m{i}", 0.01).number, range(9))
    assert sorted(numbers) == list(range(1, 10))


def test_a_database_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(ServiceError, match="^the count of decisions") as caught:
        Decisions(tmp_path / "nowhere/d.sqlite").take(ONE, "a", 0.01)
    assert "\n" not in str(caught.value)


def test_only_the_owner_may_read_it(tmp_path):
    Decisions(tmp_path / "d.sqlite").take(ONE, "a", 0.01)
    assert (tmp_path / "d.sqlite").stat().st_mode & 0o077 == 0
