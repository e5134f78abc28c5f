"""Decides once for a model, and says by name, where closed forms do not reach."""

import dataclasses
import logging
import weakref
from dataclasses import dataclass

import tensorflow as tf

from components.common.errors import ModelError
from components.common.legacy_keras import keras
from components.dp_training.per_example.capture import NoClosedForm, recorded
from components.dp_training.per_example.rules import wrappers

_PLANS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """rerun: names of layers whose own call is vectorized. whole: why, if the whole model is; else empty.
    changes_state: whether a call assigns to variables, so that it must not be made twice a batch."""

    rerun: tuple[str, ...] = ()
    whole: str = ""
    changes_state: bool = False


def plan_of(model: keras.Model, spec: tf.TensorSpec) -> Plan:
    """Traces the model once on inputs of `spec` [None, ...] and keeps the answer for as long as its trainable
    variables stay the same. Logs one warning where closed forms do not reach."""
    key = (tuple(v.ref() for v in model.trainable_variables), tuple(spec.shape.as_list()), spec.dtype)
    plans = _PLANS.setdefault(model, {})
    if key not in plans:
        plans[key] = _traced(model, spec)
        _say(plans[key])
    return plans[key]


def _traced(model: keras.Model, spec: tf.TensorSpec) -> Plan:
    found: list[Plan] = []

    @tf.autograph.experimental.do_not_convert
    def trace(inputs):
        graph = tf.compat.v1.get_default_graph()
        try:
            with tf.GradientTape() as tape, recorded(model, severed=True) as uses:
                outputs = model(inputs, training=True)
        except NoClosedForm as error:
            found.append(Plan(whole=f"layer {error} has no closed form and cannot be run again"))
            return tf.constant(0.0)
        inside = [use.layer.name for use in uses if any(tap.graph is not graph for tap in use.recorded.taps)]
        past = [] if inside else tape.gradient(outputs, model.trainable_variables)
        strays = [v.name for v, g in zip(model.trainable_variables, past, strict=False) if g is not None]
        whole = f"layers {', '.join(inside)} are called inside a loop" if inside else ""
        whole = f"weights {', '.join(strays)} act outside their layer" if strays else whole
        rerun = tuple(dict.fromkeys(use.layer.name for use in uses if use.rule is None))
        found.append(Plan(rerun=rerun, whole=whole))
        return tf.constant(0.0)

    tf.function(trace).get_concrete_function(spec)
    wrapped = [layer.name for layer in model._flatten_layers() if wrappers.is_wrapper(layer)]
    if found[0].whole and wrapped:
        raise ModelError(
            f"with TFMOT's wrappers ({', '.join(wrapped)}) every layer must have a closed form: they assign to "
            f"variables, which tf.vectorized_map cannot repeat. But {found[0].whole}"
        )
    return dataclasses.replace(found[0], changes_state=bool(wrapped))


def _say(plan: Plan) -> None:
    if plan.whole:
        logging.warning("per-example gradients of the whole model by tf.vectorized_map: %s", plan.whole)
    elif plan.rerun:
        logging.warning("no closed form for layers %s: their gradients by tf.vectorized_map", ", ".join(plan.rerun))
