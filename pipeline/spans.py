"""The span of a run as TFX's ExampleGen takes it: a range, which may be a runtime parameter."""

from google.protobuf import json_format

from components.common.errors import ConfigError
from components.example_gen.placeholders import number_of
from components.example_gen.ranges import one_span

SPAN, NEWEST = "span", "newest"  # the runtime parameter's name, and its default
DUE = "due"  # the oldest that no run of the pipeline has decided on
_LARGEST = 2**31 - 1  # of TFX's int32


def as_range(span: str) -> str:
    """The runtime parameter's value, a range as JSON, for a span that is given as text.

    Raises:
        ConfigError: it is no number and no date.
    """
    if span == NEWEST:
        return ""
    number = int(span) if span.isdecimal() else number_of(span)
    if number is None or number > _LARGEST:
        must = f"be a number, a date like 2026-11-27, {NEWEST}, or {DUE}"
        raise ConfigError(f"`span` must {must}. Received: span={span!r}")
    return json_format.MessageToJson(one_span(number), indent=None)
