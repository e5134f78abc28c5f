"""TFX glue: ImportExampleGen that knows when a span is complete, and takes roles out of the files of `train`."""

from typing import Any

import apache_beam as beam
import tensorflow as tf
from google.protobuf import any_pb2, json_format, struct_pb2
from tfx.components.example_gen.component import FileBasedExampleGen
from tfx.components.example_gen.driver import FileBasedDriver
from tfx.components.example_gen.import_example_gen.executor import Executor
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.orchestration import data_types
from tfx.proto import example_gen_pb2, range_config_pb2
from tfx.types import standard_component_specs as keys
from tfx.utils import proto_utils

from components.common.errors import DataError
from components.common.settings import from_mapping
from components.example_gen.config import ROLES, DataConfig, SharesConfig
from components.example_gen.core import existing, newest_span, require_span
from components.example_gen.placeholders import has_span
from components.example_gen.ranges import one_span
from components.example_gen.shares import role_of

_NAMELESS = "every record in the files of `train` must have one `person` or one `id` where data.shares takes roles out"


class SpanDriver(FileBasedDriver):
    """TFX's driver, but that the newest span is the newest complete one, and that an incomplete one is refused."""

    def resolve_exec_properties(
        self,
        exec_properties: dict[str, Any],
        pipeline_info: data_types.PipelineInfo,
        component_info: data_types.ComponentInfo,
    ) -> dict[str, Any]:
        """Names the span before TFX looks for its files.

        Raises:
            DataError: the span, or any, is not there or lacks its marker.
        """
        patterns = {split.name: split.pattern for split in _input_of(exec_properties).splits}
        if has_span(patterns["train"]):
            root = existing(exec_properties[keys.INPUT_BASE_KEY])
            marker = _settings_of(exec_properties).get("marker", "")
            given = exec_properties.get(keys.RANGE_CONFIG_KEY)
            if given:
                range_ = range_config_pb2.RangeConfig()
                proto_utils.json_to_proto(given, range_)
                require_span(root, patterns, marker, range_.static_range.start_span_number)
            else:
                newest = one_span(newest_span(root, patterns, marker))
                exec_properties[keys.RANGE_CONFIG_KEY] = proto_utils.proto_to_json(newest)
        return super().resolve_exec_properties(exec_properties, pipeline_info, component_info)


class SharesExecutor(Executor):
    """TFX's executor, but that roles with a share are taken out of what `train` reads; `shares.py` says which."""

    def GenerateExamplesByBeam(
        self, pipeline: beam.Pipeline, exec_properties: dict[str, Any]
    ) -> dict[str, beam.PCollection]:
        """The records by role; the files of `train` are read once."""
        shares = from_mapping(SharesConfig, _settings_of(exec_properties)["shares"], "data.shares")
        given, taken = _input_of(exec_properties), shares.taken()
        own = example_gen_pb2.Input(splits=[split for split in given.splits if split.name not in taken])
        read = {**exec_properties, keys.INPUT_CONFIG_KEY: proto_utils.proto_to_json(own)}
        splits = super().GenerateExamplesByBeam(pipeline, read)
        names = ["train", *taken]
        parts = splits["train"] | "ByShare" >> beam.Partition(_part_of, len(names), names, shares)
        return {**splits, **dict(zip(names, parts, strict=True))}

    def Do(self, input_dict: dict, output_dict: dict, exec_properties: dict[str, Any]) -> None:
        """As TFX does it.

        Raises:
            DataError: a record has neither `person` nor `id`, or several.
        """
        try:
            super().Do(input_dict, output_dict, exec_properties)
        except Exception as error:
            if _NAMELESS in str(error):  # Beam gives what a worker raised as text
                raise DataError(f"{_NAMELESS}. At least one has not") from None
            raise


class ImportExampleGen(FileBasedExampleGen):
    """TFX's ImportExampleGen for the configured roles.

    Args:
        data: whose `root`, `roles`, `marker` and `shares` count.
        range_config: the span, or a runtime parameter for it; None, or a parameter that is empty: the newest one.
    """

    EXECUTOR_SPEC = BeamExecutorSpec(Executor)
    DRIVER_CLASS = SpanDriver

    def __init__(
        self, data: DataConfig, range_config: range_config_pb2.RangeConfig | data_types.RuntimeParameter | None
    ):
        patterns, taken = data.roles.patterns(), data.shares.taken()
        splits = [
            example_gen_pb2.Input.Split(name=role, pattern=patterns.get(role, patterns["train"])) for role in ROLES
        ]
        super().__init__(
            input_base=data.root,
            input_config=example_gen_pb2.Input(splits=splits),
            custom_config=_packed({"marker": data.marker, "shares": taken}),
            range_config=range_config,
            output_data_format=example_gen_pb2.FORMAT_TF_EXAMPLE,
            custom_executor_spec=BeamExecutorSpec(SharesExecutor) if taken else None,
        )


def _part_of(example: tf.train.Example, _: int, names: list[str], shares: SharesConfig) -> int:
    """The position in `names` of a record's role."""
    person, id = _only(example, "person"), _only(example, "id")
    if not person and not id:
        raise ValueError(_NAMELESS)
    return names.index(role_of(id, person, shares))


def _only(example: tf.train.Example, key: str) -> bytes:
    """The one value of a feature; empty where it has none."""
    features = example.features.feature
    values = features[key].bytes_list.value if key in features else []
    if len(values) > 1:
        raise ValueError(_NAMELESS)
    return values[0] if values else b""


def _packed(settings: dict[str, Any]) -> example_gen_pb2.CustomConfig | None:
    """Settings as TFX carries them; None where nothing is set."""
    if not any(settings.values()):
        return None
    packed = any_pb2.Any()
    packed.Pack(json_format.ParseDict(settings, struct_pb2.Struct()), deterministic=True)
    return example_gen_pb2.CustomConfig(custom_config=packed)


def _settings_of(exec_properties: dict[str, Any]) -> dict[str, Any]:
    given = exec_properties.get(keys.CUSTOM_CONFIG_KEY)
    if not given:
        return {}
    carried, settings = example_gen_pb2.CustomConfig(), struct_pb2.Struct()
    proto_utils.json_to_proto(given, carried)
    carried.custom_config.Unpack(settings)
    return json_format.MessageToDict(settings)


def _input_of(exec_properties: dict[str, Any]) -> example_gen_pb2.Input:
    given = example_gen_pb2.Input()
    proto_utils.json_to_proto(exec_properties[keys.INPUT_CONFIG_KEY], given)
    return given
