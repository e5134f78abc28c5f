"""The search: what it tries next, what it finds in a model that it can try in full, and that a kill changes nothing."""

import json
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from components.common.content import sizes
from components.common.errors import Interrupted, ModelError
from components.common.examples import scaled
from components.common.models import save_model
from components.common.progress import watching
from components.common.tflite import TFLiteModel
from components.gates.measurement import paired, predictions
from components.search.config import SearchConfig
from components.search.core import best_of, expected_drop, least_lossy, next_plan, search
from components.search.plans import Level, pareto, plans
from components.search.target import expected
from components.search.tries import Measured, Try
from components.shipped.reading import read

ROOT = Path(__file__).parents[3]
LEVELS = [
    Level(
        kernel=kernel,
        sparsity=sparsity,
        clusters=clusters,
        bytes=round(size * (1 - 0.8 * sparsity) * (clusters or 100) ** 0.5),
        cost=weight * (sparsity**4 + (1 / clusters if clusters else 0)),
    )
    for kernel, size, weight in (("small", 20, 5.0), ("large", 900, 1.0), ("middle", 200, 2.0))
    for sparsity in (0.0, 0.3, 0.5, 0.7, 0.9)
    for clusters in (0, 4, 8, 16, 32, 64)
]
OFFERED = plans(LEVELS)
LINE = pareto(OFFERED, lambda plan: (plan.bytes, plan.cost))
MAX_DROP = 0.1


def tried(plan, drop: float) -> Try:
    described = {"gzip_bytes": plan.bytes + 1000, "bytes": plan.bytes, "sha256": plan.key}
    measured = Measured(described=described, seen=expected(1000, drop, max(0.5, drop)), seconds=1.0)
    return Try(plan=plan, measured=measured, target=MAX_DROP)


def walked(drop_of, most: int) -> list[Try]:
    tries, config = [], SearchConfig(max_drop=MAX_DROP, tries=most)
    while plan := next_plan(OFFERED, tries, config):
        tries.append(tried(plan, drop_of(plan)))
    return tries


@limits(max_examples=40)
@given(st.floats(0.05, 50.0))
def test_with_tries_enough_it_finds_the_smallest_plan_that_holds(a_nat):
    """Where a plan loses in proportion to its cost, nothing on the line more than 5 % smaller is left out."""
    tries = walked(lambda plan: min(0.9, a_nat * plan.cost), 1000)
    smallest = min(plan.bytes for plan in LINE if min(0.9, a_nat * plan.cost) <= MAX_DROP - 0.002)
    assert best_of(tries).plan.bytes <= smallest / 0.95
    assert len({made.plan.key for made in tries}) == len(tries) < 20


@limits(max_examples=40)
@given(st.floats(0.05, 0.25))
def test_three_tries_come_close_to_it_where_the_guess_errs_to_the_safe_side(a_nat):
    found = best_of(walked(lambda plan: min(0.9, a_nat * plan.cost), 3))
    smallest = min(plan.bytes for plan in LINE if min(0.9, a_nat * plan.cost) <= MAX_DROP - 0.002)
    assert found.plan.bytes <= 1.5 * smallest


def test_what_a_plan_is_expected_to_lose_follows_what_others_lost():
    hard, mild = LINE[-1], next(plan for plan in LINE if plan.cost)
    assert expected_drop(mild, []) == pytest.approx(0.25 * mild.cost)
    assert expected_drop(hard, [tried(hard, 0.5)]) == pytest.approx(0.5, rel=0.01)
    assert expected_drop(mild, [tried(hard, 0.5)]) == pytest.approx(0.5 * mild.cost / hard.cost, rel=0.01)
    assert expected_drop(hard, [tried(hard, 0.0)]) < 0.01 * expected_drop(hard, [])


@pytest.mark.parametrize("most", [1, 2, 4, 20])
def test_where_nothing_holds_the_mildest_plan_is_tried_at_the_latest_in_the_end(most):
    plans_ = [made.plan for made in walked(lambda plan: 0.5, most)]
    assert LINE[0].kind == "int8" and LINE[0] in plans_
    assert most == 20 or plans_.index(LINE[0]) == most - 1


def test_of_equal_ones_the_smaller_or_less_lossy_is_chosen():
    mild, hard = tried(LINE[0], 0.0), tried(LINE[-1], 0.0)
    assert best_of([mild, hard]) == hard and least_lossy([mild, hard]) == hard
    assert best_of([mild, tried(LINE[-1], 0.5)]) == mild == least_lossy([tried(LINE[-1], 0.5), mild])
    assert best_of([tried(LINE[-1], 0.5)]) is None


