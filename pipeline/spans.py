"""The span of a run as TFX's ExampleGen takes it: a range, which may be a runtime parameter."""

from google.protobuf import json_format
from tfx.proto import range_config_pb2

from components.common.errors import ConfigError

SPAN, NEWEST = "span", "newest"  # the runtime parameter's name, and its default


def one_span(span: int) -> range_config_pb2.RangeConfig:
    """The range that holds this span alone."""
    return range_config_pb2.RangeConfig(
        static_range=range_config_pb2.StaticRange(start_span_number=span, end_span_number=span)
    )


def as_range(span: str) -> str:
    """The runtime parameter's value, a range as JSON, for a span that is given as text.

    Raises:
        ConfigError: it is no number.
    """
    if span == NEWEST:
        return ""
    if not span.isdecimal():
        raise ConfigError(f"`span` must be a number or {NEWEST}. Received: span={span!r}")
    return json_format.MessageToJson(one_span(int(span)), indent=None)
