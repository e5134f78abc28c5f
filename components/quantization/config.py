"""What the user may set about quantization."""

from dataclasses import dataclass

from components.common.settings import require
from components.common.tuning import StageConfig

MODES = ("int8", "int16x8", "float16", "dynamic", "float32")
TRAINED = ("int8", "int16x8", "dynamic")
CALIBRATED = ("int8", "int16x8")


@dataclass(frozen=True, kw_only=True)
class QuantizeConfig(StageConfig):
    """Quantization by the TFLite converter, after training or, with `public` or `private`, aware of it.

    mode: int8 (weights, activations, input and output), int16x8 (weights int8, all else int16), float16 (weights),
    dynamic (weights int8), float32 (none). per_channel: whether int8 weights have a scale an output channel, which
    keeps more accuracy, or one a kernel, which keeps clustered weights few in the file. calibration_examples: how many
    `public` images set the ranges of activations.
    """

    mode: str = "int8"
    per_channel: bool = True
    calibration_examples: int = 500

    def __post_init__(self):
        super().__post_init__()
        require(self.mode in MODES, "mode", f"be one of {', '.join(MODES)}", self.mode)
        require(self.calibration_examples >= 1, "calibration_examples", "be at least 1", self.calibration_examples)
        if self.reads != "none":
            require(self.mode in TRAINED, "mode", f"be one of {', '.join(TRAINED)} to be trained for", self.mode)
