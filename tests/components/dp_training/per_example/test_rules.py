"""Every closed form against the naive loop: each layer kind times its options, drawn by hypothesis."""

from dataclasses import dataclass

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.common.legacy_keras import keras
from components.dp_training.per_example import clipped_gradient_sum
from components.dp_training.per_example.rules import RULES

L = keras.layers
QUICK = settings(
    max_examples=12,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """kwargs of the layer; shape of one input; ids: how many there are, or 0 for floats; shorter: whether the second
    use may read less of the input."""

    kwargs: dict
    shape: tuple
    ids: int = 0
    shorter: bool = True


def _moves(draw, dilatable=True):
    """Strides or dilation, not both above 1, which TensorFlow does not have."""
    strides, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    dilation = dilation if dilatable and strides == 1 else 1
    return {"strides": strides, "dilation_rate": dilation}


@st.composite
def dense(draw):
    shape = draw(st.sampled_from([(5,), (3, 4), (2, 3, 4), (40, 2)]))
    return Case(
        kwargs={"units": draw(st.integers(1, 6)), "use_bias": draw(st.booleans()), "activation": "tanh"},
        shape=shape,
        shorter=len(shape) > 1,
    )


@st.composite
def conv1d(draw):
    groups = draw(st.sampled_from([1, 1, 2]))
    kwargs = {
        "filters": groups * draw(st.integers(1, 3)),
        "kernel_size": draw(st.integers(1, 4)),
        "padding": draw(st.sampled_from(["valid", "same", "causal"])),
        "groups": groups,
        "use_bias": draw(st.booleans()),
        **_moves(draw),
    }
    return Case(kwargs=kwargs, shape=(9, groups * draw(st.integers(1, 3))))


@st.composite
def conv2d(draw):
    groups = draw(st.sampled_from([1, 1, 2]))
    kwargs = {
        "filters": groups * draw(st.sampled_from([1, 3, 17])),
        "kernel_size": draw(st.sampled_from([(1, 1), (3, 3), (2, 3), (4, 1), (3, 4)])),
        "padding": draw(st.sampled_from(["valid", "same"])),
        "groups": groups,
        "use_bias": draw(st.booleans()),
        "activation": draw(st.sampled_from([None, "tanh"])),
        **_moves(draw),
    }
    return Case(kwargs=kwargs, shape=(9, 8, groups * draw(st.sampled_from([1, 2, 9]))))


@st.composite
def depthwise(draw):
    kwargs = {
        "kernel_size": draw(st.sampled_from([1, 2, 3, (2, 3)])),
        "depth_multiplier": draw(st.integers(1, 3)),
        "padding": draw(st.sampled_from(["valid", "same"])),
        "use_bias": draw(st.booleans()),
        **_moves(draw),
    }
    return Case(kwargs=kwargs, shape=(8, 9, draw(st.integers(1, 3))))


@st.composite
def separable(draw):
    case = draw(depthwise())
    return Case(kwargs=case.kwargs | {"filters": draw(st.integers(1, 4)), "activation": "tanh"}, shape=case.shape)


@st.composite
def embedding(draw):
    ids = draw(st.sampled_from([3, 50]))
    length = draw(st.sampled_from([(4,), (70,), (2, 3)]))
    return Case(kwargs={"input_dim": ids, "output_dim": draw(st.integers(1, 4))}, shape=length, ids=ids)


@st.composite
def group_normalization(draw):
    groups, shape = draw(st.sampled_from([(1, (8,)), (2, (8,)), (2, (6, 4)), (1, (4, 5, 4)), (-1, (4, 5, 4))]))
    kwargs = {"groups": groups, "center": draw(st.booleans()), "scale": draw(st.booleans())}
    return Case(kwargs=kwargs, shape=shape, shorter=False)


@st.composite
def layer_normalization(draw):
    kwargs = {
        "axis": draw(st.sampled_from([-1, 1, [1, 2]])),
        "center": draw(st.booleans()),
        "scale": draw(st.booleans()),
    }
    return Case(kwargs=kwargs, shape=(4, 5), shorter=False)


KINDS = {
    L.Dense: dense,
    L.Conv1D: conv1d,
    L.Conv2D: conv2d,
    L.DepthwiseConv2D: depthwise,
    L.SeparableConv2D: separable,
    L.Embedding: embedding,
    L.GroupNormalization: group_normalization,
    L.LayerNormalization: layer_normalization,
}


def test_every_rule_is_listed():
    assert set(KINDS) == set(RULES)
    assert len(RULES) == 8


def model_of(kind, case, *, twice, nested):
    """The layer under test, once or twice, alone or two models deep, before a classifier."""

    def build():
        made = kind(**case.kwargs)
        layer = keras.Sequential([L.InputLayer(case.shape), keras.Sequential([made])]) if nested else made
        image = L.Input(case.shape, dtype="int32" if case.ids else None)
        outputs = [L.Flatten()(layer(image))]
        if twice:
            again = made if nested else layer
            part = L.Lambda(lambda t: t[:, 1:] if case.shorter else t[:, ::-1])(image)
            outputs.append(L.Flatten()(again(part)))
        features = outputs[0] if len(outputs) == 1 else L.Concatenate()(outputs)
        return keras.Model(image, L.Dense(3)(features))

    return build


def inputs_of(case, n, seed=0):
    rng = np.random.default_rng(seed)
    if case.ids:
        return rng.integers(0, case.ids, (n, *case.shape)).astype(np.int32)
    return rng.normal(size=(n, *case.shape))


def randomised(model, seed=1):
    """No weight is 0 or 1, where a wrong formula could hide."""
    rng = np.random.default_rng(seed)
    model.set_weights([(0.4 * rng.normal(size=w.shape) + 0.1).astype(w.dtype) for w in model.get_weights()])
    return model


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@QUICK
@given(data=st.data())
def test_clipped_sum_equals_the_naive_loop(kind, naive, data):
    case = data.draw(KINDS[kind]())
    twice, nested = data.draw(st.booleans(), "twice"), data.draw(st.booleans(), "nested")
    multiplicity = data.draw(st.sampled_from([1, 1, 3]), "multiplicity")
    build = model_of(kind, case, twice=twice, nested=nested)
    model = randomised(build())
    images = inputs_of(case, 3 * multiplicity)
    labels = np.array([0, 1, 2])
    examples = naive.gradients_one_by_one(
        naive.in_float64(build, model.get_weights()), tf.constant(images), labels, multiplicity
    )
    clip = float(np.median([naive.norm(g) for g in examples]))
    found = clipped_gradient_sum(
        model, images if case.ids else images.astype(np.float32), labels, tf.ones(3), clip, multiplicity=multiplicity
    )
    naive.assert_clipped_sum(found, examples, clip)
