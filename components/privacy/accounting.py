"""Accounting: from a target ε to the noise that reaches it, and from executed steps to the ε they cost.

The mechanism is the Gaussian mechanism on a Poisson sample, composed over steps; adjacency is adding or removing one
example. Everything rests on dp_accounting's Rényi accountant (Mironov 2017, arXiv:1702.07476; Mironov, Talwar and
Zhang 2019, arXiv:1908.10530), because the ledger composes runs whose parameters were chosen after earlier ones.
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import dp_accounting
from dp_accounting import rdp

from components.common.errors import ConfigError

ORDERS = tuple([1 + i / 10 for i in range(1, 100)] + list(range(11, 64)) + [80, 96, 128, 192, 256, 384, 512])
_NOISE_RANGE = (0.2, 1000.0)


@dataclass(frozen=True, kw_only=True)
class Mechanism:
    """What a training run executes.

    noise_multiplier: standard deviation of the noise over the l2 norm clip. sampling_probability: in (0, 1]. steps:
    number of noisy steps, 0 or more.
    """

    noise_multiplier: float
    sampling_probability: float
    steps: int

    def first(self, steps: int) -> "Mechanism":
        """The same mechanism cut to its first steps."""
        return dataclasses.replace(self, steps=steps)

    def event(self) -> dp_accounting.DpEvent:
        """The mechanism as a dp_accounting event."""
        gaussian = dp_accounting.GaussianDpEvent(self.noise_multiplier)
        sampled = dp_accounting.PoissonSampledDpEvent(self.sampling_probability, gaussian)
        return dp_accounting.SelfComposedDpEvent(sampled, self.steps)


def epsilon_of(mechanisms: Iterable[Mechanism], delta: float) -> float:
    """ε at `delta` of all mechanisms together, by Rényi composition (Mironov 2017, proposition 1) over `ORDERS`."""
    accountant = rdp.RdpAccountant(ORDERS)
    executed = False
    for mechanism in mechanisms:
        if mechanism.steps:
            accountant.compose(mechanism.event())
            executed = True
    return float(accountant.get_epsilon(delta)) if executed else 0.0


def noise_multiplier_for(epsilon: float, delta: float, sampling_probability: float, steps: int) -> float:
    """The smallest noise multiplier whose run costs at most `epsilon` at `delta`.

    Raises:
        ConfigError: no noise multiplier below 1000 reaches `epsilon`.
    """

    def cost(noise_multiplier: float) -> float:
        mechanism = Mechanism(
            noise_multiplier=noise_multiplier, sampling_probability=sampling_probability, steps=steps
        )
        return epsilon_of([mechanism], delta)

    low, high = _NOISE_RANGE
    if cost(high) > epsilon:
        raise ConfigError(
            f"`privacy.epsilon` must be reachable: {steps} steps cost at least {cost(high):.3g} at delta={delta:g}. "
            f"Received: privacy.epsilon={epsilon!r}"
        )
    while high - low > 1e-4 * low:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if cost(middle) <= epsilon else (middle, high)
    return high
