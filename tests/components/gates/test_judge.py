"""The verdict: what is good passes, and whatever is bad, missing or undecided says so by its gate."""

import dataclasses
import math
import typing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.common.errors import ConfigError
from components.gates.config import GATES, GatesConfig
from components.gates.core import Paired
from components.gates.judge import judge
from components.gates.measured import Measurement, Spent
from components.gates.verdict import worst
from components.shipped.latency import Interval
from tests.components.gates.measurements import GOOD, POLICY, measured

NAN = math.nan
RANKS = {"pass": 0, "not applicable": 0, "inconclusive": 1, "fail": 2}


def answers(m: Measurement, **config) -> dict[str, tuple[str, str]]:
    checks = judge(m, GatesConfig(**config), 4, POLICY)[1]
    return {c.gate: (c.verdict, c.code) for c in checks}


def test_a_good_variant_passes_every_gate():
    verdict, checks = judge(GOOD, GatesConfig(), 4, POLICY)
    assert verdict == "pass" and {c.verdict for c in checks} == {"pass"}
    assert tuple(c.gate for c in checks) == GATES
    assert all(c.sentence.endswith(".") and c.code for c in checks)


def paired(parent_only: int, variant_only: int, n: int = 8000) -> Paired:
    return Paired(both=n - parent_only - variant_only, parent_only=parent_only, variant_only=variant_only, neither=0)


EMPTY = paired(0, 0, 0)
CASES = [
    ({"overall": paired(360, 55)}, "accuracy", "fail", "drop_above_margin"),
    ({"overall": paired(150, 80)}, "accuracy", "inconclusive", "drop_undecided"),
    ({"overall": EMPTY}, "accuracy", "inconclusive", "no_examples"),
    ({"slices": {}}, "slices", "inconclusive", "no_slices"),
    ({"slices": {**GOOD.slices, "class x": paired(0, 0, 99)}}, "slices", "inconclusive", "slice_too_small"),
    ({"slices": {**GOOD.slices, "class x": EMPTY}}, "slices", "inconclusive", "slice_too_small"),
    ({"slices": {**GOOD.slices, "class x": paired(300, 0, 800)}}, "slices", "fail", "drop_above_margin"),
    ({"slices": {**GOOD.slices, "class x": paired(40, 5, 800)}}, "slices", "inconclusive", "drop_undecided"),
    ({"agreement": None}, "flips", "inconclusive", "flips_not_measured"),
    ({"agreement__flips": 2000}, "flips", "fail", "flips_above_limit"),
    ({"agreement__flips": 1190}, "flips", "inconclusive", "flips_undecided"),
    ({"agreement__total": 0, "agreement__flips": 0}, "flips", "inconclusive", "no_examples"),
    ({"agreement": None}, "calibration", "inconclusive", "calibration_not_measured"),
    ({"agreement__calibration": 0.09}, "calibration", "fail", "calibration_above_limit"),
    ({"agreement__calibration": NAN}, "calibration", "fail", "calibration_above_limit"),
    ({"agreement": None}, "margins", "inconclusive", "margins_not_measured"),
    ({"agreement__margin_factor": 2.0}, "margins", "fail", "margins_outside_limits"),
    ({"agreement__margin_factor": 0.5}, "margins", "fail", "margins_outside_limits"),
    ({"agreement__margin_factor": NAN}, "margins", "fail", "margins_outside_limits"),
    ({"served": None}, "regression", "inconclusive", "served_not_measured"),
    ({"served": {}}, "regression", "not applicable", "first_push"),
    ({"served": {"the best": paired(700, 300)}}, "regression", "fail", "drop_above_margin"),
    ({"served": {"now": GOOD.overall, "the best": paired(400, 300)}}, "regression", "inconclusive", "drop_undecided"),
    ({"bytes": 20_000_000}, "size", "fail", "size_above_limit"),
    ({"probe": None}, "latency", "inconclusive", "latency_not_measured"),
    ({"probe__latency_ratio": None}, "latency", "inconclusive", "latency_not_measured"),
    ({"probe__latency_ratio": Interval(4.9, 4.7, 5.1)}, "latency", "inconclusive", "latency_undecided"),
    ({"probe__latency_ratio": Interval(6.0, 5.5, 7.0)}, "latency", "fail", "latency_above_limit"),
    ({"probe__latency_ratio": Interval(NAN, NAN, NAN)}, "latency", "fail", "latency_above_limit"),
    ({"probe": None}, "memory", "inconclusive", "memory_not_measured"),
    ({"probe__peak_bytes": None}, "memory", "inconclusive", "memory_not_measured"),
    ({"probe__peak_bytes": 300_000_000}, "memory", "fail", "memory_above_limit"),
    ({"broken": None}, "structure", "inconclusive", "structure_not_read"),
    ({"broken": ("layer dense must hold 50 % zeros",)}, "structure", "fail", "promise_broken"),
    ({"probe": None}, "servability", "inconclusive", "not_probed"),
    ({"probe__complaints": ("kills its process",)}, "servability", "fail", "not_servable"),
    ({"evaluation": None}, "evaluator", "inconclusive", "evaluator_silent"),
    ({"evaluation__blessed": None}, "evaluator", "inconclusive", "evaluator_silent"),
    ({"evaluation__blessed": False}, "evaluator", "fail", "evaluator_did_not_bless"),
    ({"evaluation__missing": ("label 3",)}, "evaluator", "fail", "evaluator_metric_missing"),
    ({"epsilon": None}, "privacy", "fail", "no_statement"),
    ({"epsilon": NAN}, "privacy", "fail", "no_statement"),
    ({"epsilon": 3.1}, "privacy", "fail", "privacy_above_limit"),
    ({"epsilon": -1.0}, "privacy", "fail", "privacy_above_limit"),
    ({"epsilon": math.inf}, "privacy", "fail", "privacy_above_limit"),
    ({"delta": None}, "privacy", "fail", "no_statement"),
    ({"delta": 1e-4}, "privacy", "fail", "privacy_above_limit"),
    ({"spent": None}, "holdout", "inconclusive", "decisions_not_counted"),
    ({"spent": Spent(number=2, earlier=0.05)}, "holdout", "inconclusive", "holdout_used_up"),
    ({"spent": Spent(number=0, earlier=0.0)}, "holdout", "inconclusive", "decisions_not_counted"),
]


