import json
import math

import pytest
import torch

from dialogue import checkpoint
from dialogue.agent import DialogueAgent, Reply
from dialogue.conversation import Conversation, Turn
from training import batches, evaluate
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
    exchanges = evaluate.exchanges_of(agent.model, encoded, agent.device)
    assert sorted((e.conversation, e.turn) for e in exchanges) == sorted(
        (c, t) for c, turns in enumerate(encoded) for t in range(1, len(turns))
    )
    whole = agent.model.log_likelihood(batches.collate(encoded, pad_id=0)).log_probs
    first = torch.tensor([0, *map(len, encoded)]).cumsum(0)
    found, _ = evaluate.score(agent.model, [e.token_ids for e in exchanges], histories=[e.history for e in exchanges], name="")
    expected = torch.stack([whole[first[e.conversation] + e.turn] for e in exchanges]).double()
    torch.testing.assert_close(found, expected.detach(), atol=1e-4, rtol=1e-5)


def test_perplexity_a_word_counts_words_and_one_end_a_turn(agent):
    transcripts = [Transcript("a", "x", ("hi", "I don't KNOW, 42 <person>!")), Transcript("b", "x", ("hello", "yes"))]
    encoded = batches.encode(transcripts, agent.vocabulary, truncate=None).conversations
    exchanges = evaluate.exchanges_of(agent.model, encoded, agent.device)
    figures = evaluate.perplexities(agent.model, exchanges, recognised=exchanges, transcripts=transcripts)
    assert figures["perplexity_per_word_recognised"] == figures["perplexity_per_word"], "the same histories"
    tokens = sum(len(e.token_ids) for e in exchanges)
    counted = (7 + 1) + (1 + 1)  # i, don't, know, the comma, 42, <person>, the mark; yes; two ends
    assert math.log(figures["perplexity_per_word"]) * counted == pytest.approx(math.log(figures["perplexity_per_token"]) * tokens)


def test_a_model_that_has_learnt_its_conversations_needs_their_true_histories(agent, conversations):
    figures, _ = evaluate.evaluate(agent, list(conversations))
    assert figures["perplexity_per_word"] < 3
    assert figures["perplexity_per_word_shuffled_history"] > 3 * figures["perplexity_per_word"]
    assert figures["hits_at_1_of_20_mean_loss"] > 0.9  # it never learnt what is likely without a history
    assert figures["replies"] == len(conversations)


def test_shuffled_histories_come_from_other_conversations():
    exchanges = [evaluate.Exchange(c, 1, torch.full((1,), float(c)), [3]) for c in (0, 0, 0, 1, 1, 2)]
    for exchange, history in zip(exchanges, evaluate._shuffled(exchanges), strict=True):
        assert int(history) != exchange.conversation


def test_the_figures_of_replies_by_hand():
    figures = evaluate.reply_figures(said("i like it", "i like it!", "no no no no", "yes and yes and") + said("hm", fallback=True))
    assert figures["unique_replies"] == pytest.approx(4 / 5)
    assert figures["distinct_1"] == pytest.approx(7 / 15)  # i like it no yes and hm
    assert figures["distinct_2"] == pytest.approx(5 / 10)  # i-like like-it no-no yes-and and-yes
    assert figures["repeated_2gram"] == pytest.approx(2 / 5)
    assert figures["repeated_3gram"] == pytest.approx(1 / 5)
    assert figures["mean_length"] == pytest.approx(15 / 5)
    assert figures["fallbacks"] == pytest.approx(1 / 5)
    assert figures["placeholders"] == 0
    assert figures["listed_words"] == 0
    assert evaluate.reply_figures(said("damn right", "oh f u c k", "moby dick"))["listed_words"] == 2
    assert evaluate.reply_figures(said("i am <person>", "me too"))["placeholders"] == pytest.approx(1 / 2)


