"""What the agent does with a search: methods, limits, filters, deadlines, scores."""

from dataclasses import replace

import pytest
import torch

import dialogue.agent
from dialogue.agent import FALLBACK, DialogueAgent
from dialogue.config import METHODS, DecodeConfig
from dialogue.conversation import Conversation, Turn
from dialogue.decoding.paths import Hypothesis
from dialogue.vocabulary import without_marks
from dialogue.words import words
from tests.dialogue.conftest import OPENINGS, SCRIPT, log_probs_one_by_one
from tests.dialogue.tables import Clock

BEAM = DecodeConfig(method="beam", beam_size=10)


# --- methods, limits, seeds ----------------------------------------------------------------------


def test_every_method_answers_in_words_and_in_batches_as_alone(talker):
    for method in METHODS:
        agent = DialogueAgent(talker, decode=DecodeConfig(method=method, beam_size=4))
        together = agent.answer([Conversation()] * len(OPENINGS), OPENINGS)
        alone = [agent.answer([Conversation()], [opening])[0] for opening in OPENINGS]
        assert [reply.text for reply in together] == [reply.text for reply in alone], method
        assert all(words(reply.text) for reply in together)


def test_a_seed_decides_what_is_drawn_and_the_conversation_does_too(talker):
    def replies(seed, said=OPENINGS):
        agent = DialogueAgent(
            talker,
            decode=DecodeConfig(
                method="nucleus", beam_size=1, temperature=3.0, top_p=1.0, seed=seed
            ),
        )
        return [reply.text for reply in agent.answer([Conversation()] * len(said), said)]

    assert replies(1) == replies(1)
    assert replies(1) != replies(2)
    agent = DialogueAgent(
        talker, decode=DecodeConfig(method="nucleus", beam_size=1, temperature=3.0, top_p=1.0)
    )
    (first,) = agent.answer([Conversation()], ["hi"])
    (later,) = agent.answer([first.conversation], ["hi"])
    assert first.text != later.text


def test_phrases_of_a_block_list_are_never_said_however_they_are_cut_into_tokens(talker, tmp_path):
    (free,) = DialogueAgent(talker).answer([Conversation()], ["do you like music?"])
    assert "jazz" in free.text
    path = tmp_path / "never.txt"
    path.write_text("i like\n\njazz\n  Very   Well \n", encoding="utf-8")
    agent = DialogueAgent(talker, decode=DecodeConfig(block_list=str(path)))
    replies = agent.answer([Conversation()] * len(SCRIPT), SCRIPT)
    for reply in replies:
        assert not reply.is_fallback
        for text in (reply.text, *(candidate.text for candidate in reply.candidates)):
            assert "i like" not in text
            assert "jazz" not in words(text)
    assert any("i" in words(candidate.text) for reply in replies for candidate in reply.candidates)


def test_a_phrase_that_slips_past_the_tokens_is_found_in_the_text(talker, tmp_path, monkeypatch):
    """ "nice" and "nice?" are two tokens of this vocabulary, and one word."""
    path = tmp_path / "never.txt"
    path.write_text("he is nice\n", encoding="utf-8")
    blocked = Hypothesis(tuple(talker.vocabulary.encode("he is nice?")), -0.1, -0.1)
    plain = Hypothesis(tuple(talker.vocabulary.encode("not really")), -9.0, -9.0)
    monkeypatch.setattr(dialogue.agent, "search", lambda *_, **__: [[blocked, plain]])
    (reply,) = DialogueAgent(talker, decode=DecodeConfig(block_list=str(path), anti_lm=0.0)).answer(
        [Conversation()], ["hi"]
    )
    assert reply.text == "not really"


@pytest.mark.parametrize(("line", "named"), [("zebra quagga", "zebra quagga"), ("☃", "☃")])
def test_a_line_of_a_block_list_that_the_vocabulary_lacks_is_named(talker, tmp_path, line, named):
    path = tmp_path / "never.txt"
    path.write_text(f"jazz\n{line}\n", encoding="utf-8")
    with pytest.raises(
        ValueError, match=f"never.txt, line 2: '{named}' holds characters that the vocabulary lacks"
    ):
        DialogueAgent(talker, decode=DecodeConfig(block_list=str(path)))


