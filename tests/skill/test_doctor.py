"""Each check of the doctor, when all is well and when it is not, with the outside on loopback."""

import dataclasses
import http.server
import json
import threading
import time

import pytest

from app import Settings, create_app, listen
from skill import doctor, interaction_settings, state
from skill.doctor import Finding

from . import rig
from .conftest import FakeAgent
from .internet import Internet

OURS = interaction_settings.load()
HOST = "ann.ngrok-free.app"
PLACE = doctor.Place(
    settings=OURS,
    checkpoint=interaction_settings.PACKAGE,
    endpoint=f"https://{HOST}/",
    certificate="Wildcard",
    deployed_id=rig.SKILL,
    skill_ids=(rig.SKILL,),
    locale="en-GB",
)


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("SKILL_ID", "CHECKPOINT", "MODEL_CLASS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def internet(tmp_path, monkeypatch):
    server = Internet(rig.Authority(), tmp_path)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def serve():
    """Run the skill as the command does, on a port that is free; gives the port."""
    servers = []

    def start(**changes):
        settings = Settings(port=0, skill_ids=(rig.SKILL,), **changes)
        server = listen(create_app(settings, FakeAgent()), settings)
        thread = threading.Thread(target=server.run)
        thread.start()
        servers.append((server, thread))
        return server.effective_port

    yield start
    for server, thread in servers:
        server.task_dispatcher.shutdown()
        server.asyncore.close_all(server._map)
        thread.join()


@pytest.fixture
def elsewhere():
    """Another server, which answers whatever it is asked in one way."""
    servers = []

    def start(status, body=b"", **headers):
        class Answers(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def answer(self):
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.send_response_only(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_POST = do_HEAD = answer

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server.server_address[1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def at(**changes):
    return dataclasses.replace(PLACE, **changes)


# --- Python, model, interaction models ------------------------------------------------------------


def test_this_python_and_its_packages_are_as_required():
    found = doctor.check_packages(PLACE)
    assert found.ok, found
    assert "packages" in found.found


def test_an_old_python_is_named(monkeypatch):
    monkeypatch.setattr(doctor, "PYTHON", (99, 1))
    found = doctor.check_packages(PLACE)
    assert not found.ok
    assert found.todo == "install Python 99.1 or newer"


def test_a_package_that_is_missing_or_of_another_version_is_named(monkeypatch, tmp_path):
    file = tmp_path / "requirements.txt"
    file.write_text("flask==0.1\nno-such-package==1.0\n", encoding="utf-8")
    monkeypatch.setattr(doctor, "REQUIREMENTS", file)
    found = doctor.check_packages(PLACE)
    assert not found.ok
    assert "instead of 0.1" in found.found
    assert "no-such-package is missing" in found.found
    assert "pip install -r requirements.txt" in found.todo


class Agents:
    """Stands for DialogueAgent where it is loaded."""

    def __init__(self, reply, clock=None, seconds=0.0):
        self.reply, self.clock, self.seconds = reply, clock, seconds

    def load(self, checkpoint, *, model_name=None):
        return self

    def respond(self, conversations, utterances, *, deadline):
        if self.clock is not None:
            self.clock[0] += self.seconds
        return [self.reply]


@pytest.mark.parametrize(
    ("reply", "seconds", "ok"), [("hello", 0.5, True), ("hello", 6.6, False), (" ", 0.5, False)]
)
def test_a_model_answers_in_time_and_says_something(monkeypatch, reply, seconds, ok):
    clock = [0.0]
    monkeypatch.setattr(doctor, "DialogueAgent", Agents(reply, clock, seconds))
    monkeypatch.setattr(doctor.time, "monotonic", lambda: clock[0])
    found = doctor.check_model(PLACE)
    assert found.ok is ok
    assert bool(found.todo) is not ok
    assert ("empty" in found.found) == (reply == " ")


def test_a_checkpoint_that_is_none_is_named(tmp_path):
    found = doctor.check_model(at(checkpoint=tmp_path / "nothing"))
    assert not found.ok
    assert "nothing" in found.found
    assert "--checkpoint" in found.todo


def test_interaction_models_that_are_not_those_of_the_settings_are_named():
    assert doctor.check_interaction_models(PLACE).ok
    found = doctor.check_interaction_models(
        at(settings=dataclasses.replace(OURS, invocation_name="night owl"))
    )
    assert not found.ok
    assert found.todo == "python -m skill.interaction_model"


# --- port and verification ------------------------------------------------------------------------


def test_a_port_is_free_or_has_the_skill_or_another_program(serve, elsewhere):
    port = serve()
    assert doctor.check_port(at(port=port)) == Finding(True, f"the skill answers on port {port}")
    other = elsewhere(200, b"hello")
    found = doctor.check_port(at(port=other))
    assert not found.ok
    assert found.found == f"port {other} is taken by another program"
    assert "--port" in found.todo


def test_a_port_where_nobody_listens_is_free():
    with doctor.socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert doctor.check_port(at(port=port)) == Finding(True, f"port {port} is free")
    assert doctor.check_verification(at(port=port)).ok


def test_verification_that_is_off_is_found(serve):
    found = doctor.check_verification(at(port=serve(verify=False)))
    assert not found.ok
    assert "--no-verify" in found.todo
    assert doctor.check_verification(at(port=serve())) == Finding(
        True, "on: an unsigned request is answered with 400"
    )


# --- endpoint, clock, tunnel ----------------------------------------------------------------------


def test_an_endpoint_is_reached_as_alexa_reaches_it(internet, serve):
    internet.put(HOST, serve(), names=("*.ngrok-free.app",))
    found = doctor.check_endpoint(PLACE)
    assert found == Finding(
        True, f"{HOST}: TLS, certificate type Wildcard, an unsigned request is refused with 400"
    )


def test_a_certificate_of_another_type_than_the_deployed_one_is_found(internet, serve):
    internet.put(HOST, serve())
    found = doctor.check_endpoint(PLACE)
    assert not found.ok
    assert found.found == "its certificate has the type Trusted, but Wildcard was deployed"
    assert found.todo == f"python -m skill.deploy --endpoint https://{HOST}/ --certificate trusted"


def test_a_certificate_for_another_name_is_found(internet, serve):
    internet.put(HOST, serve(), names=("example.com",))
    found = doctor.check_endpoint(PLACE)
    assert not found.ok
    assert "not for that name" in found.found


def test_an_endpoint_that_answers_unsigned_requests_is_found(internet, elsewhere):
    internet.put(HOST, elsewhere(200, b"{}"), names=("*.ngrok-free.app",))
    found = doctor.check_endpoint(PLACE)
    assert not found.ok
    assert "--no-verify" in found.todo


@pytest.mark.parametrize(
    ("status", "body"), [(502, b""), (404, b"no such tunnel"), (400, b"plain http to https")]
)
def test_an_endpoint_behind_which_is_no_skill_is_found(internet, elsewhere, status, body):
    internet.put(HOST, elsewhere(status, body), names=("*.ngrok-free.app",))
    found = doctor.check_endpoint(PLACE)
    assert not found.ok
    assert f"it answers {status}, which is not how the skill answers" in found.found


def test_an_endpoint_that_is_unknown_or_cannot_be_reached_is_found(internet):
    assert "no endpoint is known" in doctor.check_endpoint(at(endpoint="")).found
    found = doctor.check_endpoint(PLACE)
    assert not found.ok
    assert found.found == f"{HOST} cannot be reached (ProxyError)"


@pytest.mark.parametrize(("seconds", "ok"), [(0, True), (140, True), (-200, False), (200, False)])
def test_a_clock_that_is_off_is_found(internet, elsewhere, seconds, ok):
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + seconds))
    internet.put("api.amazonalexa.com", elsewhere(404, Date=date))
    found = doctor.check_clock(PLACE)
    assert found.ok is ok, found
    assert bool(found.todo) is not ok


def test_a_clock_without_another_to_compare_with_is_no_success(internet, elsewhere):
    assert doctor.check_clock(PLACE).todo == "make sure this machine is online"
    internet.put("api.amazonalexa.com", elsewhere(200, Date="yesterday"))
    assert not doctor.check_clock(PLACE).ok


@pytest.mark.parametrize(
    ("changes", "ok", "told"),
    [
        ({"tunnel": f"https://{HOST}"}, True, "is open and deployed"),
        (
            {"tunnel": "https://new.ngrok-free.app"},
            False,
            "new.ngrok-free.app is open, but ann.ngrok-free.app was deployed",
        ),
        ({}, False, "none is open"),
        ({"endpoint": ""}, False, "none is open"),
        ({"endpoint": "https://alexa.example.com/"}, True, "needs none"),
    ],
)
def test_a_tunnel_that_is_not_the_deployed_one_is_found(changes, ok, told):
    found = doctor.check_tunnel(at(**changes))
    assert found.ok is ok
    assert told in found.found
    assert bool(found.todo) is not ok


# --- skill id and locale --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "told", "todo"),
    [
        ({"skill_ids": ()}, "no skill id is set", f"SKILL_ID={rig.SKILL}"),
        (
            {"skill_ids": ("amzn1.ask.skill.x",)},
            f"amzn1.ask.skill.x is set; {rig.SKILL} was deployed",
            "skill.deploy",
        ),
        ({"deployed_id": ""}, "nothing was deployed from this machine", "skill.deploy"),
    ],
)
def test_a_skill_id_that_is_not_set_or_not_the_deployed_one_is_found(changes, told, todo):
    assert doctor.check_skill_id(PLACE) == Finding(True, rig.SKILL)
    found = doctor.check_skill_id(at(**changes))
    assert not found.ok
    assert told in found.found
    assert todo in found.todo


@pytest.mark.parametrize(("locale", "ok"), [("en-GB", True), ("de-DE", False), ("", False)])
def test_a_language_that_the_skill_does_not_have_is_found(locale, ok):
    found = doctor.check_locale(at(locale=locale))
    assert found.ok is ok
    assert ok or "en-US, en-GB, en-CA, en-AU, en-IN" in found.todo


# --- all of it ------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(doctor, "DialogueAgent", Agents("hello"))


def test_offline_it_prints_one_object_and_fails(internet, quick, capsys):
    assert doctor.main(["--json", "--port", "0", "--locale", "en-US"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is False
    assert [check["name"] for check in found["checks"]] == list(doctor.CHECKS)
    assert all(check.keys() == {"name", "ok", "found", "todo"} for check in found["checks"])
    failed = {check["name"] for check in found["checks"] if not check["ok"]}
    assert failed == {"endpoint", "clock", "skill id", "tunnel"}
    assert all(bool(check["todo"]) is not check["ok"] for check in found["checks"])


def test_where_all_is_well_each_line_has_a_tick_and_the_status_is_0(
    internet, serve, elsewhere, quick, monkeypatch, capsys
):
    port = serve()
    internet.put(HOST, port, names=("*.ngrok-free.app",))
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
    internet.put("api.amazonalexa.com", elsewhere(200, Date=date))
    state.write(
        state.DEPLOYED,
        {"skill_id": rig.SKILL, "endpoint": f"https://{HOST}/", "certificate": "Wildcard"},
    )
    state.write(state.TUNNEL, {"address": f"https://{HOST}"})
    monkeypatch.setenv("SKILL_ID", rig.SKILL)
    assert doctor.main(["--port", str(port), "--locale", "en-GB"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[2:].split(":")[0] for line in lines] == list(doctor.CHECKS)
    assert all(line.startswith("✓ ") for line in lines)


def test_a_check_that_hangs_or_breaks_is_a_failed_one_and_the_others_are_told():
    never = threading.Event()

    def breaks(_):
        raise RuntimeError("odd")

    found = doctor.examine(
        PLACE,
        {
            "hangs": lambda _: never.wait() or Finding(True, ""),
            "breaks": breaks,
            "works": lambda _: Finding(True, "x"),
        },
        seconds=0.3,
    )
    never.set()
    assert [finding.ok for finding in found.values()] == [False, False, True]
    assert "no result within" in found["hangs"].found
    assert found["breaks"].found == "RuntimeError: odd"


def test_the_whole_is_bounded_below_what_scripts_wait_for():
    assert doctor.ALL_SECONDS < 30
    assert doctor.CALL_SECONDS * 2 < doctor.ALL_SECONDS
