"""The command that fits a ranker, and what it refuses."""

import json

import pytest
import torch
from safetensors.torch import load_file

from dialogue import checkpoint, learned_ranker
from dialogue.agent import DialogueAgent
from dialogue.checkpoint import Checkpoint
from dialogue.config import DecodeConfig, ModelConfig
from dialogue.conversation import Conversation, Turn
from dialogue.learned_ranker import LearnedRanker
from dialogue.models.hred import HRED
from dialogue.models.transformer import Transformer
from dialogue.ranker_network import RankerConfig, RankerNetwork
from dialogue.ranking import ranker_of
from training import fit_ranker
from training.corpora.transcript import split_of
from training.ranking import judging

from .conftest import SMALL, THINGS


@pytest.fixture
def place(monkeypatch, tmp_path, vocabulary):
    config = ModelConfig(vocab_size=len(vocabulary), embedding=8, utterance=8, context=8, hidden=8)
    torch.manual_seed(0)
    model = HRED.from_config(config, bos_id=vocabulary.bos_id).eval()
    checkpoint.save(tmp_path / "model", Checkpoint(model, vocabulary, config, {}))
    keys = [str(n) for n in range(400) if split_of(str(n)) != "test"]
    lines = [
        {
            "id": key,
            "turns": [
                f"i like my {THINGS[int(key) % 8]}.",
                f"what is your {THINGS[int(key) % 8]} like?",
            ],
        }
        for key in keys
    ]
    (tmp_path / "talk.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8"
    )
    judged = [
        {
            "corpus": "everyday", "id": f"e-{n}", "context": [f"i like my {THINGS[n % 8]}."],
            "candidates": [
                {"reply": f"what is your {THINGS[n % 8]} like?", "sensible": 1, "specific": 1},
                {
                    "reply": f"what is your {THINGS[(n + 3) % 8]} like?",
                    "sensible": 0, "specific": 0, "fault": "ignores",
                },
            ],
        }
        for n in range(40)
    ]  # fmt: skip
    (tmp_path / "judged.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in judged), encoding="utf-8"
    )
    stories = [
        {"id": str(n), "topic": topic, "turns": [f"i like my {thing}.", "what is your game like?"]}
        for n in range(80)
        for topic, thing in (("joyful", "cake"), ("sad", "moon"))
    ]
    (tmp_path / "empathetic.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in stories), encoding="utf-8"
    )
    monkeypatch.setenv("CORPORA", str(tmp_path))
    return tmp_path


def arguments(place, *more):
    return [
        f"--checkpoint={place / 'model'}", f"--data={place / 'talk.jsonl'}",
        f"--judgements={place / 'judged.jsonl'}",
        f"--state={place / 'state'}", "--device=cpu", "--minutes=0.02", "--contexts=8", *more,
    ]  # fmt: skip


def test_the_command_writes_a_ranker_that_the_agent_uses(place, capsys):
    assert fit_ranker.main(arguments(place, f"--json={place / 'figures.json'}")) == 0
    shown = capsys.readouterr().out
    assert "held-out judgements" in shown
    figures = json.loads((place / "figures.json").read_text())
    assert set(figures["held_out"]) == {"likelihood", "recall", "learned", "learned, varied"}
    assert figures["judged"] == 40
    assert figures["feelings_right"][0] == 1, "cake is always a joy, and the moon never"
    agent = DialogueAgent.load(place / "model", decode=DecodeConfig(beam_size=3), safety="off")
    assert isinstance(agent.ranker, LearnedRanker)
    (reply,) = agent.answer([Conversation()], ["i like my cat."])
    scores = [candidate.score for candidate in reply.candidates]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    plain = DialogueAgent.load(
        place / "model", decode=DecodeConfig(beam_size=3, ranker="likelihood"), safety="off"
    )
    assert not isinstance(plain.ranker, LearnedRanker)


def test_without_minutes_there_is_no_cross_encoder(place, capsys):
    assert fit_ranker.main(arguments(place, "--minutes=0")) == 0
    assert "no cross-encoder" in capsys.readouterr().out
    assert not (place / "state").exists()
    tensors = load_file(place / "model" / learned_ranker.FILE)
    assert not any(name.startswith("encoder.") for name in tensors)
    agent = DialogueAgent.load(place / "model", decode=DecodeConfig(beam_size=3), safety="off")
    assert agent.ranker.network.encoder is None
    (reply,) = agent.answer([Conversation()], ["i like my cat."])
    assert len({candidate.score for candidate in reply.candidates}) > 1


def test_what_readers_were_not_asked_teaches_nothing(place, monkeypatch):
    monkeypatch.setattr(judging, "EPOCHS", 200)  # the file is small
    judged = list(map(json.loads, (place / "judged.jsonl").read_text().splitlines()))
    found = {}
    for unasked in (1, None, 0):
        for entry in judged[::2]:
            entry["candidates"][0]["specific"] = unasked
        (place / "judged.jsonl").write_text("\n".join(map(json.dumps, judged)))
        assert fit_ranker.main(arguments(place, "--minutes=0")) == 0
        agent = DialogueAgent.load(place / "model", decode=DecodeConfig(beam_size=3), safety="off")
        heard = agent.hear([Conversation()], [Turn("user", "i like my dog.")])
        candidates = agent.score(heard[0], ["what is your dog like?"])
        judges = agent.ranker.network
        found[unasked] = float(judges(agent.ranker.numbers(heard, [candidates]))[0, 1].detach())
    assert found[None] == pytest.approx(found[1], abs=0.05), "what is known is specific"
    assert found[0] < found[None] - 0.1


