"""Statistics of the private split with noise, through the real pipeline."""

import json

import numpy as np
import pytest
from scipy import stats

from components.privacy.accounting import epsilon_of
from components.privacy.ledger import Ledger
from tests.e2e.conftest import run_tiny

SPAN, DELTA = "fashion-mnist/span-1", 1e-5


@pytest.fixture(scope="module")
def noised(tmp_path_factory):
    """A root on which the tiny preset has run once with noisy statistics, and the run's record."""
    root = tmp_path_factory.mktemp("noised")
    code, printed = run_tiny(root, "privacy.statistics=noised")
    assert code == 0, printed
    return root, json.loads(next(root.glob("runs/*/run.json")).read_text())


def test_they_are_charged_and_in_the_epsilon_of_what_is_pushed(noised):
    root, record = noised
    ledger = Ledger(root / "ledger.sqlite")
    training, counted = ledger.charges(SPAN)
    assert training.settled and training.reserved.sampling_probability < 1
    assert epsilon_of([training.reserved], DELTA) <= 0.95 * 2.95
    assert (counted.executed, counted.reserved.sampling_probability) == (1, 1.0)
    assert record["privacy"]["epsilon"] == ledger.epsilon(SPAN, DELTA)
    assert record["privacy"]["epsilon"] == epsilon_of([training.reserved, counted.reserved], DELTA) <= 2.95
    assert "noisy statistics" in record["privacy"]["statement"]


def test_they_are_the_truth_with_the_stated_noise_and_on_the_page(noised):
    from components.common.examples import read_split

    root, record = noised
    found = record["statistics"]
    assert found["epsilon"] <= 0.05 * 2.95
    (examples,) = root.glob("artifacts/ImportExampleGen/examples/*")
    truth = np.bincount(read_split(str(examples), "train", (28, 28, 1)).labels, minlength=10)
    noise = (np.array(found["classes"]) - truth) / found["deviation"]
    assert truth.sum() == 1000 and 1e-6 < stats.chi2.sf((noise**2).sum(), 10) < 1 - 1e-6
    page = next(root.glob("runs/*/report.html")).read_text()
    assert "each count with Gaussian noise of standard deviation" in page


def test_the_audit_walked_to_them(noised):
    root, _ = noised
    (audit,) = root.glob("artifacts/PrivacyAuditor/audit/*/audit.json")
    assert "NoisedStatistics" in audit.read_text()
