"""TFLite's schema, `schema`, as TensorFlow ships it, without the rest of TensorFlow, which takes seconds to import."""

import importlib.util
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType


def _loaded() -> ModuleType:
    (package,) = PathFinder.find_spec("tensorflow").submodule_search_locations
    file = Path(package, "lite", "python", "schema_py_generated.py")
    spec = importlib.util.spec_from_file_location("tflite_schema", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


schema = _loaded()
