"""What a server has kept, against what was said: nothing lost, nothing doubled."""

import base64
import json

import pytest

from dialogue.agent import DialogueAgent
from dialogue.conversation import Conversation, Turn
from dialogue.state.codec import Kept, pack
from skill import kept

SAID = ("do you like music?", "what do you do?")


@pytest.fixture(scope="module")
def agent(talker):
    return DialogueAgent(talker)


def hear(agent, *said):
    """Hold a conversation without the search."""
    turns = [turn for text in said for turn in (Turn("user", text), Turn("bot", "yes"))]
    (found,) = kept.replay([Conversation(turns=tuple(turns))], agent)
    return found


def compare(agent, folder, session, conversation):
    state = pack(Kept(conversation, 1), agent)
    line = json.dumps([session.id, base64.b64encode(state).decode()])
    (folder / kept.KEPT).write_text(line + "\n")
    return kept.compare([session], folder, agent)


def test_what_was_said_is_kept_once(agent, tmp_path):
    session = kept.Session("s", "u", SAID)
    found = compare(agent, tmp_path, session, hear(agent, *SAID))
    assert found == {"lost": 0, "doubled": 0, "replayed": 1}


def test_a_turn_that_is_not_kept_is_lost(agent, tmp_path):
    session = kept.Session("s", "u", SAID)
    assert compare(agent, tmp_path, session, hear(agent, SAID[0]))["lost"] == 1
    assert compare(agent, tmp_path, session, Conversation())["lost"] == 2


def test_a_turn_that_is_kept_twice_and_one_whose_reply_came_too_late_are_doubled(agent, tmp_path):
    session = kept.Session("s", "u", SAID)
    assert compare(agent, tmp_path, session, hear(agent, *SAID, SAID[1]))["doubled"] == 1
    late = kept.Session("s", "u", SAID[:1])
    assert compare(agent, tmp_path, late, hear(agent, *SAID))["doubled"] == 1


def test_a_turn_without_an_answer_may_be_kept_or_not(agent, tmp_path):
    session = kept.Session("s", "u", SAID[:1], unsure=SAID[1:])
    for said in (SAID, SAID[:1]):
        found = compare(agent, tmp_path, session, hear(agent, *said))
        assert (found["lost"], found["doubled"]) == (0, 0)


def test_a_history_that_its_turns_do_not_give_is_lost(agent, tmp_path):
    """The texts alone would not show it: they are kept beside the history."""
    whole, part = hear(agent, *SAID), hear(agent, SAID[0])
    session = kept.Session("s", "u", SAID)
    crossed = Conversation(part.history, whole.turns)
    assert compare(agent, tmp_path, session, crossed)["lost"] == 1


def test_sessions_are_made_of_the_turns_of_many_talkers():
    def turn(session, said, **changes):
        plain = {"launch": False, "error": False, "fixed": False, "pending": False}
        plain |= {"user": "u", "state": ""}
        return {"session": session, "said": said, **plain, **changes}

    found = kept.sessions_of(
        [
            turn("a", "", launch=True, state="a0"),
            turn("b", "", launch=True, state="b0"),
            turn("a", "one", state="a1"),
            turn("b", "two", fixed=True, state="b1"),
            turn("a", "three", error=True),
            turn("a", "four", pending=True),
        ]
    )
    assert found == [
        kept.Session("a", "u", ("one",), ("three", "four"), "a1"),
        kept.Session("b", "u", (), (), "b1"),
    ]


def test_a_server_that_has_told_nothing_is_no_good_server(agent, tmp_path):
    with pytest.raises(ValueError, match="without telling"):
        kept.compare([], tmp_path, agent)
