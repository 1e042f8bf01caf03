"""Which replies an agent may give: nothing repeated, blocked or empty."""

from dataclasses import replace

import torch

import dialogue.agent
from dialogue.agent import FALLBACK, DialogueAgent
from dialogue.config import DecodeConfig
from dialogue.conversation import Conversation, Turn
from dialogue.decoding.constraints import Limits, compose
from dialogue.decoding.paths import Hypothesis
from dialogue.limits import BLOCKED_REPLIES, limits_of
from dialogue.vocabulary import Vocabulary
from dialogue.words import repeats_ngram, words
from tests.dialogue.conftest import OPENINGS, SCRIPT

BEAM = DecodeConfig(method="beam", beam_size=10)


def spoken(candidates):
    return [tuple(words(candidate.text)) for candidate in candidates]


def test_a_reply_said_before_is_not_given_again_while_another_is_left(talker):
    """The search is the same each time (same history, no blocking of earlier replies); only what
    the bot has said differs.
    """
    agent = DialogueAgent(talker, decode=replace(BEAM, block_reply_ngrams=0))
    (heard,) = agent.hear([Conversation()], [Turn("user", "hi")])
    (first,) = agent.answer([Conversation()], ["hi"])
    order = list(
        dict.fromkeys(
            spoken(
                [
                    c
                    for c in first.candidates
                    if not repeats_ngram(c.text, agent.decode_config.block_ngrams)
                ]
            )
        )
    )
    assert len(order) > 3
    said = ()
    for place in range(len(order)):
        (reply,) = agent.answer([Conversation(None, said)], ["hi"])
        assert tuple(words(reply.text)) == order[place]
        assert not reply.is_fallback
        said = (*said, Turn("bot", reply.text.upper() + " !"))  # the same words, written otherwise
    (again,) = agent.answer([Conversation(None, said)], ["hi"])
    assert tuple(words(again.text)) == order[0], "with all of them said, the best is said again"
    assert not again.is_fallback
    assert heard.turns == (Turn("user", "hi"),)


def test_what_the_user_said_may_be_said_by_the_bot(agent):
    (first,) = agent.answer([Conversation()], ["hi"])
    (reply,) = agent.answer([Conversation(None, (Turn("user", first.text),))], ["hi"])
    assert reply.text == first.text


def test_the_same_question_ten_times_gets_ten_answers(agent, store):
    replies = [agent.respond(["a"], ["hi"])[0] for _ in range(10)]
    assert len({tuple(words(reply)) for reply in replies}) == 10
    assert FALLBACK not in replies


class Mute(Vocabulary):
    """A vocabulary none of whose pieces may be said."""

    @property
    def never_generated(self):
        return tuple(range(len(self)))


def test_the_fallback_is_said_and_flagged_where_nothing_may_be(talker, store):
    agent = DialogueAgent(
        replace(talker, vocabulary=Mute(talker.vocabulary.serialised)), store=store
    )
    (reply, other) = agent.answer([Conversation(), Conversation()], ["hi", "do you like music?"])
    assert reply.text == other.text == FALLBACK
    assert reply.is_fallback
    assert other.is_fallback
    assert reply.conversation.turns == (Turn("user", "hi"), Turn("bot", FALLBACK))
    assert agent.respond(["a"], ["hi"]) == [FALLBACK]


def test_the_fallback_is_not_flagged_where_a_reply_was_found(agent):
    assert not any(
        reply.is_fallback for reply in agent.answer([Conversation()] * len(OPENINGS), OPENINGS)
    )


def test_no_candidate_of_many_holds_a_token_that_is_never_spoken(agent, talker):
    shown = [
        talker.vocabulary.piece(token_id).removeprefix("▁")
        for token_id in talker.vocabulary.never_generated
    ]
    assert {"<unk>", "<person>", "<number>"} <= set(shown)
    replies = DialogueAgent(talker, decode=BEAM).answer([Conversation()] * len(SCRIPT), SCRIPT)
    texts = [candidate.text for reply in replies for candidate in reply.candidates]
    assert len(texts) > 50
    assert not [text for text in texts if any(piece in text for piece in (*shown, "⁇", "▁"))]


def test_a_reply_that_repeats_its_words_is_left_out_even_where_its_tokens_differ(
    talker, monkeypatch
):
    """Two segmentations of a word slip past a check on tokens: "nice" and "nice?" are two tokens
    but one word.
    """
    text = "he is nice and he is nice?"
    ids = talker.vocabulary.encode(text)
    assert len(set(zip(ids, ids[1:], ids[2:], strict=False))) == len(ids) - 2, (
        "no three tokens stand there twice"
    )
    repeating = Hypothesis(tuple(ids), -0.1, -0.1)
    plain = Hypothesis(tuple(talker.vocabulary.encode("not really")), -9.0, -9.0)
    monkeypatch.setattr(dialogue.agent, "search", lambda *_, **__: [[repeating, plain]])
    for n, said in ((4, text), (3, "not really")):
        agent = DialogueAgent(talker, decode=DecodeConfig(block_ngrams=n, anti_lm=0.0))
        (reply,) = agent.answer([Conversation()], ["hi"])
        assert [candidate.text for candidate in reply.candidates] == [text, "not really"]
        assert reply.text == said
        assert not reply.is_fallback


