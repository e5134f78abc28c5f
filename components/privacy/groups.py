"""Rényi divergences of a step when a group, a person with several records, is added or removed at once.

Each of a group's k records enters a step with probability q, independently, so together they move the sum by at most
j clips, where j is Binomial(k, q). The worst case of one step is then the pair N(0, σ²) and the mixture of N(j, σ²)
over j (Ganesh 2024, arXiv:2401.10294; in many dimensions too, Choquette-Choo et al. 2023, arXiv:2310.15526). Composing
the records' own charges counts less than that, because it leaves out the steps that several of them enter together.
"""

import functools

import numpy as np
from scipy.special import gammaln, logsumexp

_TAIL, _STEPS_A_SIGMA = 40.0, 48


@functools.cache
def group_rdp(noise_multiplier: float, sampling_probability: float, group: int, orders: tuple[float, ...]) -> tuple:
    """Rényi divergence of one step at each order, the larger of both directions (add and remove).

    The densities are integrated by the trapezoid rule, whose error for Gaussians falls as exp(-2π²σ²/h²) with step h:
    far below a float's own. The grid reaches as far as the integrand of the largest order has weight.

    Args:
        noise_multiplier: σ, standard deviation of the noise over the clip. sampling_probability: q in (0, 1].
        group: k, the most records that one person has, 1 or more.
        orders: α > 1 each.
    """
    if noise_multiplier == 0:
        return (np.inf,) * len(orders)
    moved = np.arange(group + 1)
    log_weights = _log_binomial(group, sampling_probability)
    reach = _TAIL * noise_multiplier + group * (max(orders) + 1)
    grid = np.arange(-reach, reach, noise_multiplier / _STEPS_A_SIGMA)
    still = _log_normal(grid, noise_multiplier)
    mixed = logsumexp(log_weights + _log_normal(grid[:, None] - moved, noise_multiplier), axis=1)
    step = np.log(noise_multiplier / _STEPS_A_SIGMA)
    return tuple(max(_divergence(mixed, still, a, step), _divergence(still, mixed, a, step)) for a in orders)


def _divergence(log_p: np.ndarray, log_q: np.ndarray, order: float, log_step: float) -> float:
    return max(0.0, float(logsumexp(order * log_p + (1 - order) * log_q) + log_step) / (order - 1))


def _log_normal(x: np.ndarray, sigma: float) -> np.ndarray:
    return -0.5 * (x / sigma) ** 2 - np.log(sigma) - 0.5 * np.log(2 * np.pi)


def _log_binomial(count: int, probability: float) -> np.ndarray:
    moved = np.arange(count + 1)
    ways = gammaln(count + 1) - gammaln(moved + 1) - gammaln(count - moved + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        missed = np.where(moved == count, 0.0, (count - moved) * np.log1p(-probability))
        return ways + moved * np.log(probability) + missed
