"""The simulator's server: where it is, whom it answers, what it tells, and that it keeps
nothing.
"""

import json

import pytest

from app import Settings, create_app
from dialogue.agent import STAGES, DialogueAgent
from dialogue.answers import Answer
from skill.device import Session
from skill.simulator import build_agents
from skill.simulator.agents import KEPT_ANSWERS, WATCHED, Agents

from .conftest import FakeAgent, read_request

SESSION = f"{WATCHED}test"


@pytest.fixture
def served(talker):
    return create_app(Settings(verify=False), DialogueAgent(talker)).test_client()


def turn(client, session, done, **asked):
    """Do one turn as the page does; return what happened inside, and the session after it."""
    envelope = client.post("/simulator/request", json={"session": session, "turn": done}).get_json()
    response = client.post("/", json=envelope).get_json()
    asked = {"session": session, "request": envelope, "response": response, **asked}
    found = client.post("/simulator/inside", json=asked)
    assert found.status_code == 200, found.text
    return found.get_json(), response


def test_the_page_is_there_without_a_redirect(served):
    answer = served.get("/simulator")
    assert answer.status_code == 200
    assert answer.mimetype == "text/html"
    assert served.get("/simulator/main.js").mimetype == "text/javascript"
    assert (
        served.get("/simulator/index.html").status_code
        == served.get("/simulator/agents.py").status_code
        == 404
    )
    assert served.get("/simulator/../agents.py").status_code == 404


@pytest.mark.parametrize(
    "path", ["/simulator", "/simulator/", "/simulator/main.js", "/simulator/about"]
)
def test_where_requests_are_verified_there_is_no_simulator(server, path):
    assert server.get(path).status_code == 404
    assert server.post("/simulator/request", json={}).status_code == 404


def test_no_foreign_host_may_give_the_page_anything(served):
    for path in ("/simulator", "/simulator/main.js", "/simulator/about"):
        policy = served.get(path).headers["Content-Security-Policy"]
        rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
        assert (
            rules["default-src"]
            == rules["base-uri"]
            == rules["form-action"]
            == rules["frame-ancestors"]
            == "'none'"
        )
        assert {rules[name] for name in ("script-src", "style-src", "img-src", "connect-src")} == {
            "'self'"
        }
        assert "unsafe" not in policy and "http" not in policy


STRANGERS = [
    {"Origin": "https://evil.example"},
    {"Origin": "http://localhost:8080"},
    {"Origin": "null"},
    {"Host": "evil.example"},
    {"Host": "127.0.0.1.evil.example:5000"},
    {"Host": "192.168.1.7:5000"},
    {"X-Forwarded-For": "1.2.3.4"},
    {"Forwarded": "for=1.2.3.4"},
    {"X-Forwarded-Host": "localhost"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
]


@pytest.mark.parametrize("headers", STRANGERS, ids=str)
def test_a_foreign_page_a_foreign_name_and_what_was_forwarded_get_no_answer(served, headers):
    """A page anywhere could post to the skill, by a form of plain text, and hear it answer."""
    envelope = json.dumps(read_request("chat"))
    answers = [
        served.post("/", data=envelope, headers={"Content-Type": "text/plain", **headers}),
        served.post(
            "/simulator/request",
            json={"session": {"id": SESSION}, "turn": {"say": "hi"}},
            headers=headers,
        ),
        served.post(
            "/simulator/settings", json={"session": SESSION, "settings": {}}, headers=headers
        ),
        served.get("/simulator", headers=headers),
        served.get("/simulator/about", headers=headers),
    ]
    assert [answer.status_code for answer in answers] == [400] * len(answers)
    assert all("<" not in answer.text and "{" not in answer.text for answer in answers)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://localhost"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"},
    ],
)
def test_its_own_page_is_answered(served, headers):
    assert served.post("/", json=read_request("launch"), headers=headers).status_code == 200


def test_a_link_from_elsewhere_leads_to_the_page(served):
    assert (
        served.get(
            "/simulator", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        ).status_code
        == 200
    )


def test_one_sees_who_answered_and_from_what(served):
    session = {"id": SESSION}
    inside, _ = turn(served, session, {"say": None})
    assert (inside["by"], inside["reason"], inside["contract"]) == ("skill", "LaunchRequest", [])
    session = inside["session"]
    inside, response = turn(served, session, {"say": "Do you like music?"})
    said = [one["text"] for one in inside["candidates"] if one["why"] == ""]
    assert said == ["yes, i like jazz"]
    assert response["sessionAttributes"]["last_speech"].startswith(said[0])
    assert inside["written"] == "do you like music?"
    assert len(inside["history"]) == 24 and any(inside["history"])
    assert [stage for stage, _ in inside["seconds"]] == ["safety", *STAGES]
    inside, _ = turn(served, inside["session"], {"say": "i want to die"})
    assert (inside["by"], inside["reason"], inside["candidates"], inside["history"]) == (
        "safety",
        "crisis",
        [],
        [],
    )
    inside, _ = turn(served, inside["session"], {"say": "what's your name"})
    assert (inside["by"], inside["reason"]) == ("identity", "name")
    inside, _ = turn(served, inside["session"], {"say": "?"})
    assert (inside["by"], inside["reason"]) == ("skill", "nothing was understood")
    inside, _ = turn(served, inside["session"], {"say": "okay please stop"})
    assert (inside["by"], inside["reason"]) == ("skill", "the command 'stop'")
    assert inside["session"]["is_open"] is False


def test_expectations_are_judged(served):
    inside, _ = turn(
        served, {"id": SESSION}, {"say": "hi"}, expect={"text": "x", "listens": True}, before=[]
    )
    assert inside["faults"] == ["expected 'x'"]


