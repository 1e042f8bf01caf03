"""dialogue.bench ends with the line of JSON that scripts read. No timing is asserted."""

import json

import pytest
import torch

from dialogue import checkpoint
from dialogue.agent import DialogueAgent
from dialogue.bench import __main__ as dialogue_bench
from dialogue.bench import floor, grid, replies, timing
from dialogue.bench.fidelity import fidelity, read_exchanges
from dialogue.bench.memory import peak_mb
from dialogue.config import METHODS, DecodeConfig, ModelConfig
from dialogue.conversation import Conversation, Turn
from dialogue.models.projection import precisions
from training.bench import __main__ as training_bench


@pytest.fixture
def small(monkeypatch):
    """The benchmark's own reference model, a thousandth of its size."""
    tiny = ModelConfig(vocab_size=240, embedding=8, utterance=8, context=8, hidden=8, dropout=0.0)
    monkeypatch.setattr(replies, "REFERENCE", tiny)
    monkeypatch.setattr(replies, "SIZES", ((1, 1), (1, 5), (3, 5)))
    monkeypatch.setattr(replies, "MANY", 3)
    monkeypatch.setattr(timing, "SHORTEST", 0.0)


ROW = {
    "method", "model", "precision", "batch", "beam", "blocking", "turns", "reply_tokens", "calls",
    "ms", "encode_ms", "floor_ms", "ratio", "bound_ms",
}  # fmt: skip


def test_dialogue_bench_ends_with_a_row_a_combination(small, talker, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        dialogue_bench, "peak_mb", lambda *_, **__: 1
    )  # a process each; it has its own test
    checkpoint.save(tmp_path / "model", talker)
    (tmp_path / "talk.tsv").write_text(
        "hi\thello, how are you?\ni have a dog\twhat is it?\tit is a dog\n"
    )
    text = ["--text", str(tmp_path / "talk.tsv")]
    assert (
        dialogue_bench.main(
            ["--checkpoint", str(tmp_path / "model"), "--rounds", "1", "--full", *text]
        )
        == 0
    )
    shown = capsys.readouterr()
    found = json.loads(shown.out.splitlines()[-1])
    assert set(found) == {"rows", "relations", "fidelity", "auto", "peak_memory_mb"}
    there = precisions(torch.device("cpu"))
    rows = found["rows"]
    assert all(set(row) == ROW for row in rows)
    assert all(row["ms"] > 0 and row["encode_ms"] > 0 for row in rows)
    reference = [row for row in rows if row["model"] == "reference"]
    assert all(
        row["floor_ms"] > 0 and row["bound_ms"] > 0 for row in reference if row["beam"] != 10
    )
    combinations = {
        (row["precision"], row["batch"], row["beam"], row["blocking"]) for row in reference
    }
    assert combinations >= {
        (p, *size, blocking)
        for p in there
        for size in replies.SIZES
        for blocking in ("none", "all")
    }
    assert {row["method"] for row in reference if row["beam"] == 10} == set(METHODS)
    assert [row["turns"] for row in rows if row["model"] == replies.FORCED] == [2, 20, 200]
    assert [row["batch"] for row in rows if row["model"] == "checkpoint"] == [1, 8] * len(there)
    relations = found["relations"]
    assert set(relations["blocking_over_none"]) == {
        f"{p} {batch}x{beam}" for p in there for batch, beam in replies.SIZES
    }
    assert list(relations["many_calls_over_one"]) == there
    assert list(relations["ms_a_token"]) == ["5", "10", "20", "40"]
    assert list(relations["ms_after_turns"]) == ["2", "20", "200"]
    assert list(found["fidelity"]) == there[1:]
    assert list(found["peak_memory_mb"]) == there
    assert found["auto"] in there
    assert "fidelity of" in shown.err


def test_relations_are_medians_of_ratios_within_a_round():
    times = {
        replies.Row("beam", "reference", "fp32", 1, 5): [1.0, 10.0, 1.0],
        replies.Row("beam", "reference", "fp32", 1, 5, blocking="all"): [1.5, 11.0, 1.1],
        replies.Row("beam", "reference", "fp32", replies.MANY, 5): [4.0, 8.0, 40.0],
        replies.Row("beam", "reference", "fp32", 1, 5, calls=replies.MANY): [12.0, 16.0, 160.0],
        replies.Row("agent", replies.FORCED, "fp32", 1, 10, turns=200): [7.0, 8.0, 9.0],
    }
    times |= {
        replies.Row("beam", "reference", "fp32", 1, 5, reply_tokens=n): [n * 0.5] * 3
        for n in replies.LENGTHS
        if n != 20
    }
    assert replies.relations(times) == {
        "blocking_over_none": {"fp32 1x5": 1.1},
        "many_calls_over_one": {"fp32": 3.0},
        "ms_a_token": {"5": 0.5, "10": 0.5, "20": 0.05, "40": 0.5},
        "ms_after_turns": {"200": 8.0},
    }