def test_a_block_list_that_cannot_be_read_and_a_stop_word_of_no_tokens_are_refused(
    talker, tmp_path
):
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\xff")
    for name in ("missing", "bytes"):
        with pytest.raises(ValueError, match=f"block_list: .*{name}"):
            DialogueAgent(talker, decode=DecodeConfig(block_list=str(tmp_path / name)))
    with pytest.raises(
        ValueError, match="stop_words: 'quagga' holds characters that the vocabulary lacks"
    ):
        DialogueAgent(talker, decode=DecodeConfig(stop_words=("quagga",)))


def test_a_reply_ends_after_its_stop_word(talker):
    agent = DialogueAgent(
        talker, decode=DecodeConfig(stop_words=("i like", "i play"), min_length=0)
    )
    replies = agent.answer([Conversation()] * 2, ["do you like music?", "do you play football?"])
    texts = [candidate.text for reply in replies for candidate in reply.candidates]
    stopped = [text for text in texts if "i like" in text or "i play" in text]
    assert stopped
    assert all(text.endswith(("i like", "i play")) for text in stopped)


def test_a_reply_begins_with_its_prefix(talker):
    agent = DialogueAgent(talker)
    replies = agent.answer(
        [Conversation()] * 3, ["hi", "hi", "hi"], prefixes=["my friend", "", "do you"]
    )
    assert replies[0].text.startswith("my friend")
    assert replies[2].text.startswith("do you")
    assert all(c.text.startswith("my friend") for c in replies[0].candidates)
    assert replies[1].text == agent.answer([Conversation()], ["hi"])[0].text
    with pytest.raises(ValueError, match="prefixes of 1 conversations; expected one for each of 2"):
        agent.answer([Conversation()] * 2, ["hi", "hi"], prefixes=["my friend"])
    with pytest.raises(
        ValueError, match="the prefix of conversation 0 has 41 tokens; max_length allows 40"
    ):
        agent.answer([Conversation()], ["hi"], prefixes=["my " * 41])


# --- what may be said, and by when ---------------------------------------------------------------


def test_the_best_candidate_that_a_filter_lets_pass_is_said(talker):
    (plain,) = DialogueAgent(talker, decode=BEAM).answer([Conversation()], ["do you like music?"])
    asked = []

    def may_say(utterance, reply):
        asked.append((utterance, reply))
        return reply == plain.candidates[3].text

    (reply,) = DialogueAgent(talker, decode=BEAM, may_say=may_say).answer(
        [Conversation()], ["do you like music?"]
    )
    assert reply.text == plain.candidates[3].text
    assert not reply.is_fallback
    assert ("do you like music?", plain.text) in asked
    (reply,) = DialogueAgent(talker, may_say=lambda utterance, reply: False).answer(
        [Conversation()], ["hi"]
    )
    assert (reply.text, reply.is_fallback) == (FALLBACK, True)


@pytest.mark.parametrize("deadline", [0, 0.0, 1.0, 3.0])
def test_whatever_the_deadline_there_is_an_answer(talker, deadline):
    for method in METHODS:
        agent = DialogueAgent(
            talker, decode=DecodeConfig(method=method, beam_size=4, min_length=12), clock=Clock()
        )
        replies = agent.respond(
            ["a", "b"], ["do you like music?", "who is your friend?"], deadline=deadline
        )
        assert all(words(reply) for reply in replies)
        assert FALLBACK not in replies


def test_a_late_answer_stays_as_the_search_ranked_it(talker):
    """Re-ranking takes another pass of the model, for which nobody waits any more."""
    agent = DialogueAgent(talker, clock=Clock())
    (late,) = agent.answer([Conversation()], ["hi"], deadline=0.0)
    assert [c.score for c in late.candidates] == sorted(
        (c.score for c in late.candidates), reverse=True
    )
    (alike,) = DialogueAgent(talker, decode=DecodeConfig(anti_lm=0.0), clock=Clock()).answer(
        [Conversation()], ["hi"], deadline=0.0
    )
    assert late.candidates == alike.candidates


