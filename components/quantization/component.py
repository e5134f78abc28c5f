"""TFX glue of the quantization stage, the last one of every recipe: it writes the variant."""

import json
from pathlib import Path

from components.common.artifacts import Variant
from components.common.examples import read_split, scaled
from components.common.models import load_model
from components.common.settings import from_json
from components.common.tflite import sizes
from components.common.tfx_nodes import InputArtifact, OutputArtifact, Parameter, component, standard_artifacts
from components.example_gen.config import DataConfig
from components.quantization.config import QuantizeConfig
from components.quantization.core import convert


@component
def Quantizer(
    model: InputArtifact[standard_artifacts.Model],
    examples: InputArtifact[standard_artifacts.Examples],
    variant: OutputArtifact[Variant],
    config: Parameter[str],
    data: Parameter[str],
    recipe: Parameter[str],
    promised: Parameter[str],
) -> None:
    """Converts `model`, calibrated on `public`; `promised` is what the recipe's stages owe the file, as JSON."""
    stage, data_config = from_json(QuantizeConfig, config), from_json(DataConfig, data)
    images = None
    if stage.mode == "int8":
        public = read_split(examples.uri, "public", data_config.image_shape, stage.calibration_examples)
        images = scaled(public.images)
    content = convert(load_model(model.uri), stage.mode, images)
    Path(variant.uri, "model.tflite").write_bytes(content)
    facts = {"recipe": recipe, "promised": json.loads(promised), **sizes(content)}
    Path(variant.uri, "variant.json").write_text(json.dumps(facts, indent=2))
    variant.set_string_custom_property("recipe", recipe)
    variant.set_string_custom_property("sha256", facts["sha256"])
