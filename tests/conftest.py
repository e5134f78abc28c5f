"""What all tests share. tf_keras is the Keras of this project, which must be said before TensorFlow is imported."""

import os
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

settings.register_profile(  # the same examples every time, however slow the machine
    "repeatable", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")


def skip_without(what: str) -> NoReturn:
    """Skips a test for want of something on this machine; where CI=true, that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"must be there in CI: {what}", pytrace=False)
    pytest.skip(what)
