"""Labels as a file: what was offered and named, and contexts that stand in a corpus."""

import json

import pytest

from dialogue.claims import claims_a_life
from dialogue.words import repeats_ngram, words
from training import corpora
from training.corpora.transcript import Complaints
from training.ranking import labels
from training.reading import contexts


def test_nothing_is_learnt_of_replies_that_were_not_on_offer(tmp_path):
    path = tmp_path / "labels.jsonl"
    first = {"id": "1", "context": ["hi"], "specific": ["a"], "plain": []}
    other = {"id": "2", "context": ["oh"], "specific": [], "plain": ["b"]}
    again = {"id": "1", "context": ["hi"], "specific": [], "plain": ["c"]}
    lines = [{"replies": ["a", "b"]}, first, other, {"replies": ["c", "d"]}, again]
    path.write_text("\n".join(map(json.dumps, lines)))
    (twice, once), _ = labels.load(path)
    assert (twice.suits, twice.offered) == ({"a": 1.0, "c": labels.PLAIN}, {"a", "b", "c", "d"})
    assert (once.suits, once.offered) == ({"b": labels.PLAIN}, {"a", "b"})


def test_labels_of_a_corpus_are_joined_with_it_and_counted_where_it_is_missing(tmp_path):
    talk = next(one for one in corpora.load(["companion"], "train", Complaints()))
    path = tmp_path / "labels.jsonl"
    named = {"turn": 2, "specific": [], "plain": ["a"]}
    lines = [
        {"replies": ["a"]},
        named | {"corpus": "companion", "id": talk.id},
        named | {"corpus": "companion", "id": "none"},
        named | {"corpus": "missing", "id": talk.id},
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    (one,), missing = labels.load(path)
    assert (one.id, one.turns) == (talk.id, tuple(talk.turns[:3]))
    assert missing == {"companion": 1, "missing": 1}
    path.write_text(json.dumps({"turn": 2, "corpus": 7, "id": "1"}))
    with pytest.raises(ValueError, match=r"line 1: not a labelled context.*the corpus is 7"):
        labels.load(path)


@pytest.mark.parametrize("turn", [-3, -1, 10_000])
def test_a_turn_that_the_conversation_has_not_is_refused(tmp_path, turn):
    talk = next(one for one in corpora.load(["companion"], "train", Complaints()))
    path = tmp_path / "labels.jsonl"
    named = {"corpus": "companion", "id": talk.id, "turn": turn, "specific": [], "plain": []}
    path.write_text(json.dumps(named))
    with pytest.raises(ValueError, match=f"turn {turn} of a conversation with"):
        labels.load(path)


def test_the_projects_labels_hold_only_known_replies_and_no_everyday_context():
    labelled, _ = labels.load()
    assert len(labelled) > 10_000
    assert len({(one.id, one.turns) for one in labelled}) == len(labelled)
    replies = {text for one in labelled for text in one.offered}
    assert len({" ".join(words(text)) for text in replies}) == len(replies)
    assert not [text for text in replies if claims_a_life(text) or repeats_ngram(text, 3)]
    everyday = {c.turns[-1].lower() for name in contexts.OURS for c in contexts.load(name)}
    assert not everyday & {one.turns[-1].lower() for one in labelled if len(one.turns) == 1}
