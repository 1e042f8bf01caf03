"""Stock replies: which of a fixed set suits is learnt, and the agent may say it."""

import gzip
import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from dialogue import checkpoint, stock_replies, tensor_file
from dialogue.agent import DialogueAgent
from dialogue.checkpoint import Checkpoint
from dialogue.claims import claims_a_life
from dialogue.config import DecodeConfig, ModelConfig
from dialogue.conversation import Conversation
from dialogue.models.hred import HRED
from dialogue.models.transformer import Transformer
from dialogue.recognised import as_recognised, as_written
from dialogue.words import repeats_ngram, words
from training import fit_stock
from training.corpora.transcript import split_of
from training.data.vocabulary import build
from training.ranking import stock, topical
from training.ranking.labels import load
from training.reading import contexts

THINGS = ("cat", "dog", "song", "cake", "boat", "moon", "book", "game")
RARE = "i have no words"
WORDS = ("i like my", "hello", "nice", "hello i like my", "like", "have no words", "i have my")


TRAINING = [key for key in map(str, range(20)) if split_of(key) == "train"][:4]


@pytest.fixture(scope="module")
def labels():
    """Readers named "how old is your cat" for a cat, and "how nice" for everything."""
    return [
        {
            "id": f"talk-{number}",
            "context": [*(["hello", "how nice"] if number % 2 else []), f"i like my {thing}"],
            "specific": [f"how old is your {thing}"],
            "plain": ["how nice", *([RARE] if number == 0 and thing == "cat" else [])],
        }
        for number in range(60)
        for thing in THINGS
    ]


@pytest.fixture
def place(tmp_path, labels):
    vocabulary = build(
        [f"hello. i like my {t}. how nice how old is your {t} i have no words" for t in THINGS],
        size=40,
        model_type="word",
    )
    config = ModelConfig(vocab_size=len(vocabulary), embedding=16, utterance=8, context=8, hidden=8)
    torch.manual_seed(0)
    model = HRED.from_config(config, bos_id=vocabulary.bos_id).eval()
    checkpoint.save(tmp_path / "model", Checkpoint(model, vocabulary, config, {}))
    named = {text for one in labels for name in ("specific", "plain") for text in one[name]}
    lines = "".join(json.dumps(line) + "\n" for line in [{"replies": sorted(named)}, *labels])
    (tmp_path / "labels.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    moments = [
        {
            "replies": [f"my {thing}"],
            "suits": [[f"{word} {thing}"] for word in WORDS],
            "near": [[f"{word} old {thing} is"] for word in WORDS],
        }
        for thing in THINGS
    ]
    (tmp_path / "moments.jsonl").write_text("\n".join(map(json.dumps, moments)))
    talks = [{"id": key, "turns": ["hello", "nice", f"hello {key}"]} for key in TRAINING]
    (tmp_path / "people.jsonl").write_text("\n".join(map(json.dumps, talks)))
    return tmp_path


def arguments(place, *more):
    return [
        f"--checkpoint={place / 'model'}", f"--labels={place / 'labels.jsonl.gz'}",
        f"--moments={place / 'moments.jsonl'}", f"--people={place / 'people.jsonl'}",
        "--device=cpu", *more,
    ]  # fmt: skip


@pytest.fixture
def fitted(place, capsys, monkeypatch):
    for module in (stock, topical):
        monkeypatch.setattr(module, "LEARNING_RATE", 0.01)  # there is little to learn from
    monkeypatch.setattr(topical, "EPOCHS", 200)
    monkeypatch.setattr(topical, "DROPOUT", 0.1)
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
    plain, _ = agent.known.stock
    assert RARE not in plain.texts
    for thing in THINGS:
        (heard,) = agent.hear([Conversation()], [stock.Turn("user", f"i like my {thing}.")])
        ((best, second),) = agent.known.suiting([heard], plain=2, topical=0)
        assert (best.text, second.text) == (f"how old is your {thing}", "how nice")
        assert 1 > best.fit > second.fit > 0.3
    assert agent.known.suiting([heard], plain=0, topical=0) == [[]]
    assert len(agent.known.suiting([heard], plain=99, topical=0)[0]) == 9


def test_several_conversations_get_the_replies_that_each_gets_alone(fitted):
    agent = DialogueAgent.load(fitted / "model", safety="off")
    turns = [stock.Turn("user", f"i like my {thing}.") for thing in THINGS]
    heard = agent.hear([Conversation()] * len(turns), turns)
    together = agent.known.suiting(heard, plain=3, topical=2)
    assert len({tuple(one.text for one in found) for found in together}) == len(THINGS)
    for conversation, found in zip(heard, together, strict=True):
        (alone,) = agent.known.suiting([conversation], plain=3, topical=2)
        assert [one.text for one in found] == [one.text for one in alone]
        assert [one.fit for one in found] == pytest.approx([one.fit for one in alone], abs=1e-6)


