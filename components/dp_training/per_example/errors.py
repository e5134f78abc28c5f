"""Why a model cannot be trained privately; each is a slip that another layer mends."""

from components.common.errors import ModelError


class ExamplesMixError(ModelError):
    """A layer lets an example's output depend on the others in the batch."""


class LayerLossError(ModelError):
    """A layer adds a loss of its own, which no example owns."""


class StateChangesError(ModelError):
    """A call of the model changes something other than what noise protects."""


class PrecisionError(ModelError):
    """A layer computes in another precision than float32."""


def layer_loss(name: str) -> LayerLossError:
    """For a layer of this name."""
    return LayerLossError(
        f"layer {name} must not add a loss: it is no example's own, so no clipping bounds it. "
        "Use weight decay in the optimizer instead of a regularizer"
    )
