"""Where no candidate suits, the companion says that it listens."""

from dataclasses import replace

import pytest

from dialogue import advice
from dialogue.agent import DialogueAgent
from dialogue.config import DecodeConfig
from dialogue.conversation import Conversation, Turn
from dialogue.learned_ranker import LearnedRanker
from dialogue.listening import (
    ADVICE_BONUS,
    APART,
    ASKING_BONUS,
    INVITATIONS,
    RETURNS,
    with_invitation,
)
from dialogue.ranking import Candidate
from dialogue.repair import WORDINGS
from dialogue.safety import guard
from dialogue.words import ngrams
from skill.questions import asks, invites

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
        "i suppose so is he happy with what it meant to me",
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
        if len(said) == 20:
            heard = [gram for text in said for gram in ngrams(text, 4)]
            assert len(heard) == len(set(heard)), "while others are left, it repeats no four words"
        talk += [TOLD, found] + [TOLD, "I see."] * APART
    assert sorted(said) == sorted(INVITATIONS)
    assert offered(after(*talk, TOLD), 0.1) == ["reply 0"]


@pytest.mark.parametrize(
    ("heard", "kind"),
    [
        ("should i tell the boss or keep quiet?", "choice"),
        ("so do you think i should ring him tonight or wait till he's calmed down", "choice"),
        ("it's late do you think i should ring him", ""),
        ("Shall I oil it, or so?", ""),
        ("have you any tips for learning a fast tune", "ideas"),
        ("i'm stuck what should i bake", "ideas"),
        ("can you help me think where i left it", "ideas"),
        ("i suppose so but what would you do if you were me", "ideas"),
        ("what would you do all day", ""),
        ("the pond leaks do you think a liner would work", "opinion"),
        ("i might leave the bank is that daft", "opinion"),
        ("what do you think about the sea", ""),
        ("who should win?", ""),
        ("how long should i boil an egg", ""),
        ("have you any idea how much i love summer", ""),
        ("he asked if he should go or stay", ""),
        ("do you think so", ""),
        ("is it raining", ""),
        (TOLD, ""),
    ],
)
def test_a_question_for_advice_or_an_opinion_is_recognised(heard, kind):
    assert advice.asked(heard) == kind


def test_such_a_question_is_given_back_unless_a_candidate_is_much_better():
    heard, usual = "it's late do you think he would mind", 0.33
    found = offered(
        after(heard), usual + ADVICE_BONUS + 0.01, usual + ADVICE_BONUS - 0.01, at=usual
    )
    assert (found[0], found[2]) == ("reply 0", "reply 1")
    assert found[1] in advice.WORDINGS["opinion"]
    assert offered(after("hello there", "What?", heard, RETURNS[0], heard), 0.1) == ["reply 0"]
    assert offered(after("hello there", INVITATIONS[0], heard))[0] in advice.WORDINGS["opinion"]
    assert offered(after("should i punch him or leave him"), 0.1) == ["reply 0"], "delicate"


def test_a_candidate_that_asks_something_itself_need_not_be_so_good():
    conversation, usual = after("have you any tips for a fast tune"), 0.33
    for score, place in ((ASKING_BONUS + 0.01, 0), (ASKING_BONUS - 0.01, 1)):
        asking = Candidate("Which tune is it?", 0.0, usual + score)
        found = with_invitation(conversation, [asking], usual)
        assert found[place] == asking and len(found) == 2


def test_none_is_said_twice_of_those_either():
    talk, said, heard = [], [], "should i walk or take the bus"
    for _ in advice.WORDINGS["choice"]:
        said += offered(after(*talk, heard))
        talk += [heard, said[-1]] + [TOLD, "I see."] * APART
    assert offered(after(*talk, heard), 0.1) == ["reply 0"]
    assert sorted(said) == sorted(advice.WORDINGS["choice"])


@pytest.mark.parametrize("text", [*INVITATIONS, *RETURNS])
def test_an_invitation_hands_the_word_back_and_may_be_said(text):
    assert asks(text) or invites(text)
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
