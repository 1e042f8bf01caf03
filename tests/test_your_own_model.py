"""docs/your_own_model.md does what it says: its code is saved, its commands are run."""

import importlib
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from app import create_app, main
from dialogue import checkpoint
from dialogue.agent import FALLBACK, DialogueAgent
from dialogue.checkpoint import CONFIG, Checkpoint, fingerprint
from dialogue.config import ModelConfig
from dialogue.models import PreparedModel, prepare
from skill.doctor import Place, check_model
from skill.interaction_settings import load
from skill.options import settings_of
from tests.dialogue.conftest import BOS, EOS, VOCABULARY, as_batch, make_conversation
from tests.dialogue.test_hred import UNEVEN, close, score
from tests.skill.conftest import read_request, spoken
from training import fit_ranker, fit_stock, remember

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "your_own_model.md").read_text(encoding="utf-8")
CODE, PREPARE = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
COMMANDS = re.findall(r"^python -m .*", PAGE, re.MULTILINE)
NAME = "lstm_of_the_page"
OWN = f"{NAME}:Talker"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder with the page's code, under a name that no other test imports; a copy has the
    fifth call.
    """
    where = tmp_path_factory.mktemp("own")
    (where / f"{NAME}.py").write_text(CODE)
    imports = (
        "from dialogue.models import Likelihood, PreparedModel\n"
        "from dialogue.models.projection import lay_out\n"
    )
    assert all(f"`{line}`" in PAGE for line in imports.splitlines())
    (where / f"{NAME}_laid_out.py").write_text(
        CODE.replace("from dialogue.models import Likelihood\n", imports) + "\n" + PREPARE
    )
    return where


@pytest.fixture
def talker_class(folder, monkeypatch):
    monkeypatch.syspath_prepend(str(folder))
    return checkpoint.model_class(f"{NAME}:Talker")


def build(kind):
    torch.manual_seed(0)
    sizes = ModelConfig(vocab_size=VOCABULARY, embedding=10, hidden=14, utterance=2, context=1)
    return kind.from_config(sizes, bos_id=BOS).eval()


def test_the_code_is_short():
    assert CODE.count("\n") < 60
    assert max(map(len, CODE.splitlines())) <= 100


def test_the_example_of_a_history_class_is_as_long_as_the_page_says():
    lines = (ROOT / "tests/dialogue/test_history.py").read_text(encoding="utf-8").splitlines()
    begin, end = (
        lines.index(f"class {name}") for name in ("LastUtterance:", "Summing(nn.Module):")
    )
    said = re.search(r"test_history\.py` has such a class .*: together some (\d+) lines", PAGE)
    assert abs(end - begin - int(said[1])) < 15


@torch.no_grad()
def test_its_likelihood_is_the_sum_of_its_steps_after_turns_taken_one_by_one(talker_class):
    model = build(talker_class)
    scores = score(model, UNEVEN).log_probs
    row = 0
    for conversation in UNEVEN:
        history = torch.zeros(1, model.size)
        for utterance in conversation:
            state, total, token = model.start(history), 0.0, BOS
            for target in utterance:
                log_probs, state = model.step(torch.tensor([token]), state)
                total, token = total + float(log_probs[0, target]), target
            assert float(scores[row]) == pytest.approx(total, abs=1e-4)
            history = model.encode_turn(
                torch.tensor([utterance]), torch.tensor([len(utterance)]), history
            )
            row += 1


def test_its_history_holds_what_was_heard(talker_class):
    model = build(talker_class)
    said, heard = [[5, 6, EOS], [7, EOS], [8, 9, 9, EOS]], [[9, EOS], [5, 5, 5, 5, EOS], [6, EOS]]
    batch, other = as_batch([said]), as_batch([heard])
    found = model.log_likelihood(
        replace(batch, encoder_input=(other.token_ids, other.lengths))
    ).log_probs
    for turn, log_prob in enumerate(found):
        close(log_prob, score(model, [[*heard[:turn], said[turn]]]).log_probs[turn])


def test_a_batch_scores_each_as_alone_and_turns_without_history_as_first_ones(talker_class):
    model = build(talker_class)
    together = score(model, UNEVEN)
    close(
        together.log_probs,
        torch.cat([score(model, [conversation]).log_probs for conversation in UNEVEN]),
    )
    first = torch.cat(
        [score(model, [[turn]]).log_probs for conversation in UNEVEN for turn in conversation]
    )
    close(
        score(model, UNEVEN, without_history=torch.ones(len(first), dtype=torch.bool)).log_probs,
        first,
    )
    assert float((together.log_probs - first).abs().max()) > 1e-3


def test_the_gradient_reaches_every_parameter(talker_class):
    model = build(talker_class)
    model.log_likelihood(as_batch([make_conversation(3, seed=1)])).log_probs.sum().backward()
    assert all(float(parameter.grad.abs().sum()) > 0 for parameter in model.parameters())


@torch.no_grad()
def test_its_fifth_call_decodes_in_fewer_bits(talker_class, folder):
    plain, model = build(talker_class), build(checkpoint.model_class(f"{NAME}_laid_out:Talker"))
    history = torch.randn(3, plain.size, generator=torch.Generator().manual_seed(0))
    expected, _ = plain.step(torch.tensor([BOS, 5, 6]), plain.start(history))
    for precision, tolerance in (("fp32", 1e-5), ("bf16", 0.05), ("int8", 0.05)):
        decoder = prepare(model, precision)
        found, _ = decoder.step(torch.tensor([BOS, 5, 6]), decoder.start(history))
        torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)
    assert prepare(plain, "auto") == PreparedModel(plain.encode_turn, plain.start, plain.step)


def own_checkpoint(talker_class, talker, where):
    sizes = ModelConfig(vocab_size=len(talker.vocabulary), embedding=10, hidden=14)
    torch.manual_seed(0)
    model = talker_class.from_config(sizes, bos_id=talker.vocabulary.bos_id)
    checkpoint.save(where, Checkpoint(model, talker.vocabulary, sizes, {}), dtype=torch.float32)
    return model


def test_a_foreign_model_is_loaded_where_the_caller_names_it_and_nowhere_else(
    talker_class, talker, tmp_path
):
    saved = own_checkpoint(talker_class, talker, tmp_path)
    name = f"{NAME}:Talker"
    assert json.loads((tmp_path / CONFIG).read_text())["class"] == name
    loaded = checkpoint.load(tmp_path, model_name=name).model
    assert type(loaded) is talker_class
    assert all(map(torch.equal, loaded.state_dict().values(), saved.state_dict().values()))
    assert DialogueAgent.load(tmp_path, model_name=name).respond(["a"], ["hi"])
    with pytest.raises(
        ValueError,
        match=rf"loading it runs its code: if you trust it, name it yourself with --model {name}",
    ):
        checkpoint.load(tmp_path)
    with pytest.raises(ValueError, match=rf"names the model {name}, not other:Model"):
        checkpoint.load(tmp_path, model_name="other:Model")


@pytest.fixture
def fitted(folder, talker_class, conversations, talker, tmp_path, monkeypatch):
    """The folder of a checkpoint of the page's class, fitted well enough to be served."""
    monkeypatch.delenv("MODEL_CLASS", raising=False)
    model = own_checkpoint(talker_class, talker, tmp_path)
    vocabulary, sizes = talker.vocabulary, checkpoint.load(tmp_path, model_name=OWN).config
    batch = as_batch(
        [
            [[*vocabulary.encode(turn), vocabulary.eos_id] for turn in transcript.turns]
            for transcript in conversations
        ]
    )
    optimiser = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(40):
        optimiser.zero_grad()
        (-model.log_likelihood(batch).log_probs.mean()).backward()
        optimiser.step()
    checkpoint.save(tmp_path, Checkpoint(model.eval(), vocabulary, sizes, {}))
    return tmp_path


