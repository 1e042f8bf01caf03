"""A loss, norm, perplexity or weight that is not finite ends a run before anything is saved."""

import math

import pytest
import torch

from tests.training.conftest import close, figures, is_whole, progress_of, same_weights
from training import fit

NAN = torch.tensor(math.nan)


@pytest.mark.parametrize("broken", ["loss", "norm", "perplexity", "weights", "weights at the end"])
def test_what_is_no_number_is_noticed_before_it_is_saved(options, tmp_path, capsys, broken):
    """At the seventh step. The saved state is that of the validation before it, and resuming gives
    what an undisturbed run gives.
    """
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "run"
    assert fit.main([*options[:-1], f"--out={undisturbed}"]) == 0

    def breaking(run):
        if run.progress.step == (10 if broken == "weights at the end" else 7):
            if broken.startswith("weights"):
                with torch.no_grad():  # the last row is that of a word that nobody says
                    run.trainer.model.get_parameter("embedding.weight")[-1] = NAN
            if broken in ("loss", "norm"):
                run.metrics[-1] = run.metrics[-1]._replace(**{broken: NAN})

    def validation(run, batches):
        perplexity, accuracy = run.trainer.validate(batches)
        is_broken = broken == "perplexity" and run.progress.step > 5
        return (math.nan if is_broken else perplexity), accuracy

    assert fit.main(options, hooks=fit.Hooks(after_step=breaking, validate=validation)) == 2
    said = capsys.readouterr().err
    assert "error: " in said
    assert "lower --learning-rate" in said
    is_whole(out)
    assert 0 < progress_of(out).step < 10
    assert fit.main(["--resume", f"--out={out}", "--device=cpu"]) == 0
    close(figures(out), figures(undisturbed))
    same_weights(out, undisturbed)


def test_a_loss_that_is_no_number_stops_the_run(options, tmp_path, capsys):
    def broken(run):
        run.metrics[-1] = run.metrics[-1]._replace(loss=NAN)

    assert fit.main(options, hooks=fit.Hooks(after_step=broken)) == 2
    assert "the loss is nan and" in capsys.readouterr().err
    assert progress_of(tmp_path / "run").step == 0, "the state before it is kept"
