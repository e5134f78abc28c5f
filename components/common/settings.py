"""Settings: mappings (from TOML or JSON) into frozen dataclasses, checked when they are made."""

import dataclasses
import json
import math
import types
import typing
from typing import Any, TypeVar

from components.common.errors import ConfigError

T = TypeVar("T")


def require(condition: bool, name: str, must: str, received: Any) -> None:
    """Raises ConfigError "`name` must `must`. Received: name=received" unless `condition` holds."""
    if not condition:
        raise ConfigError(f"`{name}` must {must}. Received: {name}={received!r}")


def require_fraction(name: str, value: float, *, low_open: bool = False, high_open: bool = False) -> None:
    """Requires `value` to lie in [0, 1], with either end left out on request."""
    left, right = "(" if low_open else "[", ")" if high_open else "]"
    inside = (value > 0 if low_open else value >= 0) and (value < 1 if high_open else value <= 1)
    require(inside, name, f"be in {left}0, 1{right}", value)


def require_positive(name: str, value: float) -> None:
    """Requires `value` to be a finite number above zero."""
    require(math.isfinite(value) and value > 0, name, "be a finite number above 0", value)


def from_mapping(cls: type[T], mapping: Any, where: str) -> T:
    """Makes a frozen dataclass from a mapping, strictly.

    Args:
        cls: a dataclass; fields may be of type bool, int, float, str, tuples of these, `X | None`, mappings with
            string keys, or further dataclasses.
        mapping: keys as in the file; an int is taken where a float is meant, nothing else is converted.
        where: the dotted name of this table, for messages.

    Raises:
        ConfigError: an unknown or missing key, a wrong type, or a value that the dataclass refuses.
    """
    if not isinstance(mapping, dict):
        raise ConfigError(f"`{where}` must be a table. Received: {where}={mapping!r}")
    fields = {f.name: f for f in dataclasses.fields(cls)}
    unknown = sorted(set(mapping) - set(fields))
    if unknown:
        known = ", ".join(sorted(fields))
        raise ConfigError(f"`{_dotted(where, unknown[0])}` is not a setting. Known here: {known}")
    hints = typing.get_type_hints(cls)
    values = {name: _convert(hints[name], value, _dotted(where, name)) for name, value in mapping.items()}
    missing = [
        name
        for name, f in fields.items()
        if name not in values and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"`{_dotted(where, missing[0])}` must be set. Received: nothing")
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(qualified(str(error), where)) from None


def to_json(config: Any) -> str:
    """A dataclass as canonical JSON (sorted keys): what travels to a node and enters its cache key."""
    return json.dumps(dataclasses.asdict(config), sort_keys=True)


def from_json(cls: type[T], text: str) -> T:
    """The inverse of `to_json`."""
    return from_mapping(cls, json.loads(text), "")


def qualified(message: str, where: str) -> str:
    """Puts the table's name before the setting's in a message that a dataclass's own check raised."""
    if not where or not message.startswith("`"):
        return message
    name, rest = message[1:].split("`", 1)
    return f"`{where}.{name}`{rest.replace(f'Received: {name}=', f'Received: {where}.{name}=', 1)}"


def _dotted(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _convert(hint: Any, value: Any, name: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        inner = next(a for a in arguments if a is not type(None))
        return _convert(inner, value, name)
    if dataclasses.is_dataclass(hint):
        return from_mapping(hint, value, name)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"`{name}` must be a list. Received: {name}={value!r}")
        return tuple(_convert(arguments[0], v, f"{name}[{i}]") for i, v in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"`{name}` must be a table. Received: {name}={value!r}")
        return {k: _convert(arguments[1], v, _dotted(name, k)) for k, v in value.items()}
    return _scalar(hint, value, name)


def _scalar(hint: Any, value: Any, name: str) -> Any:
    if hint is Any:
        return value
    if hint is float and type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise ConfigError(f"`{name}` must be a number below 1.8e308. Received: an integer above it") from None
    if type(value) is not hint:
        words = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}
        raise ConfigError(f"`{name}` must be {words[hint]}. Received: {name}={value!r}")
    return value
