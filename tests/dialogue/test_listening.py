"""Where no candidate suits, the companion says that it listens."""

from dataclasses import replace

import pytest

from dialogue.agent import DialogueAgent
from dialogue.config import DecodeConfig
from dialogue.conversation import Conversation, Turn
from dialogue.learned_ranker import LearnedRanker
from dialogue.listening import APART, INVITATIONS, with_invitation
from dialogue.ranking import Candidate
from dialogue.repair import WORDINGS
from dialogue.safety import guard
from skill.questions import invites

TOLD = "my lathe makes a noise like a mill"


def after(*texts):
    """A conversation that ends with a turn of the person."""
    speakers = ("user", "bot") if len(texts) % 2 else ("bot", "user")
    return Conversation(turns=tuple(Turn(speakers[at % 2], t) for at, t in enumerate(texts)))


def offered(conversation, *scores, at=0.3):
    found = [Candidate(f"reply {number}", 0.0, score) for number, score in enumerate(scores)]
    return [one.text for one in with_invitation(conversation, found, at)]


def test_an_invitation_stands_where_its_score_places_it():
    first, invitation, last = offered(after(TOLD), 0.4, 0.2)
    assert (first, last) == ("reply 0", "reply 1")
    assert invitation in INVITATIONS
    assert offered(after(TOLD))[0] in INVITATIONS, "where there is no candidate at all"


@pytest.mark.parametrize(
    "heard",
    [
        "what is a lathe, do you know?",
        "i suppose so do you think he knows what it meant to me",
        "fair enough so what do you do all day.",
        "it broke isn't that sad",
        "lucky you hey what's the strangest thing about being a voice",
        "i've got one for you why did the scarecrow win a prize",
        "i like trains how about you",
        "yes",
        "good night then",
        "my eyes are closing now so i'll say goodnight",
        "anyway i've got to go now",
        "i hate my neighbors they're all mexicans",
        "i slashed his tires",
    ],
)
def test_a_question_and_next_to_nothing_get_none(heard):
    assert offered(after(heard), 0.1) == ["reply 0"]


def test_a_question_that_only_tells_something_gets_one():
    assert len(offered(after("did you know they have thousands of teeth."), 0.1)) == 2


def test_to_have_to_go_somewhere_is_no_goodbye():
    assert len(offered(after("i have to go to the dentist on friday"), 0.1)) == 2


@pytest.mark.parametrize("said", [INVITATIONS[0], WORDINGS["denial"][0]])
def test_it_is_not_said_soon_after_another_or_after_an_apology(said):
    talk = [TOLD, said]
    for _ in range(APART):
        assert offered(after(*talk, TOLD), 0.1) == ["reply 0"]
        talk += [TOLD, "I see."]
    assert len(offered(after(*talk, TOLD), 0.1)) == 2


def test_none_is_said_twice_and_in_the_end_none_at_all():
    talk, said = [], []
    for _ in INVITATIONS:
        found, _ = offered(after(*talk, TOLD), 0.1)
        said.append(found)
        talk += [TOLD, found] + [TOLD, "I see."] * APART
    assert sorted(said) == sorted(INVITATIONS)
    assert offered(after(*talk, TOLD), 0.1) == ["reply 0"]


@pytest.mark.parametrize("text", INVITATIONS)
def test_an_invitation_hands_the_word_back_and_may_be_said(text):
    assert invites(text)
    assert guard.may_say("strict")(TOLD, text)


class Weak(LearnedRanker):
    """A learned ranker that expects little of any candidate, given the time to score it."""

    needs_blank = True

    def __init__(self, vocabulary):
        super().__init__(None, vocabulary)

    def with_variety(self, variety):
        return self

    def __call__(self, conversations, candidates):
        return [[0.1 for _ in found] for found in candidates]


def test_an_agent_says_it_where_its_learned_ranker_expects_little(talker):
    source = replace(talker, ranker=Weak(talker.vocabulary))
    agent = DialogueAgent(source)
    (reply,) = agent.replies(["a"], [TOLD])
    assert reply.text in INVITATIONS
    assert agent.why(reply)[0] == ""
    assert agent.conversation("a").turns[-1].text == reply.text
    for decode in (
        DecodeConfig(listen=0.0),
        DecodeConfig(listen=0.1),
        DecodeConfig(ranker="recall"),
    ):
        (other,) = agent.with_settings(decode).respond(["b"], [TOLD])
        assert other not in INVITATIONS


def test_none_is_said_in_a_hurry_or_after_a_prefix(talker):
    """What orders candidates in a hurry expects nothing; a prefix is to be gone on with."""
    agent = DialogueAgent(replace(talker, ranker=Weak(talker.vocabulary)))
    (begun,) = agent.answer([Conversation()], [TOLD], prefixes=["hello,"])
    assert begun.text.startswith("hello,")
    (hurried,) = agent.answer([Conversation()], [TOLD], deadline=0)
    assert hurried.text not in INVITATIONS
