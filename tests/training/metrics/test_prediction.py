import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dialogue.models.history import empty_history
from dialogue.vocabulary import Vocabulary
from tests.dialogue.conftest import BOS, EOS
from tests.dialogue.test_siblings import MODELS, UNEVEN, build
from training.corpora.transcript import Transcript
from training.data import batches
from training.data.batches import Utterance
from training.data.vocabulary import build as build_vocabulary
from training.metrics import prediction
from training.metrics.exchanges import exchanges_of
from training.metrics.prediction import (
    Prediction,
    likelihoods,
    others,
    predict,
    prediction_metrics,
    right_words,
    score,
)

PIECES = build_vocabulary(
    ["i don't know, 42 of <person>! he'll see it's a test"] * 9, size=300, model_type="unigram"
)
WORDS = Vocabulary.of_words(["<unk>", "<s>", "</s>", "i", "don", "'", "t", "know", "."])


@pytest.mark.parametrize("stretch", [1, 2, 100])
@pytest.mark.parametrize(
    ("name", "sizes"),
    [("hred", {"utterance": 8, "context": 6}), *MODELS.values()],
    ids=["hred", *MODELS],
)
def test_turns_are_predicted_as_the_steps_of_the_decoder_predict_them(
    name, sizes, stretch, monkeypatch
):
    """A second implementation: one turn at a time, token by token, with its history encoded turn by
    turn from what was heard.
    """
    monkeypatch.setattr(prediction, "STRETCH_TURNS", stretch)
    model = build(name, **sizes)
    conversations = [
        [Utterance(turn) for turn in turns]
        for turns in [*UNEVEN, [[4, EOS], [9, 9, 5, EOS], [6, EOS], [5, EOS]]]
    ]
    for after in (
        conversations,
        others(conversations, [Transcript("", "x", ())] * len(conversations)),
    ):
        found, right = likelihoods(model, conversations, after=after, name="")
        expected, hits = [], []
        for turns, before in zip(conversations, after, strict=True):
            history = empty_history(model)
            for turn, said in zip(turns, before, strict=True):
                state, read, total, hits_of_turn = model.start(history), BOS, 0.0, []
                for target in turn:
                    log_probs, state = model.step(torch.tensor([read]), state)
                    total, read = total + float(log_probs[0, target]), target
                    hits_of_turn.append(int(log_probs.argmax()) == target)
                expected.append(total)
                hits.append(hits_of_turn)
                history = model.encode_turn(
                    torch.tensor([said]), torch.tensor([len(said)]), history
                )
        torch.testing.assert_close(
            found, torch.tensor(expected, dtype=torch.float64), atol=1e-4, rtol=1e-5
        )
        assert right == hits
        assert any(map(any, right))
        assert not all(map(all, right))


def test_perplexity_a_word_counts_words_and_one_end_a_turn(agent):
    transcripts = [
        Transcript("a", "x", ("hi", "I don't KNOW, 42 <person>!")),
        Transcript("b", "x", ("hello", "yes")),
    ]
    encoded = batches.encode(transcripts, agent.vocabulary, truncate=None).conversations
    found = prediction_metrics(
        predict(agent.model, encoded, transcripts=transcripts, vocabulary=agent.vocabulary)
    )
    assert found["perplexity_per_word_recognised"] == pytest.approx(found["perplexity_per_word"]), (
        "nothing is told of recognisers"
    )
    tokens = sum(len(turns[1]) for turns in encoded)
    words = (7 + 1) + (1 + 1)  # i, don't, know, the comma, 42, <person>, the mark; yes; two ends
    assert math.log(found["perplexity_per_word"]) * words == pytest.approx(
        math.log(found["perplexity_per_token"]) * tokens
    )


def test_figures_of_a_table_by_hand():
    """Two triples. First turns count only in `all` and the error rate, third ones in @U3."""
    table = Prediction(
        turn=torch.tensor([0, 1, 2, 0, 1, 2]),
        log_probs=torch.tensor([-1.0, -2, -3, -4, -5, -6], dtype=torch.float64),
        recognised=torch.tensor([-9.0, -3, -3, -9, -5, -6], dtype=torch.float64),
        shuffled=torch.tensor([-9.0, -4, -4, -9, -5, -6], dtype=torch.float64),
        tokens=torch.tensor([2, 2, 2, 2, 2, 2]),
        correct=torch.tensor([0, 1, 0, 1, 2, 0]),
        counted=torch.tensor([1, 2, 1, 2, 1, 4]),
        words=torch.tensor([2, 2, 2, 2, 3, 3]),
        wrong=torch.tensor([1, 1, 2, 0, 3, 0]),
    )
    assert prediction_metrics(table) == pytest.approx(
        {
            "perplexity_per_token": math.exp(16 / 8),
            "perplexity_per_word": math.exp(16 / 8),
            "perplexity_per_word_recognised": math.exp(17 / 8),
            "perplexity_per_word_shuffled_history": math.exp(19 / 8),
            "token_accuracy": 3 / 8,
            "perplexity_per_word_all": math.exp(21 / 14),
            "word_error_rate": 7 / 14,
            "perplexity_per_word_u3": math.exp(9 / 5),
            "word_error_rate_u3": 2 / 5,
        }
    )
    assert "perplexity_per_word_u3" not in prediction_metrics(table.where(table.turn < 2))
    longer = replace(table, turn=torch.tensor([0, 1, 2, 3, 4, 5]))
    assert prediction_metrics(longer)["perplexity_per_word_from_u4"] == pytest.approx(
        math.exp(15 / 8)
    )


