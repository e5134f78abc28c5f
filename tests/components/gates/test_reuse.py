"""Decisions of a holdout are counted, for good, whoever asks."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from components.common.errors import ServiceError
from components.gates.measured import Spent
from components.gates.reuse import Decisions


def test_every_decision_of_a_holdout_is_counted_with_what_earlier_ones_took(tmp_path):
    book = Decisions(tmp_path / "d.sqlite")
    assert book.take("h", "a", 0.01) == Spent(number=1, earlier=0)
    assert book.take("h", "b", 0.02) == Spent(number=2, earlier=0.01)
    assert book.take("h", "c", 0.03) == Spent(number=3, earlier=pytest.approx(0.03))
    assert book.count("h") == 3 and book.count("other") == 0


def test_the_same_models_are_the_same_decision(tmp_path):
    book = Decisions(tmp_path / "d.sqlite")
    first = [book.take("h", m, 0.01) for m in ("a", "b")]
    assert [Decisions(tmp_path / "d.sqlite").take("h", m, 0.01) for m in ("a", "b")] == first
    assert book.count("h") == 2


def test_another_holdout_starts_anew(tmp_path):
    book = Decisions(tmp_path / "d.sqlite")
    book.take("h", "a", 0.05)
    assert book.take("i", "a", 0.05) == Spent(number=1, earlier=0)


def test_decisions_at_once_are_counted_one_by_one(tmp_path):
    with ThreadPoolExecutor(3) as pool:  # each with a connection of its own
        books = [Decisions(tmp_path / "d.sqlite") for _ in range(9)]
        numbers = pool.map(lambda i: books[i].take("h", f"m{i}", 0.01).number, range(9))
    assert sorted(numbers) == list(range(1, 10))


def test_a_database_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(ServiceError, match="^the count of decisions") as caught:
        Decisions(tmp_path / "nowhere/d.sqlite").take("h", "a", 0.01)
    assert "\n" not in str(caught.value)


def test_only_the_owner_may_read_it(tmp_path):
    Decisions(tmp_path / "d.sqlite").take("h", "a", 0.01)
    assert (tmp_path / "d.sqlite").stat().st_mode & 0o077 == 0
