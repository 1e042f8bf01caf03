"""Batches of a real agent say what each request alone would be told."""

import threading
from contextlib import contextmanager

import pytest
import torch

from dialogue.agent import DialogueAgent
from dialogue.batching import BatchingAgent
from dialogue.config import DecodeConfig
from dialogue.conversation import Conversation
from dialogue.store import ConversationStore

from .test_batching import LONG, ask, in_thread

NAMES = [f"conversation {number}" for number in range(5)]
TALK = [
    ["hi", "do you like music?", "do you have a dog?", "tell me a joke", "i have a new car"],
    ["do you like music?", "hi", "where do you live?", "hi", "good night"],
    ["is there snow?", "tell me a joke", "hi", "do you like music?", "hi"],
]


@contextmanager
def held(agent, batching):
    """Keep the decoder meanwhile, so that all that is asked waits together."""
    begun, may = threading.Event(), threading.Event()
    note = agent.note

    def hold(*ignored):
        begun.set()
        assert may.wait(LONG)

    agent.note = hold
    thread = in_thread(lambda: batching.note("nobody", "", ""))
    assert begun.wait(LONG)
    yield
    agent.note = note
    may.set()
    thread.join(LONG)


@pytest.mark.parametrize("decode", [DecodeConfig(), DecodeConfig(method="beam", beam_size=5)])
def test_a_batch_says_what_each_alone_would_be_told(talker, decode):
    """The same text and the same history, turn after turn, in fp32 with the same seeds."""
    stores = ConversationStore(), ConversationStore()
    agent, alone = (DialogueAgent(talker, decode=decode, store=store) for store in stores)
    sizes, answer = [], agent.answer

    def counted(conversations, utterances, **options):
        sizes.append(len(utterances))
        return answer(conversations, utterances, **options)

    agent.answer = counted
    batching = BatchingAgent(agent)
    for utterances in TALK:
        with held(agent, batching):
            asked = [
                ask(batching, name, said) for name, said in zip(NAMES, utterances, strict=True)
            ]
        expected = [
            alone.respond([name], [said])[0] for name, said in zip(NAMES, utterances, strict=True)
        ]
        assert [future.result(LONG).text for future in asked] == expected
        assert len(set(expected)) > 1
    assert sizes == [len(NAMES)] * len(TALK)
    for name in NAMES:
        torch.testing.assert_close(
            stores[0].get(name).history, stores[1].get(name).history, atol=1e-5, rtol=1e-5
        )
    batching.close()


def test_a_conversation_whose_history_is_no_number_fails_alone(talker):
    store = ConversationStore()
    agent = DialogueAgent(talker, store=store)
    (reply,) = agent.answer([Conversation()], ["hi"])
    before = reply.conversation
    store.put("good", before)
    broken = Conversation(torch.full_like(before.history, float("nan")), before.turns)
    store.put("broken", broken)
    batching = BatchingAgent(agent)
    with held(agent, batching):
        good, bad = ask(batching, "good", "hello"), ask(batching, "broken", "hello")
    assert good.result(LONG).text == agent.answer([before], ["hello"])[0].text
    with pytest.raises(ValueError, match="no likelihood that is a number"):
        bad.result(LONG)
    assert store.get("broken") is broken
    batching.close()


def test_each_request_of_a_batch_finds_its_conversation_in_its_own_store(talker):
    """They were all looked for in the store of the first."""
    agent, stores = DialogueAgent(talker), {name: ConversationStore() for name in "abc"}
    for (name, store), said in zip(stores.items(), TALK[0], strict=False):
        store.put(name, agent.answer([Conversation()], [said])[0].conversation)
    before = {name: store.get(name).turns for name, store in stores.items()}
    batching = BatchingAgent(agent)
    with held(agent, batching):
        asked = [ask(batching.with_store(store), name, "hi") for name, store in stores.items()]
    for future in asked:
        future.result(LONG)
    after = {name: store.get(name).turns for name, store in stores.items()}
    assert {name: turns[:2] for name, turns in after.items()} == before
    assert {len(turns) for turns in after.values()} == {4}
    batching.close()


def test_two_decoders_say_what_one_would(talker):
    """They share the model and its caches, and answer at the same time."""
    decode = DecodeConfig(method="beam", beam_size=5)
    stores = ConversationStore(), ConversationStore()
    agent, alone = (DialogueAgent(talker, decode=decode, store=store) for store in stores)
    batching = BatchingAgent(agent, most=2, decoders=2)
    for utterances in TALK * 3:
        asked = [ask(batching, name, said) for name, said in zip(NAMES, utterances, strict=True)]
        expected = [
            alone.respond([name], [said])[0] for name, said in zip(NAMES, utterances, strict=True)
        ]
        assert [future.result(LONG).text for future in asked] == expected
    for name in NAMES:
        torch.testing.assert_close(
            stores[0].get(name).history, stores[1].get(name).history, atol=1e-5, rtol=1e-5
        )
    batching.close()
