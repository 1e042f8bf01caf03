import pytest

from dialogue.agent import Reply
from dialogue.conversation import Conversation, Turn
from training.corpora.transcript import Transcript
from training.metrics import talks
from training.metrics.talks import Talk, hold_talks, talk_metrics


def talk(*texts):
    return Talk(
        Transcript("a", "x", ("hi",) * (2 * len(texts))),
        tuple(Reply(text, Conversation(), ()) for text in texts),
    )


def test_a_reply_that_was_said_before_in_its_conversation_is_counted(agent, monkeypatch):
    """In the longer conversation it says "one", "two", "three" and "one" again; what another
    conversation heard does not count.
    """
    monkeypatch.setattr(talks, "TALK_TURNS", 2)

    def answer(conversations, utterances):
        texts = [("one", "two", "three")[len(said.said("bot")) % 3] for said in conversations]
        turns = [
            (Turn("user", utterance), Turn("bot", text))
            for utterance, text in zip(utterances, texts, strict=True)
        ]
        return [
            Reply(text, Conversation(said.history, (*said.turns, *both)), ())
            for text, said, both in zip(texts, conversations, turns, strict=True)
        ]

    monkeypatch.setattr(agent, "answer", answer)
    transcripts = [
        Transcript("a", "x", tuple("abcdefgh")),
        Transcript("b", "x", tuple("abcd")),
        Transcript("c", "x", ("a",)),
    ]
    held = hold_talks(agent, transcripts)
    assert [(one.transcript.id, one.heard, len(one.replies)) for one in held] == [
        ("a", tuple("aceg"), 4),
        ("b", tuple("ac"), 2),
    ]
    found = talk_metrics(held)
    assert (found["repeated_replies"], found["replies_in_conversations"]) == (1 / 6, 6)


def test_four_words_in_a_row_count_again_only_after_the_reply_that_had_them():
    """Of 2 + 3 + 1 4-grams, `i like jazz a` and `like jazz a lot` occur again; repeats within the
    last reply do not count.
    """
    found = talk_metrics([talk("i like jazz a lot", "well i like jazz a", "no")])
    assert found["repeated_4grams_across_turns"] == pytest.approx(1 / 4)
    assert talk_metrics([talk("a b c d a b c d")])["repeated_4grams_across_turns"] == 0
    assert talk_metrics([talk("a b c d"), talk("a b c d")])["repeated_4grams_across_turns"] == 0
    assert talk_metrics([talk("Yes, it is!", "yes it is")])["repeated_replies"] == 1 / 2


def test_without_conversations_long_enough_nothing_is_said_again(agent):
    assert talk_metrics(hold_talks(agent, [Transcript("a", "x", ("hi", "hello"))])) == {
        "repeated_replies": 0, "repeated_4grams_across_turns": 0, "replies_in_conversations": 0,
    }  # fmt: skip
