"""What may be set about a recipe by accuracy."""

import pytest

from components.common.errors import ConfigError
from components.common.settings import from_json, from_mapping, to_json
from components.search.config import SearchConfig


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "`max_drop` must be set"),
        ({"max_drop": -0.1}, "`max_drop` must be in"),
        ({"max_drop": 0.01, "sparsities": [0.0]}, "`sparsities` must be in"),
        ({"max_drop": 0.01, "sparsities": [1.0]}, "`sparsities` must be in"),
        ({"max_drop": 0.01, "clusters": [1]}, "`clusters` must be in"),
        ({"max_drop": 0.01, "clusters": [], "sparsities": []}, "`sparsities` must name a level"),
        ({"max_drop": 0.01, "quantization_aware": True}, "`quantization_aware` must be false where there is no"),
        ({"max_drop": 0.01, "power": 1.0}, "`power` must be in"),
        ({"max_drop": 0.01, "tries": 0}, "`tries` must be at least 1"),
        ({"max_drop": 0.01, "private": {}}, "`private` is not a setting"),
    ],
)
def test_a_slip_says_what_must_hold(settings, says):
    with pytest.raises(ConfigError) as caught:
        from_mapping(SearchConfig, settings, "")
    assert str(caught.value).startswith(says)


def test_a_search_travels_as_json():
    config = from_mapping(SearchConfig, {"max_drop": 0, "public": {"epochs": 2}, "clusters": [8]}, "")
    assert from_json(SearchConfig, to_json(config)) == config
