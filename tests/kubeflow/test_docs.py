"""The commands and files that the docs show: each is one that the programs that it is for accept."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import typer
import yaml

from pipeline.cli import app
from pipeline.config import PRESETS, from_dict
from tests.kubeflow.conftest import MANIFESTS
from tests.kubeflow.kustomize import built, has_kustomize

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = MANIFESTS.parents[1]
PAGES = sorted([*(ROOT / "kubeflow").glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_OURS = re.compile(r"(?:^|\s|/)lockgate (?=[a-z])")
_NOT_IN_KUBERNETES = ("kustomize.config.k8s.io/", "snapshot.storage.k8s.io/")  # objects of others


def blocks(page: Path) -> list[tuple[str, str]]:
    """The fenced blocks of a page: what they are said to be, and the text without the page's indentation."""
    found = re.findall(r"^( *)```(\w*)\n(.*?)^ *```$", page.read_text(), flags=re.M | re.S)
    return [(kind, re.sub(f"^{indent}", "", text, flags=re.M)) for indent, kind, text in found]


def lines(page: Path) -> list[str]:
    """The command lines in a page's blocks, each in one piece and without its comment."""
    shells = [text for kind, text in blocks(page) if kind in ("", "bash", "sh", "ini")]
    whole = [line for text in shells for line in text.replace("\\\n", " ").splitlines()]
    return [re.sub(r"\s+#.*$", "", line).strip() for line in whole if not line.startswith("#")]


def calls(page: Path) -> list[str]:
    """Every call of `lockgate` in a page's blocks."""
    shown = [line for line in lines(page) if not line.startswith("lockgate: ")]  # what it prints when it refuses
    parts = [part for line in shown for part in re.split(r"&&|\s\|\s|>>", line) if "docker" not in part]
    return ["lockgate " + _OURS.split(part, maxsplit=1)[1].strip() for part in parts if _OURS.search(part)]