@pytest.mark.parametrize(("changes", "gate", "verdict", "code"), CASES)
def test_what_is_bad_missing_or_undecided_says_so(changes, gate, verdict, code):
    m = measured(**changes)
    assert answers(m)[gate] == (verdict, code)
    if verdict != "not applicable":
        assert judge(m, GatesConfig(), 4, POLICY)[0] != "pass"


def test_every_gate_has_a_case_that_stops_it():
    stopped = {gate for _, gate, verdict, _ in CASES if verdict in ("fail", "inconclusive")}
    assert stopped | {"floor"} == set(GATES)


def test_the_floor_is_for_the_bound_and_not_for_the_mark():
    assert answers(GOOD, min_accuracy=0.83)["floor"] == ("pass", "accuracy_above_floor")
    assert answers(GOOD, min_accuracy=0.843)["floor"] == ("inconclusive", "accuracy_undecided")
    assert answers(GOOD, min_accuracy=0.999)["floor"] == ("fail", "accuracy_below_floor")
    assert answers(measured(overall=EMPTY))["floor"] == ("inconclusive", "no_examples")


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Measurement)])
def test_what_is_missing_never_helps(field):
    missing = {"overall": EMPTY, "slices": {}, "bytes": NAN, "duplicates": -1}.get(field)
    assert judge(measured(**{field: missing}), GatesConfig(), 4, POLICY)[0] != "pass"


@pytest.mark.parametrize("gate", GATES)
def test_a_gate_that_is_off_does_not_answer_and_the_others_do(gate):
    found = answers(GOOD, off=(gate,))
    assert set(found) == set(GATES) - {gate}


