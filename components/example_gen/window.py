"""Which earlier spans a run trains on beside its own."""

import json
from typing import Any

from tfx.dsl.components.common.resolver import ResolverStrategy

from components.common.events import MADE, TAKEN

_SAME = ("name", "roles", "image_shape", "classes")  # what makes examples those of the same data set


class EarlierSpans(ResolverStrategy):
    """Resolves `earlier` to the Examples of the spans before that of `examples`, from the oldest on.

    Of each span the newest Examples count that a DataChecker has let through as this data set's. Spans that came later
    do not, so that another run on the same span finds the same.

    Args:
        window: number of spans, that of `examples` included; 0: all. data: settings of the images, as JSON.
    """

    def __init__(self, window: int, data: str):
        self._window, self._data = window, json.loads(data)

    def resolve_artifacts(self, store, input_dict):
        """Resolves `examples`, `earlier` and `checks`; of the last only reads."""
        own = max(_span(e) for e in input_dict["examples"])
        checked = self._checked(store, [check.id for check in input_dict["checks"]])
        newest = {}
        for examples in sorted(input_dict["earlier"], key=lambda e: e.id):
            if _span(examples) < own and examples.id in checked:
                newest[_span(examples)] = examples
        chosen = [newest[span] for span in sorted(newest)]
        kept = chosen[max(0, len(chosen) - self._window + 1) :] if self._window else chosen
        return {**input_dict, "earlier": kept, "checks": []}

    def _checked(self, store, checks: list[int]) -> set[int]:
        """The ids of all examples that these checks were made from."""
        makers = (
            {e.execution_id for e in store.get_events_by_artifact_ids(checks) if e.type in MADE} if checks else set()
        )
        kinds = {t.id: t.name.rsplit(".", 1)[-1] for t in store.get_execution_types()}
        executions = store.get_executions_by_id(sorted(makers)) if makers else []
        ours = [e.id for e in executions if kinds[e.type_id] == "DataChecker" and self._is_same(e.custom_properties)]
        events = store.get_events_by_execution_ids(ours) if ours else []
        return {e.artifact_id for e in events if e.type in TAKEN and e.path.steps[0].key == "examples"}

    def _is_same(self, parameters: Any) -> bool:
        """Whether a check was made for this data set."""
        if "config" not in parameters:
            return False
        theirs = json.loads(parameters["config"].string_value)
        return all(theirs.get(key) == self._data[key] for key in _SAME)


def _span(examples) -> int:
    return examples.get_int_custom_property("span") or 0
