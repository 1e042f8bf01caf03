"""Reading requests: like the SDK where the SDK can, and where it cannot, too."""

from datetime import UTC, datetime

import pytest
from ask_sdk_core.exceptions import SerializationException
from ask_sdk_core.serialize import DefaultSerializer
from ask_sdk_model import DialogState, RequestEnvelope

from skill.envelope import Junk, is_known, moment, parse, read

from .conftest import REQUESTS, read_request

BODIES = {path.stem: path.read_bytes() for path in sorted(REQUESTS.glob("*.json"))}
# What the SDK raises on: types and enums newer than itself, and odd values.
BEYOND_THE_SDK = [
    "apl_runtime_error",
    "audio_player_failed",
    "chat_epoch_time",
    "chat_newer_enums",
    "chat_newer_slot_value",
    "datastore_error",
    "datastore_usages_removed",
    "newer_type_without_session",
    "session_ended_new_reason",
    "skill_enabled_epoch",
    "unknown_type",
]
READ_OTHERWISE = [
    "chat_list_value",
    "chat_number_value",
]  # the SDK makes any value a text, a list too


def by_the_sdk(body):
    return DefaultSerializer().deserialize(body.decode(), RequestEnvelope)


@pytest.mark.parametrize("name", sorted(BODIES.keys() - {*BEYOND_THE_SDK, *READ_OTHERWISE}))
def test_a_request_is_read_as_the_sdk_reads_it(name):
    assert read(parse(BODIES[name])).to_dict() == by_the_sdk(BODIES[name]).to_dict()


@pytest.mark.parametrize("name", BEYOND_THE_SDK)
def test_where_the_sdk_raises_nothing_is_raised(name):
    with pytest.raises(SerializationException):
        by_the_sdk(BODIES[name])
    envelope = parse(BODIES[name])
    assert is_known(envelope) == ("type" not in name)
    if is_known(envelope):
        assert read(envelope).request is not None


def test_what_does_not_fit_is_left_out_and_the_rest_stays():
    envelope = read_request("chat_newer_enums")
    envelope["request"]["newer"] = 1
    model = read(envelope)
    assert model.request.dialog_state is None
    assert model.request.intent.slots["raw_input"].value == "i saw a great movie yesterday"
    assert not hasattr(model.request, "newer")
    envelope["request"]["dialogState"] = "STARTED"
    assert read(envelope).request.dialog_state is DialogState.STARTED


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2026-01-01T12:00:00Z", datetime(2026, 1, 1, 12, tzinfo=UTC)),
        (1767268800, datetime(2026, 1, 1, 12, tzinfo=UTC)),
        (1767268800000, datetime(2026, 1, 1, 12, tzinfo=UTC)),
        ("soon", None),
        (10**300, None),
        (True, None),
        ([], None),
        (None, None),
    ],
)
def test_a_time_is_read_as_alexa_writes_it(written, read):
    assert moment(written) == read


@pytest.mark.parametrize(
    "body", [b"1e999", b'{"request": {"type": "x"}, "y": [1e999]}', b'{"y": Infinity}', b"-NaN"]
)
def test_numbers_that_json_does_not_have_are_junk(body):
    with pytest.raises(Junk, match="not JSON"):
        parse(body)
