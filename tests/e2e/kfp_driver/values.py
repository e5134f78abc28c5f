"""Values of parameters as text and back, and the conditions that are asked of them."""

import json
import re
from decimal import Decimal

from google.protobuf import json_format, struct_pb2
from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2

_COMPARED = re.compile(r"inputs\.parameter_values\['([^']+)'\] (==|!=) '([^'\\]*)'")
_TYPE = spec_pb2.ParameterType
_TRUE, _FALSE = {"1", "t", "T", "true", "TRUE", "True"}, {"0", "f", "F", "false", "FALSE", "False"}


def as_text(value: struct_pb2.Value) -> str:
    """A value as `getPlaceholders` (launcher_v2.go) and `PbValueToText` (metadata/converter.go) write it."""
    kind = value.WhichOneof("kind")
    if kind in (None, "null_value"):
        return ""
    if kind == "string_value":
        return value.string_value
    if kind == "number_value":
        text = format(Decimal(repr(value.number_value)), "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    return json.dumps(json_format.MessageToDict(value), separators=(",", ":"))


def from_text(text: str, kind: int) -> struct_pb2.Value:
    """What a step wrote into an output's file, as `TextToPbValue` (metadata/converter.go) reads it.

    Raises:
        ValueError: it is not of its type.
    """
    value = struct_pb2.Value()
    if kind == _TYPE.STRING:
        value.string_value = text
    elif kind == _TYPE.NUMBER_INTEGER:
        value.number_value = int(text.strip())
    elif kind == _TYPE.NUMBER_DOUBLE:
        value.number_value = float(text.strip())
    elif kind == _TYPE.BOOLEAN:
        if text.strip() not in _TRUE | _FALSE:
            raise ValueError(f"a BOOLEAN must be true or false. Received: {text}")
        value.bool_value = text.strip() in _TRUE
    else:
        try:
            json_format.Parse(text, value)
        except json_format.ParseError as error:
            raise ValueError(f"an output must be JSON. {error}") from None
        if value.WhichOneof("kind") != {_TYPE.LIST: "list_value", _TYPE.STRUCT: "struct_value"}[kind]:
            raise ValueError(f"an output must be of its type. Received: {text}")
    return value


def holds(condition: str, values: dict[str, struct_pb2.Value]) -> bool:
    """Whether a condition is true, as `Expr.Condition` (expression/expression.go) evaluates CEL; of CEL this knows
    comparisons of parameters with texts, joined by `&&`.

    Raises:
        ValueError: a parameter is not there, or the condition is of another kind.
    """
    verdict = True
    for part in condition.split(" && "):
        compared = _COMPARED.fullmatch(part.strip())
        if not compared:
            raise ValueError(f"a condition must compare parameters with texts. Received: {condition}")
        name, operator, text = compared.groups()
        if name not in values:
            raise ValueError(f"no such key: {name}")
        same = values[name].WhichOneof("kind") == "string_value" and values[name].string_value == text
        verdict = verdict and same == (operator == "==")
    return verdict
