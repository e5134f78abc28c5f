"""What a search aims at, against the gate's own bound in a simulation."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from scipy.stats import norm

from components.gates.config import GatesConfig
from components.gates.core import Paired, drop_bound
from components.search.config import SearchConfig
from components.search.target import Target, expected

TARGET = Target(max_drop=0.5, margin=0.01, alpha=0.0125, holdout=8000, power=0.9)


def seen(discordance: float, total: int = 100_000) -> Paired:
    return expected(total, 0.0, discordance)


@pytest.mark.parametrize("power", [0.9, 0.7])
@pytest.mark.parametrize(("margin", "discordance"), [(0.01, 0.01), (0.01, 0.03), (0.02, 0.08), (0.05, 0.2), (0.5, 0.5)])
def test_the_gate_passes_a_variant_on_the_target_with_the_power_that_was_asked_for(margin, discordance, power):
    target = dataclasses.replace(TARGET, margin=margin, power=power)
    drop = target.of(seen(discordance))
    assert drop < margin
    chances = [(discordance + drop) / 2, (discordance - drop) / 2, 1 - discordance]
    drawn = np.random.default_rng(5).multinomial(target.holdout, chances, 3000)
    passed = [
        drop_bound(Paired(both=int(n), parent_only=int(b), variant_only=int(c), neither=0), target.alpha) < margin
        for b, c, n in drawn
    ]
    assert power - 0.025 < np.mean(passed) < power + 0.05


def test_of_few_examples_that_all_agree_less_is_concluded_than_of_many():
    few, many = (Paired(both=count, parent_only=0, variant_only=0, neither=0) for count in (100, 10_000))
    assert TARGET.of(few) < TARGET.of(many) < TARGET.margin


def test_the_target_is_about_what_the_closed_form_says():
    room = (norm.ppf(1 - 0.0125) + norm.ppf(0.9)) * np.sqrt(0.03 / 8000)
    assert TARGET.of(seen(0.03)) == pytest.approx(0.01 - room, abs=0.0004)


def test_the_user_may_ask_for_less_than_the_gate_allows():
    assert dataclasses.replace(TARGET, max_drop=0.001).of(seen(0.005)) == 0.001
    assert dataclasses.replace(TARGET, max_drop=0.0).of(seen(0.03)) == 0.0


def test_a_gate_that_cannot_tell_allows_no_drop():
    assert dataclasses.replace(TARGET, holdout=50).of(seen(0.05)) < 0


@limits(max_examples=30)
@given(st.floats(0.0, 0.3), st.floats(0.0, 0.2))
def test_more_disagreement_never_allows_more(discordance, more):
    assert TARGET.of(seen(discordance + more)) <= TARGET.of(seen(discordance)) + 1e-3


@pytest.mark.parametrize("counts", [(0, 0), (3, 0), (0, 3), (100, 0)])
def test_few_examples_still_give_a_number(counts):
    few = Paired(both=100 - sum(counts), parent_only=counts[0], variant_only=counts[1], neither=0)
    assert -1 <= TARGET.of(few) < 0.01


def test_the_gates_level_is_shared_among_those_that_compete():
    target = Target.under(GatesConfig(max_drop=0.02, alpha=0.05), SearchConfig(max_drop=0.01), 500, 4)
    assert target == Target(max_drop=0.01, margin=0.02, alpha=0.0125, holdout=500, power=0.9)


@given(st.integers(1, 10_000), st.floats(0, 1), st.floats(-1, 1))
def test_expected_counts_are_counts(examples, discordance, share):
    found = expected(examples, share * discordance, discordance)
    assert found.total == examples and min(found.both, found.parent_only, found.variant_only) >= 0
    assert found.drop >= share * discordance - 1e-9
