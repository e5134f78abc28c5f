"""ImportExampleGen through TFX's launcher: which span it takes, and whose records it gives to which role."""

import dataclasses
from collections import Counter
from pathlib import Path

import pytest
import tensorflow as tf
from ml_metadata import metadata_store
from tfx.orchestration.pipeline import Pipeline

from components.common.errors import DataError
from components.common.mlmd import connection
from components.example_gen.config import ROLES, RolesConfig, SharesConfig
from components.example_gen.ingest import ImportExampleGen
from components.example_gen.ranges import one_span
from components.example_gen.shares import role_of
from pipeline.runners import local
from pipeline.runners.beam.flags import IN_PROCESS
from tests.components.settings import DATA

SHARES = SharesConfig(holdout=0.3, validation=0.1)
SPAN, BEFORE = 20784, 20783


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data").mkdir()
    roles = RolesConfig(train="{YYYY}/{MM}-{DD}/train/*", public="{YYYY}/{MM}-{DD}/public/*")
    return dataclasses.replace(DATA, root=str(tmp_path / "data"), roles=roles, shares=SHARES, marker="_SUCCESS")


@pytest.fixture
def write(data):
    """Writes records, each an id and a person, into a file of a span."""

    def written(name: str, rows: list[tuple[str, str]], day: str = "11-27") -> Path:
        file = Path(data.root, "2026", day, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        with tf.io.TFRecordWriter(str(file)) as writer:
            for id, person in rows:
                made = tf.train.Example()
                for key, value in (("id", id), ("person", person)):
                    if value:
                        made.features.feature[key].bytes_list.value.append(value.encode())
                writer.write(made.SerializeToString())
        (file.parents[1] / "_SUCCESS").touch()
        return file

    return written


@pytest.fixture
def ingest(tmp_path):
    """Runs the node; gives its state, the ids by role that it put out, and the span in MLMD."""
    database, runs = connection(str(tmp_path / "metadata.sqlite")), iter(range(100))

    def run(data, span: int | None = None) -> tuple[str, dict[str, list[str]], int]:
        node = ImportExampleGen(data, None if span is None else one_span(span))
        pipeline = Pipeline(
            "p", str(tmp_path / "out"), components=[node], enable_cache=True, beam_pipeline_args=list(IN_PROCESS)
        )
        results = []
        local.run(pipeline, database, f"run-{next(runs)}", lambda *_: None, results.append)
        store = metadata_store.MetadataStore(database)
        events = store.get_events_by_execution_ids([results[0].execution])
        (made,) = store.get_artifacts_by_id([e.artifact_id for e in events])
        roles = {role: sorted(_ids(Path(made.uri, f"Split-{role}"))) for role in ROLES}
        return results[0].state, roles, made.custom_properties["span"].int_value

    return run


def _ids(folder: Path) -> list[str]:
    files = [str(path) for path in folder.iterdir()]
    rows = tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator()
    return [tf.train.Example.FromString(row).features.feature["id"].bytes_list.value[0].decode() for row in rows]


def test_each_record_goes_to_its_own_role_and_all_of_a_persons_to_one(data, write, ingest):
    rows = [(f"id-{i}", f"person-{i // 4}" if i % 3 else "") for i in range(240)]
    write("train/a", rows[:100]), write("train/b", rows[100:]), write("public/a", [(f"p-{i}", "") for i in range(40)])
    state, made, span = ingest(data)
    assert (state, span) == ("ran", SPAN)
    expected = {id: role_of(id.encode(), person.encode(), SHARES) for id, person in rows}
    assert {role: made[role] for role in ROLES if role != "public"} == {
        role: sorted(id for id, own in expected.items() if own == role) for role in ("train", "validation", "holdout")
    }
    assert made["public"] == sorted(f"p-{i}" for i in range(40))  # whatever their hashes are
    assert all(count == 1 for count in Counter(id for ids in made.values() for id in ids).values())
    whose = {id: person for id, person in rows if person}
    for person in set(whose.values()):
        assert len({role for role, ids in made.items() for id in ids if whose.get(id) == person}) == 1
    assert ingest(data)[0] == "cached"


def test_other_files_and_other_neighbours_move_no_record(data, write, ingest):
    rows = [(f"id-{i}", "") for i in range(60)]
    write("public/a", [("p", "")])
    one = write("train/a", rows)
    _, before, _ = ingest(data)
    one.unlink()
    write("train/z", rows[:7:-1]), write("train/b", [(f"more-{i}", "") for i in range(30)])
    state, after, _ = ingest(data)
    assert state == "ran"
    for role in ("train", "validation", "holdout"):
        assert set(before[role]) & {id for id, _ in rows[8:]} == {id for id in after[role] if id.startswith("id-")}


def test_a_share_that_changes_is_no_hit_in_the_cache(data, write, ingest):
    write("train/a", [(f"id-{i}", "") for i in range(60)]), write("public/a", [("p", "")])
    _, before, _ = ingest(data)
    state, after, _ = ingest(dataclasses.replace(data, shares=SharesConfig(holdout=0.6, validation=0.1)))
    assert state == "ran" and set(before["holdout"]) < set(after["holdout"])
    assert before["validation"] == after["validation"]


@pytest.mark.parametrize("role", ["validation", "holdout"])
def test_a_share_beside_files_of_the_other_role(data, write, ingest, role):
    other = "holdout" if role == "validation" else "validation"
    roles = dataclasses.replace(data.roles, **{other: f"{{YYYY}}/{{MM}}-{{DD}}/{other}/*"})
    write("train/a", [(f"id-{i}", "") for i in range(60)]), write("public/a", [("p", "")])
    write(f"{other}/a", [("o-1", ""), ("o-2", "")])
    _, made, _ = ingest(dataclasses.replace(data, roles=roles, shares=SharesConfig(**{role: 0.5})))
    assert made[other] == ["o-1", "o-2"]
    assert len(made["train"]) + len(made[role]) == 60 and min(len(made["train"]), len(made[role])) > 10


def test_the_newest_complete_span_is_taken_and_an_incomplete_one_refused(data, write, ingest):
    for day in ("11-26", "11-27"):
        write("train/a", [(f"{day}-{i}", "") for i in range(20)], day), write("public/a", [("p", "")], day)
    marker = Path(data.root, "2026", "11-27", "_SUCCESS")
    marker.unlink()
    Path(data.root, "2026", "13-99", "train").mkdir(parents=True)
    Path(data.root, "2026", "13-99", "train", "a").touch()  # no date, at which TFX's own driver stumbles
    assert ingest(data)[2] == BEFORE
    with pytest.raises(DataError, match=r"^span 2026-11-27 must have its marker .* Missing: .*11-27/_SUCCESS$"):
        ingest(data, SPAN)
    with pytest.raises(DataError, match="must hold span 2026-11-28"):
        ingest(data, SPAN + 1)
    marker.touch()
    assert ingest(data)[2] == ingest(data, SPAN)[2] == SPAN
    assert ingest(data, BEFORE)[2] == BEFORE


@pytest.mark.parametrize("lacks", ["id", "two persons"])
def test_a_record_without_one_owner_is_refused_and_not_quoted(data, write, ingest, lacks):
    write("public/a", [("p", "")])
    file = write("train/a", [("secret-1", "anna"), ("secret-2", "")])
    with tf.io.TFRecordWriter(str(file.with_name("b"))) as writer:
        made = tf.train.Example()
        made.features.feature["label"].int64_list.value.append(7)
        if lacks == "two persons":
            made.features.feature["person"].bytes_list.value.extend([b"anna", b"bert"])
        writer.write(made.SerializeToString())
    with pytest.raises(
        DataError, match="^every record in the files of `train` must have one `person` or one `id`"
    ) as told:
        ingest(data)
    assert not any(word in str(told.value) for word in ("secret", "anna", "bert", "\n"))
    plain = dataclasses.replace(
        data, shares=SharesConfig(), roles=RolesConfig(**{r: f"{{YYYY}}/{{MM}}-{{DD}}/{r}/*" for r in ROLES})
    )
    write("validation/a", [("v", "")]), write("holdout/a", [("h", "")])
    file.with_name("b").unlink()
    assert ingest(plain)[1] == {
        "train": ["secret-1", "secret-2"],
        "public": ["p"],
        "validation": ["v"],
        "holdout": ["h"],
    }


def test_neither_marker_nor_shares_leave_tfxs_own_executor(data):
    roles = RolesConfig(**{role: f"{role}/*" for role in ROLES})
    plain = ImportExampleGen(dataclasses.replace(data, roles=roles, marker="", shares=SharesConfig()), None)
    assert plain.executor_spec.executor_class.__module__.startswith("tfx.")
    assert plain.exec_properties["custom_config"] is None
