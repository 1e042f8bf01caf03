"""What the models beside HRED must guarantee, each with its cells and numbers of layers."""

import random
from dataclasses import replace

import pytest
import torch

from dialogue import checkpoint
from dialogue.agent import DialogueAgent
from dialogue.checkpoint import Checkpoint
from dialogue.config import DecodeConfig, ModelConfig
from dialogue.models import Objective, Prepares, prepare
from dialogue.models.history import empty_history, histories_before, stack_histories
from tests.dialogue.conftest import BOS, EOS, VOCABULARY, as_batch, history_after, make_conversation
from training.data import batches
from training.run.trainer import Trainer

UNEVEN = [make_conversation(turns, seed=turns) for turns in (3, 1, 6, 2, 1, 4)]
MODELS = {
    "seq2seq gru": ("seq2seq", {}),
    "seq2seq lstm of 2": ("seq2seq", {"cell": "lstm", "layers": 2}),
    "seq2seq rnn": ("seq2seq", {"cell": "rnn"}),
    "language-model gru of 2": ("language-model", {"layers": 2}),
    "language-model lstm": ("language-model", {"cell": "lstm"}),
    "language-model rnn": ("language-model", {"cell": "rnn"}),
    "language-model of one-hot tokens": ("language-model", {"cell": "lstm", "one_hot": True}),
    "transformer": ("transformer", {"embedding": 12, "layers": 2, "heads": 2, "window": 200}),
    "transformer whose window cuts": (
        "transformer",
        {"embedding": 12, "layers": 2, "heads": 2, "window": 9},
    ),
}


def build(name, *, dropout=0.0, **sizes):
    torch.manual_seed(7)
    config = ModelConfig(
        vocab_size=VOCABULARY, dropout=dropout, **{"embedding": 10, "hidden": 14} | sizes
    )
    made = checkpoint.model_class(name).from_config(config, bos_id=BOS)
    for parameter_name, parameter in made.named_parameters():
        if "bias" in parameter_name:  # biases start at zero, which would hide a misplaced one
            torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


@pytest.fixture(params=MODELS)
def model(request):
    name, sizes = MODELS[request.param]
    return build(name, **sizes)


def empty(model):
    return empty_history(model)


def same(found, expected):
    """Histories are the same, number by number and in how long each is."""
    close(found.flatten(), expected.flatten())
    assert len(found) == len(expected)
    assert all(found[[row]].nbytes == expected[[row]].nbytes for row in range(len(found)))


