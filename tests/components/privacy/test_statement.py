"""The statement: its words hold its figures, and damage is refused."""

import dataclasses
import json
import math
from pathlib import Path

import pytest

from components.common.errors import GateError
from components.privacy.accounting import Mechanism
from components.privacy.statement import Base, Statement, load_statement

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


def test_the_words_name_all_spans_that_the_weights_come_from():
    two = dataclasses.replace(MADE, spans=("f/span-3", "f/span-4"))
    assert "of f/span-3 and f/span-4. An example is in one of these spans" in two.in_words()
    assert "every example of f/span-3 and f/span-4 enters" in two.in_words()
    base = Base(spans=("f/span-1", "f/span-3"), charges=(2, 7))
    warm = dataclasses.replace(two, base=base, pretrained=True, run_epsilon=1.5)
    assert warm.behind == ("f/span-1", "f/span-3", "f/span-4")
    assert "of f/span-1, f/span-3 and f/span-4. An example" in warm.in_words()
    start = "on the weights of an earlier private model of f/span-1 and f/span-3 (charge 2 and charge 7 of the ledger)"
    assert start in warm.in_words() and "which began on weights pretrained on the public split, by" in warm.in_words()
    assert "the rest was spent by other runs on the spans" in warm.in_words()
    persons = dataclasses.replace(warm, mechanism=dataclasses.replace(MADE.mechanism, group=2)).in_words()
    assert "ε is that of all runs on any of them" in persons and "the largest" not in persons


def test_the_words_say_what_of_the_noise_is_left():
    words = MADE.in_words()
    assert "times that norm and what rounding can add to it" in words and "tell AES-256" in words
    assert f"adds less than {MADE.residual_delta:.0e}" in words and MADE.residual_delta < 1e-15
    more = dataclasses.replace(MADE, mechanism=dataclasses.replace(MADE.mechanism, steps=2710))
    assert more.residual_delta > 10 * MADE.residual_delta
    unbounded = dataclasses.replace(MADE, epsilon=math.inf, insecure=True).in_words()
    assert "arithmetic of its noise" not in unbounded


def test_of_many_spans_the_words_name_the_first_and_the_last():
    base = Base(spans=tuple(f"f/span-{n}" for n in range(365)), charges=tuple(range(1, 366)))
    words = dataclasses.replace(MADE, base=base).in_words()
    assert "365 spans, from f/span-0 to f/span-364" in words and "365 charges, from charge 1 to charge 365" in words
    assert "of 366 spans, from f/span-0 to fashion/span-4." in words and "f/span-7" not in words


@pytest.mark.parametrize(("delta", "warned"), [(1e-5, False), (1 / 18000, False), (1e-4, True)])
def test_a_delta_above_one_over_the_population_is_warned_of(delta, warned):
    assert ("Warning: δ" in dataclasses.replace(MADE, delta=delta).in_words()) is warned


def test_what_is_saved_is_loaded_and_the_words_lie_beside_it(tmp_path):
    for made in (MADE, dataclasses.replace(MADE, base=Base(spans=("f/span-1", "f/span-2"), charges=(3,)))):
        made.save(str(tmp_path))
        assert load_statement(str(tmp_path)) == made
        assert (tmp_path / "statement.txt").read_text() == made.in_words() + "\n"


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
        json.dumps({k: v for k, v in GOOD.items() if k != "spans"}),
        json.dumps({**GOOD, "spans": "fashion/span-4"}),
        json.dumps({**GOOD, "spans": []}),
        json.dumps({**GOOD, "base": {"spans": ["f/span-1"]}}),
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
