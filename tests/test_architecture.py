"""The layout's promises, read from the sources: who may import what, directly or through our own modules."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GLUE = {"tfx", "apache_beam", "kfp", "ml_metadata"}
OURS = {"components", "pipeline"}
SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in sorted(OURS)
    for path in sorted((ROOT / package).rglob("*.py"))
}
CORES = [name for name in SOURCES if name.endswith(".core")]
CONFIGS = [name for name in SOURCES if name.endswith(".config")]


@cache
def imports(module: str) -> frozenset[str]:
    """Every dotted name that a module imports, anywhere in it, functions included."""
    found = set()
    for node in ast.walk(ast.parse(SOURCES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def with_parents(name: str) -> set[str]:
    parts = name.split(".")
    return {".".join(parts[:i]) for i in range(1, len(parts) + 1)}


def reached(module: str) -> dict[str, str]:
    """Foreign packages that a module reaches, directly or through ours, each with the module that names it."""
    seen, waiting, foreign = set(), with_parents(module), {}
    while waiting:
        current = waiting.pop()
        if current in seen or current not in SOURCES:
            continue
        seen.add(current)
        for name in imports(current):
            if name.split(".")[0] in OURS:
                waiting |= with_parents(name)
            else:
                foreign.setdefault(name.split(".")[0], current)
    return foreign


def test_the_walk_sees_what_there_is():
    assert {"components.pruning.core", "components.gates.core", "components.dp_training.core"} <= set(CORES)
    assert len(CORES) >= 7 and len(CONFIGS) >= 8
    assert reached("components.pruning.component")["tfx"] == "components.common.tfx_nodes"  # through our module
    assert "ml_metadata" in reached("pipeline.runners.local")
    assert "tensorflow" in reached("components.pruning.core")


@pytest.mark.parametrize("module", CORES + CONFIGS)
def test_cores_and_configs_never_reach_tfx_beam_kfp_or_mlmd(module):
    assert {name: via for name, via in reached(module).items() if name in GLUE} == {}


def test_configs_and_the_command_line_import_no_tensorflow():
    """Asked of the interpreter itself: everything that they pull in at module level, foreign packages included."""
    modules = [*CONFIGS, "pipeline.cli"]
    assert "pipeline.config" in modules
    heavy = sorted(GLUE | {"tensorflow", "tf_keras", "tensorflow_model_optimization", "tensorflow_model_analysis"})
    program = f"import sys, {', '.join(modules)}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


GENERATORS = (
    "random",
    "secrets",
    "uuid",
    "os.urandom",
    "numpy.random",
    "tensorflow.random",
    "cryptography",
    "scipy.stats",
)
PRIVATE = ("components.dp_training", "components.privacy", "components.statistics")
SECRET = "components.privacy.secret_bits"
OPEN = {  # draw from seeds that anybody may know, for what reads no private example
    "components.dp_training.models",  # directions of random images
    "components.dp_training.synthetic",  # random images
    "components.dp_training.whitening",  # a random projection
    "components.dp_training.per_example.refusal",  # inputs of a probe
}


def generators(module: str) -> set[str]:
    """Whatever a module names of `GENERATORS`, by import or as an attribute of an imported package."""
    tree, aliases, named = ast.parse(SOURCES[module].read_text()), {}, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases |= {
                a.asname or a.name.split(".")[0]: a.name if a.asname else a.name.split(".")[0] for a in node.names
            }
            named |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            aliases |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
            named |= {f"{node.module}.{a.name}" for a in node.names}
        elif isinstance(node, ast.Attribute):
            dotted = ast.unparse(node)
            named.add(aliases.get(dotted.split(".")[0], "?") + dotted[len(dotted.split(".")[0]) :])
    return {g for g in GENERATORS for name in named if name == g or name.startswith(g + ".")}


def test_noise_and_samples_have_one_source():
    """Of all that trains privately or counts with noise, one module asks for randomness that must be secret."""
    private = [m for m in SOURCES if m.startswith(PRIVATE)]
    users = {m: named for m in private if (named := generators(m))}
    assert users.pop(SECRET) == {"os.urandom", "cryptography"}
    assert set(users) == OPEN and all(named == {"numpy.random"} for named in users.values())
    assert {m for m in SOURCES if SECRET in imports(m)} == {
        "components.dp_training.augmentation",
        "components.dp_training.core",
        "components.dp_training.randomness",
        "components.privacy.gaussian",
        "components.statistics.component",
        "components.statistics.core",
    }


def test_what_must_be_seeded_openly_is_seeded_with_a_number():
    """No seed there comes from an argument that private examples could reach, or from the clock."""
    for module in OPEN - {"components.dp_training.synthetic"}:  # whose seed is an argument
        calls = [n for n in ast.walk(ast.parse(SOURCES[module].read_text())) if isinstance(n, ast.Call)]
        seeds = [c.args for c in calls if ast.unparse(c.func).endswith("default_rng")]
        assert all(len(s) == 1 and isinstance(s[0], ast.Constant) for s in seeds), module


def test_one_place_imports_tf_keras():
    assert [m for m in SOURCES if any(n.split(".")[0] == "tf_keras" for n in imports(m))] == [
        "components.common.legacy_keras"
    ]
    others = ("keras", "tensorflow.keras", "tensorflow.python.keras")
    assert [m for m in SOURCES if any(n == o or n.startswith(o + ".") for n in imports(m) for o in others)] == []


def test_nobody_reaches_for_tf_dot_keras():
    used = {
        name
        for name, path in SOURCES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "keras"
        if isinstance(node.value, ast.Name) and node.value.id in ("tf", "tensorflow")
    }
    assert used == set()


def test_our_folders_are_packages_and_those_that_would_shadow_an_installed_one_are_not():
    folders = {path.parent for path in SOURCES.values()}
    assert [str(f) for f in folders if not (f / "__init__.py").exists()] == []
    assert (ROOT / "data").is_dir()
    assert [f for f in ("kubeflow", "data") if (ROOT / f / "__init__.py").exists()] == []
