"""TFX glue: the node that compares a span with those before it, and the resolver that finds what it compares with."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from tfx.dsl.components.common.resolver import ResolverStrategy

from components.common.artifacts import Drift
from components.common.examples import iterate_split
from components.common.progress import tell
from components.common.settings import from_json, from_mapping
from components.common.tfx_nodes import InputArtifact, OutputArtifact, Parameter, component, standard_artifacts
from components.drift.config import DriftConfig
from components.drift.core import Summary, distances, summarize
from components.example_gen.config import DataConfig

_SPAN, _STOPPED = "span", "stopped"


@component
def DriftDetector(
    examples: InputArtifact[standard_artifacts.Examples],
    drift: OutputArtifact[Drift],
    config: Parameter[str],
    data: Parameter[str],
    earlier: InputArtifact[list[Drift]] = None,
) -> None:
    """Compares the classes and the brightness of `public` with those of earlier spans. A DataChecker that is given what
    it found stops the run if that is wanted."""
    wanted, images = from_json(DriftConfig, config), from_json(DataConfig, data)
    own = summarize(iterate_split(examples.uri, "public", images.image_shape), len(images.classes))
    before = {found.get_int_custom_property(_SPAN): _summary(found.uri) for found in earlier or ()}
    found = distances(own, list(before.values()), wanted)
    reasons = [each.in_words() for each in found if each.drifted]
    stopped = bool(reasons) and wanted.action == "stop"
    for reason in reasons:
        tell(f"drift: {reason}")
    said: dict[str, Any] = {
        "summary": dataclasses.asdict(own),
        "compared_with": sorted(before),
        "distances": [dataclasses.asdict(each) for each in found],
        "reasons": reasons,
        "stopped": stopped,
    }
    Path(drift.uri, "drift.json").write_text(json.dumps(said, indent=2))
    drift.set_int_custom_property(_SPAN, examples.get_int_custom_property("span") or 0)
    drift.set_int_custom_property(_STOPPED, int(stopped))


class EarlierDrift(ResolverStrategy):
    """Resolves `earlier` to what was found of the newest spans before that of `examples`, from the oldest on.

    Spans that were stopped are no measure for others.

    Args:
        reference: how many of them.
    """

    def __init__(self, reference: int):
        self._reference = reference

    def resolve_artifacts(self, store, input_dict):
        """Resolves `examples` and `earlier`."""
        own = max(e.get_int_custom_property("span") or 0 for e in input_dict["examples"])
        newest = {}
        for found in sorted(input_dict["earlier"], key=lambda d: d.id):
            if found.get_int_custom_property(_SPAN) < own and not found.get_int_custom_property(_STOPPED):
                newest[found.get_int_custom_property(_SPAN)] = found
        return {**input_dict, "earlier": [newest[span] for span in sorted(newest)][-self._reference :]}


def _summary(uri: str) -> Summary:
    return from_mapping(Summary, json.loads(Path(uri, "drift.json").read_text())["summary"], "")
