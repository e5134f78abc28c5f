"""What a step's process has imported when its node begins, asked of the process itself."""

import json
import subprocess
import sys

import pytest

from pipeline.config import load
from pipeline.graph import build
from pipeline.places import places_of
from pipeline.runners.nodes import compiled
from tests.pipeline.runners.kubeflow.steps import arguments

_HEAVY = (
    "apache_beam",
    "tensorflow_model_analysis",
    "kubernetes",
    "google.cloud.bigquery",
    "keras_tuner",
    "IPython",
    "ipywidgets",
    "tensorflow",
)
_BEAM = ["apache_beam", "google.cloud.bigquery", "tensorflow"]  # the first brings the second
_PROGRAM = """
import json, os, sys
os.environ["TF_USE_LEGACY_KERAS"] = "1"
from pipeline.runners.kubeflow.imports import only_for
from pathlib import Path
from pipeline.runners.kubeflow.carried import kept
from pipeline.runners.kubeflow.slices import sliced
part = sliced(kept(Path(sys.argv[1]), sys.argv[2]).graph, sys.argv[3]) if sys.argv[3] else None
with only_for(part):
    from pipeline.runners.kubeflow.shared import StampingLauncher
    from pipeline.runners.nodes import launch
from tfx.utils import import_utils
for path in sys.argv[4:]:
    import_utils.import_class_by_path(path)
before = [name for name in {heavy} if sys.modules.get(name) and "__getattr__" not in vars(sys.modules[name])]
import apache_beam
import tfx.components
print(json.dumps([before, apache_beam.__name__, tfx.components.Evaluator.__name__, hasattr(tfx.components, "no_such")]))
"""


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    """Where the tiny preset's graph is, and its fingerprint."""
    root = tmp_path_factory.mktemp("root")
    given = arguments(compiled(build(load("tiny"), places_of(root, "tiny"), None)), "", root, "nowhere")
    return [str(root), given[given.index("--graph") + 1]]


@pytest.mark.parametrize(
    ("node", "executor", "needs"),
    [
        (None, [], []),  # the step that writes the report
        ("Selector", ["components.selection.component.Selector_Executor"], []),
        ("Pusher", ["components.gates.push.component.Pusher_Executor"], []),
        ("StatisticsGen", ["tfx.components.statistics_gen.executor.Executor"], _BEAM),
        ("Pruner-prune+int8", ["components.pruning.component.Pruner_Executor"], ["tensorflow"]),
        ("DPTrainer", ["components.dp_training.component.DPTrainer_Executor"], ["tensorflow"]),
        ("CompressionGate-int8", ["components.gates.component.CompressionGate_Executor"], ["tensorflow"]),
        ("Baseline", [], []),
        ("HoldoutScorer", [], _BEAM),
    ],
)
def test_a_step_imports_what_its_node_needs_and_all_else_can_still_be_imported(volume, node, executor, needs):
    program = _PROGRAM.replace("{heavy}", repr(list(_HEAVY)))
    told = subprocess.run(
        [sys.executable, "-c", program, *volume, node or "", *executor],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert told.returncode == 0, told.stderr
    before, beam, evaluator, other = json.loads(told.stdout.splitlines()[-1])
    assert before == needs and (beam, evaluator, other) == ("apache_beam", "Evaluator", False)
