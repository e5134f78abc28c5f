"""NoisedStatistics' order of things: reserve, read, keep, settle; never two releases under one charge."""

import json
from pathlib import Path

import pytest
from tensorflow_metadata.proto.v0 import statistics_pb2

from components.common.artifacts import PrivacyStatement
from components.common.errors import BudgetError, DataError
from components.common.settings import to_json
from components.common.tfx_nodes import standard_artifacts
from components.privacy.account import Account
from components.privacy.accounting import epsilon_of
from components.privacy.config import PrivacyConfig
from components.privacy.ledger import Ledger
from components.privacy.release import load_release
from components.statistics.component import NoisedStatistics
from tests.components.settings import DATA

SPAN, DELTA = "d/span-6", 1e-3


@pytest.fixture
def examples(artifact, public, encode, example, write_split):
    made = artifact(standard_artifacts.Examples, "examples")
    made.set_int_custom_property("span", 6)
    labelled = zip(public.images, public.labels, strict=True)
    write_split(made.uri, "train", [example(encode(image), int(label)) for image, label in labelled])
    return made


@pytest.fixture
def count(tmp_path, artifact, execute):
    """Runs the node; gives the folder of what it put out."""

    def run(examples, name="statistics", budget=9.0, group=1) -> Path:
        made = artifact(standard_artifacts.ExampleStatistics, name)
        policy = PrivacyConfig(
            epsilon=2.0, delta=DELTA, budget_epsilon=budget, statistics="noised", records_per_person=group
        )
        account = Account(
            policy=policy,
            ledger=str(tmp_path / "ledger.sqlite"),
            journals=str(tmp_path / "journals"),
            population=90,
        )
        inputs = {"examples": examples, "statement": artifact(PrivacyStatement, "statement")}
        execute(NoisedStatistics, inputs, {"statistics": made}, data=to_json(DATA), account=to_json(account))
        return Path(made.uri)

    return run


@pytest.fixture
def charges(tmp_path):
    return lambda: Ledger(tmp_path / "ledger.sqlite").charges(SPAN)


def counts(folder: Path) -> dict:
    return json.loads((folder / "counts.json").read_text())


def test_they_are_charged_at_their_share_and_say_so(examples, count, charges):
    folder = count(examples)
    (charge,) = charges()
    release = load_release(str(folder))
    assert charge.settled and charge.executed == 1
    assert (release.charge, release.mechanism, release.span) == (charge.id, charge.reserved, SPAN)
    assert 0.095 < release.epsilon == epsilon_of([charge.reserved], DELTA) <= 0.1
    assert len(counts(folder)["classes"]) == 3 and counts(folder)["deviation"] > 10
    found = statistics_pb2.DatasetFeatureStatisticsList()
    found.ParseFromString((folder / "Split-train" / "FeatureStats.pb").read_bytes())
    assert [f.path.step[0] for f in found.datasets[0].features] == ["label", "brightness"]


def test_asked_again_they_are_the_same_under_the_same_charge(examples, count, charges):
    assert counts(count(examples)) == counts(count(examples, "again"))
    assert len(charges()) == 1


def test_a_kill_before_they_were_kept_goes_on_under_its_charge(examples, count, charges, monkeypatch):
    monkeypatch.setattr("components.statistics.component.noisy_counts", _killed)
    with pytest.raises(KeyboardInterrupt):
        count(examples, "killed")
    assert [c.settled for c in charges()] == [False]
    monkeypatch.undo()
    count(examples)
    assert [c.executed for c in charges()] == [1]


def _killed(*_):
    raise KeyboardInterrupt


def test_lost_after_the_release_they_are_drawn_again_under_another_charge(tmp_path, examples, count, charges):
    first = counts(count(examples))
    (kept,) = (tmp_path / "journals").glob("*/release.json")
    assert kept.stat().st_mode & 0o077 == 0
    kept.unlink()
    assert counts(count(examples, "again")) != first
    assert [c.executed for c in charges()] == [1, 1]


def test_past_the_budget_nothing_is_read(examples, count, charges):
    (damaged,) = Path(examples.uri, "Split-train").iterdir()
    damaged.write_bytes(b"no records")
    with pytest.raises(BudgetError):
        count(examples, budget=0.01)
    assert charges() == []
    with pytest.raises(DataError):
        count(examples)


def test_a_person_of_several_records_makes_more_noise(examples, count, charges):
    one, three = counts(count(examples)), counts(count(examples, "three", group=3))
    assert three["deviation"] == pytest.approx(3 * one["deviation"], rel=0.01)
    assert [c.reserved.group for c in charges()] == [1, 3]
