import math
from dataclasses import replace

import pytest
import torch

from tests.dialogue.conftest import (
    BOS,
    EOS,
    PAD,
    VOCABULARY,
    as_batch,
    history_after,
    make_conversation,
    make_model,
)

UNEVEN = [make_conversation(turns, seed=turns) for turns in (3, 1, 6, 2, 1, 4)]


def close(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def score(model, conversations, *, history=None, without_history=None):
    return model.log_likelihood(
        as_batch(conversations, history=history, without_history=without_history)
    )


def teacher_forced(model, history, utterance):
    """The slow, obvious twin of log_likelihood: the utterance fed token by token to `step`."""
    state, token, total, correct = model.start(history), BOS, 0.0, 0
    for target in utterance:
        log_probs, state = model.step(torch.tensor([token]), state)
        total += float(log_probs[0, target])
        correct += int(log_probs[0].argmax()) == target
        token = target
    return total, correct


def test_the_history_of_fifty_turns_one_by_one_is_that_of_all_at_once(model):
    """Compared by the likelihood of the next turn: given the history vector, and after the fifty
    turns in one batch.
    """
    conversation, following = make_conversation(50, seed=0), make_conversation(1, seed=1)
    one_by_one = score(model, [following], history=history_after(model, conversation))
    at_once = score(model, [conversation + following])
    close(one_by_one.log_probs[0], at_once.log_probs[-1])
    without = score(model, [following])
    assert abs(float(without.log_probs[0] - at_once.log_probs[-1])) > 1e-3, (
        "a history that changes nothing would prove nothing"
    )


def test_the_history_remembers_turns_long_ago_and_their_order(model):
    *turns, last = make_conversation(6, seed=5)
    other_start = [make_conversation(1, seed=6)[0], *turns[1:], last]
    swapped = [turns[1], turns[0], *turns[2:], last]
    histories = [
        history_after(model, conversation)
        for conversation in ([*turns, last], other_start, swapped)
    ]
    assert float((histories[0] - histories[1]).abs().max()) > 1e-6
    assert float((histories[0] - histories[2]).abs().max()) > 1e-6


def test_turns_of_several_conversations_are_taken_in_as_each_alone(model):
    utterances = [conversation[0] for conversation in UNEVEN]
    lengths = torch.tensor([len(utterance) for utterance in utterances])
    assert len(set(lengths.tolist())) > 2
    history = torch.randn(
        len(utterances), model.context.hidden_size, generator=torch.Generator().manual_seed(0)
    )
    together = model.encode_turn(
        as_batch([[utterance] for utterance in utterances]).token_ids, lengths, history
    )
    for row, utterance in enumerate(utterances):
        alone = model.encode_turn(
            torch.tensor([utterance]), lengths[row : row + 1], history[row : row + 1]
        )
        close(together[row], alone[0])


def test_no_history_is_a_history_of_noughts(model):
    token_ids, lengths = torch.tensor([[5, 6, EOS]]), torch.tensor([3])
    empty = torch.zeros(1, model.context.hidden_size)
    torch.testing.assert_close(
        model.encode_turn(token_ids, lengths, None), model.encode_turn(token_ids, lengths, empty)
    )


def test_a_batch_of_uneven_conversations_scores_each_as_alone(model):
    together = score(model, UNEVEN)
    alone = [score(model, [conversation]) for conversation in UNEVEN]
    close(together.log_probs, torch.cat([one.log_probs for one in alone]))
    assert together.tokens.tolist() == [
        len(utterance) for conversation in UNEVEN for utterance in conversation
    ]
    assert together.correct_count.tolist() == [
        n for one in alone for n in one.correct_count.tolist()
    ]


def test_conversations_that_go_on_score_as_if_they_had_been_whole(model):
    split = [
        (conversation[: len(conversation) // 2], conversation[len(conversation) // 2 :])
        for conversation in UNEVEN
    ]
    empty = torch.zeros(1, model.context.hidden_size)
    histories = torch.cat(
        [history_after(model, before) if before else empty for before, _ in split]
    )
    whole = score(model, UNEVEN).log_probs.split([len(conversation) for conversation in UNEVEN])
    expected = torch.cat(
        [scores[len(before) :] for scores, (before, _) in zip(whole, split, strict=True)]
    )
    close(score(model, [after for _, after in split], history=histories).log_probs, expected)


def test_the_likelihood_of_a_turn_is_the_sum_of_its_steps(model):
    found = score(model, UNEVEN)
    row = 0
    for conversation in UNEVEN:
        for turn, utterance in enumerate(conversation):
            history = (
                history_after(model, conversation[:turn])
                if turn
                else torch.zeros(1, model.context.hidden_size)
            )
            total, correct = teacher_forced(model, history, utterance)
            assert float(found.log_probs[row]) == pytest.approx(total, abs=1e-4)
            assert int(found.correct_count[row]) == correct
            row += 1
    assert row == len(found.log_probs)


def test_a_step_gives_the_logarithms_of_probabilities_of_all_tokens(model):
    log_probs, _ = model.step(
        torch.tensor([BOS, 9, 17]), model.start(torch.randn(3, model.context.hidden_size))
    )
    assert log_probs.shape == (3, VOCABULARY)
    torch.testing.assert_close(log_probs.logsumexp(-1), torch.zeros(3), atol=1e-5, rtol=0)


def test_turns_without_history_score_as_first_turns_and_the_others_as_before(model):
    plain = score(model, UNEVEN).log_probs
    without = torch.arange(len(plain)) % 3 == 1
    masked = score(model, UNEVEN, without_history=without).log_probs
    as_first = torch.cat(
        [score(model, [[utterance]]).log_probs for turns in UNEVEN for utterance in turns]
    )
    close(masked, torch.where(without, as_first, plain))
    assert float((masked - plain).abs().max()) > 1e-3


def test_what_stands_in_the_padding_never_matters(model):
    batch = as_batch(UNEVEN)
    padding = torch.arange(batch.token_ids.shape[1]) >= batch.lengths[:, None]
    assert padding.any()
    noise = torch.randint(
        VOCABULARY, batch.token_ids.shape, generator=torch.Generator().manual_seed(3)
    )
    noisy = as_batch(UNEVEN)
    noisy.token_ids[padding] = noise[padding]
    torch.testing.assert_close(
        model.log_likelihood(noisy), model.log_likelihood(batch), rtol=0, atol=0
    )
    clean_history = model.encode_turn(batch.token_ids, batch.lengths, None)
    torch.testing.assert_close(
        model.encode_turn(noisy.token_ids, batch.lengths, None), clean_history, rtol=0, atol=0
    )


def test_more_padding_than_needed_changes_nothing(model):
    batch = as_batch(UNEVEN)
    wider = as_batch(UNEVEN)
    padding = torch.full((len(batch.lengths), 3), PAD)
    wide_ids = torch.cat([wider.token_ids, padding], dim=1)
    torch.testing.assert_close(
        model.encode_turn(wide_ids, batch.lengths, None),
        model.encode_turn(batch.token_ids, batch.lengths, None),
        rtol=0,
        atol=0,
    )


def test_the_gradient_reaches_every_parameter(model):
    model.train()
    likelihood = model.log_likelihood(as_batch(UNEVEN))
    (-likelihood.log_probs.sum()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
        assert float(parameter.grad.abs().sum()) > 0, name


def test_the_gradient_is_the_slope_of_the_loss(model):
    """Through the packing, the hand-written backward passes and the tied embedding together,
    against finite differences.
    """
    model.double()
    batch = as_batch(UNEVEN[:3])
    generator = torch.Generator().manual_seed(4)
    ways = [
        torch.randn(p.shape, generator=generator, dtype=torch.double) for p in model.parameters()
    ]

    def loss():
        return (
            model.log_likelihood(batch).log_probs.sum() / 10
        )  # summed in float32, which bounds how exact this can be

    loss().backward()
    expected = sum(
        float((p.grad * way).sum()) for p, way in zip(model.parameters(), ways, strict=True)
    )
    step, losses = 1e-3, []
    with torch.no_grad():
        for sign in (1, -2):
            for parameter, way in zip(model.parameters(), ways, strict=True):
                parameter += sign * step * way
            losses.append(float(loss()))
    exactness = (
        1e-2 if model.maxout else 2e-3
    )  # a step may cross a kink, where the larger of two changes
    assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(expected, rel=exactness)


def test_dropout_acts_in_training_alone():
    model = make_model(dropout=0.5)
    batch = as_batch(UNEVEN)
    torch.testing.assert_close(
        model.log_likelihood(batch), model.log_likelihood(batch), rtol=0, atol=0
    )
    model.train()
    assert not torch.equal(
        model.log_likelihood(batch).log_probs, model.log_likelihood(batch).log_probs
    )


def test_a_model_that_knows_nothing_is_about_as_unsure_as_a_guess(model):
    found = score(model, UNEVEN)
    assert -float(found.log_probs.sum() / found.tokens.sum()) == pytest.approx(
        math.log(VOCABULARY), abs=0.7
    )


def test_a_model_keeps_no_state_between_calls(model):
    history = history_after(model, UNEVEN[0])
    state = model.start(history)
    hidden = state.hidden.clone()
    first, _ = model.step(torch.tensor([BOS]), state)
    score(model, UNEVEN)
    again, _ = model.step(torch.tensor([BOS]), state)
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    torch.testing.assert_close(state.hidden, hidden, rtol=0, atol=0)
    torch.testing.assert_close(history_after(model, UNEVEN[0]), history, rtol=0, atol=0)


def test_a_decoder_state_repeats_each_row_in_place_and_selects_rows_in_order(model):
    state = model.start(
        torch.randn(3, model.context.hidden_size, generator=torch.Generator().manual_seed(0))
    )
    rows = torch.tensor([0, 0, 1, 1, 2, 2])
    for repeated in (state.repeat(2), state.select(rows)):
        torch.testing.assert_close(repeated.hidden, state.hidden[rows])
        torch.testing.assert_close(repeated.context_gates, state.context_gates[rows])
    back = state.select(torch.tensor([2, 0]))
    torch.testing.assert_close(back.hidden, state.hidden[[2, 0]])
    torch.testing.assert_close(back.context_gates, state.context_gates[[2, 0]])


def test_training_under_autocast_gives_nearly_the_losses_and_gradients_of_float32():
    """Under autocast, linear layers give bfloat16 beside float32 weights; the recurrent layer mixed
    the two and raised.
    """
    model = make_model()
    batch = as_batch([make_conversation(turns, seed=turns) for turns in (4, 1, 3)])
    found = {}
    for autocast in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            log_probs = model.log_likelihood(batch).log_probs
        log_probs.sum().backward()
        found[autocast] = (
            log_probs.detach(),
            {name: p.grad.clone() for name, p in model.named_parameters()},
        )
    torch.testing.assert_close(found[True][0], found[False][0], rtol=0.02, atol=0.05)
    for name, gradient in found[False][1].items():
        assert found[True][1][name].dtype == torch.float32
        assert (found[True][1][name] - gradient).norm() < 0.05 * gradient.norm() + 1e-3, name


def test_histories_are_read_from_the_form_that_was_heard_and_replies_scored_as_written(model):
    """With another form of every utterance as encoder input, each reply scores as it does after
    that form.
    """
    written = as_batch([[[4, 5, 6, EOS], [7, 8, EOS]], [[5, EOS], [6, 6, EOS]]])
    other = as_batch([[[9, EOS], [7, 8, EOS]], [[5, 4, 4, EOS], [6, 6, EOS]]])
    found = model.log_likelihood(
        replace(written, encoder_input=(other.token_ids, other.lengths))
    ).log_probs
    close(found[[1, 3]], model.log_likelihood(other).log_probs[[1, 3]])
    close(found[[0, 2]], model.log_likelihood(written).log_probs[[0, 2]])
    assert not torch.allclose(found[1], model.log_likelihood(written).log_probs[1])


def test_what_was_heard_is_checked_for_ids_out_of_range_like_what_was_written(model):
    written = as_batch([[[4, EOS], [5, EOS]]])
    heard = written.token_ids.clone()
    heard[0, 0] = VOCABULARY
    with pytest.raises(ValueError, match=f"token ids from 3 to {VOCABULARY}"):
        model.log_likelihood(replace(written, encoder_input=(heard, written.lengths)))