def test_a_conversation_that_is_late_leaves_the_others_their_time(talker):
    said = ["hi", "do you like music?"]
    late, other = DialogueAgent(talker, clock=Clock()).answer(
        [Conversation()] * 2, said, deadline=[0.0, 1e9]
    )
    assert all(candidate.blank is None for candidate in late.candidates)
    (alone,) = DialogueAgent(talker).answer([Conversation()], said[1:])
    assert other.text == alone.text
    assert [candidate.text for candidate in other.candidates] == [
        candidate.text for candidate in alone.candidates
    ]
    assert all(candidate.blank is not None for candidate in other.candidates)


@pytest.mark.parametrize("deadline", [-1.0, float("nan")])
def test_a_deadline_that_is_none_is_refused(agent, store, deadline):
    with pytest.raises(ValueError, match="it must be the seconds that there are"):
        agent.respond(["a"], ["hi"], deadline=deadline)
    assert len(store) == 0


def test_one_conversation_of_nan_does_not_keep_the_others_from_their_replies(agent):
    (before,) = agent.answer([Conversation()], ["hi"])
    (broken,) = agent.answer([Conversation()], ["hi"])
    broken = replace(
        broken.conversation, history=torch.full_like(broken.conversation.history, float("nan"))
    )
    first, second = agent.answer([broken, before.conversation], ["hello", "hello"])
    assert (first.text, first.is_fallback) == (FALLBACK, True)
    assert second.text == agent.answer([before.conversation], ["hello"])[0].text
    with pytest.raises(ValueError, match="no token has a finite log-probability"):
        agent.answer([broken], ["hello"])


# --- scores --------------------------------------------------------------------------------------


def test_any_texts_are_ranked_as_what_the_search_finds(agent, talker):
    (reply,) = agent.answer([Conversation()], ["do you like music?"])
    (heard,) = agent.hear([Conversation()], [Turn("user", "do you like music?")])
    ranked = agent.rank(heard, [candidate.text for candidate in reversed(reply.candidates)])
    assert [candidate.text for candidate in ranked] == [
        candidate.text for candidate in reply.candidates
    ]
    for found, known in zip(ranked, reply.candidates, strict=True):
        assert found.score == pytest.approx(known.score, abs=1e-4)
        assert found.log_prob == pytest.approx(known.log_prob, abs=1e-4)
    texts = ["good night", "yes, i like jazz", "it is red"]
    assert agent.rank(heard, texts)[0].text == "yes, i like jazz"
    alone = [agent.rank(heard, [text])[0].score for text in texts]
    assert [c.score for c in agent.rank(heard, texts)] == pytest.approx(
        sorted(alone, reverse=True), abs=1e-5
    )
    assert agent.rank(heard, []) == []


def test_a_candidate_knows_the_log_probability_of_each_token(agent, talker):
    (reply,) = agent.answer([Conversation()], ["do you like music?"])
    for candidate in reply.candidates:
        assert len(candidate.token_log_probs) == len(talker.vocabulary.encode(candidate.text)) + 1
        assert sum(candidate.token_log_probs) == pytest.approx(candidate.log_prob, abs=1e-4)


def test_a_language_model_may_stand_in_for_the_model_without_history(talker):
    def short_is_likely(replies):
        return -10.0 * torch.tensor([len(reply) for reply in replies])

    agent = DialogueAgent(
        talker, decode=DecodeConfig(anti_lm=0.5, length_bonus=0.0), language_model=short_is_likely
    )
    (reply,) = agent.answer([Conversation()], ["do you like music?"])
    for candidate in reply.candidates:
        length = len(talker.vocabulary.encode(candidate.text))
        assert candidate.score == pytest.approx(candidate.log_prob + 5.0 * length, abs=1e-4)


