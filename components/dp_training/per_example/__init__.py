"""Per-example clipping. `engine` sums clipped gradients; `refusal` says which models it may be asked for; `plan` how it
goes about one."""

from components.dp_training.per_example.engine import clipped_gradient_sum
from components.dp_training.per_example.plan import generator_states
from components.dp_training.per_example.refusal import check_trainable_privately

__all__ = ["check_trainable_privately", "clipped_gradient_sum", "generator_states"]
