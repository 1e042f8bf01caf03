"""The shipped model through the whole application: it loads, fits in memory, talks and never
repeats itself.
"""

import html
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import torch

from app import Settings, create_app
from dialogue import checkpoint, learned_ranker, recall
from dialogue.agent import FALLBACK, DialogueAgent
from dialogue.words import repeats_ngram, words

ROOT = Path(__file__).parent.parent
LARGEST = 40_000_000  # bytes
SAID = (
    "hi", "i watched a movie yesterday", "it was about a dog", "do you like dogs", "yes",
    "what do you do all day",
    "i went to the beach with my sister", "do you have a favorite song",
)  # fmt: skip


@pytest.fixture(scope="module")
def agent():
    return DialogueAgent.load()


@pytest.fixture(scope="module")
def client(agent):
    return create_app(Settings(verify=False), agent).test_client()


def request_of(kind, session, said=None):
    envelope = json.loads((ROOT / "tests" / "requests" / f"{kind}.json").read_text())
    envelope["session"]["sessionId"] = session
    if said is not None:
        envelope["request"]["intent"]["slots"]["raw_input"]["value"] = said
    return envelope


def spoken(answer):
    return "".join(ET.fromstring(answer["response"]["outputSpeech"]["ssml"]).itertext())


def test_it_fits_the_repository_and_is_half_precision():
    files = [
        checkpoint.PRETRAINED / name
        for name in (
            checkpoint.WEIGHTS,
            checkpoint.CONFIG,
            checkpoint.VOCABULARY,
            recall.FILE,
            learned_ranker.FILE,
        )
    ]
    assert sum(path.stat().st_size for path in files) <= LARGEST
    from safetensors import safe_open

    with safe_open(files[0], framework="pt") as weights:
        names = weights.keys()
        assert {weights.get_tensor(name).dtype for name in names} == {torch.float16}


def test_launch_eight_turns_and_stop_as_alexa_sends_them(client):
    launch = client.post("/", json=request_of("launch", "s1")).get_json()
    assert launch["response"]["shouldEndSession"] is False
    replies = []
    for said in SAID:
        answer = client.post("/", json=request_of("chat", "s1", said)).get_json()
        assert answer["response"]["directives"][0]["slotToElicit"] == "raw_input"
        replies.append(spoken(answer))
    assert len({tuple(words(reply)) for reply in replies}) == len(SAID)
    for reply in replies:
        assert words(reply)
        assert not repeats_ngram(reply, 3)
        assert "<" not in reply
        assert reply.lower() != FALLBACK
    assert (
        client.post("/", json=request_of("stop", "s1")).get_json()["response"]["shouldEndSession"]
        is True
    )


def test_two_talkers_at_once_keep_apart(client):
    """Both have the same session id, because the wording of the skill's questions depends on it."""
    by_itself = create_app(Settings(verify=False), DialogueAgent.load()).test_client()
    alone = [
        spoken(by_itself.post("/", json=request_of("chat", "first", said)).get_json())
        for said in SAID[:5]
    ]
    together = []
    for said, other in zip(SAID[:5], reversed(SAID), strict=False):
        together.append(spoken(client.post("/", json=request_of("chat", "first", said)).get_json()))
        client.post("/", json=request_of("chat", "second", other))
    assert together == alone


def test_the_openings_of_the_documentation_are_what_it_says():
    """One conversation each. Figures may differ in the last digit between machines, so most must
    agree.
    """
    agent = DialogueAgent.load(precision="fp32")
    page = (ROOT / "docs" / "talking.md").read_text(encoding="utf-8")
    rows = [
        row.strip("| ").split(" | ")
        for row in page[page.index("| you | it |") :].splitlines()[2:14]
    ]
    agreeing = [
        agent.respond([str(number)], [said])[0] == html.unescape(reply)
        for number, (said, reply) in enumerate(rows)
    ]
    assert sum(agreeing) >= len(rows) - 2
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    exchange = re.findall(r"^> \*\*(?:you|it):\*\* (.*?)(?:<br>)?$", readme, re.MULTILINE)
    assert exchange in rows