def test_candidates_are_ranked_against_what_is_always_likely(talker):
    decode = DecodeConfig(anti_lm=0.7, length_bonus=0.2)
    agent = DialogueAgent(talker, decode=decode)
    conversation = agent.hear([Conversation()], [Turn("user", "do you like music?")])[0]
    (reply,) = agent.answer([Conversation()], ["do you like music?"])
    ids = [talker.vocabulary.encode(candidate.text) for candidate in reply.candidates]
    given = log_probs_one_by_one(agent, conversation, ids)
    without = log_probs_one_by_one(agent, Conversation(), ids)
    assert [c.log_prob for c in reply.candidates] == pytest.approx(given, abs=1e-4)
    scores = [
        log_prob - 0.7 * blank + 0.2 * len(tokens)
        for log_prob, blank, tokens in zip(given, without, ids, strict=True)
    ]
    assert [c.score for c in reply.candidates] == pytest.approx(scores, abs=1e-4)
    assert scores == sorted(scores, reverse=True)


def test_without_anti_lm_candidates_keep_the_order_of_the_search(talker):
    alpha = 0.65
    agent = DialogueAgent(talker, decode=DecodeConfig(anti_lm=0.0, length_penalty=alpha))
    (reply,) = agent.answer([Conversation()], ["do you like music?"])
    lengths = [len(talker.vocabulary.encode(candidate.text)) for candidate in reply.candidates]
    scores = [
        c.log_prob / ((5 + n) / 6) ** alpha for c, n in zip(reply.candidates, lengths, strict=True)
    ]
    assert [c.score for c in reply.candidates] == pytest.approx(scores, abs=1e-5)
    assert scores == sorted(scores, reverse=True)


def test_a_reply_that_was_learnt_is_likelier_given_its_question_than_without(agent, talker):
    ids = talker.vocabulary.encode("yes, i like jazz")
    asked = agent.hear([Conversation()], [Turn("user", "do you like music?")])[0]
    (given,) = log_probs_one_by_one(agent, asked, [ids])
    (without,) = log_probs_one_by_one(agent, Conversation(), [ids])
    assert given > without + 1


def test_a_phrase_that_is_never_said_is_in_no_hypothesis(talker):
    (before,) = DialogueAgent(talker).answer([Conversation()], ["do you like music?"])
    word = before.text.replace(",", " ").split()[-1]
    (after,) = DialogueAgent(talker, never_say=[word, "\u4e2d"]).answer(
        [Conversation()], ["do you like music?"]
    )
    assert word in words(before.text)
    assert all(word not in words(candidate.text) for candidate in after.candidates)


def test_the_whole_n_best_is_filtered_and_a_fixed_sentence_is_left(talker):
    asked = []
    (first,) = DialogueAgent(talker).answer([Conversation()], ["hi"])
    last = DialogueAgent(
        talker,
        may_say=lambda utterance, reply: asked.append(reply) or reply == first.candidates[-1].text,
    )
    (reply,) = last.answer([Conversation()], ["hi"])
    assert reply.text == first.candidates[-1].text
    assert len(asked) == len(first.candidates)
    (reply,) = DialogueAgent(talker, may_say=lambda utterance, reply: False).answer(
        [Conversation()], ["hi"]
    )
    assert reply.is_fallback


def test_a_reply_is_without_marks_and_stands_in_the_history_as_the_model_wrote_it(
    talker, monkeypatch
):
    written = "that is nice <continued_utterance> are you there?"
    found = Hypothesis(tuple(talker.vocabulary.encode(written)), -1.0, -1.0)
    monkeypatch.setattr(dialogue.agent, "search", lambda *_, **__: [[found]])
    (reply,) = DialogueAgent(talker, decode=replace(BEAM, anti_lm=0.0)).answer(
        [Conversation()], ["hi"]
    )
    marked = talker.vocabulary.decode(found.token_ids)
    assert "<continued_utterance>" in marked
    assert reply.conversation.turns[-1].text == marked
    assert "<" not in reply.text
    assert reply.text == without_marks(marked)
