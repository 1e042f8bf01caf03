"""Fitting a ranker: the matcher learns which replies go with which contexts, the judges what
readers say.
"""

import json
import math
import random
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from dialogue import checkpoint, learned_ranker
from dialogue.agent import DialogueAgent
from dialogue.checkpoint import Checkpoint
from dialogue.config import DecodeConfig, ModelConfig
from dialogue.conversation import Conversation, Turn
from dialogue.learned_ranker import (
    MATCH,
    NUMBERS,
    CrossEncoder,
    LearnedRanker,
    RankerConfig,
    RankerNetwork,
    ReplyLayer,
    table,
)
from dialogue.models.hred import HRED
from dialogue.models.transformer import Transformer
from dialogue.ranking import Candidate
from training import fit_ranker
from training.corpora.transcript import Transcript, split_of
from training.data.vocabulary import build
from training.ranking import judging, matching
from training.ranking.judging import Example, agreement, auc

THINGS = ("cat", "dog", "song", "cake", "boat", "moon", "book", "game")
SMALL = {"width": 32, "heads": 2, "layers": 1, "hidden": 16, "judges": 2, "dropout": 0.0}


@pytest.fixture(scope="module")
def vocabulary():
    return build(
        [f"i like my {thing}. what is your {thing} like?" for thing in THINGS] * 3,
        size=80,
        model_type="word",
    )


@pytest.fixture(scope="module")
def talk():
    """A person who likes something, and a companion who asks about it."""
    return [
        Transcript(
            f"{thing}-{number}", "companion", (f"i like my {thing}.", f"what is your {thing} like?")
        )
        for thing in THINGS
        for number in range(4)
    ]


def encoder_of(vocabulary, *, seed=0):
    torch.manual_seed(seed)
    return CrossEncoder(RankerConfig(vocab_size=len(vocabulary), **SMALL), pad_id=vocabulary.pad_id)


def clock_of(*, step):
    """A clock that advances by so many seconds each time it is read."""
    now = [0.0]

    def clock():
        now[0] += step
        return now[0]

    return clock


def test_only_what_the_companion_says_is_matched(vocabulary, talk):
    found = matching.pairs(talk, vocabulary)
    assert len(found) == len(talk), "the person's turns are contexts alone"
    assert matching.pairs([replace(talk[0], times=3)], vocabulary) == found[:1] * 3
    assert found[0].context == (tuple(vocabulary.encode("i like my cat.")),)
    assert found[0].reply == tuple(vocabulary.encode("what is your cat like?"))


def test_the_matcher_learns_which_reply_goes_with_which_context(vocabulary, talk, tmp_path):
    found = list(dict.fromkeys(matching.pairs(talk, vocabulary)))
    encoder = encoder_of(vocabulary)
    steps = matching.fit(
        encoder, found, minutes=10, seed=0, state=tmp_path / "state", clock=clock_of(step=1)
    )
    assert steps >= 500
    table_of = matching.context_table([pair.context for pair in found], vocabulary.pad_id)
    replies = table([pair.reply for pair in found], vocabulary.pad_id)
    size = len(found)
    owners = torch.arange(size).repeat_interleave(size)
    match = encoder(table_of, replies.repeat(size, 1), owners)[:, MATCH].view(size, size)
    assert match.argmax(1).tolist() == list(range(len(THINGS)))
    assert matching.hits(encoder, found) == 1.0


def test_a_matcher_goes_on_where_it_was_and_rests_when_its_minutes_are_over(
    vocabulary, talk, tmp_path
):
    found, state = matching.pairs(talk, vocabulary), tmp_path / "state"
    first = matching.fit(
        encoder_of(vocabulary), found, minutes=0.5, seed=0, state=state, clock=clock_of(step=1)
    )
    again = encoder_of(vocabulary, seed=1)
    total = matching.fit(
        again, found, minutes=1, seed=0, state=state, resume=True, clock=clock_of(step=1)
    )
    assert total > first
    rested = encoder_of(vocabulary, seed=2)
    assert (
        matching.fit(
            rested, found, minutes=1, seed=0, state=state, resume=True, clock=clock_of(step=1)
        )
        == total
    )
    for name, tensor in rested.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    state.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="not a state of this cross-encoder"):
        matching.fit(rested, found, minutes=1, seed=0, state=state, resume=True)


