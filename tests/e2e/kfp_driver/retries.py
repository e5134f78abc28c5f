"""Whether Argo tries a step again: `processNodeRetries` (workflow/controller/operator.go, v3.7.9) as a pure function.

KFP sets no retryPolicy, which is OnFailure (`RetryPolicyActual`): a container that ended badly is tried again.
"""

from dataclasses import dataclass

from tests.e2e.kfp_driver.workflow import RetryStrategy


@dataclass(frozen=True, kw_only=True)
class Again:
    """A further try. at: not before; deadline: when Argo ends it, or none; seconds of the same clock."""

    at: float
    deadline: float | None


def next_try(strategy: RetryStrategy | None, tries: int, first_start: float, last_end: float) -> Again | str:
    """What follows a try that has failed.

    Args:
        strategy: the step's; none: it has no retryPolicy.
        tries: how many there were.
        first_start, last_end: seconds: when the first one started, and when the last one ended.

    Returns:
        The next try, or why there is none. The time that all tries may take counts from the first one's start, so
        that a step that runs longer than that is never tried again.
    """
    if strategy is None:
        return "no retryStrategy"
    deadline = None if strategy.max_duration is None else first_start + strategy.max_duration
    if deadline is not None and last_end > deadline:
        return "Max duration limit exceeded"
    wait = strategy.duration * (strategy.factor ** (tries - 1) if strategy.factor > 0 else 1)
    if deadline is not None and last_end + wait > deadline:
        return "Backoff would exceed max duration limit"
    if tries > strategy.limit:
        return "No more retries left"
    return Again(at=last_end + wait, deadline=deadline)
