import contextlib
import http.client
import socket
import sys
import threading
from types import SimpleNamespace

import pytest

from app import Settings, create_app, listen, main
from dialogue.state import Owner
from skill import tunnel
from skill.endpoint import BODY_LIMIT
from skill.options import settings_of
from skill.server import SAMPLE_REQUEST, announce, check_address

from .conftest import REQUESTS


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in ("SKILL_ID", "CHECKPOINT", "MODEL_CLASS", "NGROK_AUTHTOKEN", "NGROK_DOMAIN"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--no-verify", "--tunnel", "ngrok"],
        ["--no-verify", "--host", "0.0.0.0"],
        ["--no-verify", "--host", "example.com"],
        ["--port", "70000"],
        ["--open", "--tunnel", "none"],
    ],
)
def test_settings_that_would_let_anybody_in_are_refused(arguments, capsys):
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_the_command_line_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("SKILL_ID", "amzn1.a, amzn1.b")
    assert settings_of([]).skill_ids == ("amzn1.a", "amzn1.b")
    assert settings_of(["--skill-id", "amzn1.c"]).skill_ids == ("amzn1.c",)


def test_the_tunnel_is_on_by_itself_only_where_a_token_is_configured(monkeypatch, tmp_path):
    monkeypatch.setattr(tunnel, "is_configured", lambda: False)
    assert settings_of([]).tunnel == "none"
    monkeypatch.setattr(tunnel, "is_configured", lambda: True)
    assert settings_of([]).tunnel == "ngrok"
    assert settings_of(["--no-verify"]).tunnel == "none"


def test_a_production_server_without_a_skill_id_refuses_to_start():
    with pytest.raises(ValueError, match="SKILL_ID"):
        create_app()


def test_a_missing_checkpoint_is_named(tmp_path, capsys):
    assert main(["--checkpoint", str(tmp_path / "nothing")]) == 2
    assert "nothing is not a checkpoint: it lacks model.safetensors" in capsys.readouterr().err


def test_verification_is_on_by_default():
    assert Settings().verify is True


@pytest.fixture
def running(agent):
    """Serve on loopback as the command does; gives a way to post."""
    settings = Settings(verify=False, port=0)
    server = listen(create_app(settings, agent), settings)
    thread = threading.Thread(target=server.run)
    thread.start()

    def post(body, **headers):
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", server.effective_port, timeout=10)
        ) as connection:
            connection.request(
                "POST", "/", body, headers, encode_chunked="Transfer-Encoding" in headers
            )
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    yield post
    server.task_dispatcher.shutdown()
    server.asyncore.close_all(server._map)
    thread.join()


def is_too_large(post, body, **headers):
    """The server answers before it has read everything, and closes: a slow sender may see no more
    than that.
    """
    try:
        return post(body, **headers)[0] == 413
    except ConnectionError:
        return True


