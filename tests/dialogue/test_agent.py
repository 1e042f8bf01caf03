import threading
import time
from dataclasses import replace

import pytest
import torch

import dialogue.agent
from dialogue import checkpoint
from dialogue.agent import BLOCKED_REPLIES, FALLBACK, HEARD_TOKENS, STAGES, DialogueAgent
from dialogue.claims import claims_a_life
from dialogue.config import DecodeConfig
from dialogue.conversation import Conversation, Turn
from dialogue.decoding.constraints import compose
from dialogue.decoding.paths import Hypothesis
from dialogue.store import ConversationStore
from dialogue.vocabulary import Vocabulary
from dialogue.words import repeats_ngram, words

OPENINGS = ["hi", "do you like music?", "do you have a dog?", "tell me a joke", "i have a new car"]
SCRIPT = [
    "hi",
    "do you like music?",
    "hi",
    "where do you live?",
    "is there snow?",
    "hi",
    "good night",
]

BEAM = DecodeConfig(method="beam", beam_size=10)


def close(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def spoken(candidates):
    return [tuple(words(candidate.text)) for candidate in candidates]


# --- respond -------------------------------------------------------------------------------------


def test_a_model_that_has_learnt_an_answer_gives_it(talker):
    """The whole path: text, ids, history, search, text."""
    agent = DialogueAgent(talker, decode=DecodeConfig(anti_lm=0.0))
    assert agent.respond(["a", "b"], ["do you like music ?", "Hi"]) == [
        "yes, i like jazz",
        "hello, how are you?",
    ]


def test_answering_several_conversations_at_once_is_answering_each_alone(talker):
    """With histories of uneven lengths, and n-grams of what was said in each conversation blocked."""
    decode = DecodeConfig(block_user_ngrams=2, block_reply_ngrams=2)
    together = DialogueAgent(talker, decode=decode, store=(kept := ConversationStore()))
    alone = DialogueAgent(talker, decode=decode, store=(kept_alone := ConversationStore()))
    names = [f"conversation {number}" for number in range(len(OPENINGS))]
    for turns, name in enumerate(names):  # the first has said nothing yet, the last four things
        for utterance in SCRIPT[:turns]:
            assert together.respond([name], [utterance]) == alone.respond([name], [utterance])
    for _ in range(3):
        replies = together.respond(names, OPENINGS)
        assert replies == [
            alone.respond([name], [utterance])[0]
            for name, utterance in zip(names, OPENINGS, strict=True)
        ]
        assert len(set(replies)) > 1
        for name in names:
            close(kept.get(name).history, kept_alone.get(name).history)


def test_the_same_talk_twice_gives_the_same_replies(talker):
    first, second = DialogueAgent(talker), DialogueAgent(talker)
    assert [first.respond(["a"], [said]) for said in SCRIPT] == [
        second.respond(["a"], [said]) for said in SCRIPT
    ]


def test_eight_threads_each_keep_their_own_history(talker):
    def script(number):
        return [*SCRIPT[number % 3 :], OPENINGS[number % len(OPENINGS)]]

    serial_store, store = ConversationStore(), ConversationStore()
    serial, shared = DialogueAgent(talker, store=serial_store), DialogueAgent(talker, store=store)
    expected = {
        f"talker {n}": [serial.respond([f"talker {n}"], [said])[0] for said in script(n)]
        for n in range(8)
    }
    replies, errors = {name: [] for name in expected}, []
    start = threading.Barrier(8)

    def talk(number):
        try:
            start.wait()
            for said in script(number):
                replies[f"talker {number}"] += shared.respond([f"talker {number}"], [said])
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert replies == expected
    for name in expected:
        assert store.get(name).turns == serial_store.get(name).turns
        assert len(store.get(name).turns) == 2 * len(replies[name])
        close(store.get(name).history, serial_store.get(name).history)


def test_two_threads_never_work_at_once(talker):
    """Threads share the model and the store, neither of which is made for two at a time."""

    class Watched(ConversationStore):
        working, overlaps = 0, 0

        def get(self, name):
            self.overlaps += self.working
            self.working += 1
            time.sleep(0.002)  # time enough for another to come between
            return super().get(name)

        def put(self, name, conversation):
            self.working -= 1
            super().put(name, conversation)

    store = Watched()
    agent = DialogueAgent(talker, store=store)
    threads = [
        threading.Thread(target=agent.respond, args=([f"talker {n}"], ["hi"])) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store) == 8
    assert store.overlaps == 0


@pytest.mark.parametrize(
    ("names", "utterances"),
    [(["a"], []), ([], ["hi"]), (["a", "b"], ["hi"]), (["a", "a"], ["hi", "hello"])],
)
def test_names_and_utterances_that_do_not_pair_are_refused(agent, store, names, utterances):
    with pytest.raises(ValueError, match="expected one for each, no name twice"):
        agent.respond(names, utterances)
    assert len(store) == 0


def test_nobody_speaking_gets_no_reply(agent):
    assert agent.respond([], []) == []
    assert agent.answer([], []) == []


def test_a_forgotten_conversation_begins_anew(agent, store):
    first = agent.respond(["a"], ["hi"])
    agent.respond(["a"], ["do you like music?"])
    agent.forget("a")
    agent.forget("never seen")
    assert store.get("a") == Conversation()
    assert agent.respond(["a"], ["hi"]) == first


@pytest.mark.parametrize(
    "utterance", ["", "   ", "zebra quagga", "🙂", "\x00", "<person> <number>", "hi " * 2000]
)
def test_whatever_is_said_gets_a_reply_in_words(agent, utterance):
    (reply,) = agent.respond(["a"], [utterance])
    assert words(reply)


# --- histories -----------------------------------------------------------------------------------


def test_what_was_said_and_the_reply_to_it_both_enter_the_history(agent, talker, store):
    (reply,) = agent.respond(["a"], ["do you like music?"])
    kept = store.get("a")
    assert kept.turns == (Turn("user", "do you like music?"), Turn("bot", reply))
    history = None
    for text in ("do you like music?", reply):
        ids = [*talker.vocabulary.encode(text), talker.vocabulary.eos_id]
        history = talker.model.encode_turn(torch.tensor([ids]), torch.tensor([len(ids)]), history)
    close(kept.history, history)


def test_an_agent_keeps_its_conversations_in_the_store_that_it_was_given(talker):
    """An empty store is falsy, like an empty list: the agent once ignored it and made its own,
    without the limits.
    """
    store = ConversationStore(limit=1)
    agent = DialogueAgent(talker, store=store)
    agent.respond(["a"], ["hi"])
    agent.respond(["b"], ["hi"])
    assert len(store) == 1
    assert len(store.get("b").turns) == 2


def test_an_utterance_is_heard_without_an_answer(agent, talker):
    (heard,) = agent.hear([Conversation()], [Turn("user", "hi")])
    assert heard.turns == (Turn("user", "hi"),)
    (reply,) = agent.answer([Conversation()], ["hi"])
    (further,) = agent.hear([heard], [Turn("bot", reply.text)])
    assert len(further.turns) == 2
    assert reply.conversation.turns == further.turns
    close(reply.conversation.history, further.history)


def test_of_a_long_utterance_the_last_128_tokens_are_heard(agent, talker):
    assert HEARD_TOKENS == 128
    text = " ".join(
        ["jazz", "is", "great"] * 20
        + ["my", "friend", "is", "tall"] * 31
        + ["not", "cold", "very", "nice"]
    )
    ids = talker.vocabulary.encode(text)
    assert len(ids) == 188
    last = [*ids[-128:], talker.vocabulary.eos_id]
    expected = talker.model.encode_turn(torch.tensor([last]), torch.tensor([129]), None)
    (heard,) = agent.hear([Conversation()], [Turn("user", text)])
    close(heard.history, expected)


def test_a_kept_history_does_not_keep_the_batch_it_was_computed_in(agent, store):
    """A view of one row would keep the memory of all rows alive for as long as one conversation
    lasts.
    """
    agent.respond([f"conversation {n}" for n in range(5)], OPENINGS)
    history = store.get("conversation 3").history
    assert history.untyped_storage().nbytes() == history.numel() * history.element_size()
    assert not history.requires_grad


def test_a_conversation_value_is_not_changed_by_answering_in_it(agent):
    (first,) = agent.answer([Conversation()], ["hi"])
    before, turns = first.conversation.history.clone(), first.conversation.turns
    agent.answer([first.conversation], ["do you like music?"])
    assert first.conversation.turns == turns
    torch.testing.assert_close(first.conversation.history, before, rtol=0, atol=0)


# --- what is said --------------------------------------------------------------------------------


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
    limits = DialogueAgent(talker)._limits_of([Conversation(None, said)], ())
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


# --- from files ----------------------------------------------------------------------------------


def test_an_agent_loaded_from_a_checkpoint_answers_as_the_one_that_was_saved(talker, tmp_path):
    checkpoint.save(tmp_path / "checkpoint", talker, dtype=torch.float32)
    loaded = DialogueAgent.load(tmp_path / "checkpoint", precision="fp32")
    kept = DialogueAgent(talker, avoid=claims_a_life)
    assert [loaded.respond(["a"], [said]) for said in SCRIPT] == [
        kept.respond(["a"], [said]) for said in SCRIPT
    ]


def test_loading_an_agent_from_a_folder_without_checkpoint_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is no checkpoint"):
        DialogueAgent.load(tmp_path)


def test_what_was_said_after_a_reply_is_a_turn_of_the_bots_own(talker):
    agent, store = DialogueAgent(talker), ConversationStore()
    added = DialogueAgent(talker, store=store)
    (reply,) = added.respond(["x"], ["hi"])
    added.add("x", "do you like music?")
    (heard,) = agent.hear(
        agent.hear(agent.hear([Conversation()], [Turn("user", "hi")]), [Turn("bot", reply)]),
        [Turn("bot", "do you like music?")],
    )
    close(store.get("x").history, heard.history)
    assert store.get("x").turns == heard.turns


def test_what_was_answered_elsewhere_is_part_of_the_conversation(talker):
    said, noted = DialogueAgent(talker), DialogueAgent(talker)
    (reply,) = said.respond(["x"], ["hi"])
    noted.note("x", "hi", reply)
    assert said.respond(["x"], ["do you like music?"]) == noted.respond(
        ["x"], ["do you like music?"]
    )


def test_each_candidate_has_its_reason_for_being_passed_over(talker):
    agent = DialogueAgent(
        talker,
        may_say=lambda utterance, reply: "jazz" not in reply,
        avoid=lambda reply: reply.startswith("i "),
        decode=DecodeConfig(beam_size=10, block_reply_ngrams=0),
    )
    for said in ("do you like music?", "hi"):
        (reply,) = agent.replies(["a"], [said])
        reasons = agent.why(reply)
        texts = [candidate.text for candidate in reply.candidates]
        assert texts[reasons.index("")] == reply.text
        assert reasons.count("") == 1
        assert all(
            ("jazz" in text) == (why == "safety")
            for text, why in zip(texts, reasons, strict=True)
            if why != "repetition"
        )
        assert all(
            text.startswith("i ")
            for text, why in zip(texts, reasons, strict=True)
            if why == "a life"
        )
        assert not any(
            text.startswith("i ")
            for text, why in zip(texts, reasons, strict=True)
            if why == "ranker"
        )
    place = reasons.index("ranker")
    before = Conversation(turns=(Turn("bot", texts[place]), *reply.conversation.turns))
    assert agent.why(replace(reply, conversation=before))[place] == "said before"
    assert [stage for stage, _ in reply.seconds] == list(STAGES)


def test_other_settings_answer_in_the_same_conversations(talker):
    agent = DialogueAgent(talker)
    short = agent.with_settings(DecodeConfig(method="greedy", max_length=2))
    agent.respond(["a"], ["hi"])
    (reply,) = short.replies(["a"], ["do you like music?"])
    assert len(reply.conversation.turns) == 4
    assert len(talker.vocabulary.encode(reply.text)) == 2
    assert agent.decode_config == DecodeConfig()
    with pytest.raises(ValueError, match="stop_words"):
        agent.with_settings(DecodeConfig(stop_words=("☃",)))