def test_words_of_a_spaced_corpus_stand_between_spaces_and_the_old_count_stays(agent):
    turns = ("it is ...", "it is ...", "no")
    transcripts = [Transcript("a", "x", turns, spaced=True), Transcript("b", "x", turns)]
    encoded = batches.encode(transcripts, agent.vocabulary, truncate=None).conversations
    found = predict(agent.model, encoded, transcripts=transcripts, vocabulary=agent.vocabulary)
    assert found.words.tolist() == [4, 4, 2, 6, 6, 2]
    assert found.counted.tolist() == [6, 6, 2, 6, 6, 2]


@pytest.mark.parametrize("vocabulary", [PIECES, WORDS], ids=["pieces", "words"])
@pytest.mark.parametrize("spaced", [True, False])
def test_a_word_is_right_if_all_of_its_tokens_are(vocabulary, spaced):
    text = "i don ' t  know ."
    (token_ids,) = vocabulary.encode_all([text], spaced=spaced)
    assert (
        right_words(text, [True] * len(token_ids), vocabulary=vocabulary, spaced=spaced)
        == [True] * 6
    )
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
    assert right_words(text, last, vocabulary=PIECES, spaced=False) == [
        True,
        True,
        True,
        False,
        False,
    ]


@given(
    st.text(
        st.one_of(st.sampled_from(" '`,d1"), st.characters(exclude_categories=["C"])), max_size=12
    ),
    st.booleans(),
)
def test_with_every_token_wrong_every_word_is_wrong(text, spaced):
    for vocabulary in (PIECES, WORDS):
        (token_ids,) = vocabulary.encode_all([text], spaced=spaced)
        assert not any(
            right_words(text, [False] * len(token_ids), vocabulary=vocabulary, spaced=spaced)
        )
        assert all(right_words(text, [True] * len(token_ids), vocabulary=vocabulary, spaced=spaced))


def test_the_recognised_form_of_what_was_said_before_is_what_the_history_holds(
    agent, conversations
):
    transcripts = conversations[:2]
    encoded = [
        [
            Utterance(turn, heard=[*turn[-2::-1], turn[-1]]) for turn in turns
        ]  # as if a recogniser turned the words around
        for turns in batches.encode(transcripts, agent.vocabulary, truncate=None).conversations
    ]
    found = predict(agent.model, encoded, transcripts=transcripts, vocabulary=agent.vocabulary)
    spoken = [[turn.heard for turn in turns] for turns in encoded]
    exchanges = exchanges_of(agent.model, spoken, agent.device)
    by_hand = score(
        agent.model,
        [encoded[e.conversation][e.turn] for e in exchanges],
        histories=[e.history for e in exchanges],
        name="",
    )
    rows = [{0: 0, 1: len(encoded[0])}[e.conversation] + e.turn for e in exchanges]
    torch.testing.assert_close(found.recognised[rows], by_hand, atol=1e-4, rtol=1e-5)
    assert float((found.recognised - found.log_probs)[rows].abs().max()) > 1e-3


def test_the_turns_of_another_conversation_are_of_its_corpus_and_as_many():
    lengths = {"a1": 2, "a2": 7, "b1": 4, "a3": 3, "a4": 2, "b2": 4}
    conversations = [
        [Utterance([5 + place, EOS])] * length for place, length in enumerate(lengths.values())
    ]
    found = others(conversations, [Transcript(name, name[0], ()) for name in lengths])
    assert list(map(len, found)) == list(map(len, conversations))
    names = dict(enumerate(lengths, start=5))
    assert [{names[turn[0]] for turn in turns} for turns in found] == [
        {"a4"},
        {"a3"},
        {"b2"},
        {"a2"},
        {"a3"},
        {"b1"},
    ]


def test_a_corpus_of_one_conversation_has_no_other_history():
    with pytest.raises(ValueError, match="only one conversation of b"):
        others([[Utterance([5, EOS])]] * 3, [Transcript(name, name, ()) for name in "aab"])
