"""How an agent talks: replies, histories, threads, and loading it from files."""

import copy
import threading
import time
from dataclasses import replace

import pytest
import torch

from dialogue import checkpoint
from dialogue.agent import HEARD_TOKENS, STAGES, DialogueAgent
from dialogue.bounded import Bounds
from dialogue.claims import claims_a_life
from dialogue.config import DecodeConfig
from dialogue.conversation import Conversation, Turn
from dialogue.store import ConversationStore
from dialogue.words import words
from tests.dialogue.conftest import OPENINGS, SCRIPT, close

# --- respond -------------------------------------------------------------------------------------


def test_a_model_that_has_learnt_an_answer_gives_it(talker):
    """The whole path: text, ids, history, search, text."""
    agent = DialogueAgent(talker, decode=DecodeConfig(anti_lm=0.0))
    assert agent.respond(["a", "b"], ["do you like music ?", "Hi"]) == [
        "yes, i like jazz",
        "hello, how are you?",
    ]


def test_answering_several_conversations_at_once_is_answering_each_alone(talker):
    """With histories of uneven lengths, and blocked n-grams from each conversation."""
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
            time.sleep(0.002)  # give another thread the chance to come between
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


# --- memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_weights_that_are_only_laid_out_talk_as_before(talker, precision):
    given = copy.deepcopy(talker)
    agent = DialogueAgent(given, precision=precision)
    before, named = agent.respond(["a"], ["do you like music?"]), agent.fingerprint
    agent.free_weights()
    assert all(weight.is_meta for weight in given.model.parameters())
    assert agent.respond(["b"], ["do you like music?"]) == before
    assert agent.fingerprint == named


def test_weights_are_named_before_they_are_freed(talker):
    agent = DialogueAgent(copy.deepcopy(talker))
    agent.free_weights()
    assert agent.fingerprint == DialogueAgent(talker).fingerprint


def test_weights_are_kept_for_what_may_read_them(talker):
    given = copy.deepcopy(talker)
    own = DialogueAgent(given, decode=DecodeConfig(ranker="tests.dialogue.test_agent:First"))
    own.free_weights()
    not_apart = DialogueAgent(given)
    not_apart.prepared = replace(not_apart.prepared, is_apart=False)
    not_apart.free_weights()
    assert not any(weight.is_meta for weight in given.model.parameters())


class First:
    """A ranker of the user's own: it leaves the candidates as they come."""

    def __init__(self, checkpoint, decode):
        pass

    def __call__(self, conversations, candidates):
        return [[-place for place, _ in enumerate(found)] for found in candidates]


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
    store = ConversationStore(Bounds(limit=1))
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


# --- from files ----------------------------------------------------------------------------------


def test_an_agent_loaded_from_a_checkpoint_answers_as_the_one_that_was_saved(talker, tmp_path):
    checkpoint.save(tmp_path / "checkpoint", talker, dtype=torch.float32)
    loaded = DialogueAgent.load(tmp_path / "checkpoint", precision="fp32")
    kept = DialogueAgent(talker, avoid=lambda utterance, reply: claims_a_life(reply))
    assert [loaded.respond(["a"], [said]) for said in SCRIPT] == [
        kept.respond(["a"], [said]) for said in SCRIPT
    ]


def test_loading_an_agent_from_a_folder_without_checkpoint_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is not a checkpoint"):
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
        avoid=lambda utterance, reply: reply.startswith("i "),
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
