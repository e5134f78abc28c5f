"""Every odd model: a function that builds it, by name, with what must become of it.

"mixes", "state", "loss", "precision", "model": refused, by that class of error. "exact": its clipped gradients equal
the loop in float64.
"""

import numpy as np

from components.common.legacy_keras import keras
from tests.components.dp_training.per_example.odd.computing import LOSSES, PRECISION
from tests.components.dp_training.per_example.odd.folding import FOLDING
from tests.components.dp_training.per_example.odd.mixing import MIXING
from tests.components.dp_training.per_example.odd.remembering import STATE
from tests.components.dp_training.per_example.odd.tying import TYING

ODD = {**MIXING, **FOLDING, **TYING, **STATE, **LOSSES, **PRECISION}
REFUSED = [name for name, (outcome, _) in ODD.items() if outcome != "exact"]
EXACT = [name for name, (outcome, _) in ODD.items() if outcome == "exact"]
IDS = {"position embedding": 4, "words in and out": 4}  # ids where inputs are no floats


def inputs_of(name: str, model: keras.Model, n: int) -> np.ndarray:
    """float64, or ids."""
    rng = np.random.default_rng(n)
    shape = (n, *model.input_shape[1:])
    return rng.integers(0, IDS[name], shape).astype(np.int32) if name in IDS else rng.normal(size=shape)
