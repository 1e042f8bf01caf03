import subprocess
import sys

import pytest
import torch

from dialogue import checkpoint, generate
from dialogue.vocabulary import Vocabulary
from training.data.vocabulary import build


def test_a_text_goes_on_from_its_prompt_and_lines_follow_on_lines(talker):
    # Words outside the vocabulary are read as unknown, but stay in the text.
    prompt = "Do you like Music?\nNo, zebras "
    text = generate.generate(talker, prompt, length=40, seed=1)
    assert text.startswith(prompt)
    assert text.count("\n") > 1
    assert all(text.split("\n")[:-1]), "no line is empty"


def test_the_likeliest_token_at_temperature_0_is_what_step_by_step_says(talker):
    """By hand, with the lines as turns."""
    model, vocabulary = talker.model, talker.vocabulary
    lines, history, wanted = [], torch.zeros(1, model.context.hidden_size), 25
    while wanted:
        state, read, turn = model.start(history), vocabulary.bos_id, []
        while wanted:
            with torch.no_grad():
                log_probs, state = model.step(torch.tensor([read]), state)
            log_probs[0, list(vocabulary.never_generated)] = -torch.inf
            if not turn:
                log_probs[0, vocabulary.eos_id] = -torch.inf
            read = int(log_probs.argmax())
            wanted -= 1
            if read == vocabulary.eos_id:
                break
            turn.append(read)
        lines.append(vocabulary.decode(turn))
        history = model.encode_turn(
            torch.tensor([[*turn, vocabulary.eos_id]]), torch.tensor([len(turn) + 1]), history
        )
    found = generate.generate(talker, "", length=25, temperature=0)
    assert found.rstrip("\n") == "\n".join(lines)


def test_where_a_speaker_goes_on_a_sentence_ends_as_in_a_reply(talker):
    """The mark <continued_utterance> once appeared in the text."""
    text = generate.generate(
        talker, "hello\nwell <continued_utterance> yes", length=1, temperature=0
    )
    assert text.startswith("hello\nwell. yes")


def test_the_seed_decides_and_the_temperature_makes_it_surer(talker):
    def written(**options):
        return generate.generate(talker, "i like", length=30, **options)

    assert written(seed=3) == written(seed=3)
    assert len({written(seed=seed) for seed in range(5)}) == 5
    assert len({written(seed=seed, temperature=1e-3) for seed in range(5)}) == 1


def test_words_are_drawn_as_likely_as_they_are():
    random, log_probs = torch.Generator().manual_seed(0), torch.tensor([0.6, 0.3, 0.1, 0.0]).log()
    drawn = (
        torch.stack([generate._drawn(log_probs, 0.5, random) for _ in range(20_000)]).bincount(
            minlength=4
        )
        / 20_000
    )
    expected = torch.tensor([0.36, 0.09, 0.01, 0.0])
    torch.testing.assert_close(drawn, expected / expected.sum(), atol=0.01, rtol=0)


def test_a_space_at_the_end_of_a_prompt_stays_where_the_vocabulary_has_one():
    characters = build(["today is a day", "a day to say"], size=400, model_type="char")
    assert (
        characters.decode([*characters.encode_beginning("today "), *characters.encode("is")[1:]])
        == "today is"
    )
    assert characters.encode_beginning("today") == characters.encode("today")
    assert characters.encode_beginning(" ") == characters.encode(" ") == []
    words = Vocabulary.of_words(["today"])
    assert words.encode_beginning("today ") == words.encode("today")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--length", "0"], "--length is 0"),
        (["--temperature", "-1"], "--temperature is -1"),
        (["--checkpoint", "x"], "is not a checkpoint"),
    ],
)
def test_an_option_out_of_reach_is_a_sentence(options, complaint, talker, tmp_path, capsys):
    checkpoint.save(tmp_path, talker)
    assert generate.main(["--checkpoint", str(tmp_path), *options]) == 2
    assert complaint in capsys.readouterr().err


def test_the_command_prints_a_text_or_writes_it_to_a_file(talker, tmp_path, capsys):
    checkpoint.save(tmp_path / "model", talker)
    options = [
        "--checkpoint",
        str(tmp_path / "model"),
        "--prompt",
        "hello",
        "--length",
        "12",
        "--device",
        "cpu",
    ]
    assert generate.main(options) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("hello")
    assert generate.main([*options, "--out", str(tmp_path / "text.txt")]) == 0
    assert (tmp_path / "text.txt").read_text(encoding="utf-8") == printed
    help_text = subprocess.run(
        [sys.executable, "-m", "dialogue.generate", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--temperature" in help_text.stdout


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--seed", "-1"], "--seed is -1"),
        (["--seed", str(2**70)], "--seed is 118"),
        (["--out", "."], "is a folder"),
    ],
)
def test_what_would_fail_after_the_writing_is_refused_before_the_model_is_loaded(
    options, complaint, monkeypatch, capsys
):
    monkeypatch.setattr(checkpoint, "load", None)
    assert generate.main(options) == 2
    assert complaint in capsys.readouterr().err