def test_a_mark_between_words_does_not_hide_that_they_repeat(talker, monkeypatch):
    """<continued_utterance> is dropped when a reply is spoken, which joins the words around it."""
    ids = [talker.vocabulary.encode(word)[0] for word in ("is", "very", "is")]
    marked = Hypothesis((*ids, talker.vocabulary.placeholder_ids[2], ids[1]), -0.1, -0.1)
    plain = Hypothesis(tuple(talker.vocabulary.encode("not really")), -9.0, -9.0)
    monkeypatch.setattr(dialogue.agent, "search", lambda *_, **__: [[marked, plain]])
    (reply,) = DialogueAgent(talker, decode=DecodeConfig(block_ngrams=2, anti_lm=0.0)).answer(
        [Conversation()], ["hi"]
    )
    assert words(reply.candidates[0].text) == ["is", "very", "is", "continued_utterance", "very"]
    assert reply.text == "not really"


def test_no_ngram_is_blocked_that_reaches_from_one_reply_into_the_next(talker):
    """Forced to begin with "really", a reply went on as if "tell" were blocked: the end of one
    reply had been joined to the start of the next.
    """
    said = (Turn("bot", "not really"), Turn("bot", "tell me"))
    limits = limits_of(
        [Conversation(None, said)], (), always=Limits(), vocabulary=talker.vocabulary
    )
    config = DecodeConfig(beam_size=1, block_ngrams=0, min_length=0, block_reply_ngrams=2)
    constrain, before = compose(
        config, limits, conversations=1, repeat=1, eos_id=talker.vocabulary.eos_id, device=None
    )
    ids = {word: talker.vocabulary.encode(word)[0] for word in ("not", "really", "tell", "me")}
    for last, following, may in (
        ("not", "really", False),
        ("tell", "me", False),
        ("really", "tell", True),
        ("not", "me", True),
    ):
        after = before.after(torch.tensor([ids[last]]), None)
        log_probs = constrain(torch.zeros(1, len(talker.vocabulary)), after)
        assert bool(log_probs[0, ids[following]] == 0) == may, (last, following)


def test_a_reply_without_a_word_is_left_out(talker, monkeypatch):
    wordless = Hypothesis((talker.vocabulary.placeholder_ids[2],), -0.1, -0.1)
    monkeypatch.setattr(
        dialogue.agent, "search", lambda *_, **__: [[wordless, Hypothesis((), -0.2, -0.2)]]
    )
    (reply,) = DialogueAgent(talker).answer([Conversation()], ["hi"])
    assert len(reply.candidates) == 2
    assert reply.is_fallback
    assert reply.text == FALLBACK


def test_ngrams_of_the_users_utterance_can_be_blocked(talker):
    said = "do you have a dog?"
    for blocked, shared in ((0, True), (1, False)):
        agent = DialogueAgent(talker, decode=DecodeConfig(block_user_ngrams=blocked))
        (reply,) = agent.answer([Conversation()], [said])
        ids = [set(talker.vocabulary.encode(candidate.text)) for candidate in reply.candidates]
        assert any(tokens & set(talker.vocabulary.encode(said)) for tokens in ids) == shared


def test_ngrams_of_the_bots_last_replies_can_be_blocked_and_of_older_ones_not(talker):
    agent = DialogueAgent(talker, decode=DecodeConfig(block_reply_ngrams=1))
    older, *last = [
        "yes, i like jazz",
        "no, i play tennis",
        "it is red",
        "so they say",
        "cats are nice",
    ]
    assert len(last) == BLOCKED_REPLIES
    conversation = Conversation(None, tuple(Turn("bot", text) for text in (older, *last)))
    (reply,) = agent.answer([conversation], ["do you like music?"])
    found = {
        token
        for candidate in reply.candidates
        for token in talker.vocabulary.encode(candidate.text)
    }
    assert not found & {token for text in last for token in talker.vocabulary.encode(text)}
    assert found & set(talker.vocabulary.encode(older))


def test_replies_keep_to_the_lengths_that_were_asked_for(talker):
    for least, most in ((1, 2), (5, 5), (4, 9)):
        agent = DialogueAgent(talker, decode=DecodeConfig(min_length=least, max_length=most))
        for reply in agent.answer([Conversation()] * len(OPENINGS), OPENINGS):
            lengths = {
                len(talker.vocabulary.encode(candidate.text)) for candidate in reply.candidates
            }
            assert lengths
            assert least <= min(lengths) <= max(lengths) <= most
