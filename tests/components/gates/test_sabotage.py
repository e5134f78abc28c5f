"""180 models that must not be pushed, from the gate's arithmetic through Selector and Pusher: 45 ways to be bad, each
smuggled in four ways. None is."""

import dataclasses
import json
from pathlib import Path

import pytest

from components.common.artifacts import PrivacyAudit, Selection, Variant, Verdict
from components.common.content import sha256, sizes
from components.common.errors import LockgateError
from components.common.legacy_keras import keras
from components.common.settings import to_json
from components.common.tfx_nodes import standard_artifacts
from components.gates.config import GatesConfig
from components.gates.judge import judge
from components.gates.push.component import Pusher
from components.privacy.account import Account
from components.privacy.config import PrivacyConfig
from components.privacy.ledger import Ledger
from components.quantization.core import convert
from components.selection.component import Selector
from components.selection.config import SelectionConfig
from tests.components.gates.measurements import GOOD, POLICY, measured
from tests.components.gates.test_judge import CASES
from tests.components.settings import STATEMENT

keras.utils.set_random_seed(0)
FILES = [convert(keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(n)]), "float32") for n in (2, 3)]
BAD = [changes for changes, _, verdict, _ in CASES if verdict in ("fail", "inconclusive")]
WAYS = ("as it is", "verdict edited", "verdict of a good one copied", "verdict and its properties of a good one copied")


def written(artifact, name: str, content: bytes, measurement, id: int) -> tuple:
    """A variant, and the verdict on it as the gate writes it."""
    variant, verdict = artifact(Variant, f"{name}-variant"), artifact(Verdict, f"{name}-verdict")
    variant.id, verdict.id = id, id + 1
    Path(variant.uri, "model.tflite").write_bytes(content)
    STATEMENT.save(variant.uri)
    variant.set_string_custom_property("sha256", sha256(content))
    answer, checks = judge(measurement, GatesConfig(), 4, POLICY)
    said = {"verdict": answer, "checks": [dataclasses.asdict(c) for c in checks], "recipe": name, **sizes(content)}
    said |= {"accuracy": 0.9, "drop": 0.0, "latency_us": 1.0, "served": {}}
    write(verdict, said)
    for key in ("recipe", "sha256", "verdict"):
        verdict.set_string_custom_property(key, said[key])
    verdict.set_string_custom_property("digest", sha256(Path(verdict.uri, "verdict.json").read_bytes()))
    return variant, verdict


def write(verdict, said: dict) -> None:
    Path(verdict.uri, "verdict.json").write_text(json.dumps(said, indent=2))


def smuggle(way: str, bad: tuple, good: tuple) -> None:
    """What somebody does to the bad one's verdict after the gate."""
    said, better = (json.loads(Path(v.uri, "verdict.json").read_text()) for _, v in (bad, good))
    if way == "verdict edited":
        write(bad[1], {**said, "verdict": "pass", "checks": better["checks"]})
    elif way != "as it is":
        write(bad[1], better)
    if way.startswith("verdict and its properties"):
        for key in ("recipe", "sha256", "verdict", "digest"):
            bad[1].set_string_custom_property(key, good[1].get_string_custom_property(key))


@pytest.fixture
def pushed(artifact, execute, tmp_path):
    """Runs Selector and Pusher on what the gate wrote; gives what serves then."""

    def run(variants: list, verdicts: list) -> list[bytes]:
        selection, audit = artifact(Selection, "selection"), artifact(PrivacyAudit, "audit")
        Path(audit.uri, "audit.json").write_text(json.dumps({"epsilon": 0.0, "spans": {}, "made_from": []}))
        inputs = {"variants": variants, "verdicts": verdicts}
        policy, book = PrivacyConfig(epsilon=2.5, delta=1e-5, budget_epsilon=8.0), str(tmp_path / "ledger.sqlite")
        Ledger(book).reserve(STATEMENT.spans, "training", STATEMENT.mechanism, policy)
        account = Account(policy=policy, ledger=book, journals="", population=100)
        parameters = {"account": to_json(account), "serving": str(tmp_path / "serving")}
        try:
            execute(Selector, inputs, {"selection": selection}, config=to_json(SelectionConfig()))
            output = artifact(standard_artifacts.PushedModel, "pushed")
            execute(Pusher, {"selection": selection, "audit": audit, **inputs}, {"pushed": output}, **parameters)
        except LockgateError as error:
            assert error.exit_code in (2, 3)
        return [p.read_bytes() for p in tmp_path.glob("serving/versions/*/model.tflite")]

    return run


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("changes", BAD, ids=str)
def test_none_is_pushed(artifact, pushed, changes, way):
    bad = written(artifact, "bad", FILES[0], measured(**changes), 1)
    good = written(artifact, "good", FILES[1], GOOD, 3)  # of another run: its variant does not compete here
    smuggle(way, bad, good)
    assert pushed([bad[0]], [bad[1]]) == []


def test_a_good_one_is_pushed_and_there_are_180_bad_ones(artifact, pushed):
    good = written(artifact, "good", FILES[1], GOOD, 3)
    assert pushed([good[0]], [good[1]]) == [FILES[1]]
    assert len(BAD) * len(WAYS) >= 180
