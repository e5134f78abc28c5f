"""The image itself, built from kubeflow/Dockerfile, and a whole pipeline whose every step is a container of it."""

import hashlib
import importlib.util
import json
import struct
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.config import load
from pipeline.runners.kubeflow.slices import code_fingerprint
from tests.conftest import skip_without
from tests.e2e.image_builder import Builder, missing
from tests.e2e.image_container import USER, Container, container, environment_of
from tests.e2e.metadata_servers import SECRET, SECRET_NAME, stores
from tests.pipeline.runners.kubeflow.cluster import SUCCEEDED, Cluster

pytestmark = [pytest.mark.image, pytest.mark.timeout(7200)]
LARGEST = 3_000_000_000  # bytes
READ_ONLY = "Read-only file system"
_IMPORTS = """
import importlib, pkgutil, pathlib
import components, pipeline
for package in (components, pipeline):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
from pipeline.config import PRESETS, load
from pipeline.graph import build
from pipeline.places import places_of
from pipeline.runners.nodes import compiled
from tfx.proto.orchestration import executable_spec_pb2, pipeline_pb2
from tfx.utils import import_utils
paths = set()
for preset in PRESETS.glob("*.toml"):
    ir = compiled(build(load(preset.stem), places_of(pathlib.Path("/tmp/root"), preset.stem), None))
    deployment = pipeline_pb2.IntermediateDeploymentConfig()
    ir.deployment_config.Unpack(deployment)
    for spec in (*deployment.executor_specs.values(), *deployment.custom_driver_specs.values()):
        plain, beam = executable_spec_pb2.PythonClassExecutableSpec(), executable_spec_pb2.BeamExecutableSpec()
        assert spec.Unpack(plain) or spec.Unpack(beam)
        paths.add(plain.class_path or beam.python_executor_spec.class_path)
for path in sorted(paths):
    import_utils.import_class_by_path(path)
print(len(paths))
"""


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that every user can enter."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="lockgate-image-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def built(place) -> Builder:
    """buildah, with the image."""
    if missing():
        skip_without(missing())
    builder = Builder(folder=place / "builder")
    builder.folder.mkdir()
    builder.base()
    builder.build()
    return builder


@pytest.fixture(scope="module")
def running(built, place) -> Iterator[Container]:
    """A container with a volume, a folder for what the launcher makes, and /tmp."""
    folders = {name: place / name for name in ("volume", "steps", "temporary")}
    for folder in folders.values():
        folder.mkdir()
    mounts = {str(folders[name]): folders[name] for name in ("volume", "steps")} | {"/tmp": folders["temporary"]}
    with container(built, mounts) as opened:
        yield opened


def loaded(library: Path) -> list[tuple[int, int, str]]:
    """What the dynamic linker maps of a 64-bit ELF file: address, flags and sha256 of each segment, without the ELF
    header's fields on sections, which it does not read (System V ABI: ELF header, program header)."""
    content = memoryview(library.read_bytes())
    start, size, count = (*struct.unpack_from("<Q", content, 32), *struct.unpack_from("<HH", content, 54))
    segments = []
    for index in range(count):
        kind, flags, offset, address, _, length = struct.unpack_from("<IIQQQQ", content, start + index * size)
        if kind == 1:  # PT_LOAD
            segment = bytes(content[offset : offset + length])
            segment = segment if offset else segment[:40] + bytes(8) + segment[48:58] + bytes(6) + segment[64:]
            segments.append((address, flags, hashlib.sha256(segment).hexdigest()))
    return segments


def test_the_image_is_at_most_3_gb(built, capsys):
    size = built.size()
    with capsys.disabled():
        print(f"\nthe image's layers, not compressed: {size / 1e9:.2f} GB")
    assert 1_000_000_000 < size <= LARGEST


