"""The verdict on one variant: every gate that is on, and the worst of their answers."""

from components.gates.config import GATES, GatesConfig
from components.gates.measured import Measurement
from components.gates.rules import behaviour, drop, file, origin
from components.gates.verdict import Check, worst
from components.privacy.config import PrivacyConfig

_RULES = {
    "accuracy": drop.accuracy,
    "slices": drop.slices,
    "flips": behaviour.flips,
    "calibration": behaviour.calibration,
    "margins": behaviour.margins,
    "regression": drop.regression,
    "floor": origin.floor,
    "size": file.size,
    "latency": file.latency,
    "memory": file.memory,
    "structure": file.structure,
    "servability": file.servability,
    "evaluator": origin.evaluator,
    "holdout": origin.holdout,
}


def judge(
    measured: Measurement, config: GatesConfig, competitors: int, policy: PrivacyConfig
) -> tuple[str, list[Check]]:
    """Judges one variant.

    Args:
        measured: the observation.
        config: which gates are on, and their thresholds.
        competitors: number of variants that compete for one push; alpha is shared among them.
        policy: the ε and δ that may be pushed.

    Returns:
        The verdict (the worst of all answers) and the answers, in the order of `GATES`.
    """
    alpha = config.alpha_each(competitors)
    checks = [
        origin.privacy(measured, policy) if gate == "privacy" else _RULES[gate](measured, config, alpha)
        for gate in GATES
        if gate not in config.off
    ]
    return worst(check.verdict for check in checks), checks