def test_a_reply_that_was_said_before_in_its_conversation_is_counted(agent, conversations, monkeypatch):
    """The agent says "1", "2", "3" and "1" again in every conversation, beside "2" of all other conversations."""
    monkeypatch.setattr(evaluate, "TALK_TURNS", 2)

    def answer(talks, utterances):
        texts = [("one", "two", "three")[len(talk.said("bot")) % 3] for talk in talks]
        turns = [(Turn("user", utterance), Turn("bot", text)) for utterance, text in zip(utterances, texts, strict=True)]
        return [
            Reply(text, Conversation(talk.history, (*talk.turns, *both)), ())
            for text, talk, both in zip(texts, talks, turns, strict=True)
        ]

    monkeypatch.setattr(agent, "answer", answer)
    transcripts = [Transcript("a", "x", tuple("abcdefgh")), Transcript("b", "x", tuple("abcd")), Transcript("c", "x", ("a",))]
    assert evaluate.repeated_replies(agent, transcripts) == {"repeated_replies": 1 / 6, "replies_in_conversations": 6}


def test_histories_to_answer_have_two_turns_at_least_and_one_is_chosen_a_conversation(agent, conversations):
    transcripts = evaluate.by_hash([*conversations, Transcript("short", "x", ("hi", "hello"))])
    encoded = batches.encode(transcripts, agent.vocabulary, truncate=None).conversations
    exchanges = evaluate.exchanges_of(agent.model, encoded, agent.device)
    chosen = evaluate.chosen_exchanges(exchanges, transcripts, limit=None)
    assert [e.conversation for e in chosen] == [i for i, t in enumerate(transcripts) if t.id != "short"]
    assert all(2 <= e.turn < len(transcripts[e.conversation].turns) for e in chosen)
    assert evaluate.chosen_exchanges(exchanges, transcripts, limit=3) == chosen[:3]


def test_ties_lose(agent, conversations, monkeypatch):
    transcripts = list(conversations)
    encoded = batches.encode(transcripts, agent.vocabulary, truncate=None).conversations
    exchanges = evaluate.exchanges_of(agent.model, encoded, agent.device)
    monkeypatch.setattr(evaluate, "score", lambda model, replies, histories, name: (torch.zeros(len(replies)), None))
    assert evaluate.ranking(agent.model, exchanges[:4], exchanges=exchanges, transcripts=transcripts)["hits_at_1_of_20"] == 0


def test_the_command_prints_json_alone_with_a_dash_and_the_names_that_scripts_rely_on(talker, conversations, tmp_path, capsys):
    checkpoint.save(tmp_path / "model", talker)
    lines = [json.dumps({"id": t.id, "turns": t.turns}) for t in conversations]
    (tmp_path / "talk.jsonl").write_text("\n".join(lines))
    arguments = ["--checkpoint", str(tmp_path / "model"), "--data", str(tmp_path / "talk.jsonl"), "--split", "all", "--json", "-"]
    assert evaluate.main([*arguments, "--limit", "5"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert set(figures) == {
        "perplexity_per_token", "perplexity_per_word", "perplexity_per_word_shuffled_history", "token_accuracy", "distinct_1",
        "distinct_2", "unique_replies", "repeated_2gram", "repeated_3gram", "mean_length", "hits_at_1_of_20",
        "hits_at_1_of_20_mean_loss", "fallbacks", "replies", "placeholders", "perplexity_per_word_recognised", "repeated_replies",
        "replies_in_conversations", "listed_words",
    }  # fmt: skip
    assert figures["replies"] == 5


@pytest.mark.parametrize("arguments", [["--limit", "0"], ["--checkpoint", "nowhere"], ["--data", "nowhere"], ["--split", "dev"]])
def test_bad_options_are_one_plain_line(arguments, talker, tmp_path, capsys):
    checkpoint.save(tmp_path / "model", talker)
    assert evaluate.main(["--checkpoint", str(tmp_path / "model"), *arguments]) == 2
    assert capsys.readouterr().err.startswith("error: ")
