"""How the variant answers, right or wrong: other predictions than the parent's, calibration, distance of scores."""

from components.common.words import number
from components.gates.config import GatesConfig
from components.gates.measured import Measurement
from components.gates.rules.limits import at_most, share_at_most
from components.gates.verdict import FAIL, INCONCLUSIVE, PASS, Check


def flips(measured: Measurement, config: GatesConfig, alpha: float) -> Check:
    """The share of predictions that differ from the parent's."""
    seen = measured.agreement
    if seen is None:
        return Check("flips", INCONCLUSIVE, "flips_not_measured", "Flips were not measured.")
    return share_at_most("flips", "share of flipped predictions", seen.flips, seen.total, config.max_flips, alpha)


def calibration(measured: Measurement, config: GatesConfig, alpha: float) -> Check:
    """How much worse than the parent's its probabilities fit its accuracy."""
    seen = measured.agreement
    rise = None if seen is None else seen.calibration - seen.parent_calibration
    return at_most("calibration", "rise of the calibration error", rise, config.max_calibration_rise)


def margins(measured: Measurement, config: GatesConfig, alpha: float) -> Check:
    """Whether its highest scores stand as far apart as the parent's: a scale that is off shows here."""
    seen = measured.agreement
    if seen is None:
        return Check("margins", INCONCLUSIVE, "margins_not_measured", "Score margins were not measured.")
    factor, most = seen.margin_factor, config.max_margin_factor
    sentence = (
        f"The median distance of its two highest scores is {number(factor)} times the parent's; allowed are "
        f"{number(1 / most)} to {number(most)}."
    )
    good = 1 / most <= factor <= most
    return Check("margins", PASS if good else FAIL, f"margins_{'within' if good else 'outside'}_limits", sentence)