def test_with_the_minutes_over_the_second_step_alone_is_done_again_the_same(place):
    assert fit_ranker.main(arguments(place)) == 0
    first = load_file(place / "model" / learned_ranker.FILE)
    (place / "model" / learned_ranker.FILE).unlink()
    assert fit_ranker.main(arguments(place, "--resume")) == 0
    again = load_file(place / "model" / learned_ranker.FILE)
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_a_transformer_is_made_a_judge_that_labels_candidates(place, vocabulary, capsys):
    config = ModelConfig(
        vocab_size=len(vocabulary), embedding=8, hidden=16, layers=1, heads=2, window=64
    )
    large = Transformer.from_config(config, bos_id=vocabulary.bos_id)
    checkpoint.save(place / "large", Checkpoint(large, vocabulary, config, {}))
    figures = place / "figures.json"
    assert (
        fit_ranker.main(arguments(place, f"--teacher={place / 'large'}", f"--json={figures}")) == 0
    )
    assert "large judge" in capsys.readouterr().out
    assert "large judge" in json.loads(figures.read_text())["held_out"]
    (place / "model" / learned_ranker.FILE).unlink()
    assert fit_ranker.main(arguments(place, f"--teacher={place / 'model'}")) == 2
    assert "is not a Transformer with this checkpoint's vocabulary" in capsys.readouterr().err


def test_without_the_corpus_that_names_feelings_a_ranker_is_fitted_all_the_same(place, capsys):
    (place / "empathetic.jsonl").unlink()
    assert fit_ranker.main(arguments(place)) == 0
    assert "there is no corpus empathetic" in capsys.readouterr().out
    weights = load_file(place / "model" / learned_ranker.FILE)
    assert not weights["feelings.tokens.weight"].any()


def test_a_ranker_that_can_no_longer_be_read_is_replaced(place):
    (place / "model" / learned_ranker.FILE).write_bytes(b"of another age")
    with pytest.raises(ValueError, match=r"fit one with python -m training\.fit_ranker"):
        checkpoint.load(place / "model")
    assert fit_ranker.main(arguments(place)) == 0
    assert checkpoint.load(place / "model").ranker is not None


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["--minutes=-1"], "--minutes is -1.0; it must be 0 or more"),
        (["--minutes=0", "--teacher=it"], "--teacher is for the cross-encoder, and --minutes is 0"),
        (["--minutes=0", "--resume"], "--resume is for the cross-encoder, and --minutes is 0"),
        (["--minutes=nan"], "--minutes is nan"),
        (["--contexts=-1"], "--contexts is -1; it must be 0 or more"),
        (["--batch=1"], "--batch is 1; it must be 2 or more"),
        (["--teacher=nowhere"], "nowhere is not a checkpoint"),
        (["--judgements=nowhere.jsonl"], "nowhere.jsonl holds no judgements"),
        (["--json=."], "--json . is a folder"),
        (["--resume"], "not a state of this cross-encoder"),
    ],
)
def test_what_it_cannot_use_is_refused_in_one_line_and_nothing_is_written(
    place, capsys, more, complaint
):
    assert fit_ranker.main(arguments(place, *more)) == 2
    assert complaint in capsys.readouterr().err
    assert not (place / "model" / learned_ranker.FILE).exists()


def test_how_common_replies_are_is_kept_and_asked_of_the_settings(place, vocabulary):
    network = RankerNetwork(
        RankerConfig(vocab_size=len(vocabulary), **SMALL), pad_id=vocabulary.pad_id
    )
    learned_ranker.save(
        place / "model", LearnedRanker(network, vocabulary, common={"me too": 25.5}), {}
    )
    read = checkpoint.load(place / "model")
    for variety in (0.0, 0.25):
        ranker = ranker_of(read, DecodeConfig(variety=variety))
        assert isinstance(ranker, LearnedRanker)
        assert (ranker.common, ranker.variety) == ({"me too": 25.5}, variety)


@pytest.mark.parametrize("damage", ["bytes", "numbers", "vocabulary", "nan", "sizes", "common"])
def test_a_ranker_that_does_not_belong_to_its_checkpoint_is_refused_by_name(
    place, vocabulary, damage
):
    network = RankerNetwork(
        RankerConfig(vocab_size=len(vocabulary), **SMALL), pad_id=vocabulary.pad_id
    )
    if damage == "nan":
        network.mean[0] = float("nan")
    common = {"me too": 1001.0 if damage == "common" else 1000.0}
    learned_ranker.save(place / "model", LearnedRanker(network, vocabulary, common=common), {})
    path = place / "model" / learned_ranker.FILE
    content = path.read_bytes()
    if damage == "bytes":
        content = content[:100]
    elif damage == "numbers":
        content = content.replace(b"turns so far", b"turns so fat")
    elif damage == "vocabulary":
        content = content.replace(vocabulary.sha256.encode(), b"0" * 64)
    elif damage == "sizes":
        content = content.replace(b'\\"judges\\": 2', b'\\"judges\\": 3')
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"ranker\.safetensors is no ranker of this checkpoint \(.+\); fit one"
    ):
        checkpoint.load(place / "model")
