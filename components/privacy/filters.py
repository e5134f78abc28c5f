"""Spending whose parameters are chosen on the way: a Rényi filter at one order, pinned before anything is spent.

Each run may choose its noise, its steps, or whether it takes place after it has seen what earlier runs gave out.
Taking the best order over such a sequence afterwards is not covered by any theorem; a filter at one order is:

Theorem (the Rényi privacy filter of Feldman and Zrnic 2020, arXiv:2008.11193, section 4). Fix an order α > 1 and a
bound B before the first run. Let run t be (α, ρ_t)-RDP given all earlier outputs, where ρ_t may depend on them. If each
run is refused that would take ρ_1 + … + ρ_t above B, then all runs together are (α, B)-RDP, and so (ε, δ)-DP with

    ε = B + log(1 - 1/α) - log(αδ) / (α - 1)       (Canonne, Kamath and Steinke 2020, arXiv:2004.00010, proposition 12).

A bound that was raised after outputs had been seen was not fixed beforehand, and neither is the sum that happens to be
spent today. For these the older conversion holds, for all times at once: with L_t the privacy loss,
exp((α - 1)(L_t - ρ_1 - … - ρ_t)) is a non-negative supermartingale that starts at 1, so by Ville's inequality, with
probability 1 - δ and at every t,

    L_t ≤ ρ_1 + … + ρ_t + log(1/δ) / (α - 1).
"""

import math

import numpy as np

from components.privacy.accounting import ORDERS


def fixed_epsilon(divergence: float, order: float, delta: float) -> float:
    """ε of a bound on the divergence that was fixed before anything was spent."""
    if math.isnan(divergence) or divergence == math.inf:
        return math.inf
    if delta**2 + math.expm1(-divergence) > 0:  # δ ≤ sqrt(1 - exp(-KL)), as dp_accounting has it
        return 0.0
    return max(0.0, divergence + math.log1p(-1 / order) - math.log(delta * order) / (order - 1))


def running_epsilon(divergence: float, order: float, delta: float) -> float:
    """ε of what was spent so far, whatever the moment and the parameters depended on."""
    return divergence - math.log(delta) / (order - 1) if divergence > 0 else 0.0


def bound(epsilon: float, delta: float, order: float, raised: bool = False) -> float:
    """The largest divergence at `order` that keeps ε: the inverse of `fixed_epsilon`, of `running_epsilon` if raised.
    Below zero, nothing fits."""
    if raised:
        return epsilon + math.log(delta) / (order - 1)
    return epsilon - math.log1p(-1 / order) + math.log(delta * order) / (order - 1)


def pinned_order(epsilon: float, delta: float, curve: np.ndarray) -> float:
    """The one of `ORDERS` whose bound holds the most runs like the first.

    Args:
        epsilon, delta: of the budget.
        curve: divergences of the first run at `ORDERS`, which depend on its settings and on no data.
    """
    holds = [bound(epsilon, delta, a) / r if r > 0 else -math.inf for a, r in zip(ORDERS, curve, strict=True)]
    return ORDERS[int(np.argmax(holds))]