def test_the_peak_memory_is_that_of_a_process_which_has_answered(talker, tmp_path):
    checkpoint.save(tmp_path, talker)
    peak = peak_mb(tmp_path, "fp32", model_name=None, device=torch.device("cpu"))
    assert peak is None or 100 < peak < 10_000  # PyTorch alone takes some hundred


def test_a_floor_is_the_sum_of_the_fastest_ways():
    def part(kind, operation, way):
        return floor.Part((1, 5), kind, operation, way)

    times = {
        part("floor", "recurrent", "cell"): 3.0,
        part("floor", "fp32", "linear"): 9.0,
        part("floor", "fp32", "addmm"): 5.0,
        part("floor", "int8", "fbgemm"): 1.0,
        part("floor", "softmax", "new"): 0.25,
        part("floor", "top", "flat"): 0.5,
        part("bound", "fp32", "packed"): 0.1,
        floor.Part((1, 20), "floor", "recurrent", "cell"): 0.1,
    }
    assert floor.reply_ms("floor", (1, 5), "fp32", times=times, tokens=20) == 20 * (
        3 + 5 + 0.25 + 0.5
    )
    assert floor.reply_ms("floor", (1, 5), "int8", times=times, tokens=1) == 3 + 1 + 0.25 + 0.5
    assert floor.reply_ms("floor", (1, 5), "bf16", times=times, tokens=20) is None
    assert floor.reply_ms("bound", (1, 5), "fp32", times=times, tokens=20) is None


@pytest.mark.parametrize("batch", [1, 3])
def test_the_operations_of_the_floor_do_what_they_are_called(batch):
    """The output layers of every precision and engine agree, so what is timed is a layer of the
    right size.
    """
    config = ModelConfig(vocab_size=240, embedding=8, hidden=8)
    calls = floor.parts(
        (batch, 5), config, precisions=precisions(torch.device("cpu")), device=torch.device("cpu")
    )
    with torch.no_grad():
        found = {part: call() for part, call in calls.items()}
    (true,) = (result for part, result in found.items() if part[1:] == ("floor", "fp32", "linear"))
    layers = {
        part: result
        for part, result in found.items()
        if part.operation in precisions(torch.device("cpu"))
    }
    assert {part.kind for part in layers} == {"floor", "bound"}
    for part, result in layers.items():
        offset = found[floor.Part((batch, 5), "floor", "fp32", "linear")] - result.float()
        error = (
            (offset - offset.mean(0)).abs().max()
            if part.operation == "int8"
            else offset.abs().max()
        )  # its floor has no bias
        assert float(error) < (1e-5 if part.operation == "fp32" else 0.1), part
    assert true.shape == (5 * batch, 240)


def test_times_are_milliseconds_and_every_round_has_every_call(monkeypatch):
    monkeypatch.setattr(timing, "SHORTEST", 0.0)
    order, clock = [], iter(range(1_000_000))
    for name in ("thread_time", "perf_counter"):
        monkeypatch.setattr(timing.time, name, lambda: next(clock))
    found = timing.time_in_turns(
        {"a": lambda: order.append("a"), "b": lambda: [next(clock), order.append("b")]},
        range(3),
        device=torch.device("cpu"),
    )
    assert found == {"a": [1000] * 3, "b": [2000] * 3}
    assert order == ["a", "a", "b", "b", "a", "b", "a", "b", "a", "b"]


