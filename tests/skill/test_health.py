"""What whoever runs the server can ask it, and what it writes down."""

import json
import logging
import re
import threading

import pytest
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families

from app import Settings, create_app
from dialogue.agent import DialogueAgent, Reply
from dialogue.batching import BatchingAgent
from dialogue.conversation import Conversation
from skill import deadline, health, logs
from skill.metrics import Metrics

from ..dialogue.redis_server import BINARY, running
from .conftest import read_request
from .rig import SKILL, with_time

TOKEN = "a-token-for-the-metrics"


def figures(client, **request):
    """Read the metrics: name and labels -> value."""
    answer = client.get("/metrics", **request)
    assert answer.status_code == 200, answer.text
    return {
        (sample.name.removeprefix("skill_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_a_turn_is_counted_by_kind_and_by_who_answered(client, post):
    post("chat")
    post("chat", said="what is your name")
    post("chat", said="i want to kill myself")
    post("launch")
    found = figures(client)
    assert found["request_seconds_count", "IntentRequest"] == 3
    assert found["request_seconds_count", "LaunchRequest"] == 1
    assert [found["answers_total", by] for by in ("agent", "identity", "safety")] == [1, 1, 1]
    assert found["safety_total", "crisis"] == 1
    assert found["stage_seconds_count", "safety"] == 3
    assert found["stage_seconds_count", "agent"] == 1
    assert found["resident_bytes",] > 1 << 20


def test_a_type_that_nobody_has_heard_of_opens_no_series_of_its_own(client, post):
    for number in range(3):
        envelope = read_request("launch")
        envelope["request"]["type"] = f"Made.Up{number}"
        post(envelope)
    assert figures(client)["request_seconds_count", "other"] == 3


def test_a_reply_that_raised_and_one_that_was_late_are_counted(client, post, agent):
    agent.reply = RuntimeError("what was said")
    post("chat")
    agent.reply = deadline.TooLate()
    post("chat")
    found = figures(client)
    assert found["failures_total",] == 1
    assert found["deadline_misses_total",] == 1
    assert found["answers_total", "late"] == 1


def test_the_agents_replies_are_counted_by_batch():
    app, metrics = Flask("metrics"), Metrics()
    health.mount(app, metrics, token="", checks={})
    stages = (("hear", 0.25), ("search", 0.5))
    replies = [Reply("hi", Conversation(), (), n == 2, stages) for n in range(3)]
    metrics.replied(replies)
    metrics.replied(replies[:1], waiting=5)
    found = figures(app.test_client())
    assert (found["batch_size_count",], found["batch_size_sum",]) == (2, 4)
    assert found["stage_seconds_sum", "search"] == 1
    assert found["fallbacks_total",] == 1
    assert found["queue_length",] == 5


REFUSED = {
    "signature": {},
    "certificate": {"Signature-256": "AAAA", "SignatureCertChainUrl": "http://example.com"},
}


@pytest.mark.parametrize("reason", REFUSED)
def test_a_refusal_is_counted_by_its_reason(server, reason):
    assert server.post("/", data=b"{}", headers=REFUSED[reason]).status_code == 400
    assert figures(server)["refusals_total", reason] == 1


def test_signed_requests_are_refused_for_reasons_of_their_own(server, alexa):
    address = alexa.publish()

    def refuse(envelope, **changes):
        body = json.dumps(envelope).encode()
        headers = alexa.sign(body, address, **changes)
        assert server.post("/", data=body, headers=headers).status_code == 400

    refuse(read_request("chat"))  # it was sent long ago
    other = json.loads(json.dumps(with_time(read_request("chat"))).replace(SKILL, "amzn1.other"))
    refuse(other)
    refuse({"request": {}})
    refuse(with_time(read_request("chat")), sign=lambda key, body: b"x" * 256)
    found = figures(server)
    reasons = ("timestamp", "skill", "junk", "signature")
    assert [found["refusals_total", reason] for reason in reasons] == [1, 1, 1, 1]


def test_requests_of_strangers_are_counted_where_verification_is_off(client):
    assert client.post("/", json={}, headers={"X-Forwarded-For": "1.2.3.4"}).status_code == 400
    assert figures(client)["refusals_total", "stranger"] == 1


# --- who may read them
# -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        {"environ_base": {"REMOTE_ADDR": "192.0.2.7"}},
        {"environ_base": {"REMOTE_ADDR": ""}},  # a socket file, behind a proxy
        {"headers": {"X-Forwarded-For": "127.0.0.1"}},
        {"headers": {"Host": "alexa.example.com"}},
        {"headers": {"Origin": "https://example.com"}},
    ],
    ids=["another machine", "a socket", "a proxy", "another name", "another page"],
)
def test_nobody_else_reads_the_metrics_without_the_token(agent, request_):
    client = create_app(Settings(), agent).test_client()
    assert client.get("/metrics").status_code == 200
    assert client.get("/metrics", **request_).status_code == 403
    client = create_app(Settings(metrics_token=TOKEN), agent).test_client()
    assert client.get("/metrics").status_code == 403, "a proxy may look like this machine"
    headers = request_.pop("headers", {})
    for given in ("", "Bearer ", f"Bearer {TOKEN}x", "Bearer ü", TOKEN):
        found = client.get("/metrics", headers={**headers, "Authorization": given}, **request_)
        assert found.status_code == 403
    bearer = {**headers, "Authorization": f"Bearer {TOKEN}"}
    assert client.get("/metrics", headers=bearer, **request_).status_code == 200


def test_without_a_token_an_empty_one_opens_nothing(agent):
    client = create_app(Settings(), agent).test_client()
    stranger = {"environ_base": {"REMOTE_ADDR": "192.0.2.7"}}
    for given in ("Bearer ", "Bearer", ""):
        assert (
            client.get("/metrics", headers={"Authorization": given}, **stranger).status_code == 403
        )


def test_the_token_is_not_shown_with_the_settings():
    assert TOKEN not in repr(Settings(metrics_token=TOKEN))


def test_it_is_not_ready_while_redis_is_away_unless_that_is_left_out(talker):
    if BINARY is None:
        pytest.skip("redis-server is not there; apt-get install redis-server")
    with running() as redis:
        client = create_app(
            Settings(verify=False, state=redis.url), DialogueAgent(talker)
        ).test_client()
        assert client.get("/readyz").status_code == 200
        redis.stop()
        answer = client.get("/readyz")
        assert (answer.status_code, answer.get_json()["failing"]) == (503, ["state"])
        assert client.get("/readyz?exclude=state").status_code == 200
        redis.start()
        assert client.get("/readyz").status_code == 200


def test_it_is_not_ready_while_the_decoder_is_stuck_or_once_it_is_closed(talker):
    now = [0.0]
    served = BatchingAgent(DialogueAgent(talker), clock=lambda: now[0])
    app = create_app(Settings(verify=False), DialogueAgent(talker))
    app.extensions["agent"]._decoders = served._decoders
    client, begun, gate = app.test_client(), threading.Event(), threading.Event()

    def stuck():
        begun.set()
        gate.wait(30)

    asking = threading.Thread(target=lambda: served._call("one", stuck))
    asking.start()
    assert begun.wait(30)
    now[0] = 29.0
    assert client.get("/readyz").status_code == 200
    now[0] = 31.0
    answer = client.get("/readyz")
    assert (answer.status_code, answer.get_json()["failing"]) == (503, ["model"])
    gate.set()
    asking.join()
    assert served.respond(["one"], ["hi"], deadline=60)
    assert client.get("/readyz").status_code == 200
    served.close()
    assert client.get("/readyz").get_json()["failing"] == ["model"]


def test_it_is_ready_while_nothing_fails():
    app, fine = Flask("health"), []
    health.mount(
        app, Metrics(), token="", checks={"store": lambda: bool(fine), "model": lambda: True}
    )
    answer = app.test_client().get("/readyz")
    assert (answer.status_code, answer.get_json()["failing"]) == (503, ["store"])
    fine.append(True)
    answer = app.test_client().get("/readyz")
    assert (answer.status_code, answer.get_json()["status"]) == (200, "ready")
    assert app.test_client().get("/healthz").get_json() == {"status": "ok"}


# --- the log
# -------------------------------------------------------------------------------------------------


def logged(caplog):
    """Write what was logged as JSON, as gunicorn's configuration does, and read it."""
    return [json.loads(line) for line in caplog.handler.stream.getvalue().splitlines()]


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO)
    before = caplog.handler.formatter
    caplog.handler.setFormatter(logs.formatter("json"))
    yield caplog
    caplog.handler.setFormatter(before)  # other tests have the same handler