def test_no_topical_reply_belongs_among_people(place):
    corpus = str(place / "people.jsonl")
    found = topical.of_people(corpus, seed=0)
    assert len(found) == len(TRAINING)
    assert not any(moment.suits for moment in found)
    assert {len(moment.turns) for moment in found} <= {1, 3}
    assert found == topical.of_people(corpus, seed=0)


def test_a_corpus_of_people_that_is_missing_is_an_error_only_if_it_was_named(
    place, capsys, monkeypatch
):
    assert fit_stock.main(arguments(place, "--people=nowhere")) == 2
    assert "no corpus 'nowhere'" in capsys.readouterr().err
    monkeypatch.setattr(fit_stock, "PEOPLE", ("nowhere",))
    monkeypatch.setattr(topical, "EPOCHS", 1)
    assert fit_stock.main([one for one in arguments(place) if "--people" not in one]) == 0
    assert "without moments of people from nowhere: " in capsys.readouterr().out


def test_a_topical_reply_is_likely_in_its_moments_alone(fitted):
    figures = json.loads((fitted / "figures.json").read_text())["topical"]
    assert figures["replies"] == 8
    agent = DialogueAgent.load(fitted / "model", safety="off")
    moments, _ = topical.load(fitted / "moments.jsonl")
    learnt = [moment for moment in moments if not moment.is_held_out]
    assert 0 < len(learnt) < len(moments) == 2 * len(THINGS) * len(WORDS)
    _, replies = agent.known.stock
    for moment in learnt:
        spoken = as_written(as_recognised(moment.turns[0]))
        (heard,) = agent.hear([Conversation()], [stock.Turn("user", spoken)])
        ((best,),) = agent.known.suiting([heard], plain=0, topical=1)
        assert best.is_topical
        assert (best.fit > 0.5) == bool(moment.suits), moment
        assert not moment.suits or set(moment.suits) == {best.text}
        (every,) = agent.known.suiting([heard], plain=0, topical=99)
        assert len(every) == len(replies) == len(THINGS)
        assert sum(one.fit for one in every) < 1 + 1e-6, "the rest is that none suits"


def test_what_suits_a_moment_is_shared_out_among_the_replies_that_lines_name(tmp_path):
    path = tmp_path / "moments.jsonl"
    lines = [
        {"replies": ["a"], "suits": [["hi"]], "near": [["oh", "well", "no"]]},
        {"replies": ["a", "b"], "suits": [["hi"], ["hey"]], "near": []},
        {"replies": [], "suits": [], "near": [["oh", "well", "no"], ["hi"]]},
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    moments, _ = topical.load(path)
    assert {m.turns: m.suits for m in moments} == {
        ("hi",): {"a": 0.75, "b": 0.25}, ("hey",): {"a": 0.5, "b": 0.5}, ("oh", "well", "no"): {},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('{"replies": ["a"], "suits": ["hi"], "near": []}', "'hi' is no list of texts"),
        ('{"replies": ["a"], "suits": [[]], "near": []}', "a moment has no turn"),
        ('{"replies": [], "suits": [["hi"]], "near": []}', "no reply is named that suits"),
        (
            '{"replies": ["a"], "suits": [["hi"]], "near": [], "judged": [3, 2]}',
            "right in 3 of 2 contexts",
        ),
        ('{"replies": ["a"], "near": []}', "line 1: no replies with their moments"),
        ("nonsense", "line 1: no replies with their moments"),
        ("", "4 moments of 0 topical replies are too few"),
    ],
)
def test_moments_that_are_none_are_refused_in_one_line(place, capsys, lines, message):
    (place / "moments.jsonl").write_text(lines)
    assert fit_stock.main(arguments(place)) == 2
    assert message in capsys.readouterr().err
    assert not any((place / "model" / name).exists() for name in stock_replies.FILES)


def test_a_context_is_read_alike_alone_and_beside_others(fitted):
    agent = DialogueAgent.load(fitted / "model", safety="off")
    contexts = [["i like my cat."], ["hello", "how nice", "i like my moon"], ["hello"]]
    for replies in agent.known.stock:
        found = stock.read(agent, replies, contexts)
        together = replies.weigh(*found.some([0, 1, 2]))
        for row in range(3):
            alone = replies.weigh(*found.some([row]))
            torch.testing.assert_close(together[[row]], alone, atol=1e-5, rtol=1e-5)


