import pytest

from dialogue.agent import Reply
from dialogue.conversation import Conversation
from training.metrics.replies import overlap_metrics, reply_metrics, token_f1


def said(*texts, fallback=False):
    return [Reply(text, Conversation(), (), is_fallback=fallback) for text in texts]


def test_the_figures_of_replies_by_hand():
    found = reply_metrics(
        said("i like it", "i like it!", "no no no no", "yes and yes and")
        + said("hm", fallback=True)
    )
    assert found["unique_replies"] == pytest.approx(4 / 5)
    assert found["distinct_1"] == pytest.approx(7 / 15)  # i like it no yes and hm
    assert found["distinct_2"] == pytest.approx(5 / 10)  # i-like like-it no-no yes-and and-yes
    assert found["repeated_2gram"] == pytest.approx(2 / 5)
    assert found["repeated_3gram"] == pytest.approx(1 / 5)
    assert found["mean_length"] == pytest.approx(15 / 5)
    assert found["fallbacks"] == pytest.approx(1 / 5)
    assert found["placeholders"] == 0
    assert found["listed_words"] == 0
    assert reply_metrics(said("damn right", "oh f u c k", "moby dick"))["listed_words"] == 2
    assert reply_metrics(said("i am <person>", "me too"))["placeholders"] == pytest.approx(1 / 2)


@pytest.mark.parametrize(
    ("reply", "truth", "expected"),
    [
        ("I like the dog!", "a dog, I like.", 1.0),  # no articles, punctuation, case or order
        ("yes yes yes", "yes it is", 1 / 3),  # a bag: one of three is shared on either side
        ("don't", "don ' t", 1.0),
        ("no", "yes", 0.0),
        ("the", "a", 0.0),
        ("two words", "two", 2 / 3),
    ],
)
def test_token_f1_is_that_of_bags_of_normalised_words(reply, truth, expected):
    assert token_f1(reply, truth) == pytest.approx(expected)


def test_overlap_with_the_true_replies_is_that_of_their_read_form():
    found, signature = overlap_metrics(
        said("i don't like the music", "hello there"), ["I don ' t like the music", "Hello there"]
    )
    assert found == pytest.approx({"token_f1": 1.0, "bleu": 100.0})
    assert "case:lc" in signature
    assert "version:" in signature


def test_bleu_is_the_geometric_mean_of_precisions_by_hand():
    """One reply as long as the truth, which contains 4 of its 5 words, 3 of 4 pairs, 2 of 3 triples
    and 1 of 2 4-grams.
    """
    found, _ = overlap_metrics(said("we like old jazz records"), ["we like old jazz music"])
    assert found["bleu"] == pytest.approx(100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
