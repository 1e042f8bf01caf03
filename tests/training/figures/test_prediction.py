import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dialogue.vocabulary import Vocabulary
from training import build_vocabulary
from training.corpora.transcript import Transcript
from training.figures.exchanges import Exchange
from training.figures.prediction import (
    Prediction,
    _shuffled,
    history_figures,
    predict,
    prediction_figures,
    right_words,
    score,
    teacher_forced,
)

PIECES = build_vocabulary.build(["i don't know, 42 of <person>! he'll see it's a test"] * 9, size=300, model_type="unigram")
WORDS = Vocabulary.of_words(["<unk>", "<s>", "</s>", "i", "don", "'", "t", "know", "."])


def test_reading_token_by_token_finds_what_the_likelihood_finds(agent, conversations, heard):
    exchanges, openings = heard(conversations)
    turns = [*exchanges, *openings]
    log_probs, right = teacher_forced(agent.decoder, turns, bos_id=agent.vocabulary.bos_id)
    at_once = score(agent.model, [e.token_ids for e in turns], histories=[e.history for e in turns], name="")
    torch.testing.assert_close(log_probs, at_once, atol=1e-4, rtol=1e-5)
    assert [len(hits) for hits in right] == [len(e.token_ids) for e in turns]


def test_a_token_is_right_where_the_model_gives_no_other_more(agent, heard):
    """A second implementation: one turn at a time, by the argmax of each step."""
    exchanges, openings = heard([Transcript("a", "x", ("hi", "hello, how are you?", "it is cold", "good night"))])
    turns = [*openings, *exchanges]
    _, right = teacher_forced(agent.decoder, turns, bos_id=agent.vocabulary.bos_id)
    slowly = []
    for turn in turns:
        state, read, hits = agent.model.start(turn.history[None]), agent.vocabulary.bos_id, []
        for token_id in turn.token_ids:
            log_probs, state = agent.model.step(torch.tensor([read]), state)
            hits.append(int(log_probs.argmax()) == token_id)
            read = token_id
        slowly.append(hits)
    assert right == slowly
    assert any(map(any, right))
    assert not all(map(all, right))


def test_perplexity_a_word_counts_words_and_one_end_a_turn(agent, heard):
    transcripts = [Transcript("a", "x", ("hi", "I don't KNOW, 42 <person>!")), Transcript("b", "x", ("hello", "yes"))]
    exchanges, openings = heard(transcripts)
    prediction = predict(agent.decoder, [*exchanges, *openings], transcripts=transcripts, vocabulary=agent.vocabulary)
    found = prediction_figures(prediction)
    counted = prediction.counted[: len(exchanges)]
    other, _ = history_figures(agent.model, exchanges, recognised=exchanges, counted=counted)
    assert other["perplexity_per_word_recognised"] == pytest.approx(found["perplexity_per_word"]), "the same histories"
    tokens = sum(len(e.token_ids) for e in exchanges)
    words = (7 + 1) + (1 + 1)  # i, don't, know, the comma, 42, <person>, the mark; yes; two ends
    assert math.log(found["perplexity_per_word"]) * words == pytest.approx(math.log(found["perplexity_per_token"]) * tokens)


def test_figures_of_a_table_by_hand():
    """Two triples; of the first turns only `all` and the error rate know, of the third ones @U3."""
    table = Prediction(
        turn=torch.tensor([0, 1, 2, 0, 1, 2]),
        log_probs=torch.tensor([-1.0, -2, -3, -4, -5, -6], dtype=torch.float64),
        tokens=torch.tensor([2, 2, 2, 2, 2, 2]),
        correct=torch.tensor([0, 1, 0, 1, 2, 0]),
        counted=torch.tensor([1, 2, 1, 2, 1, 4]),
        words=torch.tensor([2, 2, 2, 2, 3, 3]),
        wrong=torch.tensor([1, 1, 2, 0, 3, 0]),
    )
    assert prediction_figures(table) == pytest.approx(
        {
            "perplexity_per_token": math.exp(16 / 8),
            "perplexity_per_word": math.exp(16 / 8),
            "token_accuracy": 3 / 8,
            "perplexity_per_word_all": math.exp(21 / 14),
            "word_error_rate": 7 / 14,
            "perplexity_per_word_u3": math.exp(9 / 5),
            "word_error_rate_u3": 2 / 5,
        }
    )
    assert "perplexity_per_word_u3" not in prediction_figures(table.where(table.turn < 2))
    longer = replace(table, turn=torch.tensor([0, 1, 2, 3, 4, 5]))
    assert prediction_figures(longer)["perplexity_per_word_from_u4"] == pytest.approx(math.exp(15 / 8))