def test_the_server_answers_with_a_model_that_is_named(fitted, monkeypatch, capsys):
    arguments = ["--no-verify", "--tunnel=none", "--port=0", f"--checkpoint={fitted}"]
    assert main(arguments) == 2
    assert f"name it yourself with --model {OWN}" in capsys.readouterr().err
    settings = settings_of([*arguments, f"--model={OWN}"])
    monkeypatch.setenv("MODEL_CLASS", OWN)
    assert settings_of(arguments) == settings
    app = create_app(settings)
    served = app.extensions["agent"]
    assert served.fingerprint == fingerprint(checkpoint.load(fitted, model_name=OWN))
    heard = spoken(app.test_client().post("/", json=read_request("chat")).get_json())
    assert len(app.extensions["transactions"].store) == 1
    assert re.search(r"\w", heard)
    served.close()


def test_the_doctor_asks_a_model_that_is_named(fitted):
    options = {"settings": load(), "checkpoint": fitted}
    assert f"--model {OWN}" in check_model(Place(**options)).found
    assert check_model(Place(**options, model=OWN)).found.startswith("answers in")


def test_a_model_that_is_named_gets_replies_to_remember_and_a_ranker(fitted, tmp_path, capsys):
    (tmp_path / "talk.jsonl").write_text(
        "".join(json.dumps({"id": str(n), "turns": ["hi", "me too"]}) + "\n" for n in range(9))
    )
    (tmp_path / "judged.jsonl").touch()
    ours, none_judged = f"--checkpoint={fitted}", f"--judgements={tmp_path / 'judged.jsonl'}"
    for command in (remember, fit_ranker, fit_stock):
        assert command.main([ours, none_judged][: 1 + (command is fit_ranker)]) == 2
        assert f"name it yourself with --model {OWN}" in capsys.readouterr().err
    assert remember.main([ours, f"--model={OWN}", f"--data={tmp_path / 'talk.jsonl'}"]) == 0
    assert checkpoint.load(fitted, model_name=OWN).recall.exchanges[0].reply == "me too"
    assert fit_ranker.main([ours, f"--model={OWN}", none_judged, "--device=cpu"]) == 2
    assert "0 judged contexts are too few" in capsys.readouterr().err


