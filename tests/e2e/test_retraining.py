"""Nights through the real pipeline: what arrived is trained on once, in order, whatever is damaged or killed."""

import json
from pathlib import Path

import pytest

from components.privacy.ledger import Ledger
from tests.e2e.conftest import lockgate
from tests.e2e.nights import Images, records, retrained, retraining, running, served, write_config


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The folder of the data, the configuration, the root, and where things are told."""
    folder = tmp_path_factory.mktemp("nights")
    (folder / "data").mkdir()
    told = folder / "told"
    config = write_config(
        folder,
        folder / "data",
        schedule={"command": f"tee -a {told}"},
        trainer={"population": 300, "warm_start": True, "steps": 6},
        drift={"action": "stop"},
    )
    return folder / "data", config, folder / "root", told, Images(600)


def spans(firing: dict) -> list[tuple[int, str]]:
    return [(run["span"], run["state"]) for run in firing["runs"]]


def test_nights(place):
    """One story, told in order: each part is what the one before left."""
    data, config, root, told, images = place
    assert retrained(config, root)[1]["idle"] == "nothing new has arrived"

    images.arrive(data, 1)
    images.arrive(data, 2, marker=False)
    killed = retraining(config, root)
    assert any("DataChecker" in line for line in killed.stdout)
    killed.kill()
    killed.communicate()
    code, first = retrained(config, root)
    assert (code, spans(first)) == (0, [(1, "pushed")]) and "_SUCCESS is not there" in first["waiting"][0]["reason"]
    assert running(root) == 0

    damaged = images.arrive(data, 3) / "train" / "images.tfrecord"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-5])
    (data / "span-2" / "_SUCCESS").touch()
    images.arrive(data, 4, only=(0, 1))
    code, second = retrained(config, root)
    assert spans(second)[0] == (2, "pushed") and spans(second)[1] == (4, "refused") and code == 3
    assert second["runs"][1]["cause"] == "drift" and "Nothing private was read" in second["runs"][1]["error"]
    assert [d["span"] for d in second["damaged"]] == ["span-3"] and str(damaged) in second["damaged"][0]["reason"]
    heard = [json.loads(line) for line in told.read_text().replace("}{", "}\n{").splitlines()]
    assert [(m["outcome"], m["span"]) for m in heard] == [("refused", 4), ("damaged", "span-3")]

    code, third = retrained(config, root)
    assert (code, third["runs"], third["idle"]) == (0, [], "nothing new has arrived")
    damaged.write_bytes(whole)
    code, fourth = retrained(config, root, "--set", "trainer.warm_start=false")
    assert (code, spans(fourth), fourth["damaged"]) == (0, [(3, "pushed")], [])
    assert fourth["removed_bytes"] > 0 and fourth["problems"] == []
    assert told.read_text().count("outcome") == 2

    book = Ledger(root / "ledger.sqlite").book()
    assert [(c.spans, c.executed) for c in book.charges.values()] == [((f"nightly/span-{n}",), 6) for n in (1, 2, 3)]
    made = [r for r in records(root) if r["exit_code"] in (0, 3)]
    assert [(r["data"]["span"], r["state"]) for r in made] == [
        (1, "pushed"),
        (2, "pushed"),
        (4, "refused"),
        (3, "pushed"),
    ]
    bases = [r["privacy"] and r["privacy"]["base"] for r in made]
    assert [b and b["spans"] for b in bases] == [None, ["nightly/span-1"], None, None]
    manifest = json.loads((served(root).parent / "manifest.json").read_text())
    assert (manifest["spans"], manifest["compared"]) == (["nightly/span-3"], ["nightly/span-1", "nightly/span-2"])


def test_status_says_what_serves_and_why(place, tmp_path):
    _, config, root, _, _ = place
    told = lockgate("status", "--config", str(config), "--json", root=root)
    status = json.loads(told.stdout)
    assert status["serving"]["version"] == 3 and status["due"] == [] and status["damaged"] == []
    assert [(run["span"], run["state"]) for run in status["runs"] if run["exit_code"] in (0, 3)] == [
        (3, "pushed"),
        (4, "refused"),
        (2, "pushed"),
        (1, "pushed"),
    ]
    page = tmp_path / "status.html"
    assert lockgate("status", "--config", str(config), "--html", str(page), root=root).returncode == 0
    assert 'http-equiv="refresh"' in page.read_text() and "Version 3, int8, serves" in page.read_text()
    assert "Version 3, int8, serves" in (root / "status.html").read_text()


def test_cleaning_keeps_what_the_next_night_needs(place):
    data, config, root, _, images = place
    before = {path.name for path in root.glob("artifacts/DPTrainer/model/*")}
    least = ("clean", "--config", str(config), "--set", "retention.runs=1", "--set", "retention.versions=1", "--json")
    dry = json.loads(lockgate(*least, "--dry-run", root=root).stdout)
    assert dry["removed"] and all(Path(row["path"]).exists() for row in dry["removed"])
    done = lockgate(*least, root=root)
    wet = json.loads(done.stdout)
    assert done.stderr == ""
    assert wet["removed"] == dry["removed"] and not any(Path(row["path"]).exists() for row in wet["removed"])
    assert json.loads(lockgate(*least, root=root).stdout)["removed"] == []
    left = {path.name for path in root.glob("artifacts/DPTrainer/model/*")}
    assert left < before and len(list(root.glob("artifacts/ImportExampleGen/examples/*"))) == 1
    images.arrive(data, 5)
    code, night = retrained(config, root)
    assert (code, spans(night)) == (0, [(5, "pushed")])
    assert records(root)[-1]["privacy"]["base"]["spans"] == ["nightly/span-3"]
