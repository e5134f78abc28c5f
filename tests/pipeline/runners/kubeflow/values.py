"""Parameter values as Kubeflow Pipelines checks them, turns them into text, and reads them from a step's files."""

import json
from decimal import Decimal
from typing import Any

KINDS = {
    "STRING": str,
    "NUMBER_INTEGER": float,
    "NUMBER_DOUBLE": float,
    "BOOLEAN": bool,
    "LIST": list,
    "STRUCT": dict,
}
_TRUE, _FALSE = {"1", "t", "T", "TRUE", "true", "True"}, {"0", "f", "F", "FALSE", "false", "False"}


def kind_of(value: Any) -> type:
    """The kind of a google.protobuf.Value: it has one for numbers, whole or not."""
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


def is_of(value: Any, parameter_type: str) -> bool:
    """Whether a value may be given for a parameter of this type; nobody looks whether an integer has a fraction."""
    return kind_of(value) is KINDS[parameter_type]


def text(value: Any) -> str:
    """metadata/converter.go: PbValueToText, and component/launcher_v2.go: getPlaceholders: numbers without an exponent
    (strconv.FormatFloat 'f'), whole ones without a point."""
    if kind_of(value) is float:
        return f"{Decimal(repr(value)):f}".removesuffix(".0")
    return value if isinstance(value, str) else _json(value)


def text_of_driver(value: Any) -> str:
    """driver/util.go: pbValueToString, since 2.17: like `text`, but a fraction has an exponent where %g gives one."""
    if kind_of(value) is not float or value == int(value):
        return text(value)
    _, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    power = len(digits) - 1 + exponent
    if -4 <= power < 6:
        return text(value)
    mantissa = "".join(map(str, digits))
    point = f".{mantissa[1:]}" if mantissa[1:] else ""
    return f"{'-' if value < 0 else ''}{mantissa[0]}{point}e{'-' if power < 0 else '+'}{abs(power):02d}"


def read(content: str, parameter_type: str) -> Any:
    """metadata/converter.go: TextToPbValue: what the launcher makes of an output parameter's file.

    Raises:
        ValueError: it is not of that type.
    """
    if parameter_type == "STRING":
        return content
    bare = content.strip()
    if parameter_type == "BOOLEAN" and bare in _TRUE | _FALSE:
        return bare in _TRUE
    if parameter_type == "NUMBER_INTEGER" and bare.lstrip("+-").isdecimal():
        return int(bare)
    if parameter_type == "NUMBER_DOUBLE":
        return float(bare)
    if parameter_type in ("LIST", "STRUCT"):
        value = json.loads(content)
        if is_of(value, parameter_type):
            return value
    raise ValueError(f"an output of type {parameter_type} must hold one. Received: {content!r}")


def _json(value: Any) -> str:
    """As Go's encoding/json writes it: keys in order, no spaces, `<`, `>` and `&` escaped."""
    written = json.dumps(_whole(value), separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    return written.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _whole(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
