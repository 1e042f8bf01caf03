import math

import pytest
import torch

from dialogue.agent import DialogueAgent, Reply
from dialogue.conversation import Conversation, Turn
from training import batches, figures
from training.corpora.transcript import Transcript


@pytest.fixture(scope="module")
def agent(talker):
    return DialogueAgent(talker)


def said(*texts, fallback=False):
    return [Reply(text, Conversation(), (), is_fallback=fallback) for text in texts]


def test_the_histories_of_exchanges_are_those_of_the_conversation_encoded_at_once(agent, conversations):
    encoded = batches.encode(conversations[:5], agent.vocabulary, truncate=None).conversations
    encoded.append(encoded[0][:2])  # uneven lengths
    encoded.append(encoded[1][:1])  # and one that nothing follows
    exchanges = figures.exchanges_of(agent.model, encoded, agent.device)
    assert sorted((e.conversation, e.turn) for e in exchanges) == sorted(
        (c, t) for c, turns in enumerate(encoded) for t in range(1, len(turns))
    )
    whole = agent.model.log_likelihood(batches.collate(encoded, pad_id=0)).log_probs
    first = torch.tensor([0, *map(len, encoded)]).cumsum(0)
    found, _ = figures.score(agent.model, [e.token_ids for e in exchanges], histories=[e.history for e in exchanges], name="")
    expected = torch.stack([whole[first[e.conversation] + e.turn] for e in exchanges]).double()
    torch.testing.assert_close(found, expected.detach(), atol=1e-4, rtol=1e-5)


def test_perplexity_a_word_counts_words_and_one_end_a_turn(agent):
    transcripts = [Transcript("a", "x", ("hi", "I don't KNOW, 42 <person>!")), Transcript("b", "x", ("hello", "yes"))]
    encoded = batches.encode(transcripts, agent.vocabulary, truncate=None).conversations
    exchanges = figures.exchanges_of(agent.model, encoded, agent.device)
    found = figures.perplexities(agent.model, exchanges, recognised=exchanges, transcripts=transcripts)
    assert found["perplexity_per_word_recognised"] == found["perplexity_per_word"], "the same histories"
    tokens = sum(len(e.token_ids) for e in exchanges)
    counted = (7 + 1) + (1 + 1)  # i, don't, know, the comma, 42, <person>, the mark; yes; two ends
    assert math.log(found["perplexity_per_word"]) * counted == pytest.approx(math.log(found["perplexity_per_token"]) * tokens)


def test_shuffled_histories_come_from_other_conversations():
    exchanges = [figures.Exchange(c, 1, torch.full((1,), float(c)), [3]) for c in (0, 0, 0, 1, 1, 2)]
    for exchange, history in zip(exchanges, figures._shuffled(exchanges), strict=True):
        assert int(history) != exchange.conversation


def test_the_figures_of_replies_by_hand():
    found = figures.reply_figures(said("i like it", "i like it!", "no no no no", "yes and yes and") + said("hm", fallback=True))
    assert found["unique_replies"] == pytest.approx(4 / 5)
    assert found["distinct_1"] == pytest.approx(7 / 15)  # i like it no yes and hm
    assert found["distinct_2"] == pytest.approx(5 / 10)  # i-like like-it no-no yes-and and-yes
    assert found["repeated_2gram"] == pytest.approx(2 / 5)
    assert found["repeated_3gram"] == pytest.approx(1 / 5)
    assert found["mean_length"] == pytest.approx(15 / 5)
    assert found["fallbacks"] == pytest.approx(1 / 5)
    assert found["placeholders"] == 0
    assert found["listed_words"] == 0
    assert figures.reply_figures(said("damn right", "oh f u c k", "moby dick"))["listed_words"] == 2
    assert figures.reply_figures(said("i am <person>", "me too"))["placeholders"] == pytest.approx(1 / 2)


def test_a_reply_that_was_said_before_in_its_conversation_is_counted(agent, conversations, monkeypatch):
    """It says "one", "two", "three", and "one" again in the longer conversation; what another one heard does not count."""
    monkeypatch.setattr(figures, "TALK_TURNS", 2)

    def answer(talks, utterances):
        texts = [("one", "two", "three")[len(talk.said("bot")) % 3] for talk in talks]
        turns = [(Turn("user", utterance), Turn("bot", text)) for utterance, text in zip(utterances, texts, strict=True)]
        return [
            Reply(text, Conversation(talk.history, (*talk.turns, *both)), ())
            for text, talk, both in zip(texts, talks, turns, strict=True)
        ]

    monkeypatch.setattr(agent, "answer", answer)
    transcripts = [Transcript("a", "x", tuple("abcdefgh")), Transcript("b", "x", tuple("abcd")), Transcript("c", "x", ("a",))]
    assert figures.repeated_replies(agent, transcripts) == {"repeated_replies": 1 / 6, "replies_in_conversations": 6}


def test_histories_to_answer_have_two_turns_at_least_and_one_is_chosen_a_conversation(agent, conversations):
    transcripts = figures.by_hash([*conversations, Transcript("short", "x", ("hi", "hello"))])
    encoded = batches.encode(transcripts, agent.vocabulary, truncate=None).conversations
    exchanges = figures.exchanges_of(agent.model, encoded, agent.device)
    chosen = figures.chosen_exchanges(exchanges, transcripts, limit=None)
    assert [e.conversation for e in chosen] == [i for i, t in enumerate(transcripts) if t.id != "short"]
    assert all(2 <= e.turn < len(transcripts[e.conversation].turns) for e in chosen)
    assert figures.chosen_exchanges(exchanges, transcripts, limit=3) == chosen[:3]


def test_ties_lose(agent, conversations, monkeypatch):
    transcripts = list(conversations)
    encoded = batches.encode(transcripts, agent.vocabulary, truncate=None).conversations
    exchanges = figures.exchanges_of(agent.model, encoded, agent.device)
    monkeypatch.setattr(figures, "score", lambda model, replies, histories, name: (torch.zeros(len(replies)), None))
    assert figures.ranking(agent.model, exchanges[:4], exchanges=exchanges, transcripts=transcripts)["hits_at_1_of_20"] == 0
