"""A trained parent of 843 weights, what it is measured on, and a search small enough to be run whole."""

import pytest

from components.common.examples import Split
from components.common.public_training import fit_public
from components.common.tuning import PublicTuning
from components.search.config import SearchConfig
from components.search.target import Target


@pytest.fixture(scope="session")
def parent(make_model, public):
    model = make_model()
    fit_public(model, public, PublicTuning(epochs=25, learning_rate=0.01))
    return model


@pytest.fixture(scope="session")
def validation(public):
    """The same images upside down and in another order, which the parent has not seen."""
    return Split(images=public.images[::-1, :, ::-1].copy(), labels=public.labels[::-1].copy())


@pytest.fixture(scope="session")
def settings():
    return SearchConfig(
        max_drop=0.01,
        sparsities=(0.5, 0.8),
        clusters=(16, 4),
        public=PublicTuning(epochs=2, learning_rate=0.005),
        tries=3,
    )


@pytest.fixture(scope="session")
def target():
    return Target(max_drop=0.01, margin=0.2, alpha=0.05, holdout=1000, power=0.9)
