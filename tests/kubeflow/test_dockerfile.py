"""What the Dockerfile's lines say, against the files that they speak of; tests/e2e/test_image.py builds the image."""

import re
import shlex
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = Path(__file__).parents[2]
DOCKERFILE = (PROJECT / "kubeflow" / "Dockerfile").read_text().replace("\\\n", " ")
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())
LOCK = tomllib.loads((PROJECT / "uv.lock").read_text())


def lines(verb: str) -> list[list[str]]:
    """The words after a verb, a list for each of its lines."""
    return [shlex.split(line)[1:] for line in DOCKERFILE.splitlines() if line.startswith(f"{verb} ")]


def kept_out(path: str) -> bool:
    """Whether .dockerignore keeps a path from the builder: the last rule that names it or its folder decides."""
    rules = [rule for rule in (PROJECT / ".dockerignore").read_text().split() if rule]
    fitting = [rule for rule in rules if rule.lstrip("!") in ("*", path, path.split("/")[0])]
    return not fitting or not fitting[-1].startswith("!")


@pytest.mark.parametrize("source", sorted({s for *given, _ in lines("COPY") for s in given if not s.startswith("--")}))
def test_what_is_copied_is_there_and_reaches_the_builder(source):
    if source.startswith("/"):
        assert source == "/lockgate/.venv"  # of the first stage
        return
    assert (PROJECT / source).exists() and not kept_out(source)


def test_nothing_else_reaches_the_builder():
    assert all(kept_out(name) for name in (".git", ".venv", "tests", "docs", "benchmarks", "README.md"))


def test_packages_come_from_the_lock_and_those_left_out_are_in_it():
    (sync,) = [words for words in lines("RUN") if "sync" in words]
    assert {"--frozen", "--no-dev"} <= set(sync)
    left_out = {sync[i + 1] for i, word in enumerate(sync) if word == "--no-install-package"}
    assert left_out and left_out <= {package["name"] for package in LOCK["package"]}
    own = {re.match(r"[\w-]+", need)[0] for need in PYPROJECT["project"]["dependencies"]}
    assert not left_out & own


def test_the_accelerator_is_an_extra_of_the_lock_for_both_lines_of_python():
    assert "${ACCELERATOR:+--extra $ACCELERATOR}" in DOCKERFILE
    (project,) = [package for package in LOCK["package"] if package["name"] == "lockgate"]
    asked = project["optional-dependencies"]["cuda"]
    lines_of_python = {need["marker"].split(" and")[0] for need in asked if need["extra"] == ["and-cuda"]}
    assert lines_of_python == {"python_full_version < '3.11'", "python_full_version >= '3.11'"}


def test_the_image_s_labels_are_the_project_s():
    labels = dict(pair.split("=", 1) for words in lines("LABEL") for pair in words)
    assert labels["org.opencontainers.image.version"] == PYPROJECT["project"]["version"]
    assert labels["org.opencontainers.image.licenses"] == PYPROJECT["project"]["license"]


def test_a_step_s_user_is_a_number_which_kubernetes_can_check_to_be_no_root_s():
    assert lines("USER") == [["10001"]]  # runAsNonRoot looks at numbers only
    assert any(words[:3] == ["useradd", "--uid", "10001"] for words in lines("RUN"))


def test_no_index_no_certificate_and_no_secret_is_named():
    assert not re.search(r"https?://|index|cert|token|password|secret", DOCKERFILE, re.I)
