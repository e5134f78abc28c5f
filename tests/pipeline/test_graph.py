"""Which nodes a configuration asks for, and what they are given."""

import dataclasses
from pathlib import Path

import pytest

from pipeline.config import load
from pipeline.graph import build
from pipeline.places import places_of

PRIVATE = "private={epsilon=0.5, steps=3, expected_batch_size=100, l2_norm_clip=0.5, learning_rate=0.05}"
RECIPES = f'recipes.x=[{{stage="prune", sparsity=0.5, {PRIVATE}}}, {{stage="quantize", mode="int8"}}]'


def nodes(*settings: str) -> dict:
    config = load("tiny", [RECIPES, *settings])
    config = dataclasses.replace(config, recipes=tuple(r for r in config.recipes if r.name == "x"))
    pipeline = build(config, places_of(Path("/nowhere"), "tiny"), 3)
    return {node.id: node for node in pipeline.components}


def given(nodes: dict, key: str) -> set[str]:
    return {id for id, node in nodes.items() if key in node.inputs and id not in ("Window", "WarmStart")}


def test_a_run_on_one_span_that_begins_anew_has_no_node_for_more():
    found = nodes()
    assert not {"Window", "WarmStart"} & set(found)
    assert given(found, "earlier") == given(found, "base") == set()


@pytest.mark.parametrize("window", [0, 2, 7])
def test_what_reads_private_examples_is_given_all_spans_of_the_window_and_nothing_else_is(window):
    plain, found = nodes(), nodes(f"data.window={window}", "privacy.statistics=noised")
    assert set(found) - set(plain) == {"Window", "NoisedStatistics"}
    assert given(found, "earlier") == {"DataChecker", "DPTrainer", "Pruner-x"}


def test_a_warm_start_is_given_to_the_training_alone():
    plain, found = nodes(), nodes("trainer.warm_start=true")
    assert set(found) - set(plain) == {"WarmStart"} and given(found, "base") == {"DPTrainer"}