def test_the_networks_of_a_set_differ_and_their_weights_are_averaged(fitted):
    agent = DialogueAgent.load(fitted / "model", safety="off")
    for replies in agent.known.stock:
        found = stock.read(agent, replies, [["i like my cat."]])
        each = [network(replies._vectors, *found.some([0])) for network in replies.networks]
        assert len(each) == stock.NETWORKS == 2
        assert not torch.allclose(each[0], each[1], atol=1e-3)
        torch.testing.assert_close(replies.weigh(*found.some([0])), (each[0] + each[1]) / 2)


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
    assert len(source.stock) == 2
    with torch.no_grad():
        next(source.model.parameters()).add_(1)
    checkpoint.save(fitted / "model", source)
    assert checkpoint.load(fitted / "model").stock == ()
    known = DialogueAgent.load(fitted / "model").known
    assert known.suiting([Conversation()], plain=3, topical=3) == [[]]


@pytest.mark.parametrize("name", stock_replies.FILES)
def test_a_broken_file_is_named_with_what_to_do(fitted, name):
    path = fitted / "model" / name
    (whole, tensors), (_, metadata) = (path.read_bytes(), load_file(path)), tensor_file.read(path)
    texts = json.loads(metadata["texts"])

    def refused():
        with pytest.raises(ValueError, match=r"holds no stock replies .*training\.fit_stock"):
            checkpoint.load(fitted / "model")

    path.write_bytes(whole[:-9])
    refused()
    save_file(tensors, path, metadata=metadata | {"texts": json.dumps(texts[:-1])})
    refused()
    broken = {"1.rarity": tensors["1.rarity"] * float("nan")}
    save_file(tensors | broken, path, metadata=metadata)
    refused()
    save_file({}, path, metadata=metadata)
    refused()
    save_file(tensors, path, metadata=metadata | {"config": "{}"})
    refused()
    path.write_bytes(b"nonsense")
    refused()
    assert fit_stock.main(arguments(fitted)) == 0, "what cannot be read can be replaced"
    assert len(checkpoint.load(fitted / "model").stock) == 2


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
        ("", "0 labelled contexts with 0 replies named 5 times are too few"),
    ],
)
def test_labels_that_are_none_are_refused_in_one_line(place, capsys, lines, message):
    (place / "labels.jsonl").write_text(lines)
    arguments_of = [f"--checkpoint={place / 'model'}", f"--labels={place / 'labels.jsonl'}"]
    assert fit_stock.main(arguments_of) == 2
    assert message in capsys.readouterr().err
    assert not any((place / "model" / name).exists() for name in stock_replies.FILES)


def test_of_judged_replies_those_that_readers_often_found_right_are_trusted_more(tmp_path):
    path = tmp_path / "labels.jsonl"
    judged = ["often", "never", "once"]
    lines = [{"replies": ["often", "named"]}, {"id": "", "context": ["a"], "specific": ["named"]}]
    lines[1]["plain"] = []
    for number in range(20):
        right = ["often", "once"] if number == 0 else ["often"]
        line = {"id": str(number), "context": ["hi"], "specific": [], "plain": right}
        lines.append(line | {"judged": judged if number == 0 else judged[:2]})
    path.write_text("\n".join(map(json.dumps, lines)))
    labelled, _ = load(path)
    assert [one.is_judged for one in labelled] == [False, *[True] * 20]
    assert labelled[1].offered == set(judged)
    verdicts = stock._verdicts(labelled, held_out=[20])
    assert verdicts == {"often": (19, 19), "never": (0, 19), "once": (1, 1)}
    often, once, unknown, never = stock.trusted(["often", "once", "named", "never"], verdicts)
    assert often > once > unknown == 0 > never


def test_that_no_reply_suits_is_learnt_of_the_replies_in_lines_above():
    weights = torch.arange(8.0).view(2, 4)
    found = topical._of_known(weights, torch.tensor([1, 3]))
    assert found.tolist() == [[0, topical.NEVER, topical.NEVER, 3], [4, 5, 6, 7]]


def test_the_agent_knows_how_far_a_stock_reply_is_trusted(fitted):
    moments = [json.loads(line) for line in (fitted / "moments.jsonl").read_text().split("\n")]
    moments[0]["judged"], moments[1]["judged"] = [9, 10], [1, 10]
    (fitted / "moments.jsonl").write_text("\n".join(map(json.dumps, moments)))
    assert fit_stock.main(arguments(fitted)) == 0
    agent = DialogueAgent.load(fitted / "model")
    heard = agent.hear([Conversation()], [stock.Turn("user", "hello")])
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


def test_the_projects_topical_replies_hold_no_everyday_context_and_claim_no_life():
    moments, verdicts = topical.load()
    replies = {text for moment in moments for text in moment.suits}
    assert len(replies) > 1_000
    assert verdicts.keys() <= replies
    assert len({" ".join(words(text)) for text in replies}) == len(replies)
    assert not [text for text in replies if claims_a_life(text) or repeats_ngram(text, 3)]
    everyday = {c.turns[-1].lower() for name in contexts.OURS for c in contexts.load(name)}
    assert not everyday & {m.turns[-1].lower() for m in moments if len(m.turns) == 1}
