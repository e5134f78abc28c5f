"""Conditions of tasks, of which the driver decides (expression/expression.go: Condition): the part of CEL that the SDK
writes (compiler/pipeline_spec_builder.py: _binary_operations_to_cel_conjunctive)."""

import operator
import re
from collections.abc import Callable
from typing import Any

from tests.pipeline.runners.kubeflow.values import kind_of

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_OPERAND = r"(?:int|double)\(.+?\)(?!['\]])|inputs\.parameter_values\['[^']+'\]|'[^'\\]*'|true|false|-?\d+(?:\.\d+)?"
_COMPARISON = re.compile(rf"({_OPERAND}) (==|!=|<=|>=|<|>) ({_OPERAND})")
_AND = re.compile(r" && (?=(?:[^']*'[^']*')*[^']*$)")  # outside of a text
_CALL, _INPUT = re.compile(r"(int|double)\((.+)\)"), re.compile(r"inputs\.parameter_values\['([^']+)'\]")


class CannotEvaluate(Exception):
    """CEL says that an expression has no value, with which the driver fails."""


def holds(condition: str, parameters: dict[str, Any]) -> bool:
    """Whether a task is to run.

    Raises:
        CannotEvaluate: as CEL: a parameter that is not there, an order between types that have none.
        NotImplementedError: an expression that the SDK does not write.
    """
    return all(_comparison(part, parameters) for part in _AND.split(condition))


def _comparison(part: str, parameters: dict[str, Any]) -> bool:
    negated = part.startswith("!(") and part.endswith(")")
    match = _COMPARISON.fullmatch(part[2:-1] if negated else part)
    if not match:
        raise NotImplementedError(f"this harness knows no condition such as {part!r}")
    left, sign, right = _value(match[1], parameters), match[2], _value(match[3], parameters)
    if kind_of(left) is not kind_of(right):  # CEL's heterogeneous equality; there is no such order
        if sign not in ("==", "!="):
            raise CannotEvaluate(f"evaluation error: no such overload: {part}")
        outcome = sign == "!="
    else:
        outcome = _OPERATORS[sign](left, right)
    return outcome != negated


def _value(operand: str, parameters: dict[str, Any]) -> Any:
    if match := _CALL.fullmatch(operand):
        value = _value(match[2], parameters)
        try:
            return int(value) if match[1] == "int" else float(value)
        except ValueError:
            raise CannotEvaluate(f"evaluation error: type conversion error of {value!r} to {match[1]}") from None
    if match := _INPUT.fullmatch(operand):
        if match[1] not in parameters:
            raise CannotEvaluate(f"evaluation error: no such key: {match[1]}")
        return parameters[match[1]]
    if operand in ("true", "false"):
        return operand == "true"
    return operand[1:-1] if operand.startswith("'") else float(operand)
