"""Agreement of a file with the model that it came from."""

import numpy as np

from components.common.examples import scaled
from components.quantization.core import convert
from components.shipped.agreement import agreement


def test_a_float_file_agrees_and_a_file_of_another_model_does_not(make_model, public):
    model, other, images = make_model(), make_model(seed=8), [scaled(public.images)]
    same = agreement(model, convert(model, "float32"), images)
    assert same["agreement"] == 1 and same["largest_difference"] < 1e-5
    found = agreement(model, convert(other, "float32"), images)
    expected, scores = model.predict(images[0], verbose=0), other.predict(images[0], verbose=0)
    assert abs(found["agreement"] - np.mean(expected.argmax(1) == scores.argmax(1))) < 1e-9
    assert abs(found["largest_difference"] - np.abs(expected - scores).max()) < 1e-5
    assert abs(found["mean_difference"] - np.abs(expected - scores).mean()) < 1e-5
