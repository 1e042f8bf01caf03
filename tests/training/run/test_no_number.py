"""A loss, norm, perplexity or weight that is not finite ends a run before anything is saved."""

import pytest
import torch

from tests.training.conftest import close, figures, is_whole, progress_of, same_weights
from training import fit


@pytest.mark.parametrize("broken", ["loss", "norm", "perplexity", "weights", "weights at the end"])
def test_what_is_no_number_is_noticed_before_it_is_saved(
    options, tmp_path, capsys, monkeypatch, broken
):
    """At the seventh step. The saved state is that of the validation before it, and resuming gives
    what an undisturbed run gives.
    """
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "run"
    assert fit.main([*options[:-1], f"--out={undisturbed}"]) == 0
    step, validate, taken = fit.Trainer.step, fit.Trainer.validate, []
    nan = torch.tensor(float("nan"))

    def breaking(self, batch, **settings):
        found = step(self, batch, **settings)
        taken.append(found)
        if len(taken) == (10 if broken == "weights at the end" else 7):
            if broken.startswith("weights"):
                with torch.no_grad():
                    self.model.get_parameter("embedding.weight")[-1] = (
                        nan  # of a word that nobody says
                    )
            if broken in ("loss", "norm"):
                return found._replace(**{broken: nan})
        return found

    def validation(self, planned):
        perplexity, accuracy = validate(self, planned)
        return (float("nan") if broken == "perplexity" and len(taken) > 5 else perplexity), accuracy

    monkeypatch.setattr(fit.Trainer, "step", breaking)
    monkeypatch.setattr(fit.Trainer, "validate", validation)
    assert fit.main(options) == 2
    said = capsys.readouterr().err
    assert "error: " in said
    assert "lower --learning-rate" in said
    monkeypatch.undo()
    is_whole(out)
    assert 0 < progress_of(out).step < 10
    assert fit.main(["--resume", f"--out={out}", "--device=cpu"]) == 0
    close(figures(out), figures(undisturbed))
    same_weights(out, undisturbed)


def test_a_loss_that_is_no_number_stops_the_run(options, tmp_path, capsys, monkeypatch):
    original = fit.Trainer.step

    def broken(self, batch, **options):
        return original(self, batch, **options)._replace(loss=torch.tensor(float("nan")))

    monkeypatch.setattr(fit.Trainer, "step", broken)
    assert fit.main(options) == 2
    assert "the loss is nan and" in capsys.readouterr().err
    assert progress_of(tmp_path / "run").step == 0, "the state before it is kept"
