"""Trial runs of a model on made-up examples: what one example does to another's output and gradients.

They show that a model mixes examples; they cannot show that it does not (`known`). What hides mixing is taken away:
weights that are zero are drawn anew, the gradient of each weight is looked at beside the output, random layers draw
the same in both runs that are compared, and batches have one example, a few, and one more.
"""

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context

from components.common.errors import ModelError
from components.common.legacy_keras import keras
from components.dp_training.per_example.errors import ExamplesMixError
from components.dp_training.per_example.plan import Plan
from components.dp_training.per_example.state import kept

_ANY_LENGTH = 8  # for an axis of unknown length
_PROBED = 4  # examples
_DRAWS = 3  # of weights, after the model's own
_ROUNDING = 1e-4  # of what is compared, relative to the largest


def probe(model: keras.Model, plan: Plan) -> None:
    """Runs the model on made-up batches at several weights; leaves its weights for the caller to put back.

    Args:
        model: with one input.
        plan: of it. A model whose layers are all known to keep examples apart is run at fewer weights.

    Raises:
        ExamplesMixError: an example's output, or its share of a weight's gradient, depends on the others or on how
            many there are.
        ModelError: the model does not give a row an example at some batch size.
    """
    runs = _Runs(model, plan)
    for draw in range(1 + (_DRAWS if plan.whole else 1)):
        if draw:
            _draw_weights(model, draw)
        for count in (_PROBED, _PROBED + 1):
            _compare_changed(runs, count, draw)
        _compare_sizes(runs, draw)


def _compare_changed(runs: "_Runs", count: int, seed: int) -> None:
    """Changes one example, and looks at the others."""
    batch, others = _made_up(runs.model, count, seed)
    kept_rows = np.arange(count) != seed % count
    output, gradients = runs.run(batch, seed, counted=kept_rows)
    for other in others:
        changed = np.where(kept_rows.reshape([-1] + [1] * (batch.ndim - 1)), batch, other)
        again, moved = runs.run(changed, seed, counted=kept_rows)
        same = all(_alike(a, b) for a, b in zip(gradients, moved, strict=True))
        if not (same and _alike(output[kept_rows], again[kept_rows])):
            raise runs.mixes("one example's output or gradient changed with another's input")


def _compare_sizes(runs: "_Runs", seed: int) -> None:
    """Runs each example alone too, and compares where the model draws no random numbers."""
    batch, _ = _made_up(runs.model, _PROBED + 1, seed)
    alone = [runs.run(batch[i : i + 1], seed, first=i) for i in range(len(batch))]
    if runs.random or not _alike(runs.run(batch, seed)[0], runs.run(batch, seed + 1)[0]):
        return
    for count in (_PROBED, _PROBED + 1):
        output, gradients = runs.run(batch[:count], seed)
        same = _alike(output, np.concatenate([own for own, _ in alone[:count]]))
        for gradient, *parts in zip(gradients, *(own for _, own in alone[:count]), strict=True):
            largest = np.max(np.sum(np.abs(parts), 0), initial=0.0)
            same = same and _alike(gradient, np.sum(parts, 0), largest)
        if not same:
            raise runs.mixes("a batch gave other outputs or gradients than its examples alone")


class _Runs:
    """Runs of one model, each from the same state."""

    def __init__(self, model: keras.Model, plan: Plan):
        self.model, self.random = model, plan.random
        self._changed = (*plan.changed, *plan.generators)

    def run(self, batch: np.ndarray, seed: int, *, counted: np.ndarray | None = None, first: int = 0) -> tuple:
        """Runs a batch, with random layers seeded.

        Args:
            batch: [n, ...]. seed: of random layers.
            counted: bool [n], the examples that take part in the sum; all by default.
            first: place of the first example in the batch with whose sum this one's is compared.

        Returns:
            The output, float32 [n, m], and each weight's gradient of a sum over it with fixed random factors.
        """
        with kept(self._changed), _seeded(seed, self.random):
            with tf.GradientTape() as tape:
                output = self._output(batch)
                factors = np.random.default_rng(0).normal(size=(first + len(batch), output.shape[1]))[first:]
                if counted is not None:
                    factors[~counted] = 0.0
                total = tf.reduce_sum(output * factors.astype(np.float32))
            gradients = tape.gradient(total, self.model.trainable_variables, unconnected_gradients="zero")
        return output.numpy(), [tf.convert_to_tensor(gradient).numpy() for gradient in gradients]

    def _output(self, batch: np.ndarray) -> tf.Tensor:
        name = self.model.name
        try:
            outputs = tf.nest.flatten(self.model(tf.constant(batch, self.model.inputs[0].dtype), training=True))
        except (tf.errors.OpError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ModelError(f"model {name} must run on {len(batch)} examples. Received: {reason}") from None
        shapes = [tuple(output.shape) for output in outputs if output.shape[:1] != [len(batch)]]
        if shapes:
            raise ModelError(
                f"model {name} must return one row an example. Received: shape {shapes[0]} for {len(batch)} examples"
            )
        return tf.concat([tf.reshape(tf.cast(output, tf.float32), [len(batch), -1]) for output in outputs], 1)

    def mixes(self, how: str) -> ExamplesMixError:
        """The refusal of the model."""
        return ExamplesMixError(
            f"model {self.model.name} must not mix examples: {how}. "
            "Normalize within an example (GroupNormalization), and reduce over no batch axis"
        )


@contextlib.contextmanager
def _seeded(seed: int, random_operations: bool) -> Iterator[None]:
    """What draws random numbers, numpy and Python and perhaps TensorFlow, which takes a while, starts from `seed`, and
    goes on afterwards as if nothing had been drawn."""
    own = context.context()
    own.ensure_initialized()
    had = own._seed, getattr(own, "_rng", None), np.random.get_state(), random.getstate()
    if random_operations:
        tf.random.set_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        if random_operations:
            own._set_global_seed(had[0])
            own._rng = had[1] or own._rng
        np.random.set_state(had[2])
        random.setstate(had[3])


def _draw_weights(model: keras.Model, seed: int) -> None:
    """Gives each weight normal values, as large as it has or as its inputs suggest; none is zero."""
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        own = np.sqrt(np.mean(np.square(variable.numpy()))) if variable.shape.num_elements() else 0.0
        fan_in = max(1, int(np.prod(variable.shape[:-1])))
        variable.assign((own or fan_in**-0.5) * rng.normal(size=variable.shape))


def _alike(ours: np.ndarray, theirs: np.ndarray, largest: float = 0.0) -> bool:
    """Within rounding, where both are finite. largest: of what the values were summed up from."""
    finite = np.isfinite(ours) & np.isfinite(theirs)
    ours, theirs = ours[finite].astype(np.float64), theirs[finite].astype(np.float64)
    largest = max(np.max(np.abs(ours), initial=largest), np.max(np.abs(theirs), initial=0.0))
    return bool(np.all(np.abs(ours - theirs) <= _ROUNDING * largest))


def _made_up(model: keras.Model, count: int, seed: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """A batch, and what its examples may be changed to: floats mostly in [0, 1), or ids 0 and 1."""
    spec = model.inputs[0]
    shape = [count, *(_ANY_LENGTH if length is None else length for length in spec.shape[1:])]
    rng = np.random.default_rng(seed)
    if not spec.dtype.is_floating or any(
        isinstance(layer, keras.layers.Embedding) for layer in model._flatten_layers()
    ):
        batch = rng.integers(0, 2, shape)
        return batch, [1 - batch]
    batch = rng.random(shape)
    return batch, [rng.random(shape), -10.0 * batch]
