"""A step, in this process and against a sqlite MLMD: how it ends, and what it leaves there."""

import datetime
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import tensorflow as tf
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2

from components.common.mlmd import connection
from components.example_gen.config import ROLES, SharesConfig
from components.example_gen.shares import role_of
from pipeline.config import load
from pipeline.graph import build
from pipeline.places import places_in_cluster, places_of
from pipeline.record import Lineage
from pipeline.run import save
from pipeline.runners.kubeflow import closing
from pipeline.runners.kubeflow.carried import Carried, fingerprint, keep, packed
from pipeline.runners.kubeflow.node import main
from pipeline.runners.kubeflow.settings import written
from pipeline.runners.kubeflow.shared import told_of
from pipeline.runners.kubeflow.slices import code_fingerprint, ordered, sliced
from pipeline.runners.nodes import compiled
from pipeline.runs import blank
from tests.pipeline.runners.kubeflow.steps import arguments

NODE = "ImportSchemaGen"
_States = metadata_store_pb2.Execution


@pytest.fixture(autouse=True)
def umask():
    """A step sets its process's."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.fixture
def ir_of(tmp_path):
    def make(*settings: str):
        config = load("tiny", list(settings))
        places = replace(places_of(tmp_path / "root", config.name), metadata=str(tmp_path / "metadata.sqlite"))
        return compiled(build(config, places, span=None))

    return make


@pytest.fixture
def ir(ir_of):
    return ir_of()


@pytest.fixture
def step(tmp_path, ir):
    """Runs a step; what it is given may be put in place of the right things."""

    def run(node: str = NODE, *more: str, **changed: str) -> int:
        given = {"ir": ir, "root": tmp_path / "volume", "metadata": str(tmp_path / "metadata.sqlite"), **changed}
        return main([*arguments(node=node, **given), *more])

    return run


@pytest.fixture
def store(tmp_path):
    return lambda: metadata_store.MetadataStore(connection(str(tmp_path / "metadata.sqlite")))


def test_a_step_publishes_what_it_made_and_says_which_pod_it_was(step, store, capsys, monkeypatch):
    monkeypatch.setenv("KFP_POD_NAME", "pod-7")
    assert step() == 0
    (execution,) = store().get_executions()
    assert execution.last_known_state == _States.COMPLETE
    assert execution.custom_properties["kfp_pod_name"].string_value == "pod-7"
    assert [a.type for a in store().get_artifacts()] == ["Schema"]
    assert "lockgate: ImportSchemaGen ran" in capsys.readouterr().out


def test_tried_again_it_goes_on_under_the_same_execution_without_what_was_half_written(step, store, tmp_path):
    assert step() == 0
    (execution,) = store().get_executions()
    (schema,) = (tmp_path / "root").glob(f"artifacts/{NODE}/schema/{execution.id}/*")
    half = schema.with_name("half")
    half.write_text("written")
    execution.last_known_state = _States.RUNNING  # as a kill leaves it
    store().put_executions([execution])
    assert step() == 0
    assert [e.id for e in store().get_executions()] == [execution.id]
    assert not half.exists() and schema.exists()


def test_another_run_takes_the_result_from_the_cache(step, store):
    assert [step(), step(run="run-2")] == [0, 0]
    assert [e.last_known_state for e in store().get_executions()] == [_States.COMPLETE, _States.CACHED]


def test_after_a_refusal_a_step_does_nothing_and_ends_well(step, store, ir, tmp_path, capsys):
    from pipeline.runners.kubeflow.shared import SharedRun
    from pipeline.runners.nodes import bind

    part = sliced(ir, NODE)
    bind(part, "run-1")
    shared = SharedRun(connection(str(store()._config.sqlite.filename_uri)), part.nodes[0].pipeline_node, "run-1")
    given = arguments(ir, NODE, tmp_path / "volume", str(tmp_path / "metadata.sqlite"))
    shared.join(given[given.index("--graph") + 1])
    shared.refuse("DPTrainer: the budget is spent", "budget")
    assert step() == 0 and store().get_executions() == []
    assert "is skipped, because the run was refused: DPTrainer: the budget is spent" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"code": "0" * 64}, "the image must hold the code that compiled the graph"),
        ({"run": "{{$.pipeline_job_uuid}}"}, "Kubeflow Pipelines must fill in the run's id"),
        ({"metadata": "mysql://user:secret@there/x"}, "MLMD's place must hold no password"),
    ],
)
def test_what_does_not_fit_is_one_line(step, capsys, changed, says):
    assert step(**changed) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and said[0].startswith(f"lockgate: {says}") and "secret" not in said[0]


def test_what_steps_share_must_be_on_the_volume_and_as_it_was_written(step, tmp_path, capsys):
    def said() -> str:
        (line,) = capsys.readouterr().err.strip().splitlines()
        return line

    assert step() == 0
    (file,) = (tmp_path / "volume" / "graphs").iterdir()
    given = ["--root", str(tmp_path / "volume"), "--graph", file.name, "--node", NODE, "--run", "run-2"]
    capsys.readouterr()
    file.write_text(file.read_text()[:-8])
    assert main(given) == 2 and "must be as `lockgate kubeflow compile` wrote it. Received: another" in said()
    file.unlink()
    assert main(given) == 2 and "must be on the volume, where the first step puts it: start a new run" in said()


def test_the_first_step_brings_what_steps_share_and_mends_what_is_there(ir, tmp_path, capsys):
    shared = Carried(graph=ir, settings="", code=code_fingerprint(), metadata=str(tmp_path / "metadata.sqlite"))
    text = packed(shared)
    given = ["--root", str(tmp_path), "--graph", fingerprint(text), "--node", NODE, "--run", "run-1"]
    dash = text.index("-")  # a piece may begin so, and is no flag
    pieces = [text[:dash], text[dash:2000], text[2000:]] if dash < 2000 else [text[:2000], text[2000:dash], text[dash:]]
    for damage in (b"no text: \xff", b"cut"):
        assert main([*given, *(f"--carries={piece}" for piece in pieces)]) == 0
        (file,) = (tmp_path / "graphs").iterdir()
        assert file.name == fingerprint(text) and file.read_text() == text
        file.write_bytes(damage)
    assert main([*given, f"--carries={text[:-4]}"]) == 2
    assert "must be as `lockgate kubeflow compile` wrote it" in capsys.readouterr().err


def test_runs_of_one_graph_that_begin_at_once_put_it_on_the_volume_whole(tmp_path):
    text = 50 * "shared by all steps "

    def keep_and_read(root: Path) -> str:
        keep(root, text)
        return (root / "graphs" / fingerprint(text)).read_text()

    with ThreadPoolExecutor(8) as runs:
        for round in range(20):
            read = list(runs.map(keep_and_read, 8 * [tmp_path / str(round)]))
            assert read == 8 * [text]
            assert len(list((tmp_path / str(round) / "graphs").iterdir())) == 1


def test_a_step_of_another_graph_does_not_join_a_run(step, ir_of, capsys):
    assert step() == 0
    assert step(ir=ir_of("trainer.steps=13")) == 2
    assert "all steps of a run must be of one graph" in capsys.readouterr().err


def test_a_span_that_is_none_is_one_line(step, capsys):
    for span in ("tomorrow", "2026-02-30", "99999999999"):
        assert step("ImportExampleGen", "--parameter", f"span={span}") == 2
        must = "must be a number, a date like 2026-11-27, newest, or due"
        assert f"`span` {must}. Received: span='{span}'" in capsys.readouterr().err


@pytest.fixture
def dated(tmp_path, step, ir_of):
    """Two dated spans of 50 records, the later one without its marker; runs the node that reads them."""
    for day in ("2026-11-26", "2026-11-27"):
        for role in ("train", "public"):
            (tmp_path / "data" / day / role).mkdir(parents=True)
            with tf.io.TFRecordWriter(str(tmp_path / "data" / day / role / "a")) as writer:
                for i in range(50):
                    made = tf.train.Example()
                    made.features.feature["id"].bytes_list.value.append(f"{day}-{role}-{i}".encode())
                    writer.write(made.SerializeToString())
    (tmp_path / "data" / "2026-11-26" / "_SUCCESS").touch()
    patterns = [f'data.roles.{role}="{{YYYY}}-{{MM}}-{{DD}}/{role}/*"' for role in ("train", "public")]
    shares = ['data.roles.holdout=""', 'data.roles.validation=""', "data.shares={holdout=0.3, validation=0.2}"]
    settings = [f"data.root={tmp_path / 'data'}", "data.marker=_SUCCESS", *patterns, *shares]
    config = load("tiny", [*settings, f"kubeflow.root={tmp_path / 'root'}"])
    own = {"ir": ir_of(*settings), "settings": written(config)}

    def run(span: str, id: str, *more: str, node: str = "ImportExampleGen") -> int:
        asked = ("--parameter", f"span={span}") if node == "ImportExampleGen" else ()
        return step(node, *asked, *more, run=id, **own)

    return run


def test_dates_markers_and_shares_travel_with_the_step(dated, store, tmp_path, capsys):
    assert dated("newest", "run-1") == 0
    (examples,) = store().get_artifacts()
    assert examples.custom_properties["span"].int_value == 20783
    found = {}
    for role in ROLES:
        files = [str(path) for path in Path(examples.uri, f"Split-{role}").iterdir()]
        rows = tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator()
        found[role] = {tf.train.Example.FromString(r).features.feature["id"].bytes_list.value[0] for r in rows}
    ids = {f"2026-11-26-train-{i}".encode() for i in range(50)}
    shares = SharesConfig(holdout=0.3, validation=0.2)
    for role in ("train", "validation", "holdout"):
        assert found[role] == {id for id in ids if role_of(id, b"", shares) == role} != set()
    assert len(found["public"]) == 50
    assert dated("2026-11-27", "run-2") == 2
    assert "lockgate: span 2026-11-27 must have its marker before it is read." in capsys.readouterr().err
    (tmp_path / "data" / "2026-11-27" / "_SUCCESS").touch()
    assert dated("2026-11-27", "run-3") == 0
    assert [a.custom_properties["span"].int_value for a in store().get_artifacts()] == [20783, 20784]


def test_a_step_takes_the_span_that_is_due_and_where_none_is_the_run_does_nothing(dated, store, tmp_path, capsys):
    assert dated("due", "run-1", "--idle", str(tmp_path / "out" / "idle")) == 0
    assert (tmp_path / "out" / "idle").read_text() == "false"
    assert [a.custom_properties["span"].int_value for a in store().get_artifacts()] == [20783]
    assert "lockgate: 2026-11-27 is not whole yet:" in capsys.readouterr().out
    assert dated("due", "run-2") == 0  # while the first may still be at work
    assert "is skipped, because another retraining of this pipeline is at work" in capsys.readouterr().out

    began = datetime.datetime.now(datetime.timezone.utc)
    decided = blank(load("tiny"), tmp_path / "root", "run-1", 20783, began)
    (tmp_path / "root" / "runs" / "run-1").mkdir(parents=True)
    save({**decided, "state": "refused", "exit_code": 3, "cause": "gate"})
    pages = []
    for _ in range(2):  # the second time as a step that is tried again, when there is something
        assert dated("due", "run-3", "--idle", str(tmp_path / "idle")) == 0
        said = "lockgate: ImportExampleGen is skipped, because nothing new has arrived"
        assert said in capsys.readouterr().out and (tmp_path / "idle").read_text() == "true"
        pages.append((tmp_path / "root" / "status.html").read_text())
        (tmp_path / "data" / "2026-11-27" / "_SUCCESS").touch()
    assert dated("", "run-3", node=NODE) == 0
    assert "lockgate: ImportSchemaGen is skipped, because nothing new has arrived" in capsys.readouterr().out
    assert len(store().get_executions()) == 1

    assert ["Nothing is due" in page for page in pages] == [True, False]

    assert dated("due", "run-4") == 0
    assert [a.custom_properties["span"].int_value for a in store().get_artifacts()] == [20783, 20784]


def test_what_is_due_cannot_be_told_without_the_configuration(step, capsys):
    assert step("ImportExampleGen", "--parameter", "span=due") == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("lockgate: `span=due` must be of a graph") and "\n" not in said


def test_a_failed_step_says_why_for_the_runs_record(dated, tmp_path, capsys):
    (tmp_path / "data" / "2026-11-26" / "train" / "a").write_bytes(b"no TFRecord file")
    assert dated("2026-11-26", "run-1") == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("lockgate: "))
    told = told_of(connection(str(tmp_path / "metadata.sqlite")), "run-1")
    assert (told.failed, told.error_cause) == ("ImportExampleGen", "data")
    assert told.error == line.replace("lockgate:", "ImportExampleGen:")


def test_a_pipeline_whose_name_has_dots_is_told_of_like_any_other(step, ir_of, tmp_path):
    assert step(ir=ir_of("name=v1.2.fashion")) == 0
    (row,) = told_of(connection(str(tmp_path / "metadata.sqlite")), "run-1").nodes
    assert row["id"] == NODE
    (row,) = Lineage(str(tmp_path / "metadata.sqlite"), "run-1").rows()
    assert row["node"] == NODE


def test_a_parameter_that_nobody_asked_for_is_one_line(step, capsys):
    assert step(NODE, "--parameter", "speed=1") == 2
    assert "a runtime parameter must be one of []" in capsys.readouterr().err


def test_a_root_that_cannot_be_written_is_one_line(step, tmp_path, capsys):
    (tmp_path / "root").write_text("a file")
    assert step() == 2
    assert "must be a folder that can be written" in capsys.readouterr().err


def test_a_slice_holds_its_node_alone_and_nothing_of_where_mlmd_is(ir, tmp_path):
    part = sliced(ir, "DPTrainer")
    assert [n.pipeline_node.node_info.id for n in part.nodes] == ["DPTrainer"]
    text = part.SerializeToString().decode(errors="replace")
    assert "DPTrainer_Executor" in text and "PrunerX" not in text and "Quantizer_Executor" not in text
    assert not part.deployment_config.value.count(str(tmp_path / "metadata.sqlite").encode())


def test_the_graph_is_the_same_however_often_it_is_compiled(ir, tmp_path):
    config = load("tiny")
    places = replace(places_of(tmp_path / "root", config.name), metadata=str(tmp_path / "metadata.sqlite"))
    again = compiled(build(config, places, span=None))
    assert ordered(again).SerializeToString(deterministic=True) == ordered(ir).SerializeToString(deterministic=True)
    changed = compiled(build(load("tiny", ["trainer.steps=13"]), places, span=None))
    assert ordered(changed) != ordered(ir)


def test_a_step_that_takes_too_long_is_ended(tmp_path):
    """The deadline interrupts, as SIGTERM does."""
    import subprocess
    import sys

    text = (
        "import time\nfrom components.common.errors import Interrupted\nfrom pipeline.guards import Signals\n"
        "from pipeline.runners.kubeflow.node import _end_after\n"
        "with Signals().held() as signals:\n    try:\n        _end_after(1)\n        with signals.interrupting():\n"
        "            time.sleep(60)\n    except Interrupted as ended:\n        raise SystemExit(ended.exit_code)\n"
    )
    root = Path(__file__).parents[4]
    done = subprocess.run([sys.executable, "-c", text], cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 143 and "must end within 1 s" in done.stderr
    assert json.dumps(done.stdout) == '""'


@pytest.fixture
def in_a_file(tmp_path, monkeypatch):
    """MLMD is the test's file for the record too, where a cluster has a server."""

    def places(config):
        return replace(places_in_cluster(config), metadata=str(tmp_path / "metadata.sqlite"))

    monkeypatch.setattr(closing, "places_in_cluster", places)


