import pytest
import torch

from training.corpora.transcript import Transcript
from training.metrics import ranking
from training.metrics.ranking import ranking_metrics, ranks


def test_ties_lose(agent, conversations, heard, monkeypatch):
    exchanges = heard(conversations)
    monkeypatch.setattr(
        ranking, "score", lambda model, replies, histories, name: torch.zeros(len(replies))
    )
    for found in ranks(agent.model, exchanges[:4], exchanges=exchanges, transcripts=conversations):
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
    found, _ = ranks(agent.model, exchanges[:1], exchanges=exchanges, transcripts=conversations)
    assert found.tolist() == [4]


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
    ranks(agent.model, [chosen], exchanges=exchanges, transcripts=transcripts)
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
        ranks(agent.model, exchanges[:1], exchanges=exchanges, transcripts=conversations)


def test_the_figures_of_ranks_by_hand():
    found = ranking_metrics(torch.tensor([1, 2, 5, 20]), torch.tensor([1, 1, 1, 2]))
    assert found == pytest.approx(
        {
            "hits_at_1_of_20": 1 / 4,
            "hits_at_5_of_20": 3 / 4,
            "mean_reciprocal_rank": (1 + 1 / 2 + 1 / 5 + 1 / 20) / 4,
            "hits_at_1_of_20_mean_loss": 3 / 4,
        }
    )
