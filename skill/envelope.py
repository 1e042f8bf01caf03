"""Read a request: from its body to JSON, and from JSON to the SDK's model.

This is strict about what the skill reads and lenient about the rest. The SDK's own reader fails on
types and enums newer than itself, on numeric times and on unexpected fields, so whatever it does
not know or cannot hold is dropped here.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from importlib import import_module
from typing import Any, NoReturn, cast

from ask_sdk_core.serialize import DefaultSerializer
from ask_sdk_model import Request, RequestEnvelope, SlotValue

# A larger number must be milliseconds: as seconds, it would lie after the year 5100.
_MILLISECONDS_FROM = 1e11

# The fields that the skill reads must have these types, or be null or missing.
_EVERY = "*"  # stands for any key, since a slot's name is a setting
_APPLICATION, _USER = {"applicationId": str}, {"userId": str}
_SHAPE = {
    "session": {"sessionId": str, "attributes": {}, "user": _USER, "application": _APPLICATION},
    "context": {"System": {"user": _USER, "application": _APPLICATION}},
    "request": {
        "type": str,
        "requestId": str,
        "locale": str,
        "intent": {"name": str, "slots": {_EVERY: {}}},
    },
}


class Junk(ValueError):
    """A body that is not a request from Alexa; the message says why."""


def parse(body: bytes) -> dict[str, Any]:
    """Parse a body as JSON. Raises Junk unless it is an object with a request that has a type."""
    try:
        envelope = json.loads(body.decode("utf-8"), parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError):
        raise Junk("the body is not JSON") from None
    _check(envelope, _SHAPE, "the body")
    if not envelope or not envelope.get("request") or not envelope["request"].get("type"):
        raise Junk("the body has no request with a type")
    return cast(dict[str, Any], envelope)


class Reader(DefaultSerializer):
    """The SDK's serializer, except that requests are read by this module."""

    def deserialize(self, payload: str | None, obj_type: Any) -> Any:
        """Read a request's body, and leave everything else to the SDK.

        Raises Junk if the body cannot be read.
        """
        return (
            read(parse((payload or "").encode()))
            if obj_type is RequestEnvelope
            else super().deserialize(payload, obj_type)
        )


def is_known(envelope: dict[str, Any]) -> bool:
    """Return whether the SDK knows the type of a parsed request; Alexa may use newer ones."""
    return envelope["request"]["type"] in Request.discriminator_value_class_map


def read(envelope: dict[str, Any]) -> RequestEnvelope:
    """Build the SDK's model of a parsed body whose request type the SDK knows.

    Raises Junk if the body is nested deeper than Python can follow.
    """
    try:
        return cast(RequestEnvelope, _model(envelope, RequestEnvelope))
    except RecursionError:
        raise Junk("the body is nested too deeply") from None


def moment(value: object) -> datetime | None:
    """Return a time that Alexa wrote as ISO 8601, or as seconds or milliseconds since 1970."""
    try:
        if isinstance(value, str):
            return datetime.fromisoformat(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return datetime.fromtimestamp(
                value / 1000 if abs(value) > _MILLISECONDS_FROM else value, UTC
            )
    except (ValueError, OverflowError, OSError):
        pass
    return None


def _check(node: Any, shape: Any, place: str) -> None:
    if node is None:
        return
    if not isinstance(node, dict if isinstance(shape, dict) else shape):
        raise Junk(f"{place} has the wrong type")
    if isinstance(shape, dict):
        for name, inner in shape.items():
            for found in node if name == _EVERY else (name,):
                _check(node.get(found), inner, found)


def _fit(value: Any, kind: str) -> Any:
    """Return JSON as the type that the SDK's models call `kind`, or None if it does not fit."""
    if value is None or kind == "object":
        return value
    if kind.startswith("list["):
        return (
            [fitted for item in value if (fitted := _fit(item, kind[5:-1])) is not None]
            if isinstance(value, list)
            else None
        )
    if kind.startswith("dict("):
        inner = kind.partition(", ")[2][:-1]
        return (
            {name: _fit(item, inner) for name, item in value.items()}
            if isinstance(value, dict)
            else None
        )
    if kind == "datetime":
        return moment(value)
    if kind == "bool":
        return value if isinstance(value, bool) else None
    if kind in ("str", "int", "float"):
        return _plain(value, kind)
    model = _class(kind)
    if model is SlotValue:
        value = _with_type(value)
    if issubclass(model, Enum):
        return (
            model(value)
            if isinstance(value, str) and value in {member.value for member in model}
            else None
        )
    return _model(value, model)


def _with_type(value: Any) -> Any:
    """Return a slot's value with a type that the SDK knows, guessed from its shape if need be."""
    if isinstance(value, (str, int, float)):
        value = {"value": value}
    if (
        not isinstance(value, dict)
        or str(value.get("type")) in SlotValue.discriminator_value_class_map
    ):
        return value
    return {**value, "type": "List" if isinstance(value.get("values"), list) else "Simple"}


def _plain(value: Any, kind: str) -> str | int | float | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    if kind == "str":
        return str(value)
    return value if isinstance(value, (int, float)) else None


def _model(value: Any, model: Any) -> Any:
    if not isinstance(value, dict):
        return None
    if hasattr(model, "discriminator_value_class_map") and (
        known := model.discriminator_value_class_map
    ):
        name = known.get(str(value.get(model.json_discriminator_key)))
        if name is None:
            return None
        model = _class(name)
    built = model()
    for attribute, kind in model.deserialized_types.items():
        setattr(
            built, attribute, _fit(value.get(model.attribute_map.get(attribute, attribute)), kind)
        )
    return built


@cache
def _class(name: str) -> Any:
    module, _, owner = name.rpartition(".")
    return getattr(import_module(module), owner)


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number out of range")
    return number