def test_the_first_steps_last_try_leaves_the_runs_record_where_there_is_no_report(dated, in_a_file, tmp_path, capsys):
    (tmp_path / "data" / "2026-11-26" / "train" / "a").write_bytes(b"no TFRecord file")
    record = tmp_path / "root" / "runs" / "run-1" / "run.json"
    assert dated("2026-11-26", "run-1", "--retries", "1") == 2 and not record.exists()
    assert dated("2026-11-26", "run-1", "--retries", "1") == 2
    kept = json.loads(record.read_text())
    (line, _) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("lockgate: "))
    assert (kept["state"], kept["exit_code"], kept["cause"]) == ("failed", 2, "data")
    assert line == f"lockgate: {kept['error']}"


@pytest.mark.parametrize("told", [True, False])
def test_a_run_that_is_begun_anew_has_all_its_tries_again(dated, in_a_file, tmp_path, monkeypatch, told):
    (tmp_path / "data" / "2026-11-26" / "train" / "a").write_bytes(b"no TFRecord file")
    record = tmp_path / "root" / "runs" / "run-1" / "run.json"
    for _ in range(2):
        for before in ("0", "1"):
            if told:
                monkeypatch.setenv("KFP_RETRY_INDEX", before)
            assert not record.exists()
            assert dated("2026-11-26", "run-1", "--retries", "1") == 2
        record.unlink()  # which the last one has written


def test_a_try_that_never_reached_mlmd_counts_where_kubeflow_counts(dated, in_a_file, tmp_path, monkeypatch):
    (tmp_path / "data" / "2026-11-26" / "train" / "a").write_bytes(b"no TFRecord file")
    monkeypatch.setenv("KFP_RETRY_INDEX", "2")
    assert dated("2026-11-26", "run-1", "--retries", "2") == 2
    assert (tmp_path / "root" / "runs" / "run-1" / "run.json").exists()


def test_what_is_missing_before_a_node_begins_is_in_the_record_too(dated, in_a_file, tmp_path):
    shutil.rmtree(tmp_path / "data")
    assert dated("due", "run-1", "--retries", "0") == 2
    kept = json.loads((tmp_path / "root" / "runs" / "run-1" / "run.json").read_text())
    assert kept["state"] == "failed" and str(tmp_path / "data") in kept["error"] and kept["cause"] == "data"
