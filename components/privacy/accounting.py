"""Accounting: from a target ε to the noise that reaches it, and from executed steps to the ε they cost.

The mechanism is the Gaussian mechanism on a Poisson sample, composed over steps; adjacency is adding or removing one
example. What a ledger keeps rests on dp_accounting's Rényi accountant (Mironov 2017, arXiv:1702.07476; Mironov, Talwar
and Zhang 2019, arXiv:1908.10530), because it composes runs whose parameters were chosen after earlier ones.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import dp_accounting
import numpy as np
from dp_accounting import pld, rdp

from components.common.errors import ConfigError
from components.common.words import number
from components.privacy.groups import group_rdp

ORDERS = tuple([1 + i / 10 for i in range(1, 100)] + list(range(11, 64)) + [80, 96, 128, 192, 256, 384, 512])
_LEAST_NOISE, _MOST_NOISE = 0.2, 1000.0


@dataclass(frozen=True, kw_only=True)
class Mechanism:
    """What a training run executes.

    noise_multiplier: standard deviation of the noise over what one example moves a sum by at most: the l2 norm clip and
    what rounding adds to it (`NoisedSum`). sampling_probability: in (0, 1]. steps: number of noisy steps, 0 or more.
    group: the most records that one person, who is added or removed, has.
    """

    noise_multiplier: float
    sampling_probability: float
    steps: int
    group: int = 1

    def first(self, steps: int) -> "Mechanism":
        """The same mechanism cut to its first steps."""
        return dataclasses.replace(self, steps=steps)

    def event(self) -> dp_accounting.DpEvent:
        """The mechanism as a dp_accounting event, which has none for a group.

        Raises:
            ConfigError: group is above 1.
        """
        if self.group > 1:
            raise ConfigError(f"a group must be accounted for by its curve. Received: group={self.group}")
        gaussian = dp_accounting.GaussianDpEvent(self.noise_multiplier)
        sampled = dp_accounting.PoissonSampledDpEvent(self.sampling_probability, gaussian)
        return dp_accounting.SelfComposedDpEvent(sampled, self.steps)

    def curve(self, orders: tuple[float, ...] = ORDERS) -> np.ndarray:
        """Its Rényi divergence at each order, float64, read-only; linear in the steps."""
        return _curve(self) if orders is ORDERS else _composed(self, orders)


@functools.lru_cache(maxsize=4096)
def _curve(mechanism: Mechanism) -> np.ndarray:
    found = _composed(mechanism, ORDERS)
    found.flags.writeable = False
    return found


def _composed(mechanism: Mechanism, orders: tuple[float, ...]) -> np.ndarray:
    steps = mechanism.steps
    return steps * np.array(_step_curve(mechanism.first(1), orders)) if steps else np.zeros(len(orders))


@functools.lru_cache(maxsize=4096)
def _step_curve(step: Mechanism, orders: tuple[float, ...]) -> tuple[float, ...]:
    if step.group > 1:
        return group_rdp(step.noise_multiplier, step.sampling_probability, step.group, orders)
    book = rdp.RdpAccountant(orders)
    book.compose(step.event())
    return tuple(float(divergence) for divergence in book.rdp)


def epsilon_of(mechanisms: Iterable[Mechanism], delta: float, accountant: str = "RDP") -> float:
    """ε at `delta` of all mechanisms together.

    Args:
        mechanisms: what was executed.
        delta: in (0, 1).
        accountant: "RDP" composes over `ORDERS` (Mironov 2017, proposition 1) and takes the best of them;
            "PLD" (Doroshenko et al. 2022, arXiv:2207.04380) is tighter. Either is true only where every noise
            multiplier, sampling probability and number of steps was fixed before the first one was executed: for what
            was chosen on the way, see `filters`.
    """
    executed = [m for m in mechanisms if m.steps]
    if not executed:
        return 0.0
    if accountant == "RDP":
        return float(rdp.compute_epsilon(ORDERS, sum(m.curve() for m in executed), delta)[0])
    book = pld.PLDAccountant()
    for mechanism in executed:
        book.compose(mechanism.event())
    return float(book.get_epsilon(delta))


@functools.cache
def noise_multiplier_for(
    epsilon: float, delta: float, sampling_probability: float, steps: int, accountant: str = "RDP", group: int = 1
) -> float:
    """The smallest noise multiplier, to four digits, whose run costs at most `epsilon` at `delta`.

    Args:
        accountant: as in `epsilon_of`. A run that draws on a ledger needs "RDP": calibrated by "PLD" it would be
            charged more than its target.
        group: as in `Mechanism`.

    Raises:
        ConfigError: no noise multiplier below 1000 reaches `epsilon`.
    """

    def cost(noise_multiplier: float) -> float:
        mechanism = Mechanism(
            noise_multiplier=noise_multiplier, sampling_probability=sampling_probability, steps=steps, group=group
        )
        return epsilon_of([mechanism], delta, accountant)

    found = least_noise(lambda noise_multiplier: cost(noise_multiplier) <= epsilon, 1e-4)
    if found is None:
        raise ConfigError(
            f"`epsilon` must be reachable: {steps} steps cost at least {cost(_MOST_NOISE):.3g} at "
            f"delta={number(delta)}. Received: epsilon={epsilon!r}"
        )
    return found


def least_noise(fits: Callable[[float], bool], precision: float) -> float | None:
    """The smallest noise multiplier from 0.2 on that fits, to a relative precision, where all above one that fits do;
    None if not even 1000 does."""
    low, high = _LEAST_NOISE, _MOST_NOISE
    if not fits(high):
        return None
    while high - low > precision * low:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high
