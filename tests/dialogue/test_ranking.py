"""Rankers: by likelihood, remembered replies first, a custom one, and the learned one."""

import math
from dataclasses import replace

import pytest

from dialogue.agent import DialogueAgent
from dialogue.config import DecodeConfig
from dialogue.conversation import Conversation, Turn
from dialogue.ranking import Candidate, LikelihoodRanker, RecallRanker, gain, ranker_of
from dialogue.recall import Exchange, Recall

HEARD = Conversation(turns=(Turn("user", "do you like music?"),))
FOUND = Candidate("yes, i like jazz.", log_prob=-8.0, score=-3.0, blank=-14.0, tokens=6)
REMEMBERED = Candidate(
    "i love music. what do you listen to?",
    log_prob=-20.0,
    score=-20.0,
    blank=-29.0,
    tokens=9,
    similarity=0.5,
)
FAR = replace(REMEMBERED, text="in a small town.", similarity=-0.4)


class Longest:
    """A custom ranker: the longest reply first."""

    def __init__(self, checkpoint, decode):
        self.weight = decode.length_bonus

    def __call__(self, conversations, candidates):
        assert len(conversations) == len(candidates)
        return [[self.weight * len(candidate.text) for candidate in found] for found in candidates]


class Silent(Longest):
    """A ranker that forgets a candidate."""

    def __call__(self, conversations, candidates):
        return [[0.0] * (len(found) - 1) for found in candidates]


def test_the_likelihood_is_weighed_against_that_without_a_history():
    rank = LikelihoodRanker(None, DecodeConfig(anti_lm=0.5, length_bonus=0.25))
    assert rank([HEARD], [[FOUND, REMEMBERED]]) == [[-8 + 7 + 1.5, -20 + 14.5 + 2.25]]
    assert rank([HEARD], [[replace(FOUND, blank=None)]]) == [[-3.0]], (
        "the search's own score where that is not known"
    )


def test_a_remembered_reply_that_fits_goes_first_and_one_that_does_not_goes_last():
    rank = RecallRanker(None, DecodeConfig(recall_from=0.6, recall_likelihood=0.1))
    assert gain(REMEMBERED) == pytest.approx(9 / math.sqrt(10))
    (scores,) = rank([HEARD], [[FAR, FOUND, REMEMBERED]])
    assert scores[2] > scores[1] > scores[0]
    (scores,) = RecallRanker(None, DecodeConfig(recall_from=0.9, recall_likelihood=0.1))(
        [HEARD], [[FAR, FOUND, REMEMBERED]]
    )
    assert scores[1] > scores[2] > scores[0], "0.5 + 0.1 * 9 / sqrt(10) is below 0.9"


def test_a_ranker_of_ones_own_orders_the_candidates_and_is_what_rank_uses(talker):
    agent = DialogueAgent(talker, decode=DecodeConfig(beam_size=4, ranker=f"{__name__}:Longest"))
    (reply,) = agent.answer([Conversation()], ["do you like music?"])
    lengths = [len(candidate.text) for candidate in reply.candidates]
    assert lengths == sorted(lengths, reverse=True)
    assert [candidate.score for candidate in reply.candidates] == pytest.approx(
        [0.3 * length for length in lengths]
    )
    (heard,) = agent.hear([Conversation()], [Turn("user", "do you like music?")])
    assert [c.text for c in agent.rank(heard, ["no", "yes, i do"])] == ["yes, i do", "no"]


def test_a_ranker_that_does_not_score_every_candidate_is_refused(talker):
    agent = DialogueAgent(talker, decode=DecodeConfig(beam_size=4, ranker=f"{__name__}:Silent"))
    with pytest.raises(ValueError, match=r"Silent gave \d scores for \d candidates"):
        agent.answer([Conversation()], ["do you like music?"])


@pytest.mark.parametrize(
    "name", ["nonsense", "no.such.module:Ranker", "dialogue.ranking:Nobody", ":", ""]
)
def test_a_ranker_that_is_not_there_is_refused_by_name(talker, name):
    with pytest.raises(ValueError, match=f"there is no ranker '{name}'"):
        DialogueAgent(talker, decode=DecodeConfig(ranker=name))


def test_a_checkpoint_without_a_learned_ranker_says_how_to_get_one(talker):
    with pytest.raises(ValueError, match=r"python -m training\.fit_ranker"):
        ranker_of(talker, DecodeConfig(ranker="learned"))


def test_auto_takes_the_remembered_first_where_nothing_was_learnt(talker):
    exchange = Exchange("", "do you like music?", "jazz, above all")
    agent = DialogueAgent(
        replace(talker, recall=Recall([exchange])), decode=DecodeConfig(beam_size=4)
    )
    assert isinstance(agent.ranker, RecallRanker)
    assert agent.answer([Conversation()], ["do you like music?"])[0].text == exchange.reply
