"""When a step is tried again: what the compiler to Argo makes of a task's retryPolicy, and what Argo makes of that."""

from dataclasses import dataclass

from tests.pipeline.runners.kubeflow.releases import ALWAYS, ON_ERROR, ON_FAILURE, Release, Retried

SUCCEEDED, FAILED, ERROR, SKIPPED, OMITTED = "succeeded", "failed", "error", "skipped", "omitted"
_AGAIN = {ON_FAILURE: {FAILED}, ON_ERROR: {ERROR}, ALWAYS: {FAILED, ERROR}}


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """Argo's retryStrategy. limit: tries after the first. wait, factor: seconds before the second try, and by what they
    grow. longest: seconds since the first try's start after which there is none; None: no end. policy: Argo's."""

    limit: int
    wait: int
    factor: int
    longest: int | None
    policy: str


@dataclass(frozen=True, kw_only=True)
class Try:
    """A try that has ended. started, finished: seconds. phase: failed, or an error."""

    started: float
    finished: float
    phase: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether there is another try: after so many seconds, until what time; or why there is none."""

    wait: float = 0.0
    deadline: float | None = None
    stopped: str = ""


class NoStrategy(Exception):
    """Argo cannot read the strategy, and the step is an error."""


def strategy_of(spec: dict, name: str, policy: dict | None, release: Release) -> Strategy | None:
    """A task's strategy (argocompiler/container.go: getTaskRetryStrategy in 2.5, since 2.14
    getTaskRetryParametersWithValues with the defaults of addContainerExecutorTemplate); None: it has none.

    Args:
        name: in its DAG. policy: the task's own, or inherited.

    Raises:
        NoStrategy: since 2.14, of a factor that is no whole number (intstr.Int32 of the text).
    """
    if release.retried is Retried.NONE:
        return None
    if release.retried is Retried.ROOT:
        policy = spec["root"]["dag"]["tasks"].get(name, {}).get("retryPolicy")
    if policy is None:
        return None
    factor, longest = policy.get("backoffFactor", 0), policy.get("backoffMaxDuration")
    if release.retried is Retried.ALL:
        longest = longest or "0s"  # the template's default, with which there is never a second try
        if factor != int(factor):
            raise NoStrategy(f'strconv.Atoi: parsing "{factor}": invalid syntax')
    return Strategy(
        limit=policy.get("maxRetryCount", 0),
        wait=_seconds(policy.get("backoffDuration", "0s")),
        factor=int(factor),
        longest=None if longest is None else _seconds(longest),
        policy=release.retry_policy,
    )


def inherited(task: dict, parent: dict | None, release: Release) -> dict | None:
    """A task's policy: since 2.14, a task that has none takes that of the DAG task around it (compiler/visitor.go)."""
    own = task.get("retryPolicy")
    return parent if own is None and release.since("2.14.0") else own


def verdict(strategy: Strategy, tries: list[Try], now: float) -> Verdict:
    """What follows a try that ended badly (workflow/controller/operator.go: processNodeRetries, in its order).

    The deadline is measured from the start of the *first* try. It ends later tries, too (executionDeadline, which the
    pod's wait container obeys: workflow/executor/executor.go, monitorDeadline); the first has none.
    """
    last, deadline = tries[-1], None
    wait = strategy.wait * (strategy.factor ** (len(tries) - 1) if strategy.factor > 0 else 1)
    if strategy.longest is not None:
        deadline = tries[0].started + strategy.longest
        if now > deadline:
            return Verdict(stopped="Max duration limit exceeded")
        if last.finished + wait > deadline:
            return Verdict(stopped="Backoff would exceed max duration limit")
    if last.phase not in _AGAIN[strategy.policy]:
        return Verdict(stopped=f"{strategy.policy} tries no step again that is {last.phase}")
    if len(tries) > strategy.limit:
        return Verdict(stopped="No more retries left")
    return Verdict(wait=wait, deadline=deadline)


def _seconds(duration: str) -> int:
    """Whole seconds of a google.protobuf.Duration: the compiler drops the rest (GetBackoffDuration().Seconds)."""
    return int(float(duration.removesuffix("s")))
