"""Replies scored over the tree of their beginnings have the likelihood that each has by itself."""

from dataclasses import replace

import pytest
import torch

from dialogue.agent import DialogueAgent
from dialogue.candidates import READ
from dialogue.config import DecodeConfig
from dialogue.conversation import Conversation, Turn
from dialogue.decoding.scoring import OUTPUT_ROWS, log_probs_of
from dialogue.models import prepare, unchanged
from dialogue.recall import Exchange, Recall

from .conftest import (
    BOS,
    EOS,
    history_after,
    log_probs_one_by_one,
    make_conversation,
    make_model,
)

REPLIES = [[5, 6, 7], [5, 6, 7], [5, 6, 8, 9], [5], [], [10, 6, 7], [5, 6, 7, 8, 9, 11]]


@pytest.mark.parametrize("output_rows", [1, 4, OUTPUT_ROWS])
@pytest.mark.parametrize("readout", ["linear", "maxout"])
def test_each_reply_has_the_likelihood_of_its_tokens_one_by_one(readout, output_rows, monkeypatch):
    monkeypatch.setattr("dialogue.decoding.scoring.OUTPUT_ROWS", output_rows)
    model = make_model(readout=readout, peaked=3.0)
    histories = torch.cat([history_after(model, make_conversation(3, seed=n)) for n in (1, 2)])
    decoder = prepare(model, "fp32")
    owners = [n % 2 for n in range(len(REPLIES))]
    found = log_probs_of(
        decoder.read, decoder.log_probs, decoder.start(histories), owners, REPLIES,
        bos_id=BOS, eos_id=EOS,
    )  # fmt: skip
    for owner, reply, log_prob in zip(owners, REPLIES, found.tolist(), strict=True):
        state, total = model.start(histories[[owner]]), 0.0
        for read, said in zip([BOS, *reply], [*reply, EOS], strict=True):
            table, state = model.step(torch.tensor([read]), state)
            total += float(table[0, said])
        assert log_prob == pytest.approx(total, abs=1e-4)


def test_what_replies_to_one_history_begin_with_is_read_once():
    model, rows = make_model(), []

    def read(tokens, state):
        rows.append(len(tokens))
        return model.step(tokens, state)

    histories = torch.cat([history_after(model, make_conversation(2, seed=n)) for n in (1, 2)])
    owners = [0] * len(REPLIES) + [1]
    log_probs_of(
        read, unchanged, model.start(histories), owners, [*REPLIES, [5, 6]], bos_id=BOS, eos_id=EOS
    )
    beginnings = {
        (owner, tuple(reply[:length]))
        for owner, reply in zip(owners, [*REPLIES, [5, 6]], strict=True)
        for length in range(len(reply) + 1)
    }
    assert sum(rows) == len(beginnings)
    assert len(rows) == 1 + max(map(len, REPLIES))


def test_no_replies_take_no_step():
    model = make_model()
    state = model.start(model.empty_history(1))
    assert log_probs_of(None, None, state, [], [], bos_id=BOS, eos_id=EOS).tolist() == []


def test_candidates_have_the_likelihoods_that_the_whole_model_gives(talker):
    """The agent scores replies as a tree; the twin runs the model over each, as in training."""
    agent = DialogueAgent(talker)
    texts = ["yes, i like jazz", "yes, i like it", "it is red", "yes, i like jazz"]
    ids = [agent.vocabulary.encode(text) for text in texts]
    for said in ("hi", "who?"):
        (heard,) = agent.hear([Conversation()], [Turn("user", said)])
        found = agent.score(heard, texts)
        given, without = (log_probs_one_by_one(agent, c, ids) for c in (heard, Conversation()))
        assert [one.log_prob for one in found] == pytest.approx(given, abs=1e-4)
        assert [one.blank for one in found] == pytest.approx(without, abs=1e-4)


def test_of_a_remembered_reply_twelve_tokens_are_read_and_the_rest_is_taken_to_be_as_likely(talker):
    agent = DialogueAgent(talker)
    short, long = "yes, i like jazz", "i like the red one, and i like jazz, and tea, and the moon"
    ids = [agent.vocabulary.encode(text) for text in (short, long)]
    assert len(ids[0]) < READ < len(ids[1])
    (heard,) = agent.hear([Conversation()], [Turn("user", "hi")])
    found = agent.score(heard, [short, long], similarities={short: 0.5, long: 0.25})
    assert [one.similarity for one in found] == [0.5, 0.25]
    whole = log_probs_one_by_one(agent, heard, ids)
    assert found[0].log_prob == pytest.approx(whole[0], abs=1e-4)
    state, beginning = agent.model.start(heard.history), 0.0
    for read, said in zip([agent.vocabulary.bos_id, *ids[1]], ids[1][:READ], strict=False):
        log_probs, state = agent.model.step(torch.tensor([read]), state)
        beginning += float(log_probs[0, said])
    assert found[1].log_prob == pytest.approx(beginning * (len(ids[1]) + 1) / READ, abs=1e-3)
    recall = Recall([Exchange("", "hi", short), Exchange("", "hi", long)])
    ranker = f"{__name__}:Reticent"
    answering = DialogueAgent(replace(talker, recall=recall), decode=DecodeConfig(ranker=ranker))
    (reply,) = answering.answer([Conversation()], ["hi"])
    remembered = {one.text: one for one in reply.candidates if one.similarity is not None}
    for one in found:
        assert remembered[one.text].log_prob == pytest.approx(one.log_prob, abs=1e-3)
        assert remembered[one.text].blank is None


class Reticent:
    """A ranker that reads no likelihood without a history."""

    needs_blank = False

    def __init__(self, checkpoint, decode):
        pass

    def __call__(self, conversations, candidates):
        return [[one.log_prob for one in found] for found in candidates]