def test_a_precision_is_compared_with_fp32_on_what_was_really_said(talker):
    exchanges = [
        ["hi", "hello, how are you?", "i am fine, thanks"],
        ["do you have a dog?", "no, i have a cat"],
    ]
    agents = {name: DialogueAgent(talker, precision=name) for name in ("fp32", "int8")}
    same = fidelity({"fp32": agents["fp32"], "bf16": agents["fp32"]}, exchanges)
    tokens = sum(len(talker.vocabulary.encode(turns[-1])) for turns in exchanges)
    assert same == {"bf16": {"kl": 0, "top_1": 1, "changed": 0, "tokens": tokens, "replies": 2}}
    found = fidelity(agents, exchanges)["int8"]
    divergence = 0.0
    for (
        *said,
        reply,
    ) in exchanges:  # the slow, obvious twin: one conversation, one token after the other
        (heard,) = [Conversation()]
        for text in said:
            (heard,) = agents["fp32"].hear([heard], [Turn("user", text)])
        states = {name: agent.prepared.start(heard.history) for name, agent in agents.items()}
        token = talker.vocabulary.bos_id
        for target in talker.vocabulary.encode(reply):
            tables = {}
            for name, agent in agents.items():
                tables[name], states[name] = agent.prepared.step(
                    torch.tensor([token]), states[name]
                )
            divergence += float((tables["fp32"].exp() * (tables["fp32"] - tables["int8"])).sum())
            token = target
    assert found["kl"] == pytest.approx(divergence / tokens, abs=1e-6)
    assert found["kl"] > 1e-7
    other = DialogueAgent(talker, decode=DecodeConfig(min_length=9, max_length=9), precision="int8")
    assert fidelity({"fp32": agents["fp32"], "int8": other}, exchanges)["int8"]["changed"] == 1


def test_the_held_out_text_is_read_and_text_that_is_none_is_refused(tmp_path):
    exchanges = read_exchanges()
    assert len(exchanges) > 50
    assert all(len(turns) == 4 for turns in exchanges)
    path = tmp_path / "talk.tsv"
    with pytest.raises(ValueError, match=r"cannot read .*talk\.tsv"):
        read_exchanges(path)
    path.write_text("one\ttwo\nalone\n")
    with pytest.raises(
        ValueError, match=r"talk\.tsv, line 2: found 1 turns; expected two or more, tab-separated"
    ):
        read_exchanges(path)
    path.write_text("")
    with pytest.raises(ValueError, match="is empty"):
        read_exchanges(path)


def test_bad_options_are_one_plain_line(tmp_path, capsys):
    assert dialogue_bench.main(["--checkpoint", str(tmp_path)]) == 2
    assert training_bench.main(["--data", str(tmp_path / "nothing")]) == 2
    assert training_bench.main(["--processes", "1"]) == 2
    assert training_bench.main(["--steps", "0"]) == 2
    assert capsys.readouterr().err.count("error: ") == 4


def test_the_grid_has_a_cell_for_each_batch_beam_and_precision(
    small, talker, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(grid, "BATCHES", (1, 3))
    monkeypatch.setattr(grid, "BEAMS", (1, 2))
    monkeypatch.setattr(grid, "TALKERS", (1, 2))
    monkeypatch.setattr(grid, "MOST_SECONDS", 0.0)
    monkeypatch.setattr(grid, "SHARES", {"rows": 1.0, "agent": 1.0, "load": 0.01})
    checkpoint.save(tmp_path / "model", talker)
    (tmp_path / "talk.tsv").write_text("hi\thello\ttell me a joke\tno\n")
    text = ["--text", str(tmp_path / "talk.tsv")]
    model = ["--checkpoint", str(tmp_path / "model")]
    assert dialogue_bench.main([*model, "--grid", "60", *text]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    there = precisions(torch.device("cpu"))
    cells = [(r["model"], r["precision"], r["batch"], r["beam"]) for r in found["rows"]]
    assert len(set(cells)) == len(cells)
    assert set(cells) == {
        (model, precision, batch, beam)
        for model in ("reference", "checkpoint")
        for precision in there
        for batch in (1, 3)
        for beam in (1, 2)
    } | {("agent", precision, batch, 20) for precision in there for batch in (1, 3)}
    assert all(("floor_ms" in row) == (row["model"] == "reference") for row in found["rows"])
    assert [load["talkers"] for load in found["load"]] == [1, 2]
    assert all(0 < load["p50_ms"] <= load["p99_ms"] for load in found["load"])
    assert found["left_out"] == 0


def test_more_at_once_pays_until_it_adds_less_than_a_twentieth():
    rows = [
        {"model": "m", "precision": "fp32", "beam": 5, "batch": batch, "replies_per_s": speed}
        for batch, speed in ((1, 10.0), (4, 30.0), (16, 48.0), (64, 50.0), (256, 49.0))
    ]
    assert grid.pays_until(rows) == [
        {"model": "m", "precision": "fp32", "beam": 5, "batch": 16, "replies_per_s": 48.0}
    ]


def test_what_the_seconds_do_not_suffice_for_is_left_out():
    clock = grid.Clock.of(1000.0)
    assert clock.may_begin("kind", 64)
    clock.spent["kind"] = 4, 100.0
    assert clock.may_begin("kind", 16)
    assert not clock.may_begin("kind", 64)
    assert clock.left_out == 1
