"""Data beside the configuration's file is refused when it is compiled, and not by a step that cannot read it."""

import pytest

from components.common.errors import ConfigError
from pipeline.cli import main
from pipeline.config import PRESETS, load
from pipeline.runners.kubeflow.reach import check_paths

TINY = (PRESETS / "tiny.toml").read_text()


def copied(folder, *settings: str):
    """The tiny preset, copied into a folder as a user would."""
    file = folder / "mine.toml"
    file.write_text(TINY)
    return load(str(file), list(settings)), file


@pytest.mark.parametrize(
    ("settings", "key", "name"),
    [((), "schema", "fashion_mnist.pbtxt"), (("data.root=BESIDE/images",), "root", "images")],
)
def test_what_lies_beside_the_configuration_is_refused(tmp_path, settings, key, name):
    config, file = copied(tmp_path, *(each.replace("BESIDE", str(tmp_path)) for each in settings))
    with pytest.raises(ConfigError, match=f"^`data.{key}` must be an absolute path that steps have") as refused:
        check_paths(config, file)
    assert str(refused.value).endswith(f"Received: {tmp_path / name}, beside the configuration")


@pytest.mark.parametrize("schema", ["/mnt/lockgate/images/schema.pbtxt", "/lockgate/schema.pbtxt", "/data/s.pbtxt"])
def test_the_volume_and_the_image_are_what_steps_have(tmp_path, schema):
    check_paths(*copied(tmp_path, f"data.schema={schema}"))


def test_so_is_a_volume_that_the_configuration_lies_on_and_a_preset_itself(tmp_path):
    check_paths(*copied(tmp_path, f"kubeflow.root={tmp_path}"))
    check_paths(load("tiny"), PRESETS / "tiny.toml")


def test_the_command_refuses_it_in_one_line(tmp_path, capsys):
    _, file = copied(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["kubeflow", "compile", "--config", str(file), "--output", str(tmp_path / "mine.yaml")])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.count("\n") == 1 and said.startswith("lockgate: `data.schema` must be")
    assert not (tmp_path / "mine.yaml").exists()
