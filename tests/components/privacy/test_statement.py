"""The statement: its words hold its figures, and damage is refused."""

import dataclasses
import json
from pathlib import Path

import pytest

from components.common.errors import GateError
from components.privacy.accounting import Mechanism
from components.privacy.statement import Statement, load_statement

MADE = Statement(
    spans=("fashion/span-4",),
    charge=17,
    epsilon=2.9473,
    run_epsilon=2.9473,
    delta=1e-5,
    mechanism=Mechanism(noise_multiplier=1.23456, sampling_probability=0.0625, steps=271),
    l2_norm_clip=0.75,
    population=18000,
    public_source="photographs bought in 2016",
    pretrained=False,
)


def test_the_words_hold_the_figures():
    words = MADE.in_words()
    for figure in (
        "ε = 2.947", "δ = 1e-5", "fashion/span-4", "271 steps", "0.0625", "norm of 0.75", "1.2346 times",
        "18,000", "photographs bought in 2016", "RDP", "adding or removing one training example",
    ):  # fmt: skip
        assert figure in words, figure


def test_the_words_say_what_came_before():
    assert "from scratch" in MADE.in_words()
    assert "weights pretrained on the public split" in dataclasses.replace(MADE, pretrained=True).in_words()
    assert "This run alone" not in MADE.in_words()
    assert "This run alone spent ε = 1.500" in dataclasses.replace(MADE, run_epsilon=1.5).in_words()
    noised = dataclasses.replace(MADE, run_epsilon=1.5, statistics="noised").in_words()
    assert "Its training alone spent ε = 1.500" in noised and "noisy statistics" in noised and "declared)" not in noised


def test_the_words_say_whose_examples_and_what_was_declared():
    assert "If one person has several examples" in MADE.in_words() and "drift checks" not in MADE.in_words()
    person = dataclasses.replace(MADE.mechanism, group=3)
    words = dataclasses.replace(MADE, mechanism=person, statistics="declared").in_words()
    assert "adding or removing all training examples, at most 3, of one person of fashion/span-4" in words
    assert "(privacy.statistics = declared)" in words and "validation and holdout" in words


@pytest.mark.parametrize(("delta", "warned"), [(1e-5, False), (1 / 18000, False), (1e-4, True)])
def test_a_delta_above_one_over_the_population_is_warned_of(delta, warned):
    assert ("Warning: δ" in dataclasses.replace(MADE, delta=delta).in_words()) is warned


def test_what_is_saved_is_loaded_and_the_words_lie_beside_it(tmp_path):
    MADE.save(str(tmp_path))
    assert load_statement(str(tmp_path)) == MADE
    assert (tmp_path / "statement.txt").read_text() == MADE.in_words() + "\n"


GOOD = json.loads(json.dumps(dataclasses.asdict(MADE)))


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "{",
        "[]",
        "null",
        b"\xff\xfe",
        json.dumps(GOOD)[:-9],
        json.dumps({k: v for k, v in GOOD.items() if k != "epsilon"}),
        json.dumps({k: v for k, v in GOOD.items() if k != "mechanism"}),
        json.dumps({**GOOD, "colour": 1}),
        json.dumps({**GOOD, "mechanism": {}}),
        json.dumps({**GOOD, "mechanism": 3}),
        json.dumps({**GOOD, "epsilon": "2.9"}),
        json.dumps({**GOOD, "epsilon": None}),
        json.dumps({**GOOD, "epsilon": True}),
        json.dumps({**GOOD, "epsilon": -1.0}),
        json.dumps({**GOOD, "epsilon": float("nan")}),
        json.dumps({**GOOD, "epsilon": 1.0}),  # less than what the run alone spent
        json.dumps({**GOOD, "delta": "tiny"}),
    ],
    ids=lambda text: f"{text}"[:30] if text is None or len(text) < 30 else f"...{text[60:110]}",
)
def test_damage_is_refused_in_one_line(tmp_path, text):
    if text is not None:
        Path(tmp_path, "statement.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(GateError, match="^a model must come with a privacy statement. Received: ") as caught:
        load_statement(str(tmp_path))
    assert "\n" not in str(caught.value)
