"""Set before TensorFlow is imported anywhere: tf_keras is the Keras of this project."""

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
