"""Whose records judge: a partition of the files of `train` that rests on each record's own key alone."""

import hashlib
import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.example_gen.config import SharesConfig
from components.example_gen.shares import role_of

SHARES = SharesConfig(holdout=0.2, validation=0.05)
keys = st.binary(min_size=1, max_size=40)
fractions = st.floats(0, 0.49)


def roles(count: int, shares: SharesConfig, person: bool = False) -> Counter:
    names = (f"record-{i}".encode() for i in range(count))
    return Counter(role_of(*((b"r", name) if person else (name, b"")), shares) for name in names)


@pytest.mark.parametrize("person", [False, True])
@pytest.mark.parametrize("shares", [SHARES, SharesConfig(holdout=0.5), SharesConfig(validation=0.01)])
def test_every_role_gets_its_share_within_five_standard_deviations(shares, person):
    n, found = 20_000, roles(20_000, shares, person)
    for role, share in (("holdout", shares.holdout), ("validation", shares.validation)):
        assert abs(found[role] - n * share) <= 5 * math.sqrt(n * share * (1 - share)), (role, found)
    assert sum(found.values()) == n and found["train"] > 0


def test_a_role_without_a_share_gets_nothing():
    assert roles(5_000, SharesConfig(holdout=0.3)).keys() == {"holdout", "train"}
    assert roles(5_000, SharesConfig(validation=0.3)).keys() == {"validation", "train"}


@given(id=keys, person=keys, other=keys)
def test_whoever_has_a_person_goes_by_it_and_by_nothing_else(id, person, other):
    assert role_of(id, person, SHARES) == role_of(other, person, SHARES) == role_of(b"", person, SHARES)


@given(id=keys, holdout=fractions, more=fractions, validation=fractions)
def test_another_share_of_one_role_moves_nothing_between_the_two_that_judge(id, holdout, more, validation):
    smaller, larger = sorted((holdout, more))
    before = role_of(id, b"", SharesConfig(holdout=smaller, validation=validation))
    after = role_of(id, b"", SharesConfig(holdout=larger, validation=validation))
    assert before == after or (before, after) == ("train", "holdout")


@given(id=keys)
def test_the_role_is_the_documented_hash(id):
    digest = hashlib.sha256(b"lockgate role 1\0id\0" + id).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    expected = "holdout" if place < 0.2 else "validation" if place >= 0.95 else "train"
    assert role_of(id, b"", SHARES) == expected


@settings(max_examples=50)
@given(st.lists(keys, unique=True, max_size=60), keys)
def test_one_record_more_or_less_moves_no_other(ids, more):
    def train(given):
        return {id for id in given if role_of(id, b"", SHARES) == "train"}

    assert train([*ids, more]) ^ train(ids) <= {more}


def test_an_id_and_a_person_of_the_same_name_are_hashed_apart():
    same = [role_of(name, b"", SHARES) == role_of(b"", name, SHARES) for name in map(str.encode, map(str, range(500)))]
    assert 0.5 < sum(same) / 500 < 0.8  # 0.645 where they are independent


def test_roles_of_earlier_runs_stay():
    """Fixed for ever: a key that changed its role would let an example judge that was trained on."""
    names = (b"train-00000", b"train-00002", b"train-00005", b"train-00008", b"train-00011", b"train-00012")
    told = ["holdout", "train", "validation", "holdout", "validation", "train"]
    assert [role_of(name, b"", SHARES) for name in names] == told
    people = (b"anna", b"hans", b"ida", b"jan")
    assert [role_of(b"", name, SHARES) for name in people] == ["train", "validation", "train", "holdout"]