def test_what_a_checkpoint_names_is_not_imported_before_the_caller_agrees(
    talker, tmp_path, monkeypatch
):
    checkpoint.save(tmp_path / "checkpoint", talker)
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = json.loads((tmp_path / "checkpoint" / CONFIG).read_text())
    (tmp_path / "checkpoint" / CONFIG).write_text(json.dumps(settings | {"class": "trap:Model"}))
    with pytest.raises(ValueError, match="trap:Model, which is not one of this project"):
        checkpoint.load(tmp_path / "checkpoint")
    with pytest.raises(SystemExit, match="imported"):
        checkpoint.load(tmp_path / "checkpoint", model_name="trap:Model")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("lstm", "is none of hred, .*not named as package.module:Class"),
        (":Talker", "not named as package.module:Class"),
        ("lstm:", "not named as package.module:Class"),
        ("no_such_module:Talker", "there is no model no_such_module:Talker"),
        ("dialogue.models.hred:LSTM", "there is no model dialogue.models.hred:LSTM"),
        ("dialogue.models.layers:GRU", "lacks from_config, encode_turn, start, log_likelihood"),
        ("dialogue.models.hred:FOLDED_BYTES", "is not a model: it lacks"),
    ],
)
def test_a_name_that_is_no_models_is_refused(name, says):
    with pytest.raises(ValueError, match=says):
        checkpoint.model_class(name)


def test_the_commands_of_the_page_train_measure_and_talk(
    talker_class, folder, conversations, tmp_path, monkeypatch, capsys
):
    """On twenty conversations. Only the corpus, the sizes and the length of the run differ from the
    page.
    """
    monkeypatch.chdir(tmp_path)
    lines = [
        json.dumps({"id": f"{t.id} {n}", "turns": t.turns}) for n in range(8) for t in conversations
    ]
    Path("talk.jsonl").write_text("\n".join(lines))

    def run(command, *more):
        """Run `python -m module arguments` in this process; return its exit status, output and
        errors.
        """
        words = command.replace("chitchat", "talk.jsonl").replace("lstm:", f"{NAME}:").split()[2:]
        status = importlib.import_module(
            f"{words[0]}.__main__" if words[0] == "dialogue" else words[0]
        ).main([*words[1:], *more])
        return status, *capsys.readouterr()

    fit, evaluate, talk = COMMANDS
    small = [
        "--validations=0.25",
        "--batch-tokens=400",
        "--embedding=16",
        "--hidden=32",
        "--learning-rate=0.02",
        "--device=cpu",
    ]
    status, shown, complaints = run(fit, "--epochs", "12", *small)
    assert status == 0, complaints
    assert f"python -m dialogue --checkpoint runs/lstm/checkpoint --model {NAME}:Talker" in shown
    assert run(fit, "--epochs", "13", *small, "--resume")[0] == 0
    status, shown, complaints = run(evaluate, "--split", "all", "--limit", "10", "--json", "-")
    assert status == 0, complaints
    assert json.loads(shown)["perplexity_per_token"] < 30
    monkeypatch.setattr("sys.stdin", io.StringIO("hi\n/quit\n"))
    status, shown, complaints = run(talk)
    assert status == 0, complaints
    reply = re.search(r"bot\s+(\S.*)", shown)
    assert reply
    assert reply[1].strip() != FALLBACK
    status, _, complaints = run(talk.replace(" --model lstm:Talker", ""))
    assert status == 2
    assert f"name it yourself with --model {NAME}:Talker" in complaints