def mentions(page: Path) -> list[str]:
    """Every call of `lockgate` within a page's sentences; one without arguments is the command's name."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    return re.findall(r"`(lockgate [a-z][^`|]*)`", text)


def accepted(line: str, named: bool = False) -> None:
    """Raises unless the command line has such a command, with such options and arguments.

    Args:
        line: `[…]` and `…` in it are as in a page's tables: what may be left out, and more of the same.
        named: where it has no arguments, it need only be a command.
    """
    words = [word for word in shlex.split(re.sub(r"[\[\]]", "", line).replace("…", " x"))[1:] if word != "x"]
    command, name = typer.main.get_command(app), "lockgate"
    while words and hasattr(command, "commands"):
        name, *words = words
        assert name in command.commands, f"{line} must be a command"
        command = command.commands[name]
    if words or not named:
        command.make_context(name, words)


def whole(text: str) -> dict[str, dict]:
    """The default configuration with the tables of a page in place of its own: a table within one as a whole."""
    tables = tomllib.loads((PRESETS / "default.toml").read_text())
    for key, value in tomllib.loads(text).items():
        tables[key] = {**tables.get(key, {}), **value} if isinstance(value, dict) else value
    return tables


CALLS = sorted({(page.name, line) for page in PAGES for line in calls(page)})
MENTIONS = sorted({(page.name, line) for page in PAGES for line in mentions(page)})


@pytest.fixture(autouse=True)
def server(monkeypatch):
    monkeypatch.setenv("LOCKGATE_KFP_HOST", "http://localhost:8080")


def test_the_calls_that_the_pages_show_are_seen():
    pages = {page for page, _ in CALLS}
    assert {"README.md", "install.md", "multi-user.md", "upgrade.md", "backup.md", "schedules.md"} <= pages
    assert ("retraining.md", "lockgate retrain --config /etc/lockgate/nightly.toml --root /var/lib/lockgate") in CALLS
    assert ("install.md", "lockgate ledger show") in CALLS, "within a call of kubectl"
    assert len(CALLS) >= 40 and len(MENTIONS) >= 20


@pytest.mark.parametrize("line", sorted({line for _, line in CALLS}))
def test_a_call_is_one_that_the_command_line_takes(line):
    accepted(line)


@pytest.mark.parametrize("line", sorted({line for _, line in MENTIONS}))
def test_a_call_within_a_sentence_is_one_that_the_command_line_takes(line):
    accepted(line, named=True)


@pytest.mark.parametrize(
    "line", ["lockgate kubeflow stop nightly", "lockgate ledger show --all", "lockgate kubeflow run"]
)
def test_a_call_that_it_does_not_take_is_refused(line):
    with pytest.raises(Exception) as refused:
        accepted(line)
    assert hasattr(refused.value, "format_message") or "must be a command" in str(refused.value)


TOML = [(page.name, text) for page in PAGES for kind, text in blocks(page) if kind == "toml"]


def test_toml_is_seen():
    assert {"README.md", "install.md", "multi-user.md", "backup.md"} <= {page for page, _ in TOML}


@pytest.mark.parametrize(("page", "text"), TOML, ids=[page for page, _ in TOML])
def test_toml_is_a_configuration_or_a_policy(page, text, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    if text.startswith("owners"):
        from components.privacy.policy import read_policy

        assert len(read_policy(file).budgets) >= 1
    else:
        from_dict(whole(text))


YAML = [(page.name, text) for page in PAGES for kind, text in blocks(page) if kind == "yaml"]


@pytest.mark.parametrize(("page", "text"), YAML, ids=[page for page, _ in YAML])
def test_yaml_is_an_object_of_kubernetes_or_an_overlay(page, text, tmp_path):
    for each in yaml.safe_load_all(text):
        if not each["apiVersion"].startswith(_NOT_IN_KUBERNETES):
            kubernetes_validate.validate(each, "1.37", strict=True)
        if each["kind"] == "Kustomization":
            _check_overlay(text, tmp_path)


def _check_overlay(text: str, folder: Path) -> None:
    """What it names is there, and all that kustomize makes of it is in one namespace."""
    shutil.copytree(MANIFESTS, folder / "manifests")
    mine = folder / "manifests" / "overlays" / "mine"
    mine.mkdir()
    (mine / "kustomization.yaml").write_text(text)
    own = yaml.safe_load(text)
    assert all((mine / name / "kustomization.yaml").is_file() for name in own["resources"] + own["components"])
    if not has_kustomize():
        return  # this project's own stand-in knows no patches in place
    made = built(mine)
    assert {each["metadata"].get("namespace") for each in made} == {own["namespace"]}
    for each in made:
        kubernetes_validate.validate(each, "1.37", strict=True)


KUBECTL = sorted({line for page in PAGES for line in lines(page) if re.search(r"(^|\W)kubectl ", line)})


def _kubectl(line: str) -> list[list[str]]:
    """The calls of kubectl in a line, also those within quotes or behind a pipe."""
    inner, outer = re.findall(r"\$\(([^()]*)\)", line), re.sub(r"\$\([^()]*\)", "x", line)
    parts = [part.strip() for text in [*inner, outer] for part in re.split(r"\s\|\s", text)]
    return [shlex.split(part.removesuffix(" &")) for part in parts if part.startswith("kubectl ")]


def test_commands_of_kubectl_are_seen():
    assert len(KUBECTL) >= 40 and all(_kubectl(line) or "=" in line for line in KUBECTL)


@pytest.mark.parametrize("line", KUBECTL)
def test_kubectl_knows_the_command_and_its_options(line):
    """With --help it looks at commands and options as far as that, and at no cluster."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl")
    for words in _kubectl(line):
        at = words.index("--") if "--" in words else len(words)
        done = subprocess.run([*words[:at], "--help"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr


def test_files_that_commands_name_are_there():
    named = {w for line in KUBECTL for words in _kubectl(line) for w in words if w.startswith("kubeflow/manifests")}
    assert len(named) >= 4
    mine = {"kubeflow/manifests/overlays/mine", "kubeflow/manifests/overlays/team-a"}  # which the pages have one write
    assert [name for name in sorted(named - mine) if not os.path.exists(ROOT / name)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_that_a_page_names_are_there(page):
    named = set(re.findall(r"`((?:docs|kubeflow|data)/[\w/.-]+\.(?:md|yaml))`", page.read_text()))
    theirs = {name for name in named if "/overlays/mine/" in name or "/overlays/team-a/" in name}
    assert [name for name in sorted(named - theirs) if not (ROOT / name).exists()] == []
