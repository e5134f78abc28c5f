"""Decides once for a model, and says by name, where closed forms do not reach."""

import dataclasses
import logging
import weakref
from dataclasses import dataclass

import tensorflow as tf

from components.common.errors import ModelError
from components.common.legacy_keras import keras
from components.dp_training.per_example.capture import NoClosedForm, recorded
from components.dp_training.per_example.errors import StateChangesError, layer_loss
from components.dp_training.per_example.known import first_unknown
from components.dp_training.per_example.rules import wrappers
from components.dp_training.per_example.state import changed_variables, draws

_PLANS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """rerun: names of layers whose own call is vectorized. whole: why, if the whole model is, one example at a time;
    else empty. changed: variables that a call assigns to, none of them by what comes from examples. generators:
    variables that hold the state of a random generator. random: whether a call draws random numbers."""

    rerun: tuple[str, ...] = ()
    whole: str = ""
    changed: tuple[tf.Variable, ...] = ()
    generators: tuple[tf.Variable, ...] = ()
    random: bool = False

    @property
    def changes_state(self) -> bool:
        """Whether a call assigns to variables, so that it must not be made twice a batch."""
        return bool(self.changed)


def plan_of(model: keras.Model, spec: tf.TensorSpec) -> Plan:
    """Traces the model once on inputs of `spec` [None, ...] and keeps the answer for as long as its trainable
    variables stay the same. Logs one warning where closed forms do not reach.

    Raises:
        ModelError: the model adds a loss, changes state by what it sees, has no gradient, or has TFMOT's wrappers and
            a layer without a closed form.
    """
    key = (tuple(v.ref() for v in model.trainable_variables), tuple(spec.shape.as_list()), spec.dtype)
    plans = _PLANS.setdefault(model, {})
    if key not in plans:
        plans[key] = _traced(model, spec)
        _say(plans[key])
    return plans[key]


def plan_for(model: keras.Model) -> Plan:
    """`plan_of` on the model's one input."""
    return plan_of(model, tf.TensorSpec([None, *model.inputs[0].shape[1:]], model.inputs[0].dtype))


def generator_states(model: keras.Model) -> list[tuple[tf.Variable, tf.Tensor]]:
    """The states of random generators that calls of the model move, with their values now: to be put back after
    training, for how far they move tells how many examples were drawn."""
    return [(variable, variable.read_value()) for variable in plan_for(model).generators]


def _traced(model: keras.Model, spec: tf.TensorSpec) -> Plan:
    graph, inputs, plan = _forward_and_backward(model, spec)
    changed, generators = changed_variables(graph, inputs, model.name)
    wrapped = [layer.name for layer in model._flatten_layers() if wrappers.is_wrapper(layer)]
    if plan.whole and wrapped:
        raise ModelError(
            f"with TFMOT's wrappers ({', '.join(wrapped)}) every layer must have a closed form: they assign to "
            f"variables, which tf.vectorized_map cannot repeat. But {plan.whole}"
        )
    trained = {v.ref() for v in model.trainable_variables}
    moved = [v.name for v in changed if v.ref() in trained]
    if moved and not wrapped:
        raise StateChangesError(f"model {model.name} must not assign to its own weights. Received: {moved[0]}")
    return dataclasses.replace(
        plan, changed=tuple(changed), generators=tuple(generators), random=draws(graph) or bool(generators)
    )


def _forward_and_backward(model: keras.Model, spec: tf.TensorSpec) -> tuple[tf.Graph, tf.Tensor, Plan]:
    """The graph of what a private step runs, its inputs, and what closed forms reach of it."""
    unknown, plans, placeholders = first_unknown(model), [], []

    @tf.autograph.experimental.do_not_convert
    def trace(inputs):
        placeholders.append(inputs)
        try:
            plans.append(_whole(model, inputs, unknown) if unknown else _closed(model, inputs))
        except NoClosedForm as error:
            plans.append(Plan(whole=f"layer {error} has no closed form and cannot be run again"))
        except LookupError as error:
            raise ModelError(f"model {model.name} must have a gradient. Received: {_first_line(error)}") from None
        return tf.constant(0.0)

    graph = tf.function(trace).get_concrete_function(spec).graph
    return graph, placeholders[0], plans[0]


def _whole(model: keras.Model, inputs: tf.Tensor, unknown: str) -> Plan:
    """Runs the model forward and backward, as it is."""
    with tf.GradientTape() as tape:
        outputs = model(inputs, training=True)
    _refuse_losses(model)
    tape.gradient(outputs, model.trainable_variables)
    return Plan(whole=f"layer {unknown} is not known to keep examples apart")


def _closed(model: keras.Model, inputs: tf.Tensor) -> Plan:
    """Runs the model forward and, piece by piece between recorded calls, backward."""
    with tf.GradientTape(persistent=True) as tape, recorded(model, severed=True) as uses:
        outputs = tf.nest.flatten(model(inputs, training=True))
    _refuse_losses(model)
    here = inputs.graph
    inside = [use.layer.name for use in uses if any(tap.graph is not here for tap in use.recorded.taps)]
    if inside:
        return Plan(whole=f"layers {', '.join(inside)} are called inside a loop")
    ends = [*outputs, *(tensor for use in uses for tensor in use.inputs if tensor.dtype.is_floating)]
    weights = model.trainable_variables
    past = [v.name for v, g in zip(weights, tape.gradient(ends, weights), strict=True) if g is not None]
    for use in uses:
        own = {v.ref() for v in use.weights}
        reached = tape.gradient(tf.nest.flatten(use.recorded.output), weights)
        past += [v.name for v, g in zip(weights, reached, strict=True) if g is not None and v.ref() not in own]
    if past:
        return Plan(whole=f"weights {', '.join(dict.fromkeys(past))} act outside their layer")
    rows = [use.layer.name for use in uses for t in (*use.inputs, *use.recorded.taps) if not _has_free_rows(t)]
    if rows:
        return Plan(whole=f"layer {rows[0]} is called on rows that are not examples")
    return Plan(rerun=tuple(dict.fromkeys(use.layer.name for use in uses if use.rule is None)))


def _has_free_rows(tensor: tf.Tensor) -> bool:
    """Whether the first axis is as long as the batch may be."""
    return tensor.shape.rank is None or (tensor.shape.rank > 0 and tensor.shape[0] is None)


def _refuse_losses(model: keras.Model) -> None:
    for layer in model._flatten_layers():
        if layer._losses or layer._eager_losses or layer._callable_losses:
            raise layer_loss(layer.name)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _say(plan: Plan) -> None:
    if plan.whole:
        logging.warning("per-example gradients of the whole model by tf.vectorized_map: %s", plan.whole)
    elif plan.rerun:
        logging.warning("no closed form for layers %s: their gradients by tf.vectorized_map", ", ".join(plan.rerun))