def test_the_worst_slice_is_named():
    slices = {**GOOD.slices, "class bad": paired(100, 0, 800), "class worse": paired(200, 0, 800)}
    (check,) = [c for c in judge(measured(slices=slices), GatesConfig(), 4, POLICY)[1] if c.gate == "slices"]
    assert "class worse" in check.sentence


def test_alpha_is_shared_by_competitors_and_by_planned_decisions():
    """A count that passes alone, and not where alpha is shared."""
    m = measured(overall=paired(130, 90))
    assert judge(m, GatesConfig(), 1, POLICY)[0] == "pass"
    assert judge(m, GatesConfig(), 30, POLICY)[0] == "inconclusive"
    assert judge(m, GatesConfig(planned_decisions=30), 1, POLICY)[0] == "inconclusive"
    assert GatesConfig(alpha=0.04, planned_decisions=2).alpha_each(4) == 0.005


def test_as_many_decisions_are_made_as_were_planned():
    config = GatesConfig(planned_decisions=3)
    for number in (1, 2, 3, 4):
        m = measured(spent=Spent(number=number, earlier=(number - 1) * config.alpha / 3))
        (check,) = [c for c in judge(m, config, 1, POLICY)[1] if c.gate == "holdout"]
        assert check.verdict == ("pass" if number <= 3 else "inconclusive")
    assert "Bring fresh holdout data" in check.sentence and "decision 4" in check.sentence


@settings(max_examples=200)
@given(
    st.integers(0, 250),
    st.integers(0, 250),
    st.integers(0, 60),
    st.sampled_from([0, 1, 2]),
    st.sampled_from([800, 2000]),
)
def test_more_loss_never_improves_a_verdict(parent_only, variant_only, more, kind, n):
    """Right answers that are lost: of what both had right, of what only the variant had, or the one for the other."""
    more = (
        min(more, n - parent_only - variant_only, variant_only) if kind else min(more, n - parent_only - variant_only)
    )
    before = Paired(both=n - parent_only - variant_only, parent_only=parent_only, variant_only=variant_only, neither=0)
    after = {
        0: dataclasses.replace(before, both=before.both - more, parent_only=parent_only + more),
        1: dataclasses.replace(before, variant_only=variant_only - more, neither=more),
        2: dataclasses.replace(before, variant_only=variant_only - more, parent_only=parent_only + more),
    }[kind]
    if after.total != n:
        return
    for field in ("overall", "slices", "served"):
        was, now = (answers(measured(**{field: p if field == "overall" else {"x": p}})) for p in (before, after))
        assert all(RANKS[now[gate][0]] >= RANKS[was[gate][0]] for gate in was)


@pytest.mark.parametrize(("seen", "verdict"), [((), "inconclusive"), (("not applicable",), "inconclusive")])
def test_nothing_is_not_a_pass(seen, verdict):
    assert worst(seen) == verdict


def test_words_that_nobody_knows_are_not_a_pass():
    assert worst(["pass", "PASS"]) == "inconclusive" and worst(["pass", ""]) == "inconclusive"
    assert worst(["pass", "inconclusive", "fail"]) == "fail" and worst(["pass", "not applicable"]) == "pass"


NUMBERS = [
    f.name for f in dataclasses.fields(GatesConfig) if typing.get_type_hints(GatesConfig)[f.name] in (int, float)
]


@pytest.mark.parametrize("value", [NAN, -1, math.inf, -math.inf])
@pytest.mark.parametrize("name", NUMBERS)
def test_a_threshold_that_is_no_number_is_refused(name, value):
    assert len(NUMBERS) == 15
    with pytest.raises(ConfigError, match=f"^`{name}` must"):
        GatesConfig(**{name: value})


@pytest.mark.parametrize("off", [("speed",), GATES])
def test_gates_that_do_not_exist_and_all_gates_cannot_be_switched_off(off):
    with pytest.raises(ConfigError, match="^`off` must"):
        GatesConfig(off=off)
