"""TFX glue of the quantization stage, the last one of every recipe: it writes the variant."""

from components.common.artifacts import Variant
from components.common.compressed import load_compressed
from components.common.examples import read_split, scaled
from components.common.settings import from_json
from components.common.tfx_nodes import InputArtifact, OutputArtifact, Parameter, component, standard_artifacts
from components.dp_training.tuning import tuning_of
from components.example_gen.config import DataConfig
from components.quantization.config import CALIBRATED, QuantizeConfig
from components.quantization.core import quantize
from components.shipped.agreement import agreement
from components.shipped.description import described
from components.shipped.variant import write_variant


@component
def Quantizer(
    model: InputArtifact[standard_artifacts.Model],
    examples: InputArtifact[standard_artifacts.Examples],
    variant: OutputArtifact[Variant],
    config: Parameter[str],
    data: Parameter[str],
    account: Parameter[str],
    recipe: Parameter[str],
    earlier: InputArtifact[list[standard_artifacts.Examples]] = None,
) -> None:
    """Converts `model`, calibrated on `public`, and trained for it where `config` says so."""
    stage, data_config = from_json(QuantizeConfig, config), from_json(DataConfig, data)
    public = scaled(read_split(examples.uri, "public", data_config.image_shape, stage.calibration_examples).images)
    calibration = public if stage.mode in CALIBRATED else None
    tuning = tuning_of(stage, model, examples, earlier, variant, data_config, account)
    made, content = quantize(load_compressed(model.uri), stage, calibration, tuning.tune)
    facts = {**described(recipe, stage.mode, made, content), **agreement(made.model, content, [public])}
    write_variant(variant, content, facts, tuning.statement)
