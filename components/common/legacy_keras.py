"""tf_keras, the Keras 2 API that TFMOT and tensorflow-privacy need: the one place that imports it.

AutoGraph leaves `keras` alone but not `tf_keras`, so it rewrites all of it at the first trace of a `fit` or `predict`:
20 s on two cores, for nothing, since Keras is written without Python control flow on tensors.
"""

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import tf_keras as keras  # noqa: E402 - after the variable that it reads
from tensorflow.python.autograph.core import config as autograph  # noqa: E402

_RULE = autograph.DoNotConvert("tf_keras")
if not any(str(rule) == str(_RULE) for rule in autograph.CONVERSION_RULES):
    autograph.CONVERSION_RULES = (_RULE, *autograph.CONVERSION_RULES)

__all__ = ["keras"]
