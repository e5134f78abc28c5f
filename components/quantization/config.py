"""What the user may set about quantization."""

from dataclasses import dataclass

from components.common.settings import require

MODES = ("int8", "float16", "dynamic", "float32")


@dataclass(frozen=True, kw_only=True)
class QuantizeConfig:
    """Post-training quantization by the TFLite converter.

    mode: int8 (weights, activations, input and output), float16 (weights), dynamic (weights int8), float32 (none).
    calibration_examples: how many `public` images set the ranges of activations, for int8.
    """

    mode: str = "int8"
    calibration_examples: int = 500

    def __post_init__(self):
        require(self.mode in MODES, "mode", f"be one of {', '.join(MODES)}", self.mode)
        require(self.calibration_examples >= 1, "calibration_examples", "be at least 1", self.calibration_examples)