def test_words_of_a_spaced_corpus_stand_between_spaces_and_the_old_count_stays(agent, heard):
    turns = ("it is ...", "it is ...", "no")
    transcripts = [Transcript("a", "x", turns, spaced=True), Transcript("b", "x", turns)]
    exchanges, openings = heard(transcripts)
    found = predict(agent.decoder, [*openings, *exchanges], transcripts=transcripts, vocabulary=agent.vocabulary)
    assert found.words.tolist() == [4, 6, *({0: 4, 1: 6}[e.conversation] if e.turn == 1 else 2 for e in exchanges)]
    assert found.counted.tolist()[:2] == [6, 6]


@pytest.mark.parametrize("vocabulary", [PIECES, WORDS], ids=["pieces", "words"])
@pytest.mark.parametrize("spaced", [True, False])
def test_a_word_is_right_if_all_of_its_tokens_are(vocabulary, spaced):
    text = "i don ' t  know ."
    (token_ids,) = vocabulary.encode_all([text], spaced=spaced)
    assert right_words(text, [True] * len(token_ids), vocabulary=vocabulary, spaced=spaced) == [True] * 6
    for wrong in range(len(token_ids)):
        hits = [place != wrong for place in range(len(token_ids))]
        found = right_words(text, hits, vocabulary=vocabulary, spaced=spaced)
        begin = sum(vocabulary.widths(text, spaced=spaced)[:wrong])
        character = min(begin, len("idon'tknow.") - 1)
        owner = [0, 1, 1, 1, 2, 3, 4, 4, 4, 4, 5][character]
        assert not found[owner]
        assert found[:owner] == [True] * owner


def test_two_quotes_that_are_read_as_one_are_right_or_wrong_together():
    text = "``hi``"
    widths = PIECES.widths(text)
    assert sum(widths) == len('"hi"')
    assert right_words(text, [True] * len(widths), vocabulary=PIECES, spaced=False) == [True] * 5
    last = [place != len(widths) - 1 for place in range(len(widths))]
    assert right_words(text, last, vocabulary=PIECES, spaced=False) == [True, True, True, False, False]


@given(st.text(st.one_of(st.sampled_from(" '`,d1"), st.characters(exclude_categories=["C"])), max_size=12), st.booleans())
def test_with_every_token_wrong_every_word_is_wrong(text, spaced):
    for vocabulary in (PIECES, WORDS):
        (token_ids,) = vocabulary.encode_all([text], spaced=spaced)
        assert not any(right_words(text, [False] * len(token_ids), vocabulary=vocabulary, spaced=spaced))
        assert all(right_words(text, [True] * len(token_ids), vocabulary=vocabulary, spaced=spaced))


def test_shuffled_histories_come_from_other_conversations():
    exchanges = [Exchange(c, 1, torch.full((1,), float(c)), [3]) for c in (0, 0, 0, 1, 1, 2)]
    for exchange, history in zip(exchanges, _shuffled(exchanges), strict=True):
        assert int(history) != exchange.conversation


def test_a_split_of_one_conversation_has_no_other_history():
    with pytest.raises(ValueError, match="one conversation only"):
        _shuffled([Exchange(0, 1, torch.zeros(1), [3])])
