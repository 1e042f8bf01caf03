"""Stock replies: which of a fixed set suits is learnt, and the agent may say it."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from dialogue import checkpoint, stock_replies, tensor_file
from dialogue.agent import DialogueAgent
from dialogue.config import DecodeConfig
from dialogue.conversation import Conversation, Turn
from dialogue.known_replies import RECENT
from dialogue.models.transformer import Transformer
from training import fit_stock
from training.ranking import lessons, stock, topical

from .conftest import RARE, THINGS, WORDS, arguments


@pytest.fixture
def fitted(place, capsys, monkeypatch):
    monkeypatch.setattr(stock, "EPOCHS", 150)  # there is little to learn from
    assert fit_stock.main(arguments(place, f"--json={place / 'figures.json'}")) == 0
    shown = capsys.readouterr().out
    assert "9 plain stock replies: " in shown
    assert "8 topical ones: " in shown
    return place


def test_what_readers_named_is_learnt_and_what_is_rarely_named_is_no_stock_reply(fitted):
    figures = json.loads((fitted / "figures.json").read_text())["plain"]
    assert figures["replies"] == 9
    assert figures["held_out"] + figures["learnt"] == 480
    assert figures["first_is_specific"] == 1, "of contexts that it has not seen"
    agent = DialogueAgent.load(fitted / "model", safety="off")
    assert RARE not in agent.known.stock.plain
    for thing in THINGS:
        (heard,) = agent.hear([Conversation()], [Turn("user", f"i like my {thing}.")])
        ((best, second),) = agent.known.suiting([heard], plain=2, topical=0)
        assert (best.text, second.text) == (f"how old is your {thing}", "how nice")
        assert 1 > best.fit > second.fit > 0.3
        assert not best.is_topical
    assert agent.known.suiting([heard], plain=0, topical=0) == [[]]
    assert len(agent.known.suiting([heard], plain=99, topical=0)[0]) == 9


def test_several_conversations_get_the_replies_that_each_gets_alone(fitted):
    agent = DialogueAgent.load(fitted / "model", safety="off")
    turns = [Turn("user", f"i like my {thing}.") for thing in THINGS]
    heard = agent.hear([Conversation()] * len(turns), turns)
    together = agent.known.suiting(heard, plain=3, topical=2)
    assert len({tuple(one.text for one in found) for found in together}) == len(THINGS)
    for conversation, found in zip(heard, together, strict=True):
        (alone,) = agent.known.suiting([conversation], plain=3, topical=2)
        assert [one.text for one in found] == [one.text for one in alone]
        assert [one.fit for one in found] == pytest.approx([one.fit for one in alone], abs=1e-6)


def test_a_corpus_of_people_that_is_missing_is_an_error_only_if_it_was_named(
    place, capsys, monkeypatch
):
    assert fit_stock.main(arguments(place, "--people=nowhere")) == 2
    assert "no corpus 'nowhere'" in capsys.readouterr().err
    monkeypatch.setattr(fit_stock, "PEOPLE", ("nowhere",))
    monkeypatch.setattr(stock, "EPOCHS", 1)
    assert fit_stock.main([one for one in arguments(place) if "--people" not in one]) == 0
    assert "without moments of people from nowhere: " in capsys.readouterr().out


def test_a_topical_reply_is_likely_in_its_moments_alone(fitted):
    figures = json.loads((fitted / "figures.json").read_text())["topical"]
    assert figures["replies"] == 8
    agent = DialogueAgent.load(fitted / "model", safety="off")
    moments, _ = topical.load(fitted / "moments.jsonl")
    learnt = [moment for moment in moments if not moment.is_held_out]
    assert 0 < len(learnt) < len(moments) == 2 * len(THINGS) * len(WORDS)
    for moment in learnt:
        (heard,) = agent.hear([Conversation()], [Turn("user", *lessons.context_of(moment.turns))])
        ((best,),) = agent.known.suiting([heard], plain=0, topical=1)
        assert best.is_topical
        assert (best.fit > 0.5) == bool(moment.suits), moment
        assert not moment.suits or set(moment.suits) == {best.text}
        (every,) = agent.known.suiting([heard], plain=0, topical=99)
        assert len(every) == len(agent.known.stock.topical) == len(THINGS)
        assert sum(one.fit for one in every) < 1 + 1e-6, "the rest is that none suits"


def test_a_context_is_read_alike_alone_and_beside_others(fitted):
    agent = DialogueAgent.load(fitted / "model", safety="off")
    replies = agent.known.stock
    contexts = [["i like my cat."], ["hello", "how nice", "i like my moon"], ["hello"]]
    found = stock.read(agent, replies, contexts)
    together = replies.network(replies._vectors, *found.some([0, 1, 2]))
    for row in range(3):
        alone = replies.network(replies._vectors, *found.some([row]))
        torch.testing.assert_close(together[[row]], alone, atol=1e-5, rtol=1e-5)


def test_the_agent_weighs_stock_replies_beside_the_others(fitted):
    def answered(**settings):
        decode = DecodeConfig(method="beam", beam_size=3, **settings)
        agent = DialogueAgent.load(fitted / "model", decode=decode, safety="off")
        return agent.answer([Conversation()], ["i like my cat."])[0].candidates

    found = [one for one in answered(stock=2, topical=1) if one.fit is not None]
    assert {one.text: one.is_topical for one in found} == {
        "how old is your cat": False, "how nice": False, "my cat": True,
    }  # fmt: skip
    assert all(one.fit is None for one in answered(stock=0, topical=0))
    assert all(one.log_prob < 0 for one in answered(stock=2))


def test_late_answers_and_prefixes_leave_stock_replies_out(fitted):
    decode = DecodeConfig(method="beam", beam_size=3)
    agent = DialogueAgent.load(fitted / "model", decode=decode, safety="off")
    for more in ({"deadline": 0.0}, {"prefixes": ["how"]}):
        (reply,) = agent.answer([Conversation()], ["i like my cat."], **more)
        assert all(one.fit is None for one in reply.candidates)


def test_stock_replies_of_other_weights_are_not_used(fitted):
    source = checkpoint.load(fitted / "model")
    assert len(source.stock) == 17
    with torch.no_grad():
        next(source.model.parameters()).add_(1)
    checkpoint.save(fitted / "model", source)
    assert checkpoint.load(fitted / "model").stock is None
    known = DialogueAgent.load(fitted / "model").known
    assert known.suiting([Conversation()], plain=3, topical=3) == [[]]


def test_a_broken_file_is_named_with_what_to_do(fitted):
    path = fitted / "model" / stock_replies.FILE
    (whole, tensors), (_, metadata) = (path.read_bytes(), load_file(path)), tensor_file.read(path)
    texts = json.loads(metadata["plain"])

    def refused():
        with pytest.raises(ValueError, match=r"holds no stock replies .*training\.fit_stock"):
            checkpoint.load(fitted / "model")

    path.write_bytes(whole[:-9])
    refused()
    save_file(tensors, path, metadata=metadata | {"plain": json.dumps(texts[:-1])})
    refused()
    broken = {"rarity": tensors["rarity"] * float("nan")}
    save_file(tensors | broken, path, metadata=metadata)
    refused()
    save_file({}, path, metadata=metadata)
    refused()
    save_file(tensors, path, metadata=metadata | {"config": "{}"})
    refused()
    path.write_bytes(b"nonsense")
    refused()
    assert fit_stock.main(arguments(fitted)) == 0, "what cannot be read can be replaced"
    assert len(checkpoint.load(fitted / "model").stock) == 17


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('{"id": "", "context": ["hi"], "specific": [], "plain": "no list"}', "plain is 'no list'"),
        ('{"id": "", "context": [], "specific": [], "plain": []}', "the context has no turn"),
        ('{"id": "", "specific": [], "plain": []}', "line 1: not a labelled context"),
        ('{"id": "", "context": ["hi"], "specific": ["a"], "plain": []}', "'a' was not among"),
        ('{"replies": ["a", 1]}', "line 1: not a labelled context"),
        ("[1]", "line 1: not a labelled context"),
        ("nonsense", "line 1: not a labelled context"),
        ("", "0 labelled contexts of 0 replies named 5 times are too few"),
    ],
)
def test_labels_that_are_none_are_refused_in_one_line(place, capsys, lines, message):
    (place / "labels.jsonl").write_text(lines)
    arguments_of = [f"--checkpoint={place / 'model'}", f"--labels={place / 'labels.jsonl'}"]
    assert fit_stock.main(arguments_of) == 2
    assert message in capsys.readouterr().err
    assert not (place / "model" / stock_replies.FILE).exists()


def test_the_agent_knows_how_far_a_stock_reply_is_trusted(fitted):
    moments = [json.loads(line) for line in (fitted / "moments.jsonl").read_text().split("\n")]
    moments[0]["judged"], moments[1]["judged"] = [9, 10], [1, 10]
    (fitted / "moments.jsonl").write_text("\n".join(map(json.dumps, moments)))
    assert fit_stock.main(arguments(fitted)) == 0
    agent = DialogueAgent.load(fitted / "model")
    heard = agent.hear([Conversation()], [Turn("user", "hello")])
    (every,) = agent.known.suiting(heard, plain=99, topical=99)
    trust = {one.text: one.trust for one in every}
    more, less = (moment["replies"][0] for moment in moments[:2])
    assert trust.pop(more) == pytest.approx(-trust.pop(less), rel=1e-3)
    assert set(trust.values()) == {0}


def test_labels_of_a_missing_corpus_are_left_out_and_counted(place, capsys):
    lost = {"corpus": "lost", "id": "1", "turn": 0, "specific": [], "plain": []}
    (place / "more.jsonl").write_text("\n".join([json.dumps(lost)] * 2))
    assert fit_stock.main(arguments(place, f"--labels={place / 'more.jsonl'}")) == 0
    assert "2 labelled contexts of lost were left out" in capsys.readouterr().out


def test_labels_that_are_not_there_are_refused_by_name(place, capsys):
    assert fit_stock.main([f"--checkpoint={place / 'model'}", "--labels=none.jsonl"]) == 2
    assert "cannot read none.jsonl" in capsys.readouterr().err


def test_a_model_whose_history_is_no_vector_has_no_stock_replies(place, capsys):
    source = checkpoint.load(place / "model")
    config = replace(source.config, hidden=8, heads=2)
    model = Transformer.from_config(config, bos_id=source.vocabulary.bos_id).eval()
    checkpoint.save(place / "model", replace(source, model=model, config=config))
    assert fit_stock.main(arguments(place)) == 2
    assert "Transformer has no history vector" in capsys.readouterr().err


def test_a_long_conversation_is_answered_as_if_it_had_begun_five_turns_ago(fitted):
    agent = DialogueAgent.load(fitted / "model", safety="off")

    def heard(texts):
        conversation = Conversation()
        for at, text in enumerate(texts):
            speaker = "bot" if (len(texts) - at) % 2 == 0 else "user"
            (conversation,) = agent.hear([conversation], [Turn(speaker, text)])
        return conversation

    said = ["hello", "how nice", "hello i like my dog", "nice", "i like my cat."]
    assert len(said) == RECENT
    talks = [heard(["my old boat", "is nice", *said]), heard(said), heard(["i like my moon"])]
    long, short, other = agent.known.suiting(talks, plain=9, topical=8)
    assert [one.text for one in long] == [one.text for one in short]
    assert [one.fit for one in long] == pytest.approx([one.fit for one in short], abs=1e-6)
    assert other[0].text == "how old is your moon"
