"""From whatever a node raised to the one line, with its exit code, that a person reads."""

import re

from components.common.errors import DataError, LockgateError, ServiceError

_FULL = re.compile(r"No space left on device|database or disk is full|disk I/O error|Disk quota exceeded", re.I)
_DAMAGED = re.compile(r"corrupted record|DataLoss|Not a valid TFRecord", re.I)
_NO_EXAMPLE = re.compile(r"Could not parse example|Error parsing message|parsing serialized|Failed to parse", re.I)
_ON_A_WORKER = re.compile(r"^components\.common\.errors\.(\w+): (.*?)(?: \[while running .*)?$", re.M)
_AWAY = re.compile(r"FutureTimeoutError|StatusCode\.UNAVAILABLE|failed to connect to all addresses")


def explain(error: Exception) -> LockgateError:
    """Finds the cause that somebody can act on in an exception and those it came from.

    Returns:
        The first LockgateError of the chain, or of the traceback that a Beam worker elsewhere sent as text; or one made
        for a cause that is known by its text: a full disk, a damaged TFRecord, a record that is no `tf.train.Example`,
        a job server or worker of Beam that is away. Anything else is a fault of ours, exit code 1, of which only the
        type is told: a library's message may quote a private record, so it stays in the log.
    """
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        if isinstance(cause, LockgateError):
            return cause
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    text = "\n".join(f"{type(e).__name__}: {e}" for e in chain)
    sent = _ON_A_WORKER.search(text)
    known = sent and {each.__name__: each for each in LockgateError.__subclasses__()}.get(sent[1])
    if known:
        return known(sent[2])
    if _FULL.search(text):
        return ServiceError(
            "the disk must have room for the run. It is full; nothing was pushed. Free space and run again"
        )
    if _DAMAGED.search(text):
        return DataError("every TFRecord file must be whole. One under data.root is damaged; the log names it")
    if _NO_EXAMPLE.search(text):
        return DataError("every record must be a tf.train.Example. One under data.root is none; the log says more")
    if _AWAY.search(text):
        return ServiceError("Beam's job server and its workers must answer. One is away; the log says which")
    return LockgateError(f"an unexpected {type(error).__name__} stopped the run. The log says more")
