"""The Transformer through its four calls; windows that truncate and windows that do not."""

import json
import random
from dataclasses import replace

import pytest
import torch

from dialogue import checkpoint
from dialogue.agent import DialogueAgent
from dialogue.checkpoint import CONFIG, Checkpoint
from dialogue.config import DecodeConfig, ModelConfig
from dialogue.models import Objective
from dialogue.models.history import stack_histories
from dialogue.models.transformer import Transformer
from tests.dialogue.conftest import BOS, EOS, VOCABULARY, as_batch, history_after, make_conversation
from tests.dialogue.test_hred import UNEVEN, close
from training import fit
from training.data import batches
from training.run.scheduled_sampling import OwnWords
from training.run.trainer import Trainer

NAME = "dialogue.models.transformer:Transformer"
LONG, SHORT = (
    200,
    9,
)  # windows: nothing of UNEVEN is cut; most of it is, within turns and between them
TAUGHT = {"embedding": 32, "hidden": 64, "layers": 2, "heads": 2, "window": 40, "dropout": 0.0}


def make(*, window=LONG, dropout=0.0):
    torch.manual_seed(7)
    made = Transformer(
        vocab_size=VOCABULARY,
        bos_id=BOS,
        embedding=16,
        hidden=24,
        layers=2,
        heads=2,
        window=window,
        dropout=dropout,
    )
    for name, parameter in made.named_parameters():
        if "bias" in name:  # biases start at zero, which would hide a misplaced one
            torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


@pytest.fixture(params=[LONG, SHORT])
def model(request):
    return make(window=request.param)


def empty(model):
    return model.empty_history(1)


