from flask import Flask

from skill import build_skill
from skill.endpoint import mount
from skill.rehearse import SILENCE, main, rehearse

from .conftest import FakeAgent


def test_a_script_is_spoken_to_the_skill_until_the_session_ends():
    app = Flask(__name__)
    mount(app, build_skill(FakeAgent()), verifier=None)
    said, heard = zip(*rehearse(app.test_client(), ["i like jazz", SILENCE, "stop", "never said"], session="s"), strict=True)
    assert said == ("(open chatty friend)", "i like jazz", SILENCE, "stop")
    assert heard[1].startswith("You said I like jazz")


def test_a_missing_script_is_one_plain_line(tmp_path, capsys):
    assert main([str(tmp_path / "none.txt")]) == 2
    assert "none.txt" in capsys.readouterr().err
