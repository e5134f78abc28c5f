"""tf_keras is the Keras here, and AutoGraph leaves it alone."""

from components.common.legacy_keras import keras


def test_it_is_keras_2_and_a_second_import_adds_no_second_rule():
    import importlib

    from tensorflow.python.autograph.core import config

    import components.common.legacy_keras as module

    assert keras.__name__ == "tf_keras" and keras.__version__.startswith("2.")
    importlib.reload(module)
    rules = [str(rule) for rule in config.CONVERSION_RULES]
    assert sum("tf_keras" in rule for rule in rules) == 1


def test_autograph_does_not_convert_what_tf_keras_defines():
    from tensorflow.python.autograph.impl import conversion

    from components.common.kernels import copy_of

    assert conversion.is_allowlisted(keras.Model.train_step)
    assert not conversion.is_allowlisted(copy_of)
