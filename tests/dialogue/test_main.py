import contextlib
import io
import json
import os
import sys

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from rich.console import Console

from dialogue import checkpoint
from dialogue.__main__ import answer_openings, main, talk
from dialogue.agent import DialogueAgent
from dialogue.safety.answers import CALM
from dialogue.terminal import completer


def transcript(agent, typed, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    console = Console(file=io.StringIO(), width=100)
    talk(agent, console)
    return console.file.getvalue()


def test_one_talks_looks_at_the_beam_begins_anew_and_leaves(talker, monkeypatch):
    agent = DialogueAgent(talker)
    shown = transcript(
        agent, "/beam\nhi\n/beam\n/reset\n/beam\n/what\n/quit\nnever read\n", monkeypatch
    )
    (reply,) = agent.respond(["x"], ["hi"])
    assert f"bot  {reply}" in shown
    assert "log p(reply | history)" in shown
    assert shown.count("Nothing has been said yet.") == 2
    assert "/what is not a command" in shown
    assert "never read" not in shown


def test_the_end_of_the_input_is_no_error(talker, monkeypatch):
    assert "bot" in transcript(DialogueAgent(talker), "hi\n", monkeypatch)


def test_a_missing_checkpoint_is_one_plain_line(tmp_path, capsys):
    assert main(["--checkpoint", str(tmp_path)]) == 2
    assert "is not a checkpoint" in capsys.readouterr().err


def test_a_setting_out_of_range_is_one_plain_line(capsys):
    assert main(["--top-p", "2"]) == 2
    assert "top_p is 2.0; it must be above 0, and 1 at most" in capsys.readouterr().err


def test_settings_of_the_search_come_from_the_command_line(talker, tmp_path, monkeypatch, capsys):
    checkpoint.save(tmp_path / "checkpoint", talker)
    monkeypatch.setattr("sys.stdin", io.StringIO("hi\n"))
    assert (
        main(
            [
                "--checkpoint",
                str(tmp_path / "checkpoint"),
                "--max-length",
                "2",
                "--min-length",
                "2",
                "--method",
                "greedy",
            ]
        )
        == 0
    )
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
    """It was once answered, as if somebody had said nothing."""
    file = tmp_path / "openings.txt"
    file.write_text("\n  \nwhat the fuck\n\n\t\n", encoding="utf-8")
    assert main(["--openings", str(file)]) == 0
    assert capsys.readouterr().out.count("\n") == 1
    file.write_text("\n \n", encoding="utf-8")
    assert main(["--openings", str(file)]) == 2
    assert f"--openings {file} holds no utterance; expected one per line" in capsys.readouterr().err


def test_one_sees_who_answered_and_why_the_others_were_passed_over(talker, monkeypatch):
    agent = DialogueAgent(talker)
    shown = transcript(
        agent,
        "do you like music\n/why\nfuck you\n/why\n/beam\nwhat's your name\n/why\n",
        monkeypatch,
    )
    assert "It was the model (safety " in shown
    assert "yes, i like jazz" in shown
    assert "ranker" in shown
    assert shown.count("It was a fixed answer of safety: offensive (") == 2
    assert "It was a fixed answer about itself: name (" in shown


def test_the_answer_is_shown_as_json(talker, monkeypatch):
    shown = transcript(DialogueAgent(talker), "do you like music\n/json\n", monkeypatch)
    found = json.loads(shown[shown.index("{") : shown.rindex("}") + 1])
    assert (found["text"], found["by"], found["written"]) == (
        "yes, i like jazz",
        "agent",
        "do you like music?",
    )
    assert [one["text"] for one in found["candidates"] if not one["why"]] == ["yes, i like jazz"]
    assert [stage for stage, _ in found["seconds"]][:2] == ["safety", "hear"]


def test_settings_change_between_two_turns_as_the_command_line_has_them(talker, monkeypatch):
    typed = (
        "hi\n/settings --method greedy --max-length 2\ndo you like music\n"
        "/settings\n/settings --beam-size 0\n/settings --what\n"
    )
    shown = transcript(DialogueAgent(talker), typed, monkeypatch)
    assert "greedy" in shown
    assert "default beam" in shown
    assert "error: beam_size is 0; it must be 1 or more" in shown
    assert "error: unrecognized arguments: --what" in shown
    reply = shown.split("bot  ")[2].splitlines()[0]
    assert len(talker.vocabulary.encode(reply)) == 2


def test_commands_and_settings_are_completed():
    def completed(text):
        document = Document(text)
        return [found.text for found in completer().get_completions(document, CompleteEvent())]

    assert completed("/s") == ["/settings"]
    assert completed("/settings --top-p") == ["--top-p", "--top-p-decay", "--top-p-floor"]
    assert completed("hello /s") == completed("hel") == []


def test_a_person_types_with_history_and_completion(talker, tmp_path):
    """In a pseudo-terminal; the arrow key recalls what was typed."""
    pty = pytest.importorskip("pty")
    checkpoint.save(tmp_path / "checkpoint", talker)
    pid, screen = pty.fork()
    if pid == 0:
        command = [sys.executable, "-m", "dialogue", "--checkpoint", str(tmp_path / "checkpoint")]
        os.execve(sys.executable, command, {**os.environ, "TERM": "xterm"})
    seen = b""

    def until(text):
        nonlocal seen
        while text not in seen:
            seen += os.read(screen, 4096)
            if b"\x1b[6n" in seen:  # it asks where the cursor is
                os.write(screen, b"\x1b[1;1R")
                seen = seen.replace(b"\x1b[6n", b"")
        seen = seen.partition(text)[2]

    until(b"you")
    os.write(screen, b"do you like music\r")
    until(b"yes, i like jazz")
    until(b"you")
    os.write(screen, b"\x1b[A\r")
    until(b"bot")
    until(b"you")
    os.write(screen, b"/quit\r")
    with contextlib.suppress(OSError):
        while os.read(screen, 4096):
            pass
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
