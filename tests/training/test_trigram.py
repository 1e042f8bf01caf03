import itertools
from collections import Counter, defaultdict

import pytest
import torch

from training import trigram
from training.data.batches import collate
from training.trigram import Trigram, trigrams_of

EOS, BOS, SIZE = 3, 2, 9
DISCOUNTS = (0.6, 1.4, 0.3)  # one above 1: it takes all of what was seen once
CONVERSATIONS = [
    [[4, 5, 6, EOS], [7, EOS], [4, 5, 8, EOS]],
    [[4, 5, 6, EOS], [6, 6, 7, EOS]],
    [[8, EOS]],
    [[4, 5, 6, 7, EOS], [4, 6, EOS]],
]


@pytest.fixture(scope="module")
def model():
    trigrams = trigrams_of(CONVERSATIONS, vocab_size=SIZE, eos_id=EOS)
    return Trigram(trigrams, vocab_size=SIZE, bos_id=BOS, eos_id=EOS, discounts=DISCOUNTS)


def by_the_formula():
    """p(w | u, v) with dictionaries, from the formulas in the module's docstring."""
    trigrams = Counter()
    for conversation in CONVERSATIONS:
        text = [EOS, EOS, *itertools.chain(*conversation)]
        trigrams.update(zip(text, text[1:], text[2:], strict=False))
    bigrams = Counter(gram[1:] for gram in trigrams)
    unigrams = Counter(gram[1:] for gram in bigrams)

    def interpolated(counts, lower, discount):
        total, left = defaultdict(int), defaultdict(float)
        for gram, count in counts.items():
            total[gram[:-1]] += count
            left[gram[:-1]] += min(count, discount)

        def prob(context, word):
            if not total[context]:
                return lower(context[1:], word)
            kept = max(counts[(*context, word)] - discount, 0)
            return (kept + left[context] * lower(context[1:], word)) / total[context]

        return prob

    lowest = interpolated(unigrams, lambda context, word: 1 / SIZE, DISCOUNTS[2])
    return interpolated(trigrams, interpolated(bigrams, lowest, DISCOUNTS[1]), DISCOUNTS[0])


def test_its_probabilities_are_the_formulas_after_every_two_tokens_and_sum_to_one(model):
    expected = by_the_formula()
    for u, v in itertools.product(range(SIZE), repeat=2):
        state = model.start(torch.tensor([[u, v]]))
        log_probs, _ = model.step(torch.tensor([BOS]), state)
        torch.testing.assert_close(
            log_probs[0].exp(), torch.tensor([expected((u, v), word) for word in range(SIZE)])
        )
        assert float(log_probs.exp().sum()) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("begun", [False, True])
def test_utterances_score_as_their_tokens_do_one_by_one(model, begun):
    conversations = [*CONVERSATIONS, [[EOS], [EOS], [5, 5, EOS]], [[7, 1, EOS]]]
    history = torch.tensor([[4, 5]]).repeat(len(conversations), 1) if begun else None
    without = torch.zeros(sum(map(len, conversations)), dtype=torch.bool)
    without[1] = True
    batch = collate(conversations, pad_id=0, without_history=without)
    batch = batch if history is None else type(batch)(**{**vars(batch), "history": history})
    found, row = model.log_likelihood(batch), 0
    for conversation in conversations:
        before = model.empty_history(1) if history is None else history[:1]
        for turn in conversation:
            state, read = model.start(model.empty_history(1) if without[row] else before), BOS
            log_prob = correct = 0
            for token in turn:
                log_probs, state = model.step(torch.tensor([read]), state)
                log_prob += float(log_probs[0, token])
                correct += int(log_probs[0].argmax()) == token
                read = token
            assert float(found.log_probs[row]) == pytest.approx(log_prob, rel=1e-5)
            assert (int(found.tokens[row]), int(found.correct_count[row])) == (len(turn), correct)
            before = model.encode_turn(torch.tensor([turn]), torch.tensor([len(turn)]), before)
            row += 1


def test_rows_of_a_beam_are_what_they_are_alone(model):
    state = (
        model.start(torch.tensor([[EOS, EOS], [4, 5]])).repeat(2).select(torch.tensor([3, 0, 1]))
    )
    together, after = model.step(torch.tensor([7, 4, BOS]), state)
    for row, (token, begin) in enumerate([(7, [4, 5]), (4, [EOS, EOS]), (BOS, [EOS, EOS])]):
        alone, then = model.step(torch.tensor([token]), model.start(torch.tensor([begin])))
        assert torch.equal(together[row], alone[0])
        assert torch.equal(after.tokens[row], then.tokens[0])


def test_the_discounts_are_those_that_make_validation_likeliest(word_vocabulary, monkeypatch):
    """One order after the other, and the highest once more: none of the four choices could be
    improved when it was made.
    """
    talk = [[[7, 8, 9, 3], [8, 9, 3]], [[7, 8, 10, 3]], [[9, 9, 8, 3], [7, 8, 9, 3]]] * 3
    other = [[[7, 8, 9, 3], [9, 8, 3]], [[10, 7, 8, 3]]]
    found = trigram.count(talk, other, word_vocabulary)

    def likelihood(discounts):
        size = len(word_vocabulary)
        seen, held_out = (trigrams_of(part, vocab_size=size, eos_id=3) for part in (talk, other))
        return float(
            Trigram(seen, vocab_size=size, bos_id=2, eos_id=3, discounts=discounts)
            .prob(held_out)
            .log()
            .sum()
        )

    best = likelihood(found.discounts)
    assert best > likelihood((0.75, 0.75, 0.75))
    assert all(
        best >= likelihood((discount, *found.discounts[1:])) for discount in trigram.DISCOUNTS
    )


def test_the_command_prints_the_figures_of_evaluate(talk, capsys):
    """On the text it has counted, where it must do far better than guessing."""
    data, words = str(talk / "talk.jsonl"), str(talk / "vocabulary.model")
    assert trigram.main(["--data", data, "--vocabulary", words, "--split", "train"]) == 0
    said = capsys.readouterr().out
    perplexity = next(
        float(line.split("│")[2]) for line in said.splitlines() if "perplexity_per_token" in line
    )
    assert 1 < perplexity < 10
    assert trigram.main(["--data", data, "--vocabulary", f"{words}.not"]) == 2
    assert capsys.readouterr().err.startswith("error: ")
