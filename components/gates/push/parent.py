"""Which model a warm start goes on from."""

from tfx.dsl.components.common.resolver import ResolverStrategy

from components.common.events import MADE, TAKEN
from components.gates.push.served import standing


class ServedParent(ResolverStrategy):
    """Resolves `base` to the parent of what serves: of the newest push that was not withdrawn and whose newest span is
    before that of `examples`; to none where there is none.

    A push of the same span, or of a later one, does not count, so that another run on the span starts from the same.
    """

    def resolve_artifacts(self, store, input_dict):
        """Resolves `examples`, `pushed` and `base`; of `pushed` only reads."""
        own = max(e.get_int_custom_property("span") or 0 for e in input_dict["examples"])
        models = {m.id: m for m in input_dict["base"]}
        for push in standing(input_dict["pushed"]):
            parent, span = _parent_of(store, push.id)
            if parent in models and span < own:
                return {**input_dict, "pushed": [], "base": [models[parent]]}
        return {**input_dict, "pushed": [], "base": []}


def _parent_of(store, push: int) -> tuple[int | None, int]:
    """The model whose variants a push was chosen from, and the newest span that it was trained on; None, 0 where MLMD
    does not say."""
    verdicts = _inputs(store, _makers(store, {push}), "verdicts")
    parents = _inputs(store, _makers(store, verdicts), "parent")
    examples = _inputs(store, _makers(store, parents), "examples")
    if len(parents) != 1 or not examples:
        return None, 0
    found = store.get_artifacts_by_id(sorted(examples))
    return parents.pop(), max(a.custom_properties["span"].int_value for a in found)


def _makers(store, artifacts: set[int]) -> set[int]:
    events = store.get_events_by_artifact_ids(sorted(artifacts)) if artifacts else []
    return {e.execution_id for e in events if e.type in MADE}


def _inputs(store, executions: set[int], key: str) -> set[int]:
    events = store.get_events_by_execution_ids(sorted(executions)) if executions else []
    return {e.artifact_id for e in events if e.type in TAKEN and e.path.steps and e.path.steps[0].key == key}