def test_padding_and_neighbours_change_no_answer(vocabulary):
    encoder = encoder_of(vocabulary).eval()
    contexts = [[vocabulary.encode("i like my cat.")], [vocabulary.encode("my dog. " * 3)] * 2]
    rows = [
        vocabulary.encode("i like my cat."),
        vocabulary.encode("what is your dog like? what is your dog like?"),
    ]
    pad = vocabulary.pad_id
    together = encoder(
        matching.context_table(contexts, pad), table(rows * 2, pad), torch.tensor([0, 0, 1, 1])
    )
    for at, answers in enumerate(together):
        alone = encoder(
            matching.context_table([contexts[at // 2]], pad),
            torch.tensor([rows[at % 2]]),
            torch.tensor([0]),
        )
        assert torch.allclose(alone[0], answers, atol=1e-5)


def examples_where(good, *, count=120, seed=0):
    """Contexts with six candidates; those that `good` accepts are sensible."""
    rng, made = random.Random(seed), []
    for number in range(count):
        thing = rng.choice(THINGS)
        conversation = Conversation(turns=(Turn("user", f"i like my {thing}."),))
        candidates = tuple(
            Candidate(
                f"what is your {rng.choice(THINGS)} like?",
                -rng.uniform(5, 30),
                0.0,
                -rng.uniform(5, 30),
                6,
            )
            for _ in range(6)
        )
        found = torch.tensor([[float(good(c)), float(good(c))] for c in candidates])
        made.append(Example(conversation, candidates, found, "everyday", number % 4 == 0))
    return made


@pytest.mark.parametrize("sense", [1, -1])
def test_judges_learn_what_readers_said(vocabulary, sense):
    """Of the likelier candidates or of the others: no untrained network would know both."""
    torch.manual_seed(9)
    network = RankerNetwork(
        RankerConfig(vocab_size=len(vocabulary), **SMALL), pad_id=vocabulary.pad_id
    ).eval()
    ranker = LearnedRanker(network, vocabulary)
    every = examples_where(lambda candidate: sense * (candidate.log_prob + 17) > 0, count=300)
    held_out = [example for example in every if example.held_out]
    judging.fit(ranker, [example for example in every if not example.held_out], seed=0)
    after = agreement(ranker, held_out)
    assert after.auc > 0.95
    assert after.ssa > 0.95 * after.oracle
    (scores,) = ranker([held_out[0].conversation], [held_out[0].candidates])
    assert all(0 <= score <= 1 for score in scores)


def test_a_candidate_is_scored_alike_alone_and_beside_other_conversations(vocabulary):
    torch.manual_seed(0)
    network = RankerNetwork(
        RankerConfig(vocab_size=len(vocabulary), **SMALL), pad_id=vocabulary.pad_id
    ).eval()
    ranker = LearnedRanker(network, vocabulary)
    every = examples_where(lambda candidate: True, count=5)
    together = ranker([e.conversation for e in every], [e.candidates for e in every])
    for example, scores in zip(every, together, strict=True):
        assert ranker([example.conversation], [example.candidates])[0] == pytest.approx(
            scores, abs=1e-5
        )
    assert (
        ranker([every[0].conversation, every[1].conversation], [[], every[1].candidates])[0] == []
    )
    assert len(NUMBERS) == ranker.numbers([every[0].conversation], [every[0].candidates]).shape[1]


@pytest.mark.parametrize(
    ("scores", "labels", "expected"),
    [
        ([0.1, 0.2, 0.3], [0, 0, 1], 1.0),
        ([0.3, 0.2, 0.1], [0, 0, 1], 0.0),
        ([1, 1, 1, 1], [0, 1, 0, 1], 0.5),
        ([1, 2, 2], [0, 1, 0], 0.75),
    ],
)
def test_the_area_under_the_curve_by_hand(scores, labels, expected):
    assert auc(scores, labels) == pytest.approx(expected)


# --- the command ---------------------------------------------------------------------------------


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
    assert set(figures["held_out"]) == {"likelihood", "recall", "learned"}
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


def test_a_reply_layer_reads_as_torchs_decoder_layer_does_with_the_context_once_per_reply():
    torch.manual_seed(3)
    sizes = {"d_model": 12, "nhead": 3, "dim_feedforward": 20, "batch_first": True}
    layer = ReplyLayer(**sizes, activation="gelu", norm_first=True).eval()
    twin = nn.TransformerDecoderLayer(**sizes, activation="gelu", norm_first=True).eval()
    twin.load_state_dict(layer.state_dict())
    context, replies = torch.randn(2, 5, 12), torch.randn(4, 3, 12)
    heard = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]).bool()
    real = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 1, 1]]).bool()
    owners = torch.tensor([0, 1, 1, 0])
    with torch.inference_mode():
        found = layer.read(replies, real, context, heard, owners)
        expected = twin(
            replies,
            context[owners],
            tgt_key_padding_mask=~real,
            memory_key_padding_mask=~heard[owners],
        )
    assert torch.allclose(found[real], expected[real], atol=1e-5)


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


