"""Paired non-inferiority: against the parent, in all and in every slice, and against what serves."""

from components.common.words import number
from components.gates.config import GatesConfig
from components.gates.core import Paired, drop_bound, exact_level
from components.gates.measured import Measurement
from components.gates.verdict import FAIL, INCONCLUSIVE, NOT_APPLICABLE, PASS, Check, worst


def accuracy(measured: Measurement, config: GatesConfig, alpha: float) -> Check:
    """The drop against the parent over all of `holdout`."""
    return drop("accuracy", "on all classes", measured.overall, config.max_drop, alpha)[0]


def slices(measured: Measurement, config: GatesConfig, alpha: float) -> Check:
    """The same in every slice; all must pass, so that nothing is corrected for their number. The worst one speaks."""
    if not measured.slices:
        return Check("slices", INCONCLUSIVE, "no_slices", "No slice was measured.")
    answers = []
    for name, paired in measured.slices.items():
        if paired.total < config.min_slice:
            few = f"There are {paired.total} holdout examples of {name}; fewer than {config.min_slice} decide nothing."
            answers.append((Check("slices", INCONCLUSIVE, "slice_too_small", few), 1.0))
        else:
            answers.append(drop("slices", f"on {name}", paired, config.slice_max_drop, alpha))
    return _worst_of(answers)


def regression(measured: Measurement, config: GatesConfig, alpha: float) -> Check:
    """The drop against the model that serves, and against the best that ever did: small losses must not add up."""
    if measured.served is None:
        return Check("regression", INCONCLUSIVE, "served_not_measured", "The model that serves was not measured.")
    if not measured.served:
        return Check("regression", NOT_APPLICABLE, "first_push", "No model serves yet.")
    return _worst_of(
        [
            drop("regression", f"against {name}", paired, config.max_regression, alpha)
            for name, paired in measured.served.items()
        ]
    )


def drop(gate: str, where: str, paired: Paired, margin: float, alpha: float) -> tuple[Check, float]:
    """Passes if the drop is below the margin, with a probability of at most alpha if it is the margin; fails if it is
    above the margin with the same confidence. The bound comes with the answer."""
    if not paired.total:
        return Check(gate, INCONCLUSIVE, "no_examples", f"There are no holdout examples {where}."), 1.0
    bound = drop_bound(paired, exact_level(paired.total, margin, alpha))
    figures = (
        f"The drop {where} is {100 * paired.drop:.2f} points on {number(paired.total)} examples, at most "
        f"{100 * bound:.2f} with confidence {number(100 * (1 - alpha))} %; allowed are {number(100 * margin)}."
    )
    if bound < margin:
        return Check(gate, PASS, "drop_within_margin", figures), bound
    if -drop_bound(paired.swapped(), alpha) > margin:
        return Check(gate, FAIL, "drop_above_margin", figures), bound
    return Check(gate, INCONCLUSIVE, "drop_undecided", figures), bound


def _worst_of(answers: list[tuple[Check, float]]) -> Check:
    verdict = worst(check.verdict for check, _ in answers)
    return max((a for a in answers if a[0].verdict == verdict), key=lambda a: a[1])[0]