def test_the_image_says_what_it_is_and_keeps_nothing_of_the_machine_that_built_it(built, running):
    config = built.config()
    labels = {key.rsplit(".", 1)[-1]: value for key, value in config["Labels"].items()}
    assert labels["title"] == "Lockgate" and labels["licenses"] == "Apache-2.0"
    assert config["User"] == str(USER)
    assert set(environment_of(config)) == {
        *("PATH", "HOME", "TF_USE_LEGACY_KERAS", "TF_CPP_MIN_LOG_LEVEL", "PYTHONUNBUFFERED"),
        *("MPLCONFIGDIR", "NVIDIA_DRIVER_CAPABILITIES"),
    }
    mounted = [running.root / file for file in ("etc/pip.conf", "etc/uv/uv.toml")]  # of which their places stay
    assert not any(file.stat().st_size for file in mounted if file.exists())
    assert not list((running.root / "lockgate" / "kubeflow").glob("*.md"))


def test_its_user_writes_nothing_but_what_is_mounted(running):
    assert running.run("id", "-u").stdout.strip() == str(USER)
    for file in ("/lockgate/x", "/home/lockgate/x", "/var/tmp/x"):
        refused = running.run("touch", file)
        assert refused.returncode != 0 and READ_ONLY in refused.stderr, refused.stderr
    assert running.run("touch", "/tmp/x").returncode == 0


def test_all_that_a_step_of_any_preset_may_import_is_there(running):
    result = running.run("python", "-c", _IMPORTS)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout.splitlines()[-1]) > 12 and READ_ONLY not in result.stderr
    assert "Error importing" not in result.stderr  # with which TFMA says that half of it is missing, and goes on


def test_its_code_is_this_one_and_the_command_line_compiles_in_it(running):
    result = running.run(
        "python", "-c", "from pipeline.runners.kubeflow.slices import code_fingerprint as f; print(f())"
    )
    assert result.stdout.strip() == code_fingerprint(), result.stderr
    result = running.run("lockgate", "kubeflow", "compile", "--config", "tiny", "--output", "/tmp/tiny.yaml")
    assert result.returncode == 0, result.stderr


def test_of_tensorflow_s_libraries_what_is_loaded_is_what_its_wheel_has(running):
    """`strip` took symbol tables out of them, which nothing loads."""
    own = Path(importlib.util.find_spec("tensorflow").origin).parent
    libraries = sorted(own.glob("libtensorflow_*.so.2"))
    assert len(libraries) == 2
    for wheel in libraries:
        (image,) = running.root.glob(f"lockgate/.venv/lib/python3.*/site-packages/tensorflow/{wheel.name}")
        assert image.stat().st_size < 0.95 * wheel.stat().st_size
        assert loaded(image) == loaded(wheel)


def test_a_step_that_asks_for_an_accelerator_is_told_that_the_image_has_no_cuda(running):
    result = running.run("python", "-c", "from pipeline.runners.kubeflow.accelerator import require_visible as r; r(1)")
    assert result.returncode != 0 and "must run in an image with CUDA" in result.stderr


@pytest.fixture(scope="module")
def kept() -> Iterator[tuple[str, ...]]:
    """Where MLMD and the ledger are, as settings: on one server, with a user of their own."""
    with stores() as server:
        metadata = server.fresh("mlmd")
        server.fresh("lockgate")
        ledger = (f"kubeflow.ledger={server.ledger('lockgate')}", f"kubeflow.ledger_secret={SECRET_NAME}")
        yield f"kubeflow.metadata={metadata}", *ledger


def test_every_step_of_a_compiled_pipeline_runs_in_it(running, place, kept, monkeypatch):
    from pipeline.runners.kubeflow.compile import compile_config

    volume, file = place / "volume", place / "tiny.yaml"
    compile_config(load("tiny", [f"kubeflow.root={volume}", *kept]), file)
    monkeypatch.setattr(sys, "executable", str(running.stand_in(place / "python")))
    run = Cluster(folder=place / "steps", secrets={SECRET_NAME: SECRET}).run(file)
    assert run.state == SUCCEEDED, run.log()
    assert {step.name for step in run.steps.values()} >= {"ImportExampleGen", "StatisticsGen", "DPTrainer", "Pusher"}
    record = json.loads((volume / "runs" / run.id / "run.json").read_text())
    assert record["state"] == "pushed" and list((volume / "serving").rglob("*.tflite"))
    written = [path for path in volume.rglob("*") if path.is_file()]
    assert len(written) > 50 and {path.stat().st_uid for path in written} == {USER}
    assert READ_ONLY not in run.log() and "is not a writable directory" not in run.log()