def test_sorrow_that_is_met_with_cheer_is_described_by_a_negative_number(vocabulary):
    network = RankerNetwork(
        RankerConfig(vocab_size=len(vocabulary), **SMALL), pad_id=vocabulary.pad_id
    )
    (moon,), (cake,) = map(vocabulary.encode, ("moon", "cake"))
    with torch.no_grad():
        network.feelings.tokens.weight[moon] = torch.tensor([-3.0, -3.0])
        network.feelings.tokens.weight[cake] = torch.tensor([3.0, 3.0])
    ranker = LearnedRanker(network.eval(), vocabulary)
    talks = [
        Conversation(turns=tuple(Turn(("user", "bot")[n % 2], text) for n, text in enumerate(said)))
        for said in (("moon",), ("moon", "song", "song"), ("song",))
    ]
    candidates = [Candidate("cake", -1.0, 0.0), Candidate("moon", -1.0, 0.0)]
    with torch.inference_mode():
        rows = ranker.numbers(talks, [candidates] * 3)[:, -4:].view(3, 2, 4)
    now, of_late, answers, agrees = (NUMBERS[-4:].index(name) for name in NUMBERS[-4:])
    assert rows[0, :, agrees].tolist() == pytest.approx([-3 * math.tanh(3), 3 * math.tanh(3)])
    assert rows[1, 0, now] == 0 and rows[1, 0, of_late] == pytest.approx(-1.5), "it lasts"
    assert rows[1, 0, agrees] < 0 < rows[1, 1, agrees]
    assert rows[2, :, agrees].tolist() == [0, 0], "nothing was felt"
    asked = Conversation(
        turns=(Turn("user", "moon"), Turn("bot", "cake"), Turn("bot", "cake"), Turn("user", "song"))
    )
    with torch.inference_mode():
        row = ranker.numbers([asked], [candidates])[0, -4:]
    assert row[of_late] == pytest.approx(-1.5), "of what the person said, whoever spoke between"
    assert rows[:, 0, answers].tolist() == [3, 3, 3]


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


@pytest.mark.parametrize("damage", ["bytes", "numbers", "vocabulary", "nan", "sizes"])
def test_a_ranker_that_does_not_belong_to_its_checkpoint_is_refused_by_name(
    place, vocabulary, damage
):
    network = RankerNetwork(
        RankerConfig(vocab_size=len(vocabulary), **SMALL), pad_id=vocabulary.pad_id
    )
    if damage == "nan":
        network.mean[0] = float("nan")
    learned_ranker.save(place / "model", LearnedRanker(network, vocabulary), {})
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
