"""A span as TFX's ExampleGen takes it."""

from tfx.proto import range_config_pb2


def one_span(span: int) -> range_config_pb2.RangeConfig:
    """The range that holds this span alone."""
    return range_config_pb2.RangeConfig(
        static_range=range_config_pb2.StaticRange(start_span_number=span, end_span_number=span)
    )
