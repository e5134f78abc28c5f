"""The few names of TFX that function components need, from where they are cheap to import."""

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts

__all__ = ["InputArtifact", "OutputArtifact", "Parameter", "component", "standard_artifacts"]