def test_another_kind_that_holds_is_found_beside_the_line():
    """Where clustering costs more than its scan said, plans that only prune are tried too."""
    tries = walked(lambda plan: 0.5 if "cluster" in plan.kind or plan.cost >= 0.1 else 0.0, 1000)
    assert best_of(tries).plan.kind == "prune+int8"
    assert all(made.plan.kind.startswith(("int8", "prune+int8")) for made in tries if made.within)


@limits(max_examples=40)
@given(st.lists(st.booleans(), min_size=50, max_size=50), st.integers(1, 12))
def test_whatever_comes_out_it_ends_and_repeats_nothing(answers, most):
    waiting = iter(answers)
    tries = walked(lambda plan: 0.0 if next(waiting) else 0.5, most)
    assert 1 <= len(tries) <= most and len({made.plan.key for made in tries}) == len(tries)


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def found(parent, validation, public, settings, target, told, tmp_path_factory):
    """An uninterrupted search."""
    with watching(told.append):
        return search(parent, validation, public, settings, target, tmp_path_factory.mktemp("whole"))


def timeless(found) -> dict:
    facts = json.loads(json.dumps(found.facts()))
    for made in facts["tries"]:
        del made["seconds"]
    return facts


def test_a_search_keeps_within_its_target_and_says_what_it_tried(found, told):
    chosen = found.chosen
    assert chosen.within and chosen == best_of(found.tries)
    assert 1 < len(found.tries) <= 3 and len({made.gzip_bytes for made in found.tries}) > 1
    assert all(made.gzip_bytes >= chosen.gzip_bytes for made in found.tries if made.within)
    facts = found.facts()
    assert {made["key"] for made in facts["tries"]} >= set(facts["pareto"]) and len(facts["scan"]) == 3 * 3 * 3
    assert [line.split(":")[0] for line in told][-len(found.tries) :] == [
        f"try {number} of at most 3" for number in range(1, len(found.tries) + 1)
    ]


def test_the_file_is_the_one_that_was_measured_and_holds_what_its_plan_says(found, parent, validation):
    made = found.chosen
    assert sizes(found.file).items() <= made.measured.described.items()
    images = scaled(validation.images)
    classes = predictions(TFLiteModel(found.file).scores(images))
    before = predictions(parent.predict(images, verbose=0))
    assert made.measured.seen == paired(validation.labels, before, classes)
    assert {layer["layer"] for layer in made.measured.described["layers"]} == {"conv", "dense", "logits"}
    for layer in made.measured.described["layers"]:
        assert layer["sparsity"] >= made.plan.sparsities.get(layer["layer"], 0) - 0.05
        assert layer["clusters"] <= made.plan.clusters.get(layer["layer"], 255)
    assert read(found.file).int8_weights == 1.0


def test_a_search_that_is_killed_again_and_again_comes_to_the_same_answer(
    found, parent, validation, public, settings, target, tmp_path
):
    """The first process is killed as it begins its first try, each later one dies after the first try that it makes."""

    def kill_after_a_try(line: str) -> None:
        if line.startswith("try") and line not in seen:
            seen.add(line)
            raise Interrupted(15)

    seen, folder = set(), tmp_path / "search"
    save_model(parent, str(tmp_path))
    (tmp_path / "arguments").write_bytes(pickle.dumps((validation, public, settings, target, folder)))
    process = subprocess.run([sys.executable, "-c", _SEARCH, str(tmp_path)], cwd=ROOT)
    assert process.returncode == -signal.SIGKILL
    assert [path.name for path in folder.iterdir()] == ["scan.json"]
    for _ in found.tries:
        with pytest.raises(Interrupted), watching(kill_after_a_try):
            search(parent, validation, public, settings, target, folder)
    again = search(parent, validation, public, settings, target, folder)
    assert timeless(again) == timeless(found)
    assert again.file == found.file
    assert len(seen) == len(found.tries)


_SEARCH = """
import os, pickle, signal, sys
from pathlib import Path
from components.common.models import load_model
from components.search.core import search
from components.search.tries import Bench
Bench.run = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
search(load_model(sys.argv[1]), *pickle.loads(Path(sys.argv[1], "arguments").read_bytes()))
"""


def test_a_parent_that_cannot_be_compressed_is_an_error(make_model, validation, public, settings, target, tmp_path):
    broken = make_model()
    broken.set_weights([w * float("nan") for w in broken.get_weights()])
    with pytest.raises(ModelError, match="must have finite weights"):
        search(broken, validation, public, settings, target, tmp_path)
