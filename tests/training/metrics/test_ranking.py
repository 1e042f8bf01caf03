import copy

import pytest
import torch

from dialogue.config import DecodeConfig
from training.corpora.transcript import Transcript
from training.metrics import ranking
from training.metrics.ranking import Ranks, ranking_metrics, ranks


def test_ties_lose(agent, conversations, heard, monkeypatch):
    exchanges = heard(conversations)
    monkeypatch.setattr(
        ranking, "score", lambda model, replies, histories, name: torch.zeros(len(replies))
    )
    agent = agent.with_settings(DecodeConfig(ranker="likelihood", length_bonus=0.0))
    for found in ranks(agent, exchanges[:4], exchanges=exchanges, transcripts=conversations):
        assert found.tolist() == [20] * 4


def test_the_rank_of_the_true_reply_is_one_more_than_how_many_are_as_good(
    agent, conversations, heard, monkeypatch
):
    exchanges = heard(conversations)
    given = torch.tensor([5.0, *([7.0] * 3), *([1.0] * 16)])
    monkeypatch.setattr(
        ranking,
        "score",
        lambda model, replies, histories, name: (
            given * (histories is not None) if histories else torch.zeros(20)
        ),
    )
    found = ranks(agent, exchanges[:1], exchanges=exchanges, transcripts=conversations)
    assert found.by_gain.tolist() == [4]


class ListensFor:
    """A ranker that prefers candidates with a word of the last turn, and records what it sees."""

    def __init__(self):
        self.shown = []

    def __call__(self, conversations, candidates):
        self.shown += zip(conversations, candidates, strict=True)
        return [
            [float(bool(set(one.text.split()) & set(talk.turns[-1].text.split()))) for one in found]
            for talk, found in zip(conversations, candidates, strict=True)
        ]


def test_the_agents_own_ranker_ranks_the_same_candidates(agent, conversations, heard):
    exchanges = heard(conversations)
    agent, ranker = copy.copy(agent), ListensFor()
    agent.ranker = ranker
    found = ranks(agent, exchanges[:5], exchanges=exchanges, transcripts=conversations)
    for place, exchange, (talk, candidates) in zip(
        found.by_ranker, exchanges[:5], ranker.shown, strict=True
    ):
        turns = conversations[exchange.conversation].turns
        assert [turn.text for turn in talk.turns] == list(turns[: exchange.turn])
        assert talk.turns[-1].speaker == "user"
        assert candidates[0].text == turns[exchange.turn]
        assert all(one.log_prob < 0 and one.blank < 0 for one in candidates)
        heard_words = set(turns[exchange.turn - 1].split())
        true, *others = [bool(set(one.text.split()) & heard_words) for one in candidates]
        assert place == 1 + sum(other >= true for other in others)


def test_candidates_are_of_other_conversations_of_the_same_corpus(
    agent, conversations, heard, monkeypatch
):
    other = [Transcript(f"other {n}", "other", ("so", f"{'a' * n}", "well")) for n in range(1, 4)]
    transcripts = [*conversations, *other]
    exchanges = heard(transcripts)
    asked = []

    def score(model, replies, histories, name):
        asked.append(list(replies))
        return torch.zeros(len(replies))

    monkeypatch.setattr(ranking, "score", score)
    chosen = next(
        e for e in exchanges if transcripts[e.conversation].id == "other 2" and e.turn == 1
    )
    ranks(agent, [chosen], exchanges=exchanges, transcripts=transcripts)
    true, *drawn = asked[0]
    assert true == chosen.token_ids
    allowed = [
        e.token_ids for e in exchanges if transcripts[e.conversation].id in ("other 1", "other 3")
    ]
    assert len(drawn) == 19
    assert all(candidate in allowed for candidate in drawn)


def test_a_corpus_of_one_conversation_has_nothing_to_rank_among(agent, conversations, heard):
    exchanges = heard(conversations[:1])
    with pytest.raises(ValueError, match="a corpus of one conversation"):
        ranks(agent, exchanges[:1], exchanges=exchanges, transcripts=conversations)


def test_the_figures_of_ranks_by_hand():
    places = Ranks(*map(torch.tensor, ([1, 2, 5, 20], [1, 1, 1, 2], [1, 9, 9, 1])))
    found = ranking_metrics(places)
    assert found == pytest.approx(
        {
            "hits_at_1_of_20": 1 / 4,
            "hits_at_5_of_20": 3 / 4,
            "mean_reciprocal_rank": (1 + 1 / 2 + 1 / 5 + 1 / 20) / 4,
            "hits_at_1_of_20_mean_loss": 3 / 4,
            "hits_at_1_of_20_ranker": 2 / 4,
        }
    )
