"""The chit-chat corpus of the PyPI package chitchat-dataset."""

import json
from types import SimpleNamespace

import pytest

from tests.training.corpora.conftest import ids_of, load
from training.corpora import chitchat


@pytest.fixture
def chats(tmp_path, monkeypatch):
    """Write conversations to where the chitchat package is looked for."""

    def install(dataset):
        (tmp_path / "dataset.json").write_text(json.dumps(dataset), encoding="utf-8")
        monkeypatch.setattr(
            chitchat,
            "find_spec",
            lambda name: SimpleNamespace(origin=str(tmp_path / "__init__.py")),
        )

    return install


def message(sender, text):
    return {"sender": sender, "text": text}


def test_messages_of_one_sender_in_a_row_are_one_turn(chats):
    one, other = ids_of("train", 2)
    chats(
        {
            one: {
                "messages": [
                    [message("x", "hi "), message("x", "there")],
                    [message("y", "hello")],
                    [message("x", "bye")],
                ]
            },
            other: {
                "messages": [
                    [message("x", "a")],
                    [message("x", "b")],
                    [message("y", " "), message("y", "c")],
                    [message("z", "d")],
                ]
            },
        }
    )
    assert load("chitchat")[0] == [
        ("hi <continued_utterance> there", "hello", "bye"),
        ("a <continued_utterance> b", "c", "d"),
    ]


def test_a_chat_without_text_is_complained_of_in_its_own_split_alone(chats):
    one, empty = ids_of("train", 2)
    validation = ids_of("validation", 1)[0]
    talk = {"messages": [[message("x", "hi")], [message("y", "hello")]]}
    chats({one: talk, empty: {"messages": [[message("x", " ")], []]}, validation: talk})
    with pytest.raises(
        ValueError, match=rf"dataset\.json, conversation {empty}: no message with text"
    ):
        load("chitchat")
    found, complaints = load("chitchat", skip=True)
    assert found == [("hi", "hello")]
    assert complaints.count == 1
    assert load("chitchat", "validation")[0] == [("hi", "hello")]


def test_chitchat_that_is_not_installed_is_a_sentence(monkeypatch):
    monkeypatch.setattr(chitchat, "find_spec", lambda name: None)
    with pytest.raises(
        ValueError, match=r"chitchat corpus is not installed: python -m pip install"
    ):
        load("chitchat")