def test_a_turn_is_one_line_with_its_request_and_its_time(log, post):
    envelope = read_request("chat")
    post(envelope)
    (line,) = (line for line in logged(log) if line["message"] == "answered")
    assert line["request_id"] == envelope["request"]["requestId"]
    assert line["type"] == "IntentRequest"
    assert line["ms"] > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"])


def test_what_is_logged_while_a_reply_is_made_bears_the_requests_id(log, post, agent):
    """A reply is made in a thread of its own, which knew nothing of the request."""

    def respond(conversations, utterances, *, deadline):
        logging.getLogger("somewhere").info("in the reply's thread")
        return ["fine"]

    agent.respond = respond
    envelope = read_request("chat")
    post(envelope)
    (line,) = (line for line in logged(log) if line["logger"] == "somewhere")
    assert line["request_id"] == envelope["request"]["requestId"]


def test_a_refusal_does_not_bear_the_id_of_the_request_before(log, client, post):
    post("chat")
    client.post("/", data=b"junk")
    (line,) = (line for line in logged(log) if "refused" in line["message"])
    assert "request_id" not in line


def test_an_error_is_logged_by_type_and_place_without_its_message(log, post, agent):
    secret = "the cat of my neighbour"
    agent.reply = RuntimeError(secret)
    post("chat", said=secret)
    try:
        raise ValueError(secret)
    except ValueError:
        logging.getLogger("somewhere").exception("it failed")
    assert secret not in log.handler.stream.getvalue()
    line = logged(log)[-1]
    assert (line["error"], line["message"]) == ("ValueError", "it failed")
    assert "test_health.py" in line["where"][-1]


def test_an_unknown_kind_of_log_is_one_line(monkeypatch, capsys):
    from app import main

    monkeypatch.setenv("LOG_FORMAT", "xml")
    assert main(["--tunnel", "none"]) == 2
    assert capsys.readouterr().err == "error: LOG_FORMAT is 'xml'; it must be text or json\n"
