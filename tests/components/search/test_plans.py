"""Plans from levels: which ones there are, in which order, and that each is the best of its size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.search.plans import Level, pareto, path, plans


def level(kernel="a", sparsity=0.0, clusters=0, bytes=100, cost=0.0) -> Level:
    return Level(kernel=kernel, sparsity=sparsity, clusters=clusters, bytes=bytes, cost=cost)


FIGURES = st.tuples(st.integers(1, 200), st.integers(0, 200))
OPTIONS = st.lists(st.lists(FIGURES, min_size=1, max_size=6), min_size=1, max_size=4).map(
    lambda kernels: [[level(str(k), i, 0, b, c) for i, (b, c) in enumerate(f)] for k, f in enumerate(kernels)]
)


@given(OPTIONS, st.floats(0.0, 50.0))
def test_for_every_price_of_a_byte_the_cheapest_plan_is_on_the_path(options, price):
    def total(levels):
        return sum(one.cost + price * one.bytes for one in levels)

    cheapest = sum(min(one.cost + price * one.bytes for one in levels) for levels in options)
    assert min(total(plan.levels) for plan in path(options)) == pytest.approx(cheapest)


@given(OPTIONS)
def test_a_path_goes_from_mild_to_hard(options):
    found = path(options)
    assert found[0].cost == sum(min(one.cost for one in levels) for levels in options)
    assert found[-1].bytes == sum(min(one.bytes for one in levels) for levels in options)
    for before, after in zip(found, found[1:], strict=False):
        assert after.bytes < before.bytes and after.cost >= before.cost


def test_bytes_are_saved_where_they_cost_least():
    dear = [level("dear"), level("dear", sparsity=0.5, bytes=50, cost=5.0)]
    cheap = [level("cheap"), level("cheap", sparsity=0.5, bytes=50, cost=1.0), level("cheap", 0.9, 0, 10, 9.0)]
    found = [plan.sparsities for plan in path([dear, cheap])]
    assert found == [
        {},
        {"dear": 0.0, "cheap": 0.5},
        {"dear": 0.5, "cheap": 0.5},
        {"dear": 0.5, "cheap": 0.9},
    ]


def test_a_level_above_the_hull_is_never_taken():
    levels = [level(), level(sparsity=0.5, bytes=90, cost=8.0), level(sparsity=0.9, bytes=10, cost=9.0)]
    assert [plan.sparsities for plan in path([levels])] == [{}, {"a": 0.9}]


def test_there_are_plans_of_every_kind_and_each_is_there_once():
    levels = [
        level(kernel, sparsity, clusters, bytes=100 - int(40 * sparsity) - clusters, cost=sparsity + clusters)
        for kernel in ("a", "b")
        for sparsity in (0.0, 0.5)
        for clusters in (0, 8)
    ]
    found = plans(levels)
    assert {plan.kind for plan in found} == {"int8", "prune+int8", "cluster+int8", "prune+cluster+int8"}
    assert len({plan.key for plan in found}) == len(found)
    assert all(set(plan.clusters) in (set(), {"a", "b"}) for plan in found)
    assert len(plans([one for one in levels if not one.clusters and not one.sparsity])) == 1


def test_a_plan_is_named_by_its_levels_alone():
    one, other = path([[level(bytes=5)]])[0], path([[level(bytes=9, cost=1.0)]])[0]
    assert one.key == other.key != path([[level(sparsity=0.5)]])[0].key


@given(st.lists(FIGURES))
def test_the_pareto_set_is_what_nothing_beats(points):
    kept = pareto(points, lambda p: p)
    assert kept == sorted(kept, reverse=True)
    for point in points:
        beaten = any(o[0] <= point[0] and o[1] <= point[1] and o != point for o in points)
        assert (point in kept) == (not beaten)