def close(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def score(model, conversations, *, history=None, without_history=None):
    return model.log_likelihood(
        as_batch(conversations, history=history, without_history=without_history)
    )


def steps(model, history, utterance, *, read=None):
    """The slow, obvious twin of log_likelihood: the utterance fed token by token to `step`."""
    state, token, total, correct = model.start(history), BOS, 0.0, 0
    for number, target in enumerate(utterance):
        log_probs, state = model.step(torch.tensor([token]), state)
        assert log_probs.dtype == torch.float32
        total += float(log_probs[0, target])
        correct += int(log_probs[0].argmax()) == target
        token = target if read is None else read[number]
    return total, correct


def test_the_likelihood_of_a_turn_is_the_sum_of_its_steps(model):
    found = score(model, UNEVEN)
    row = 0
    for conversation in UNEVEN:
        for turn, utterance in enumerate(conversation):
            total, correct = steps(
                model,
                history_after(model, conversation[:turn]) if turn else empty(model),
                utterance,
            )
            assert float(found.log_probs[row]) == pytest.approx(total, abs=1e-4)
            assert (int(found.correct_count[row]), int(found.tokens[row])) == (
                correct,
                len(utterance),
            )
            row += 1
    assert row == len(found.log_probs)


def test_a_batch_of_uneven_conversations_scores_each_as_alone(model):
    together, alone = (
        score(model, UNEVEN),
        [score(model, [conversation]) for conversation in UNEVEN],
    )
    close(together.log_probs, torch.cat([one.log_probs for one in alone]))
    assert together.correct_count.tolist() == [
        n for one in alone for n in one.correct_count.tolist()
    ]


def test_conversations_that_go_on_score_as_if_they_had_been_whole(model):
    split = [
        (conversation[: len(conversation) // 2], conversation[len(conversation) // 2 :])
        for conversation in UNEVEN
    ]
    histories = stack_histories(
        [history_after(model, before) if before else empty(model) for before, _ in split]
    )
    whole = score(model, UNEVEN).log_probs.split([len(conversation) for conversation in UNEVEN])
    expected = torch.cat(
        [scores[len(before) :] for scores, (before, _) in zip(whole, split, strict=True)]
    )
    found = score(model, [after for _, after in split], history=histories).log_probs
    close(found, expected)
    assert not torch.allclose(found, score(model, [after for _, after in split]).log_probs), (
        "a history that changes nothing"
    )


def test_utterances_in_a_batch_are_taken_in_as_each_alone_after_its_own_history(model):
    utterances = [conversation[0] for conversation in UNEVEN]
    batch = as_batch([[utterance] for utterance in utterances])
    histories = stack_histories(
        [history_after(model, [conversation[-1]]) for conversation in UNEVEN]
    )
    together = model.encode_turn(batch.token_ids, batch.lengths, histories)
    for row, utterance in enumerate(utterances):
        same(
            together[[row]],
            model.encode_turn(
                torch.tensor([utterance]), batch.lengths[row : row + 1], histories[[row]]
            ),
        )
    same(
        model.encode_turn(batch.token_ids, batch.lengths, None),
        model.encode_turn(batch.token_ids, batch.lengths, empty_history(model, len(UNEVEN))),
    )


def test_turns_without_history_score_as_first_turns_and_the_others_as_before(model):
    plain = score(model, UNEVEN).log_probs
    without = torch.arange(len(plain)) % 3 == 1
    as_first = torch.cat(
        [score(model, [[utterance]]).log_probs for turns in UNEVEN for utterance in turns]
    )
    masked = score(model, UNEVEN, without_history=without).log_probs
    close(masked, torch.where(without, as_first, plain))
    assert float((masked - plain).abs().max()) > 1e-3


@torch.no_grad()
def test_replies_are_scored_as_written_after_what_was_heard(model):
    """Some turns were heard as written and some not; each scores as its steps do after what was
    heard.
    """
    heard = [
        [[9, 9, EOS] if turn % 2 else utterance for turn, utterance in enumerate(turns)]
        for turns in UNEVEN
    ]
    batch = replace(
        as_batch(UNEVEN), encoder_input=(as_batch(heard).token_ids, as_batch(heard).lengths)
    )
    found = model.log_likelihood(batch).log_probs
    expected = []
    for turns, other in zip(UNEVEN, heard, strict=True):
        for turn, utterance in enumerate(turns):
            expected.append(
                steps(
                    model, history_after(model, other[:turn]) if turn else empty(model), utterance
                )[0]
            )
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-4, rtol=1e-5)
    assert not torch.allclose(found, score(model, UNEVEN).log_probs)


@torch.no_grad()
def test_the_decoder_reads_other_words_where_it_is_given_them(model):
    batch = as_batch(UNEVEN)
    read = torch.randint(
        VOCABULARY, batch.token_ids.shape, generator=torch.Generator().manual_seed(3)
    )
    found = model.penalised(replace(batch, decoder_input=read), Objective()).log_probs
    histories = histories_before(model.encode_turn, batch, empty_history(model))
    utterances = [utterance for turns in UNEVEN for utterance in turns]
    for row, utterance in enumerate(utterances):
        expected, _ = steps(model, histories[[row]], utterance, read=read[row].tolist())
        assert float(found[row]) == pytest.approx(expected, abs=1e-4)


@torch.no_grad()
def test_an_objective_adds_a_penalty_and_leaves_the_likelihood_as_it_is(model):
    batch = as_batch([[[5, 5, 6, 5, EOS]], [[EOS]]])
    found = model.penalised(batch, Objective(unlikelihood=1.0))
    close(found.log_probs, model.log_likelihood(batch).log_probs)
    assert found.penalty is not None
    assert float(found.penalty[0]) > 0 == float(found.penalty[1]), (
        "one says a word again, the other could not"
    )


def test_what_stands_in_the_padding_never_matters(model):
    batch, noisy = as_batch(UNEVEN), as_batch(UNEVEN)
    padding = torch.arange(batch.token_ids.shape[1]) >= batch.lengths[:, None]
    noise = torch.randint(
        VOCABULARY, batch.token_ids.shape, generator=torch.Generator().manual_seed(3)
    )
    noisy.token_ids[padding] = noise[padding]
    torch.testing.assert_close(
        model.log_likelihood(noisy), model.log_likelihood(batch), rtol=0, atol=0
    )
    heard = (noisy.token_ids, noisy.lengths)
    torch.testing.assert_close(
        model.log_likelihood(replace(batch, encoder_input=heard)),
        model.log_likelihood(batch),
        rtol=0,
        atol=0,
    )
    same(
        model.encode_turn(noisy.token_ids, batch.lengths, None),
        model.encode_turn(batch.token_ids, batch.lengths, None),
    )


def test_rows_of_a_state_repeat_in_place_and_follow_their_parents(model):
    histories = stack_histories([history_after(model, turns) for turns in UNEVEN[:3]])
    _, state = model.step(torch.tensor([BOS, BOS, BOS]), model.start(histories))
    token = torch.tensor([5, 6, 7])
    expected = model.step(token, state)[0]
    close(
        model.step(token.repeat_interleave(2), state.repeat(2))[0], expected.repeat_interleave(2, 0)
    )
    close(model.step(token[[2, 0]], state.select(torch.tensor([2, 0])))[0], expected[[2, 0]])
    close(model.step(token, state)[0], expected)


@torch.no_grad()
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_a_decoder_that_is_laid_out_gives_what_the_model_does(model, precision):
    if precision != "fp32" and not isinstance(model, Prepares):
        pytest.skip("laying weights out is a model's own choice")
    decoder, state = (
        prepare(model, precision),
        model.start(histories := history_after(model, UNEVEN[0])),
    )
    laid_out = decoder.start(histories)
    for token in (BOS, 5, 9):
        expected, state = model.step(torch.tensor([token]), state)
        found, laid_out = decoder.step(torch.tensor([token]), laid_out)
        torch.testing.assert_close(
            found, expected, atol=1e-5 if precision == "fp32" else 0.1, rtol=1e-5
        )


def test_the_gradient_reaches_every_parameter(model):
    model.train()
    (-model.log_likelihood(as_batch(UNEVEN)).log_probs.sum()).backward()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            assert torch.equal(parameter, torch.eye(VOCABULARY)), "only the identity stays as it is"
            continue
        assert float(parameter.grad.abs().sum()) > 0, name
        assert bool(parameter.grad.isfinite().all()), name


@pytest.mark.parametrize(
    ("wrong_id", "found"), [(VOCABULARY, f"from 3 to {VOCABULARY}"), (-1, "from -1 to 5")]
)
def test_ids_out_of_range_are_refused_in_what_is_written_and_what_is_heard(model, wrong_id, found):
    written = as_batch([[[4, EOS], [5, EOS]]])
    wrong = written.token_ids.clone()
    wrong[0, 0] = wrong_id
    refused = pytest.raises(ValueError, match=f"token ids {found}")
    with refused:
        model.log_likelihood(replace(written, token_ids=wrong))
    with refused:
        model.log_likelihood(replace(written, encoder_input=(wrong, written.lengths)))
    with refused:
        model.encode_turn(wrong, written.lengths, None)


@pytest.mark.parametrize("name", MODELS)
def test_dropout_acts_in_training_alone(name):
    kind, sizes = MODELS[name]
    model, batch = build(kind, dropout=0.5, **sizes), as_batch(UNEVEN)
    assert torch.equal(model.log_likelihood(batch).log_probs, model.log_likelihood(batch).log_probs)
    model.train()
    assert not torch.equal(
        model.log_likelihood(batch).log_probs, model.log_likelihood(batch).log_probs
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", MODELS)
def test_each_learns_a_few_conversations_and_answers_by_its_checkpoint(
    name, precision, conversations, word_vocabulary, tmp_path
):
    kind, sizes = MODELS[name]
    config = ModelConfig(
        vocab_size=len(word_vocabulary), dropout=0.0, **{"embedding": 24, "hidden": 24} | sizes
    )
    torch.manual_seed(0)
    model = checkpoint.model_class(kind).from_config(config, bos_id=word_vocabulary.bos_id)
    trainer = Trainer(model, learning_rate=1e-2, precision=precision, device=torch.device("cpu"))
    encoded = batches.encode(conversations[:6], word_vocabulary, truncate=None).conversations
    rng = random.Random(0)
    for _ in range(60):
        for planned in batches.plan(encoded, batch_tokens=100, rng=rng):
            trainer.step(
                batches.collate(planned, pad_id=word_vocabulary.pad_id), learning_rate=1e-2
            )
    perplexity, _ = trainer.validate([batches.collate(encoded, pad_id=word_vocabulary.pad_id)])
    assert perplexity < 2

    checkpoint.save(tmp_path, Checkpoint(trainer.model.eval(), word_vocabulary, config, {}))
    loaded = checkpoint.load(tmp_path)
    assert (
        type(loaded.model)
        is type(checkpoint.load(tmp_path, model_name=kind).model)
        is checkpoint.model_class(kind)
    )
    with pytest.raises(ValueError, match=r"names the model .*, not dialogue\.models\.hred:HRED"):
        checkpoint.load(tmp_path, model_name="hred")
    agent = DialogueAgent(loaded, decode=DecodeConfig(method="greedy", anti_lm=0))
    opening, reply = conversations[0].turns[:2]
    (found,) = agent.respond(["someone"], [opening])
    assert found == reply
