"""Small nodes for the tests of TFX's features on Kubeflow.

A step's process imports them by this module's name, with nothing on its path but the project's root, which run_node.py
puts first, and the installed packages.
"""

import json
import time
from pathlib import Path
from typing import Any

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, OutputDict, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts
from tfx.types.artifact import Artifact, Property, PropertyType

from components.common.errors import DataError

_LONGEST_SECONDS = 120


class Tally(Artifact):
    """A type of artifact that TFX does not know."""

    TYPE_NAME = "LockgateTally"
    PROPERTIES = {
        "total": Property(type=PropertyType.INT),
        "mean": Property(type=PropertyType.FLOAT),
        "label": Property(type=PropertyType.STRING),
    }

    def doubled(self) -> int:
        """What only this class can say."""
        return 2 * self.total


def trace(file: str, node: str, said: Any) -> None:
    """Notes that an executor ran; what comes from the cache notes nothing."""
    with open(file, "a") as written:
        written.write(json.dumps([node, said]) + "\n")


def traced(file: Path) -> list[list]:
    """Which executors ran, each with what it said, in order."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@component
def maker(tally: OutputArtifact[Tally], value: Parameter[int], file: Parameter[str]):
    tally.total, tally.mean, tally.label = value, value / 2, f"of {value}"
    trace(file, "maker", value)


@component
def reader(file: Parameter[str], tally: InputArtifact[Tally] = None):
    trace(file, "reader", tally and [tally.total, tally.mean, tally.label, tally.doubled()])


@component
def gate(go: Parameter[int]) -> OutputDict(open=int):
    return {"open": go}


@component
def printer(text: Parameter[str], count: Parameter[int], rate: Parameter[float], file: Parameter[str]):
    trace(file, "printer", [text, count, rate])


@component
def trainer(
    model: OutputArtifact[standard_artifacts.Model],
    file: Parameter[str],
    before: InputArtifact[standard_artifacts.Model] = None,
):
    """Goes on from an earlier model, if there is one."""
    value = 1 + (int(Path(before.uri, "value").read_text()) if before else 0)
    Path(model.uri, "value").write_text(str(value))
    trace(file, "trainer", value)


@component
def noter(model: InputArtifact[standard_artifacts.Model], tally: OutputArtifact[Tally]):
    """Notes places on what it makes, as TFX's Evaluator does."""
    tally.label = model.uri
    tally.set_string_custom_property("own", f"made at {tally.uri}")


@component
def blesser(
    blessing: OutputArtifact[standard_artifacts.ModelBlessing],
    model: InputArtifact[standard_artifacts.Model],
    blessed: Parameter[int],
):
    blessing.set_int_custom_property("blessed", blessed)
    blessing.set_int_custom_property("current_model_id", model.id)


@component
def decider(examples: InputArtifact[standard_artifacts.Examples], file: Parameter[str], orders: Parameter[str]):
    """Decides on a span, unless a file named after it says what is to stop it."""
    span = examples.get_int_custom_property("span")
    order = Path(orders, str(span))
    said = order.read_text() if order.exists() else "decide"
    trace(file, "decider", [span, said])
    if said == "damaged":
        raise DataError(f"span {span} is damaged")
    if said == "fail":
        raise RuntimeError("as it was told")


@component
def waiter(tally: OutputArtifact[Tally], until: Parameter[str], file: Parameter[str]):
    """Waits for a file."""
    trace(file, "waiter", None)
    deadline = time.monotonic() + _LONGEST_SECONDS
    while not Path(until).exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    tally.total = 1
