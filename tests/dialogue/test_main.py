import io

from rich.console import Console

from dialogue import checkpoint
from dialogue.__main__ import answer_openings, main, talk
from dialogue.agent import DialogueAgent
from dialogue.safety.answers import CALM


def transcript(agent, typed, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    console = Console(file=io.StringIO(), width=100)
    talk(agent, console)
    return console.file.getvalue()


def test_one_talks_looks_at_the_beam_begins_anew_and_leaves(talker, monkeypatch):
    agent = DialogueAgent(talker)
    shown = transcript(agent, "/beam\nhi\n/beam\n/reset\n/beam\n/what\n/quit\nnever read\n", monkeypatch)
    (reply,) = agent.respond(["x"], ["hi"])
    assert f"bot  {reply}" in shown
    assert "log p(reply | history)" in shown
    assert shown.count("Nothing was said yet.") == 2
    assert "/what is no command" in shown
    assert "never read" not in shown


def test_the_end_of_the_input_is_no_error(talker, monkeypatch):
    assert "bot" in transcript(DialogueAgent(talker), "hi\n", monkeypatch)


def test_a_missing_checkpoint_is_one_plain_line(tmp_path, capsys):
    assert main(["--checkpoint", str(tmp_path)]) == 2
    assert "is no checkpoint" in capsys.readouterr().err


def test_a_setting_out_of_range_is_one_plain_line(capsys):
    assert main(["--top-p", "2"]) == 2
    assert "top_p is 2.0; it must be above 0, and 1 at most" in capsys.readouterr().err


def test_settings_of_the_search_come_from_the_command_line(talker, tmp_path, monkeypatch, capsys):
    checkpoint.save(tmp_path / "checkpoint", talker)
    monkeypatch.setattr("sys.stdin", io.StringIO("hi\n"))
    assert main(["--checkpoint", str(tmp_path / "checkpoint"), "--max-length", "2", "--min-length", "2", "--method", "greedy"]) == 0
    reply = capsys.readouterr().out.rpartition("bot")[2].splitlines()[0]
    assert len(talker.vocabulary.encode(reply)) == 2


def test_what_has_a_fixed_answer_is_answered_so_and_leaves_no_trace(talker, monkeypatch):
    agent = DialogueAgent(talker)
    shown = transcript(agent, "fuck you\nhi\n", monkeypatch)
    (reply,) = agent.respond(["x"], ["hi"])
    assert f"bot  {reply}" in shown
    assert any(text in shown for text in CALM)


def test_openings_are_answered_each_by_itself(talker):
    agent = DialogueAgent(talker)
    replies = list(answer_openings(agent, ["hi", "i want to die", "hi"]))
    (reply,) = agent.respond(["x"], ["hi"])
    assert replies[0] == replies[2] == (reply, "")
    assert replies[1][1] == "crisis"


def test_a_file_of_openings_is_answered_as_a_table(tmp_path, capsys):
    file = tmp_path / "openings.txt"
    file.write_text("what the fuck\n", encoding="utf-8")
    assert main(["--openings", str(file)]) == 0
    opening, reply, why = capsys.readouterr().out.rstrip("\n").split("\t")
    assert (opening, why) == ("what the fuck", "offensive")
    assert reply in CALM
    assert main(["--openings", str(tmp_path / "none")]) == 2


def test_a_blank_line_of_openings_is_none(tmp_path, capsys):
    """It was answered, as if somebody had said nothing."""
    file = tmp_path / "openings.txt"
    file.write_text("\n  \nwhat the fuck\n\n\t\n", encoding="utf-8")
    assert main(["--openings", str(file)]) == 0
    assert capsys.readouterr().out.count("\n") == 1
    file.write_text("\n \n", encoding="utf-8")
    assert main(["--openings", str(file)]) == 2
    assert f"--openings {file} holds no utterance; expected one a line" in capsys.readouterr().err
