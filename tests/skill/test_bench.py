import json

from skill import bench


def test_the_bench_ends_with_a_row_for_a_turn_a_refusal_and_each_part(capsys):
    assert bench.main(["--rounds", "3"]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert [row["what"] for row in rows] == [
        "turn",
        "refusal",
        "verify",
        "read",
        "answer",
        "speech",
        "contract",
    ]
    assert all(
        set(row) == {"what", "ms", "p95_ms"} and 0 < row["ms"] <= row["p95_ms"] for row in rows
    )


def test_a_bad_option_is_one_plain_line(capsys):
    assert bench.main(["--rounds", "0"]) == 2
    assert capsys.readouterr().err.startswith("error: ")
