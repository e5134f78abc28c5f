"""From what a node raised to one line: also what a Beam worker elsewhere raised, which comes as text."""

import pytest

from components.common.errors import DataError, GateError
from pipeline.failures import explain

REMOTE = """Pipeline job-7 failed in state FAILED: Traceback (most recent call last):
  File "sdk_worker.py", line 389, in _execute
components.common.errors.{error}: `roles.holdout` must hold tf.train.Examples. Received: a damaged file{running}

During handling of the above exception, another exception occurred:
RuntimeError: bundle failed
"""


@pytest.mark.parametrize("running", ["", " [while running 'Score-ptransform-12']"])
@pytest.mark.parametrize("error", [DataError, GateError])
def test_our_error_on_a_worker_is_our_error_here(error, running):
    found = explain(RuntimeError(REMOTE.format(error=error.__name__, running=running)))
    assert type(found) is error
    assert str(found) == "`roles.holdout` must hold tf.train.Examples. Received: a damaged file"


@pytest.mark.parametrize("name", ["Interrupted", "Unheard", "annotations"])
def test_what_is_no_error_of_ours_there_is_none_here(name):
    found = explain(RuntimeError(REMOTE.format(error=name, running="")))
    assert found.exit_code == 1 and "RuntimeError" in str(found)


@pytest.mark.parametrize(
    "text", ["StatusCode.UNAVAILABLE", "failed to connect to all addresses; last error: refused", "FutureTimeoutError"]
)
def test_a_job_server_or_a_worker_that_is_away_is_a_service(text):
    error = type(text, (Exception,), {})() if text.isalnum() else RuntimeError(f"grpc: {text}")
    found = explain(error)
    assert found.exit_code == 2 and "Beam's job server and its workers must answer" in str(found)


def test_a_records_content_is_not_quoted():
    assert "secret" not in str(explain(ValueError("secret pixels")))
