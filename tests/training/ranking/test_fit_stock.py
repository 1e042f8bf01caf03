"""Stock replies: which of a fixed set suits is learnt, and the agent may say it."""

import gzip
import json
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from dialogue import checkpoint, stock_replies, tensor_file
from dialogue.agent import DialogueAgent
from dialogue.checkpoint import Checkpoint
from dialogue.claims import claims_a_life
from dialogue.config import DecodeConfig, ModelConfig
from dialogue.conversation import Conversation, Turn
from dialogue.known_replies import RECENT
from dialogue.models.hred import HRED
from dialogue.models.transformer import Transformer
from dialogue.words import repeats_ngram, words
from training import fit_stock
from training.corpora.transcript import split_of
from training.data.vocabulary import build
from training.ranking import sentence_encoder, stock, topical
from training.ranking.judging import is_held_out_id
from training.ranking.labels import load
from training.ranking.sentence_encoder import SentenceTeacher
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
        (heard,) = agent.hear([Conversation()], [Turn("user", *stock.as_heard(moment.turns))])
        ((best,),) = agent.known.suiting([heard], plain=0, topical=1)
        assert best.is_topical
        assert (best.fit > 0.5) == bool(moment.suits), moment
        assert not moment.suits or set(moment.suits) == {best.text}
        (every,) = agent.known.suiting([heard], plain=0, topical=99)
        assert len(every) == len(agent.known.stock.topical) == len(THINGS)
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
    assert not (place / "model" / stock_replies.FILE).exists()


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
    verdicts = stock.verdicts_of(labelled)
    learnt = sum(not is_held_out_id(str(number)) for number in range(20))
    assert 10 < learnt < 20
    assert verdicts == {"often": (learnt, learnt), "never": (0, learnt), "once": (1, 1)}
    trust = stock.trusted(["often", "once", "named", "never"], verdicts)
    assert trust["often"] > trust["once"] > trust["named"] == 0 > trust["never"]


def test_that_no_reply_suits_is_learnt_of_the_replies_in_lines_above():
    lessons = stock.Lessons(
        ("how nice",), ("a", "b", "c"), (("hi",), ("oh",)), torch.zeros(0, 1), ({}, {}),
        torch.tensor([1, 3]), (False, False),
    )  # fmt: skip
    found = lessons.of_known(torch.arange(8.0).view(2, 4), [0, 1])
    assert found.tolist() == [[0, stock.NEVER, stock.NEVER, 3], [4, 5, 6, 7]]


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


@pytest.fixture
def encoder(tmp_path):
    """A sentence encoder that has learnt nothing yet."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *THINGS, ".", "old", "is"]
    words += [word for text in (*WORDS, "how nice your") for word in text.split()]
    words = list(dict.fromkeys(words))
    folder = tmp_path / "encoder"
    BertTokenizerFast(vocab={word: place for place, word in enumerate(words)}).save_pretrained(
        folder
    )
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(vocab_size=len(words), intermediate_size=64, **sizes)
    BertModel(config).save_pretrained(folder)
    return folder


def test_a_teacher_tells_what_suits_contexts_without_labels(place, encoder, monkeypatch, capsys):
    """The network learns of half of the things from the teacher alone."""
    for name, value in {"LEARNING_RATE": 1e-3, "HEAD": 1e-2, "EPOCHS": 40}.items():
        monkeypatch.setattr(sentence_encoder, name, value)
    monkeypatch.setattr(stock, "EPOCHS", 60)
    talks = [{"id": key, "turns": [f"i like my {thing}"]} for key in TRAINING for thing in THINGS]
    (place / "more.jsonl").write_text("\n".join(map(json.dumps, talks)))
    monkeypatch.setattr(fit_stock, "MORE", {str(place / "more.jsonl"): 99, "nowhere": 9})
    kept = place / "teacher.safetensors"
    asked = [f"--encoder={encoder}", f"--teacher={kept}", f"--json={place / 'figures.json'}"]
    assert fit_stock.main(arguments(place, *asked)) == 0
    assert "without contexts of nowhere: " in capsys.readouterr().out
    figures = json.loads((place / "figures.json").read_text())
    assert figures["teacher"]["plain"]["first_is_specific"] == 1
    assert figures["plain"]["first_is_specific"] == 1
    first = kept.read_bytes()
    monkeypatch.setattr(SentenceTeacher, "fit", None)
    assert fit_stock.main(arguments(place, *asked)) == 0, "a teacher that is kept is used again"
    assert kept.read_bytes() == first
    kept.write_bytes(first[:-9])
    assert fit_stock.main(arguments(place, *asked)) == 2
    assert "holds no teacher of these replies" in capsys.readouterr().err


def test_an_encoder_says_in_one_line_what_to_install(place, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert fit_stock.main(arguments(place, f"--encoder={place}")) == 2
    assert "a sentence encoder needs transformers" in capsys.readouterr().err


def test_an_encoder_that_is_none_is_refused_by_name(place, capsys):
    assert fit_stock.main(arguments(place, f"--encoder={place}")) == 2
    assert f"{place} holds no sentence encoder" in capsys.readouterr().err
    assert fit_stock.main(arguments(place, f"--teacher={place / 'teacher'}")) == 2
    assert "--teacher needs the --encoder" in capsys.readouterr().err
    assert not (place / "model" / stock_replies.FILE).exists()


def test_what_is_taught_is_learnt():
    """Where there are no labels, the loss is least when the teacher is imitated."""
    taught = torch.tensor([[0.9, 0.1, 0.7, 0.2, 0.1]])
    best = torch.cat([torch.logit(taught[:, :2]), taught[:, 2:].log()], dim=1)
    least = stock.imitation(best, taught, 2)
    for place in range(5):
        for change in (-0.1, 0.1):
            other = best.clone()
            other[0, place] += change
            assert stock.imitation(other, taught, 2) > least


def test_the_projects_topical_replies_hold_no_everyday_context_and_claim_no_life():
    moments, verdicts = topical.load()
    replies = {text for moment in moments for text in moment.suits}
    assert len(replies) > 1_000
    assert verdicts.keys() <= replies
    assert len({" ".join(words(text)) for text in replies}) == len(replies)
    assert not [text for text in replies if claims_a_life(text) or repeats_ngram(text, 3)]
    everyday = {c.turns[-1].lower() for name in contexts.OURS for c in contexts.load(name)}
    assert not everyday & {m.turns[-1].lower() for m in moments if len(m.turns) == 1}


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
