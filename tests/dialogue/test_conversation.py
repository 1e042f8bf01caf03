import torch

from dialogue.conversation import KEPT_TURNS, Conversation, Turn


def test_a_conversation_grows_by_a_turn_and_the_one_before_stays():
    first = Conversation()
    history = torch.ones(3)
    second = first.after(Turn("user", "hi"), history)
    assert first == Conversation(None, ())
    assert second.history is history
    assert second.turns == (Turn("user", "hi"),)


def test_a_conversation_keeps_its_last_turns_alone():
    conversation = Conversation()
    for number in range(KEPT_TURNS + 5):
        conversation = conversation.after(Turn("user", str(number)), torch.zeros(2))
    assert [turn.text for turn in conversation.turns] == [
        str(number) for number in range(5, KEPT_TURNS + 5)
    ]


def test_what_each_speaker_said_is_listed_oldest_first():
    conversation = Conversation(None, (Turn("user", "a"), Turn("bot", "b"), Turn("user", "c")))
    assert conversation.said("user") == ["a", "c"]
    assert conversation.said("bot") == ["b"]


def test_the_size_of_a_conversation_counts_its_vector_and_its_texts():
    assert Conversation().nbytes == 0
    vector = Conversation(torch.zeros(512)).nbytes
    assert vector == 2048
    longer = Conversation(torch.zeros(512), (Turn("user", "x" * 1000),)).nbytes
    assert longer >= vector + 1000
