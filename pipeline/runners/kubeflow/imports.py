"""What a step imports: TFX's launcher, and of all else what its node needs.

TFX's launcher reaches `tfx.components`, which imports every component there is (Evaluator, Trainer, Tuner, and
BigQuery's and Kubernetes' clients behind them), Beam, and TensorFlow to open files.
"""

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tfx.proto.orchestration import executable_spec_pb2, pipeline_pb2

_POSTPONED = ("tfx.components", "tensorflow_model_analysis", "tensorflow_model_analysis.sdk", "IPython")
_PROTOS = {"tensorflow_model_analysis.sdk": "tensorflow_model_analysis.proto.config_pb2"}  # what TFX names of it
_HEAVY = ("apache_beam", "tensorflow")
_NOTEBOOK = "ipywidgets"  # in which BigQuery's client, behind Beam, would draw its progress
_OURS = "components."
_DECORATORS = "components.common.tfx_nodes"  # what our functions import of TFX


@contextmanager
def only_for(part: pipeline_pb2.Pipeline | None) -> Iterator[None]:
    """Keeps imports out, while the context is open, that the one node of a slice has no use for; None: there is no
    node.

    `tfx.components` runs once somebody asks it for a component, TFMA once somebody asks for more than its protos, and
    IPython once somebody wants a shell. Beam and TensorFlow are not there for a function of ours, or a resolver: TFX's
    modules take that for a machine without them, on which they open files by Python and run all that is not Beam. A
    notebook's widgets are there for nobody. Once the context is closed, all can be imported.
    """
    for package in _POSTPONED:
        _postpone(package)
    is_ours = part is None or not _is_of_tfx(part)
    unwanted = (*_HEAVY, _NOTEBOOK) if is_ours else (_NOTEBOOK,)
    blocked = [package for package in unwanted if package not in sys.modules]
    sys.modules.update(dict.fromkeys(blocked))
    try:
        if is_ours:
            importlib.import_module(_DECORATORS)
        yield
    finally:
        for package in blocked:
            del sys.modules[package]


def _is_of_tfx(part: pipeline_pb2.Pipeline) -> bool:
    """Whether the node runs code of TFX's that may want Beam or TensorFlow: it is no function of ours and no
    resolver."""
    deployment = pipeline_pb2.IntermediateDeploymentConfig()
    part.deployment_config.Unpack(deployment)
    for spec in deployment.executor_specs.values():
        function = executable_spec_pb2.PythonClassExecutableSpec()
        if not spec.Unpack(function) or not function.class_path.startswith(_OURS):
            return True
    return bool(deployment.custom_driver_specs)


def _postpone(package: str) -> None:
    """Makes a package known whose `__init__` runs when an attribute of it is asked for that is no submodule's."""
    if package in sys.modules:
        return
    spec = importlib.util.find_spec(package)
    module = importlib.util.module_from_spec(spec)

    def run(attribute: str) -> Any:
        if attribute.startswith("__") and attribute != "__all__":  # which an import of * asks for
            raise AttributeError(f"module {package!r} has no attribute {attribute!r}")
        protos = importlib.import_module(_PROTOS[package]) if package in _PROTOS else None
        if hasattr(protos, attribute):
            return getattr(protos, attribute)
        del module.__getattr__
        spec.loader.exec_module(module)
        return getattr(module, attribute)

    module.__getattr__ = run
    sys.modules[package] = module
    parent, _, name = package.rpartition(".")
    if parent:
        setattr(importlib.import_module(parent), name, module)