def test_settings_hold_for_their_session_alone_and_for_what_follows_it(served):
    asked = {"session": SESSION, "settings": {"method": "greedy", "max_length": 2}}
    assert served.post("/simulator/settings", json=asked).get_json()["max_length"] == 2
    for name, length in ((SESSION, 2), (f"{SESSION}.2", 2), (f"{WATCHED}other", 4)):
        inside, _ = turn(served, {"id": name}, {"say": "do you like music"})
        (said,) = (one["text"] for one in inside["candidates"] if one["why"] == "")
        assert len(said.replace(",", "").split()) <= length
    inside, _ = turn(served, {"id": f"{WATCHED}other2"}, {"say": "do you like music"})
    assert len(inside["candidates"]) > 1


@pytest.mark.parametrize(
    ("path", "asked", "complaint"),
    [
        ("settings", {"session": SESSION, "settings": {"beam_size": 0}}, "beam_size is 0"),
        ("settings", {"session": SESSION, "settings": {"beam": 3}}, "settings has beam"),
        (
            "settings",
            {"session": SESSION, "settings": {"block_list": "/etc/passwd"}},
            "block_list names a file",
        ),
        (
            "settings",
            {"session": SESSION, "settings": {"ranker": "antigravity:fly"}},
            "this ranker is custom code",
        ),
        (
            "settings",
            {"session": "someone else's", "settings": {}},
            "not a session of the simulator",
        ),
        (
            "settings",
            {"session": SESSION, "settings": {}, "checkpoint": "../.."},
            "there is no checkpoint '../..'",
        ),
        ("request", {"session": {"id": "<b>"}, "turn": {"say": "hi"}}, "the session is '<b>'"),
        (
            "request",
            {"session": {"id": "x", "more": 1}, "turn": {"say": "hi"}},
            "a session must be an object",
        ),
        ("request", {"session": {"id": "x"}, "turn": {}}, "expected an object with"),
        ("request", [], "expected an object with session, turn"),
        (
            "inside",
            {"session": {"id": "x"}, "request": {}, "response": {}},
            "not a request with its response",
        ),
        ("read", {"name": "x.json", "text": "{"}, "it is not JSON"),
    ],
)
def test_what_the_page_may_not_ask_is_one_plain_line(served, path, asked, complaint):
    answer = served.post(f"/simulator/{path}", json=asked)
    assert (answer.status_code, answer.mimetype) == (400, "text/plain")
    assert complaint in answer.text
    assert answer.text.count("\n") == 1


def test_a_saved_file_is_read_as_replay_reads_it(served):
    text = json.dumps(
        {
            "turns": [
                {"say": None},
                {"say": "<script>alert(1)</script>", "answer": "x", "expect": {"listens": True}},
            ]
        }
    )
    (talk,) = served.post("/simulator/read", json={"name": "a.json", "text": text}).get_json()
    assert talk["turns"][1]["do"] == {"say": "<script>alert(1)</script>"}
    assert talk["turns"][1]["expect"] == {"listens": True}


def test_two_users_and_a_screen_are_told_to_the_skill(served):
    session = Session(
        "x", user="amzn1.ask.account.SECOND", interfaces=("Alexa.Presentation.APL",), locale="en-GB"
    ).written()
    envelope = served.post(
        "/simulator/request", json={"session": session, "turn": {"say": "hi"}}
    ).get_json()
    assert envelope["session"]["user"]["userId"] == "amzn1.ask.account.SECOND"
    assert envelope["context"]["System"]["device"]["supportedInterfaces"] == {
        "Alexa.Presentation.APL": {}
    }
    assert envelope["request"]["locale"] == "en-GB"


def test_other_sessions_leave_nothing_and_those_of_the_page_until_it_has_asked(talker, tmp_path):
    agents = build_agents(DialogueAgent(talker), tmp_path, load=DialogueAgent.load, runs=tmp_path)
    client = create_app(Settings(verify=False), DialogueAgent(talker)).test_client()
    assert client.post("/", json=read_request("chat")).status_code == 200
    agents.respond(["amzn1.echo-api.session.real"], ["hi"], deadline=9)
    assert not agents._replies and not agents._seen
    agents.respond([SESSION], ["hi"], deadline=9)
    assert list(agents._replies) == [SESSION]
    agents.forget(SESSION)
    assert not agents._replies


def test_what_the_page_never_asks_for_is_bounded():
    agents = Agents(FakeAgent(), checkpoints={}, load=None)
    for number in range(3 * KEPT_ANSWERS):
        agents.observe(f"request {number}", SESSION, Answer("x", "safety", "crisis"))
    assert len(agents._seen) == KEPT_ANSWERS
    assert agents.take(f"request {3 * KEPT_ANSWERS - 1}") is not None
    assert agents.take(f"request {3 * KEPT_ANSWERS - 1}") is None


def test_another_checkpoint_may_answer_by_its_name(talker, tmp_path):
    (tmp_path / "first" / "checkpoint").mkdir(parents=True)
    loaded = []
    agents = build_agents(
        FakeAgent(),
        tmp_path,
        load=lambda path: loaded.append(path) or DialogueAgent(talker),
        runs=tmp_path,
    )
    agents.choose(SESSION, {}, checkpoint="first")
    agents.choose(SESSION, {"beam_size": 3}, checkpoint="first")
    assert loaded == [tmp_path / "first" / "checkpoint"], "once"
    assert agents.respond([SESSION], ["do you like music?"], deadline=9) == ["yes, i like jazz"]
