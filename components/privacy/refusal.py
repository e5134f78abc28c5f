"""What a run that does not fit is told: the span, what is left of its budget, and the ε that would fit."""

import dataclasses
import math

from components.common.words import number
from components.privacy.accounting import Mechanism, epsilon_of, least_noise
from components.privacy.book import Span
from components.privacy.policy import Budget


def refusal(span: Span, budget: Budget, left: float, mechanism: Mechanism, *also: Mechanism) -> str:
    """The sentence.

    Args:
        span: whose budget does not hold the run. budget: that budget. left: divergence at the span's order that it
            still holds, in force at this moment. mechanism: what the run would have executed. also: what was to be
            charged together with it.
    """
    if span.closed:
        return (
            f"the budget of span {span.name} must hold the run: it is closed, because entries of the ledger were lost "
            "and nobody vouched for its charges. Nothing private was read"
        )
    whole = span.bound(budget)
    used = f"{100 * (1 - left / whole):.0f} % used" if whole > 0 else "too small for any run"
    wanted = epsilon_of([mechanism, *also], budget.delta)
    takes = sum(float(m.curve((span.order,))[0]) for m in (mechanism, *also))
    would = fitting_epsilon(span.order, left, budget.delta, mechanism, *also)
    fits = f"a run of ε {would:.3f} would fit" if would else "no run of this shape would fit"
    period = f" of these {budget.days:g} days" if budget.days else ""
    return (
        f"the budget of span {span.name} must hold the run: ε {budget.epsilon:g} at δ = {number(budget.delta)}{period} "
        f"is {used}, {max(0.0, left):.3f} of {max(0.0, whole):.3f} at order {span.order:g} is left, and this run of "
        f"ε {wanted:.3f} takes {takes:.3f}; {fits}. Nothing private was read"
    )


def fitting_epsilon(order: float, left: float, delta: float, mechanism: Mechanism, *also: Mechanism) -> float | None:
    """ε at `delta` of the same mechanisms, each with as many times more noise as fits, to three digits; None if none
    does."""

    def noised(noise: float) -> list[Mechanism]:
        others = (noise * m.noise_multiplier / mechanism.noise_multiplier for m in also)
        return [
            dataclasses.replace(m, noise_multiplier=n)
            for m, n in zip((mechanism, *also), (noise, *others), strict=True)
        ]

    noise = least_noise(lambda noise: sum(m.curve((order,))[0] for m in noised(noise)) <= left, 1e-3)
    return None if noise is None else math.floor(1000 * epsilon_of(noised(noise), delta)) / 1000
