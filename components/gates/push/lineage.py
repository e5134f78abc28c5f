"""Whether MLMD can still say what a selection was made from."""

import logging

from tfx.dsl.components.common.resolver import ResolverStrategy

from components.common.errors import GateError
from components.common.events import MADE, TAKEN

_SOURCES = {"Examples", "Schema"}  # made from files, not from artifacts
_ENDS = {"PushedModel"}  # an earlier run answers for these
_NEEDED = {"Selection", "Verdict", "Variant", "Scores", "Probes", "ModelBlessing", "Model", "DataCheck", "Examples"}


class WholeLineage(ResolverStrategy):
    """Lets `selection` through if every step from it back to the examples is in MLMD; without one the Pusher refuses.

    TFX takes an error in a resolver for a fault of the pipeline.
    """

    def resolve_artifacts(self, store, input_dict):
        """Passes the artifact on, or none."""
        try:
            for selection in input_dict["selection"]:
                require_whole(store, selection.id)
        except GateError:
            logging.exception("the selection is held back")
            return {"selection": []}
        return input_dict


def require_whole(store, artifact: int) -> None:
    """Walks from an artifact to all it was made from.

    Raises:
        GateError: an artifact on the way has no producer, or a producer no inputs, or a kind of artifact that must be
            on the way is not.
    """
    names = {t.id: t.name for t in store.get_artifact_types()}
    seen: dict[int, str] = {}
    waiting = [artifact]
    while waiting:
        found = store.get_artifacts_by_id(waiting)
        if len({a.id for a in found}) < len(set(waiting)):
            raise GateError(f"MLMD must know what the selection was made from. One of {sorted(waiting)} is gone")
        seen |= {a.id: names[a.type_id] for a in found}
        waiting = sorted({i for a in found for i in _made_from(store, a.id, names[a.type_id])} - set(seen))
    missing = _NEEDED - set(seen.values())
    if missing:
        raise GateError(f"MLMD must know what the selection was made from. Missing: {', '.join(sorted(missing))}")


def _made_from(store, artifact: int, kind: str) -> set[int]:
    if kind in _ENDS:
        return set()
    makers = {e.execution_id for e in store.get_events_by_artifact_ids([artifact]) if e.type in MADE}
    if not makers:
        raise GateError(f"MLMD must know what the selection was made from. Nothing made {kind} {artifact}")
    if kind in _SOURCES:
        return set()
    events = store.get_events_by_execution_ids(sorted(makers))
    inputs = {m: {e.artifact_id for e in events if e.execution_id == m and e.type in TAKEN} for m in makers}
    if not all(inputs.values()):
        raise GateError(f"MLMD must know what the selection was made from. {kind} {artifact} was made from nothing")
    return set().union(*inputs.values())
