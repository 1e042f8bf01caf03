"""Whatever becomes of a valid envelope, it is answered with 200 and a response that holds, or
refused with 400.
"""

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app import Settings, create_app
from skill import contract, interaction_settings

from .conftest import REQUESTS, FakeAgent, read_request
from .rig import SKILL, with_time

NAMES = sorted(path.stem for path in REQUESTS.glob("*.json"))
ODD = [
    None,
    True,
    False,
    0,
    -1,
    42,
    3.5,
    10**30,
    "",
    "?",
    "\ud800",
    "\x00<&>",
    "x" * 3000,
    [],
    [[]],
    [1],
    {},
    {"a": None},
    {"type": "New"},
]


def places(node, path=()):
    """List the paths to every field of a JSON value."""
    for name, inner in (
        list(node.items())
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    ):
        yield (*path, name)
        yield from places(inner, (*path, name))


def nested(value, depth):
    for _ in range(depth):
        value = [value] if depth % 2 else {"type": "List", "values": [value]}
    return value


@st.composite
def mutated(draw):
    """Take a stored request and drop, empty, retype, grow, nest or rename one to four of its
    fields.
    """
    envelope = copy.deepcopy(read_request(draw(st.sampled_from(NAMES))))
    for _ in range(draw(st.integers(1, 4))):
        found = list(places(envelope))
        if not found:
            break
        *path, last = draw(st.sampled_from(found))
        node = envelope
        for step in path:
            node = node[step]
        change = draw(st.sampled_from(["drop", "null", "retype", "grow", "nest", "rename", "copy"]))
        if change == "drop":
            del node[last]
        elif (
            change == "grow" and len(json.dumps(value := node[last])) < 100
        ):  # a body above the limit is another test's
            node[last] = (
                value * 500
                if isinstance(value, str)
                else [copy.deepcopy(value) for _ in range(500)]
            )
        elif change == "nest":
            node[last] = nested(node[last], draw(st.sampled_from([1, 2, 40, 250])))
        elif change == "rename" and isinstance(node, dict):
            node[
                draw(
                    st.sampled_from(
                        ["type", "__class__", "deserialized_types", "value", "", "\u0130"]
                    )
                )
            ] = node.pop(last)
        elif change == "copy":
            *_, other = draw(st.sampled_from(found))
            node[last] = (
                copy.deepcopy(envelope.get(other, other)) if isinstance(other, str) else other
            )
        else:
            node[last] = None if change == "null" else copy.deepcopy(draw(st.sampled_from(ODD)))
    return envelope


@pytest.fixture(scope="module")
def servers(outside):
    """A server for development, which raises where the contract is broken, and one that
    verifies.
    """
    development = create_app(Settings(verify=False), FakeAgent())
    development.testing = True
    with pytest.MonkeyPatch.context() as patch:
        for name, value in outside.s3.environment.items():
            patch.setenv(name, value)
        production = create_app(Settings(skill_ids=(SKILL,)), FakeAgent())
        production.testing = True
        yield outside, outside.publish(), development.test_client(), production.test_client()


def is_answered(servers, envelope):
    alexa, address, development, production = servers
    body = json.dumps(envelope).encode()
    answer = development.post("/", data=body)
    assert answer.status_code in (200, 400), answer.text
    if answer.status_code == 200:
        assert contract.check(json.loads(answer.text), envelope, interaction_settings.load()) == []
    if isinstance(envelope.get("request"), dict) and "timestamp" in envelope["request"]:
        body = json.dumps(with_time(envelope)).encode()
    assert production.post("/", data=body, headers=alexa.sign(body, address)).status_code in (
        200,
        400,
    )


@settings(max_examples=150)
@given(envelope=mutated())
def test_a_mutated_envelope_is_answered_or_refused(servers, envelope):
    is_answered(servers, envelope)


@pytest.mark.slow
@settings(max_examples=2000)
@given(envelope=mutated())
def test_two_thousand_mutated_envelopes_are_answered_or_refused(servers, envelope):
    is_answered(servers, envelope)