def cut(conversation, window):
    """The slow, obvious twin of the history's rule, in lists: what remains of a conversation's
    text.
    """
    kept = []
    for *words, _ in conversation:
        kept += [BOS, *words]
        if len(kept) > window:
            kept = kept[len(kept) - window // 2 :]
    return kept


@pytest.mark.parametrize("window", [LONG, SHORT, 2, 1])
def test_the_history_is_the_text_so_far_cut_to_its_last_half_where_it_is_too_long(window):
    model, conversation = make(window=window), make_conversation(9, seed=2)
    for turns in range(1, 10):
        history = history_after(model, conversation[:turns])
        assert history.values.tolist() == cut(conversation[:turns], window)


def test_a_decoder_in_training_reads_words_of_its_own(model):
    batch = OwnWords(by="argmax", bos_id=BOS).mix(model, as_batch(UNEVEN), truth=0.0)
    assert torch.isfinite(model.log_likelihood(batch).log_probs).all()
    assert not torch.equal(batch.decoder_input, batch.token_ids)


def test_histories_of_different_lengths_step_in_one_batch_as_alone(model):
    histories = stack_histories(
        [
            empty(model),
            *(history_after(model, make_conversation(turns, seed=turns)) for turns in (4, 1, 2)),
        ]
    )
    together, alone = model.start(histories), [model.start(histories[[row]]) for row in range(4)]
    for tokens in ([BOS] * 4, [4, 5, 6, 7], [8, 8, 9, 9]):
        found, together = model.step(torch.tensor(tokens), together)
        for row, token in enumerate(tokens):
            expected, alone[row] = model.step(torch.tensor([token]), alone[row])
            close(found[row], expected[0])
            close(found[row].logsumexp(-1), torch.tensor(0.0))


def test_hypotheses_share_their_history_and_follow_their_parents(model):
    """A beam of three in each of two conversations, against the same rows run separately, each with
    its own history.
    """
    histories = stack_histories(
        [history_after(model, make_conversation(turns, seed=turns)) for turns in (4, 1)]
    )
    first, second = torch.tensor([4, 5, 6, 7, 8, 9]), torch.tensor([10, 11, 12, 13, 14, 15])
    parents = torch.tensor([2, 0, 0, 5, 5, 4])
    begun = model.step(first, model.start(histories).repeat(3))[1]
    shared = begun.select(parents)
    assert shared.history is begun.history
    alone = model.step(first[parents], model.start(histories[parents // 3]))[1]
    close(model.step(second, shared)[0], model.step(second, alone)[0])
    for kept in (torch.tensor([3, 4, 5]), torch.tensor([5, 5, 3])):  # one conversation leaves
        close(
            model.step(second[3:], begun.select(kept))[0],
            model.step(second[3:], alone_of(model, histories, first, kept))[0],
        )
    swapped = model.start(histories).select(torch.tensor([1, 0, 1]))
    close(
        model.step(first[:3], swapped)[0],
        model.step(first[:3], model.start(histories[[1, 0, 1]]))[0],
    )


def alone_of(model, histories, tokens, rows):
    return model.step(tokens[rows], model.start(histories[rows // 3]))[1]


def test_rows_of_different_conversations_are_not_mixed(model):
    state = model.start(model.empty_history(2)).repeat(2)
    with pytest.raises(RuntimeError, match="rows of different conversations were mixed"):
        state.select(torch.tensor([0, 2, 1, 3]))


def test_a_step_leaves_the_state_it_was_given(model):
    state = model.start(history_after(model, UNEVEN[0])).repeat(2)
    _, state = model.step(torch.tensor([BOS, BOS]), state)
    before = state.reply.clone()
    first, _ = model.step(torch.tensor([4, 5]), state)
    again, _ = model.step(torch.tensor([4, 5]), state)
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    torch.testing.assert_close(state.reply, before, rtol=0, atol=0)


@pytest.mark.parametrize("form", ["plain", "heard", "read"])
def test_the_gradient_reaches_every_parameter(model, form):
    model.train()
    batch = as_batch(UNEVEN)
    other = {
        "plain": {},
        "heard": {"encoder_input": (batch.token_ids.flip(0), batch.lengths.flip(0))},
        "read": {"decoder_input": batch.token_ids},
    }
    (-model.log_likelihood(replace(batch, **other[form])).log_probs.sum()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
        assert float(parameter.grad.abs().sum()) > 0, name


@torch.no_grad()
@pytest.mark.parametrize("read", [None, "own"])
def test_an_objective_adds_what_it_does_to_each_step(model, read):
    """0.1 * (log p(target) - mean log p), and -log(1 - p(c)) for each token c that the turn already
    has; by hand, from `step`.
    """
    batch, row = as_batch(UNEVEN), 0
    if read:
        batch = replace(batch, decoder_input=batch.token_ids.clone())
    found = model.penalised(batch, Objective(label_smoothing=0.1, unlikelihood=0.5))
    close(found.log_probs, model.log_likelihood(batch).log_probs)
    for conversation in UNEVEN:
        for turn, utterance in enumerate(conversation):
            state = model.start(history_after(model, conversation[:turn]) if turn else empty(model))
            expected = 0.0
            for place, target in enumerate(utterance):
                log_probs, state = model.step(torch.tensor([[BOS, *utterance][place]]), state)
                said = sorted(set(utterance[:place]) - {target})
                expected += 0.1 * float(log_probs[0, target] - log_probs.mean())
                expected -= 0.5 * float((1 - log_probs[0, said].exp()).log().sum())
            assert float(found.penalty[row]) == pytest.approx(expected, rel=1e-4, abs=1e-5)
            row += 1


def test_training_in_bfloat16_gives_nearly_the_losses_of_float32(model):
    batch = as_batch(
        UNEVEN,
        history=stack_histories(
            [history_after(model, make_conversation(2, seed=n)) for n in range(len(UNEVEN))]
        ),
    )
    expected = model.log_likelihood(batch).log_probs
    found = model.bfloat16().log_likelihood(batch)
    assert found.log_probs.dtype == torch.float32
    torch.testing.assert_close(found.log_probs, expected, rtol=0.03, atol=0.1)
    found.log_probs.sum().backward()


def test_a_history_keeps_the_largest_ids_exactly_whatever_the_model_computes_in():
    model = Transformer(
        vocab_size=50_001,
        bos_id=BOS,
        embedding=4,
        hidden=4,
        layers=1,
        heads=1,
        window=3,
        dropout=0.0,
    ).bfloat16()
    history = model.encode_turn(torch.tensor([[49_999, 50_000, EOS]]), torch.tensor([3]), None)
    assert history.values.dtype == torch.int32
    assert history.values.tolist() == [BOS, 49_999, 50_000]


def test_an_embedding_that_the_heads_cannot_share_is_refused():
    with pytest.raises(
        ValueError,
        match="embedding is 20 and heads 4; each head needs an even share of the embedding",
    ):
        Transformer.from_config(ModelConfig(vocab_size=9, embedding=20, heads=4), bos_id=BOS)


@pytest.fixture(scope="module")
def learnt(conversations, word_vocabulary):
    """A checkpoint whose Transformer has learnt the twenty conversations, each turn with a window
    that truncates.
    """
    torch.manual_seed(0)
    config = ModelConfig(vocab_size=len(word_vocabulary), **TAUGHT)
    model = Transformer.from_config(config, bos_id=word_vocabulary.bos_id)
    trainer = Trainer(model, learning_rate=1e-2, precision="fp32", device=torch.device("cpu"))
    encoded = batches.encode(conversations, word_vocabulary, truncate=None).conversations
    rng = random.Random(0)
    for _ in range(50):
        for planned in batches.plan(encoded, batch_tokens=200, rng=rng):
            trainer.step(
                batches.collate(planned, pad_id=word_vocabulary.pad_id), learning_rate=1e-2
            )
    return Checkpoint(trainer.model.eval(), word_vocabulary, config, {})


def test_twenty_conversations_are_learnt_by_heart(learnt, conversations):
    encoded = batches.encode(conversations, learnt.vocabulary, truncate=None).conversations
    trainer = Trainer(
        learnt.model, learning_rate=1e-3, precision="fp32", device=torch.device("cpu")
    )
    perplexity, accuracy = trainer.validate(
        [batches.collate(encoded, pad_id=learnt.vocabulary.pad_id)]
    )
    learnt.model.eval()
    assert perplexity < 1.6
    assert accuracy > 0.85


def test_a_checkpoint_comes_back_as_it_was(learnt, tmp_path):
    checkpoint.save(tmp_path, learnt, dtype=torch.float32)
    assert json.loads((tmp_path / CONFIG).read_text())["class"] == NAME
    loaded = checkpoint.load(tmp_path, model_name=NAME).model
    assert type(loaded) is Transformer
    history = history_after(loaded, [[5, 6, EOS]])
    expected, _ = learnt.model.step(torch.tensor([BOS]), learnt.model.start(history))
    torch.testing.assert_close(
        loaded.step(torch.tensor([BOS]), loaded.start(history))[0], expected, rtol=0, atol=0
    )


@pytest.mark.parametrize("method", ["greedy", "beam", "group-beam", "top-k"])
def test_an_agent_answers_in_a_batch_as_one_by_one(learnt, conversations, method):
    decode = DecodeConfig(method=method, beam_size=4)
    utterances = [talk.turns[0] for talk in conversations[:3]]
    alone = [
        DialogueAgent(learnt, decode=decode).respond(["a"], [utterance])[0]
        for utterance in utterances
    ]
    agent = DialogueAgent(learnt, decode=decode)
    assert agent.respond(["a", "b", "c"], utterances) == alone
    for _ in range(12):  # beyond its window
        assert agent.respond(["a"], [utterances[0]])


def test_a_few_steps_of_fit_leave_a_model_that_talks(conversations, tmp_path, capsys):
    lines = [
        json.dumps({"id": f"{talk.id} {n}", "turns": talk.turns})
        for n in range(8)
        for talk in conversations
    ]
    (tmp_path / "talk.jsonl").write_text("\n".join(lines))
    sizes = ["--embedding=16", "--hidden=32", "--layers=2", "--heads=2", "--window=30"]
    command = [
        "--model",
        NAME,
        "--data",
        str(tmp_path / "talk.jsonl"),
        "--out",
        str(tmp_path / "run"),
        "--device=cpu",
        *sizes,
    ]
    assert (
        fit.main([*command, "--epochs=1", "--batch-tokens=1000", "--teacher-forcing", "0.5", "0.5"])
        == 0
    ), capsys.readouterr()
    loaded = checkpoint.load(tmp_path / "run" / "checkpoint", model_name=NAME)
    assert (loaded.config.layers, loaded.config.heads, loaded.config.window) == (2, 2, 30)
    assert DialogueAgent(loaded).respond(["a"], ["hi"])
