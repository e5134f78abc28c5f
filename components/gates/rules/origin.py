"""What stands behind the variant: its parent's evaluation, its privacy, and the data that judges it."""

import math

from components.common.words import number
from components.gates.config import GatesConfig
from components.gates.core import share_bounds
from components.gates.measured import Measurement
from components.gates.verdict import FAIL, INCONCLUSIVE, PASS, Check
from components.privacy.config import PrivacyConfig


def floor(measured: Measurement, config: GatesConfig, alpha: float) -> Check:
    """Its own accuracy, whatever the parent's: passes where the bound from below is not under the floor."""
    paired, least = measured.overall, config.min_accuracy
    if not paired.total:
        return Check("floor", INCONCLUSIVE, "no_examples", "There are no holdout examples.")
    low, high = share_bounds(paired.both + paired.variant_only, paired.total, alpha)
    figures = (
        f"The accuracy is {100 * paired.variant_accuracy:.2f} %, between {100 * low:.2f} and {100 * high:.2f} with "
        f"confidence {number(100 * (1 - alpha))} % each way; the floor is {number(100 * least)}."
    )
    if low >= least:
        return Check("floor", PASS, "accuracy_above_floor", figures)
    if high < least:
        return Check("floor", FAIL, "accuracy_below_floor", figures)
    return Check("floor", INCONCLUSIVE, "accuracy_undecided", figures)


def evaluator(measured: Measurement, config: GatesConfig, alpha: float) -> Check:
    """TFMA's blessing of the parent, in which TFMA itself counts a missing slice as good."""
    seen = measured.evaluation
    if seen is None or seen.blessed is None:
        return Check("evaluator", INCONCLUSIVE, "evaluator_silent", "TFMA's Evaluator said nothing of the parent.")
    if seen.missing:
        missing = f"TFMA's Evaluator has no accuracy of {', '.join(seen.missing)}."
        return Check("evaluator", FAIL, "evaluator_metric_missing", missing)
    if not seen.blessed:
        return Check("evaluator", FAIL, "evaluator_did_not_bless", "TFMA's Evaluator did not bless the parent.")
    return Check("evaluator", PASS, "evaluator_blessed", "TFMA's Evaluator blessed the parent.")


def privacy(measured: Measurement, policy: PrivacyConfig) -> Check:
    """The statement's ε and δ within what may be spent."""
    epsilon, delta = measured.epsilon, measured.delta
    if epsilon is None or delta is None or math.isnan(epsilon) or math.isnan(delta):
        return Check("privacy", FAIL, "no_statement", "There is no privacy statement: ε is unbounded.")
    allowed, at = policy.pushable_epsilon, policy.delta
    sentence = (
        f"The ε is {number(epsilon)} at δ = {number(delta)}; allowed are {number(allowed)} at δ = {number(at)} or less."
    )
    good = 0 <= epsilon <= allowed and 0 < delta <= at
    return Check("privacy", PASS if good else FAIL, f"privacy_{'within' if good else 'above'}_limit", sentence)


def holdout(measured: Measurement, config: GatesConfig, alpha: float) -> Check:
    """Whether alpha is left for this decision: all that this holdout makes share one."""
    spent, planned = measured.spent, config.planned_decisions
    if spent is None:
        return Check("holdout", INCONCLUSIVE, "decisions_not_counted", "This holdout's decisions were not counted.")
    if measured.duplicates < 0 or spent.number < 1:
        return Check("holdout", INCONCLUSIVE, "decisions_not_counted", "This holdout's decisions make no sense.")
    if spent.earlier + config.alpha / planned > config.alpha * (1 + 1e-9):
        sentence = (
            f"This is decision {spent.number} of this holdout, and {number(planned)} were planned: its figures prove "
            "nothing any more. Bring fresh holdout data."
        )
        return Check("holdout", INCONCLUSIVE, "holdout_used_up", sentence)
    twice = f"; {number(measured.duplicates)} examples that are twice in it count once" if measured.duplicates else ""
    sentence = f"This is decision {spent.number} of {number(planned)} that were planned for this holdout{twice}."
    return Check("holdout", PASS, "holdout_fresh", sentence)
