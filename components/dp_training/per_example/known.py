"""The layers, by class, that are known to keep examples apart: row i of the output is made of row i of the inputs.

Only these are run on whole batches. A trial run can show that a layer mixes examples, but not that it does not, so a
model with any other layer is run one example at a time (`vectorized.whole_model_terms`). Classes are compared exactly:
a subclass may compute something else.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from components.common.legacy_keras import keras
from components.dp_training.per_example.rules import wrappers
from components.dp_training.scattering import Scattering2D
from components.dp_training.wavelet_features import WaveletFeatures
from components.dp_training.whitening import Standardize

L = keras.layers
_FUNCTIONAL = keras.src.engine.functional.Functional
_PLAIN = (bool, int, float, str)


def first_unknown(layer: keras.layers.Layer, rank: int | None = None) -> str:
    """Names a part that is not known to keep examples apart, with its class; "" if there is none.

    Args:
        layer: built; a model or any other layer.
        rank: of its inputs, batch axis included, where that is known and the same for all.
    """
    if type(layer) in (keras.Sequential, _FUNCTIONAL):
        return _first_unknown_call(layer)
    check = _CHECKS.get(type(layer)) or (_always if wrappers.is_wrapper(layer) else None)
    check = _always if wrappers.has_frozen_ranges(layer) else check
    overridden = "call" in layer.__dict__
    if check is None or overridden or not check(layer, rank) or not _activations_known(layer):
        return _described(layer)
    if type(layer) is L.MultiHeadAttention:
        return ""
    parts = layer._flatten_layers(recursive=False, include_self=False)
    return next((unknown for part in parts if (unknown := first_unknown(part))), "")


def _first_unknown_call(model: keras.Model) -> str:
    """Follows a Sequential or functional model call by call."""
    if not model._is_graph_network or "call" in model.__dict__:
        return _described(model)
    calls = [node for nodes in model._nodes_by_depth.values() for node in nodes if not node.is_input]
    return next((unknown for node in calls if (unknown := _unknown_in_call(node))), "")


def _unknown_in_call(node) -> str:
    """Looks at a layer and at what it is called with: a constant has no row per example."""
    arguments = tf.nest.flatten([node.call_args, node.call_kwargs])
    ranks = {value.shape.rank for value in arguments if _is_symbolic(value)}
    plain = all(_is_symbolic(value) or value is None or isinstance(value, _PLAIN) for value in arguments)
    if type(node.layer).__name__ in ("TFOpLambda", "SlicingOpLambda"):
        return "" if plain and _operation_keeps_apart(node, ranks) else _described(node.layer)
    if not plain:
        return f"{_described(node.layer)}, called with a constant,"
    return first_unknown(node.layer, ranks.pop() if len(ranks) == 1 else None)


def _is_symbolic(value) -> bool:
    return hasattr(value, "_keras_history")


def _described(layer: keras.layers.Layer) -> str:
    return f"{layer.name} of class {type(layer).__name__}"


def _operation_keeps_apart(node, ranks: set[int | None]) -> bool:
    """An element by element operation on tensors of one rank: of two ranks, one's batch axis would lie along another
    axis of the other. Or a slice that takes the whole batch axis."""
    if node.layer.symbol == "__operators__.getitem":
        places = node.call_args[1] if len(node.call_args) == 2 else None
        whole = {"start": None, "stop": None, "step": None}
        return isinstance(places, (tuple, list)) and len(places) > 0 and places[0] == whole
    return node.layer.symbol in _ELEMENTWISE and len(ranks) == 1 and None not in ranks


def _activations_known(layer: keras.layers.Layer) -> bool:
    return all(_is_known_activation(getattr(layer, name, None)) for name in ("activation", "recurrent_activation"))


def _is_known_activation(activation) -> bool:
    if type(activation).__name__ == "QuantizeAwareActivation":  # TFMOT's, around one of these
        activation = activation.activation
    if isinstance(activation, keras.layers.Layer):
        return not first_unknown(activation)
    return activation is None or any(activation is known for known in _ACTIVATIONS)


def _always(layer: keras.layers.Layer, rank: int | None) -> bool:
    return True


def _off_the_batch_axis(name: str) -> Callable[[keras.layers.Layer, int | None], bool]:
    """Whether the axes that the layer holds as `name` leave out axis 0, however they are counted."""

    def check(layer, rank):
        value = getattr(layer, name)
        axes = [] if value is None else np.ravel(value).tolist()
        return all(axis > 0 or axis == -1 or (rank is not None and -rank < axis < 0) for axis in axes)

    return check


def _batch_first(layer: keras.layers.RNN, rank: int | None) -> bool:
    return not layer.time_major and not layer.stateful


def _frozen(layer: keras.layers.BatchNormalization, rank: int | None) -> bool:
    """With its stored moments only."""
    return not layer.trainable


def _by_one_number(layer: keras.layers.Rescaling, rank: int | None) -> bool:
    return np.ndim(layer.scale) == 0 and np.ndim(layer.offset) == 0


def _within(*names: str) -> list[type]:
    return [getattr(L, name) for name in names]


_CHECKS: dict[type, Callable[[keras.layers.Layer, int | None], bool]] = {
    **dict.fromkeys(
        [
            *_within("InputLayer", "Dense", "Embedding", "Activation", "Identity", "Masking", "Flatten", "Reshape"),
            *_within("Permute", "RepeatVector", "TimeDistributed", "Bidirectional"),
            *_within("Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"),
            *_within("DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D"),
            *_within("ELU", "LeakyReLU", "PReLU", "ReLU", "ThresholdedReLU"),
            *_within("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract"),
            *_within("Attention", "AdditiveAttention"),
            *_within("AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise"),
            *_within("SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"),
            *_within(*(f"{kind}{d}D" for d in "123" for kind in ("AveragePooling", "MaxPooling", "GlobalMaxPooling"))),
            *_within(*(f"{kind}{d}D" for d in "123" for kind in ("GlobalAveragePooling", "Cropping", "UpSampling"))),
            *_within(*(f"ZeroPadding{d}D" for d in "123")),
            *_within("SimpleRNNCell", "GRUCell", "LSTMCell", "StackedRNNCells"),
            Standardize,
            WaveletFeatures,
            Scattering2D,
        ],
        _always,
    ),
    **dict.fromkeys(_within("SimpleRNN", "GRU", "LSTM", "RNN"), _batch_first),
    **dict.fromkeys(
        _within("Softmax", "Concatenate", "LayerNormalization", "GroupNormalization", "UnitNormalization"),
        _off_the_batch_axis("axis"),
    ),
    L.Normalization: _off_the_batch_axis("axis"),
    L.Dot: _off_the_batch_axis("axes"),
    L.MultiHeadAttention: _off_the_batch_axis("_attention_axes"),
    L.BatchNormalization: _frozen,
    L.Rescaling: _by_one_number,
}

_ACTIVATIONS = (
    *(getattr(keras.activations, name) for name in dir(keras.activations) if not name.startswith("_")),
    *(tf.nn.relu, tf.nn.relu6, tf.nn.elu, tf.nn.selu, tf.nn.gelu, tf.nn.silu, tf.nn.leaky_relu, tf.nn.softplus),
    *(tf.nn.softsign, tf.nn.softmax, tf.nn.log_softmax, tf.nn.sigmoid, tf.nn.tanh, tf.identity),
)

_ELEMENTWISE = frozenset(
    [
        *("__operators__.add", "math.add", "math.subtract", "math.multiply", "math.divide", "math.truediv"),
        *("math.negative", "math.abs", "math.square", "math.sqrt", "math.rsqrt", "math.exp", "math.log", "math.tanh"),
        *("math.sigmoid", "math.sin", "math.cos", "math.maximum", "math.minimum", "math.softplus", "math.log1p"),
        *("nn.relu", "nn.relu6", "nn.elu", "nn.selu", "nn.gelu", "nn.silu", "nn.leaky_relu", "nn.tanh", "nn.sigmoid"),
        *("nn.softsign", "identity", "stop_gradient", "clip_by_value"),
    ]
)