def test_the_running_server_answers_and_bounds_bodies_before_they_are_read(running):
    assert running((REQUESTS / "launch.json").read_bytes())[0] == 200
    padded = (REQUESTS / "launch.json").read_bytes().ljust(BODY_LIMIT)
    assert running(padded)[0] == 200
    assert is_too_large(running, padded + b" ")
    chunks = {"Transfer-Encoding": "chunked"}
    assert running(iter([padded[: BODY_LIMIT // 2]]), **chunks)[0] == 200
    assert is_too_large(running, iter([padded, b" "]), **chunks)
    status, text = running(b"", **{"X-Long": "x" * 20_000})
    assert status == 431
    assert "<" not in text


@pytest.mark.parametrize(
    "header",
    [
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "Forwarded",
        None,
    ],
)
def test_the_real_server_lets_the_guard_see_what_was_forwarded(agent, header):
    """waitress drops such headers by default, before the guard of --no-verify could refuse them."""
    settings = Settings(verify=False, port=0)
    server = listen(create_app(settings, agent), settings)
    threading.Thread(target=server.run, daemon=True).start()
    try:
        connection = http.client.HTTPConnection("127.0.0.1", server.effective_port, timeout=10)
        headers = {"Content-Type": "application/json", "Host": "localhost"} | (
            {header: "for=1.2.3.4"} if header else {}
        )
        connection.request("POST", "/", (REQUESTS / "launch.json").read_bytes(), headers)
        assert connection.getresponse().status == (400 if header else 200)
        connection.close()
    finally:
        server.close()


def test_flask_ask_sdk_mounts_the_skill_and_oscrypto_is_never_loaded(agent):
    """flask_ask_sdk imports oscrypto, which raises on OpenSSL 3.0.10 and later."""
    app = create_app(Settings(verify=False), agent)
    assert "ASK_SDK_SKILL_ADAPTER" in app.extensions
    assert "oscrypto" not in sys.modules


def test_the_request_that_the_server_proposes_to_try_is_answered(agent):
    client = create_app(Settings(verify=False), agent).test_client()
    answer = client.post("/", data=SAMPLE_REQUEST.read_bytes())
    assert answer.status_code == 200
    ((_, utterance),) = agent.heard
    assert utterance == "i saw a great movie yesterday."


@pytest.mark.parametrize(
    "host", ["nosuchhost.invalid", "a..b", "300.1.1.1", "http://localhost", "192.0.2.1"]
)
def test_an_address_that_is_none_is_one_line_before_the_model_is_loaded(host, monkeypatch, capsys):
    """It was a traceback, after the model had been loaded."""
    monkeypatch.setattr("app.create_app", None)
    assert main(["--host", host, "--port", "0", "--tunnel", "none"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: cannot listen on {host}:0: ")
    assert said.count("\n") == 1


def test_a_port_that_is_taken_is_one_line_before_the_model_is_loaded(monkeypatch, capsys):
    monkeypatch.setattr("app.create_app", None)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["--port", str(port), "--tunnel", "none"]) == 2
    assert (
        f"error: cannot listen on 127.0.0.1:{port}: Address already in use"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "", "*"])
def test_every_way_to_name_this_machine_is_an_address(host):
    check_address(Settings(host=host, port=0))


def test_the_simulator_is_named_where_it_is_and_opened_where_it_is_asked_for(
    capsys, monkeypatch, agent
):
    announce(Settings(verify=False, host="::1", port=5001))
    assert "http://[::1]:5001/simulator" in capsys.readouterr().out
    announce(Settings(skill_ids=("x",)))
    assert "simulator" not in capsys.readouterr().out

    opened, asked = threading.Event(), []
    monkeypatch.setattr("app.create_app", lambda settings: create_app(settings, agent))
    monkeypatch.setattr(
        "app.listen", lambda app, settings: SimpleNamespace(run=lambda: opened.wait(10))
    )
    monkeypatch.setattr("app.signal.signal", lambda *_: None)
    monkeypatch.setattr(
        "app.webbrowser.open", lambda address: asked.append(address) or opened.set()
    )
    assert main(["--no-verify", "--tunnel", "none", "--port", "0", "--open"]) == 0
    assert asked == ["http://127.0.0.1:0/simulator"]


def test_what_memory_keeps_is_bounded_from_the_command_line_or_the_environment(monkeypatch, agent):
    monkeypatch.setenv("MAX_CONVERSATIONS", "7")
    assert settings_of([]).max_conversations == 7
    settings = settings_of(["--max-conversations", "2", "--max-state-mb", "3", "--no-verify"])
    assert (settings.max_conversations, settings.max_state_mb) == (2, 3)
    app = create_app(settings, agent)
    store = app.extensions["transactions"].store
    for number in range(3):
        store.put(Owner(f"s{number}"), b"state", turn=1)
    assert len(store) == 2
    for number in range(3):
        if number:
            store.put(Owner(f"s{number}"), bytes(2 << 20), turn=2)
    assert len(store) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--max-conversations", "0"], "--max-conversations is 0"),
        (["--max-state-mb", "-1"], "--max-state-mb is -1"),
    ],
)
def test_bounds_that_would_keep_nothing_are_refused(arguments, said, capsys):
    assert main([*arguments, "--tunnel", "none"]) == 2
    assert said in capsys.readouterr().err


def test_a_bound_in_the_environment_that_is_no_number_is_named(monkeypatch, capsys):
    monkeypatch.setenv("MAX_STATE_MB", "much")
    assert main(["--tunnel", "none"]) == 2
    assert "MAX_STATE_MB is 'much'" in capsys.readouterr().err
