"""What `kustomize build` makes of the folders in kubeflow/manifests, for machines without it.

Only what those folders use is done, as kustomize 5 does it (a test compares them where `kubectl` is there); another
field is refused. The functions that these stand for are in sigs.k8s.io/kustomize:
- `render`: KustTarget.accumulateTarget in api/internal/target/kusttarget.go: resources, generators, components, then
  patches, then the namespace;
- `_generated`: configmap.go in api/internal/generators, with disableNameSuffixHash;
- `_merged`: Merge in kyaml/yaml/merge2, with the merge keys of Kubernetes' schema;
- `_placed`: the namespace transformer in api/filters/namespace, and the name reference that gives a subject's.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

_KNOWN = {"apiVersion", "kind", "namespace", "resources", "components", "configMapGenerator", "patches"}
_BY_NAME = {"containers", "initContainers", "volumes", "env"}  # lists whose items are merged by their name


def render(folder: Path) -> list[dict[str, Any]]:
    """All objects of a folder with a kustomization.yaml."""
    own = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert own["kind"] == "Kustomization", folder
    return _placed(_accumulated(folder, own, []), own.get("namespace"))


def _accumulated(folder: Path, own: dict[str, Any], objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    assert set(own) <= _KNOWN, f"{folder}: {set(own) - _KNOWN} is more than this renders"
    for name in own.get("resources", ()):
        objects = objects + (render(folder / name) if (folder / name).is_dir() else _documents(folder / name))
    objects = objects + [_generated(folder, each) for each in own.get("configMapGenerator", ())]
    for name in own.get("components", ()):
        component = yaml.safe_load((folder / name / "kustomization.yaml").read_text())
        assert component["kind"] == "Component", name
        objects = _accumulated(folder / name, component, objects)
    for patch in own.get("patches", ()):
        (change,) = _documents(folder / patch["path"])
        aimed = [each for each in objects if identity(each) == identity(change)]
        assert len(aimed) == 1, f"{folder}: {identity(change)} must be there once to be patched"
        objects = [_merged(each, change) if each is aimed[0] else each for each in objects]
    return objects


def has_kustomize() -> bool:
    """Whether the real one is there: kubectl has kustomize 5 in it from 1.27 on."""
    if not shutil.which("kubectl"):
        return False
    done = subprocess.run(["kubectl", "version", "--client"], capture_output=True, text=True, timeout=60)
    return "Kustomize Version: v5" in done.stdout


def built(folder: Path) -> list[dict[str, Any]]:
    """What the real one makes of a folder."""
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def identity(each: dict[str, Any]) -> tuple[str, str]:
    """What tells an object from others in a namespace: kind and name."""
    return each["kind"], each["metadata"].get("name", "")


def _documents(file: Path) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(file.read_text()) if each]


def _generated(folder: Path, each: dict[str, Any]) -> dict[str, Any]:
    assert set(each) == {"name", "files", "options"} and each["options"]["disableNameSuffixHash"] is True, each
    metadata = {"name": each["name"], "labels": each["options"]["labels"]}
    data = {Path(name).name: (folder / name).read_text() for name in each["files"]}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def _merged(old: Any, new: Any, field: str = "") -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{key: _merged(old.get(key), value, key) for key, value in new.items()}}
    if isinstance(old, list) and field in _BY_NAME:
        gone = {item["name"] for item in new if item.get("$patch") == "delete"}
        changes = {item["name"]: item for item in new if item["name"] not in gone}
        stay = [_merged(item, changes.pop(item["name"], item)) for item in old if item["name"] not in gone]
        return stay + list(changes.values())
    return new


def _placed(objects: list[dict[str, Any]], namespace: str | None) -> list[dict[str, Any]]:
    if namespace is None:
        return objects
    placed = [_merged(each, {"metadata": {"namespace": namespace}}) for each in objects]
    for each in placed:
        if "subjects" in each:
            each["subjects"] = [{**subject, "namespace": namespace} for subject in each["subjects"]]
    return placed
