"""The span of a run as TFX's ExampleGen takes it: a range, which may be a runtime parameter."""

from google.protobuf import json_format
from tfx.proto import range_config_pb2

from components.common.errors import ConfigError

RANGE = "range_config"  # the runtime parameter's name; its value is JSON


def one_span(span: int) -> range_config_pb2.RangeConfig:
    """The range that holds this span alone."""
    return range_config_pb2.RangeConfig(
        static_range=range_config_pb2.StaticRange(start_span_number=span, end_span_number=span)
    )


def bindings(span: str) -> dict[str, str]:
    """The runtime parameter for a span that is given as text; empty stands for the newest.

    Raises:
        ConfigError: it is no number.
    """
    if not span:
        return {RANGE: ""}
    if not span.isdecimal():
        raise ConfigError(f"`span` must be a number, or empty for the newest. Received: span={span!r}")
    return {RANGE: json_format.MessageToJson(one_span(int(span)), indent=None)}
