"""python -m training.fit: fit a model to conversations, in one process or several under torchrun.

runs/NAME/checkpoint/        the best model so far, ready to talk (half precision)
runs/NAME/state.safetensors  everything that --resume needs: weights, optimiser, place in the data
runs/NAME/log.jsonl          one line per validation; loss.png plots it
runs/NAME/run.json           its settings, data, code, machine and progress
"""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from dialogue import checkpoint
from dialogue.checkpoint import Checkpoint
from dialogue.command_line import FAILED, INTERRUPTED, command, tell
from dialogue.config import ModelConfig
from dialogue.models import Batch, ModelClass, ModelModule, Penalises
from dialogue.models.hred import HRED
from dialogue.vocabulary import Vocabulary
from training.corpora.transcript import Complaints
from training.data import cache, word_vectors
from training.run import manifest, stages
from training.run.config import FitConfig
from training.run.dataset import Data, prepare
from training.run.distributed import ALONE, LostProcess, Processes, device_of, joined
from training.run.log import (
    beside_the_bar,
    forget_rows_after,
    means,
    show_sample,
    show_validation,
    showing,
    write_down,
)
from training.run.schedule import (
    Step,
    collators_for,
    is_over,
    learning_rate_at,
    steps_of,
    teacher_forcing_at,
    validation_is_due,
)
from training.run.scheduled_sampling import OwnWords
from training.run.setup import folder_of, remember, wanted
from training.run.state import Progress, load_state, save_state
from training.run.trainer import StepMetrics, Trainer

SAVE_SECONDS = 300
SHOW_STEPS = 20


@dataclass(frozen=True)
class Hooks:
    """Callbacks by which a caller can follow a run or take part in it.

    clock: seconds. before_step, after_step: called with the run; after a step the last of its
    metrics are that step's. validate: (run, batches) -> perplexity per token, and accuracy.
    """

    clock: Callable[[], float] = time.monotonic
    before_step: Callable[[Fitting], object] = lambda run: None
    after_step: Callable[[Fitting], object] = lambda run: None
    validate: Callable[[Fitting, Iterable[Batch]], tuple[float, float]] = lambda run, batches: (
        run.trainer.validate(batches)
    )


NO_HOOKS = Hooks()


@dataclass
class Fitting:
    """A run in progress. metrics: of the steps since the last validation."""

    config: FitConfig
    data: Data
    out: Path
    processes: Processes
    trainer: Trainer
    best: Checkpoint  # the current model; validation saves it if it is the best so far
    progress: Progress
    hooks: Hooks = NO_HOOKS
    metrics: list[StepMetrics] = field(default_factory=list)

    @property
    def state(self) -> Path:
        """Return the path of the state that a run resumes from."""
        return self.out / "state.safetensors"

    def save(self) -> None:
        """Save the state."""
        save_state(self.state, self.trainer, self.progress, data=self.data.named)


def fit(
    config: FitConfig,
    sizes: dict[str, Any],
    data: Data,
    *,
    out: Path,
    device: torch.device,
    before: Checkpoint | None = None,
    start_from: Checkpoint | None = None,
    kind: ModelClass = HRED,
    processes: Processes = ALONE,
    hooks: Hooks = NO_HOOKS,
) -> Progress:
    """Fit a model of these sizes (ModelConfig without vocab_size) and return its progress.

    Every process takes the same steps, each on its share; only the first one writes into `out`.

    before: the run's own checkpoint, if it resumes.
    start_from: a checkpoint of the same sizes and vocabulary that provides the initial weights.
    Raises ValueError if the state to resume from is unusable or belongs to other data, if the loss
    is not finite, or if several processes are to read contiguous batches; OSError if a file cannot
    be written. State and checkpoint then stay as they were.
    """
    run = begin(
        config, sizes, data,
        out=out, device=device, before=before, start_from=start_from, kind=kind,
        processes=processes, hooks=hooks,
    )  # fmt: skip
    progress, first = run.progress, processes.first
    # A resumed run's clock continues where it stopped; the time in between does not count.
    begun, saved = hooks.clock() - progress.seconds, hooks.clock()
    bar = tqdm(
        desc="fitting", unit="step", initial=progress.step, smoothing=0.05, disable=not first
    )
    steps = steps_of(data, config, progress, processes=processes, collators=collators_for(device))
    for step in steps:
        bar.total = total = round(config.epochs * step.of_epoch)
        # The learning rate and the end of the run depend on the clock, so all processes use one.
        progress.seconds = processes.from_first(hooks.clock() - begun)
        if is_over(config, progress, total):
            break
        take(step, run, total)
        bar.update()
        validating = validation_is_due(config, progress, step.of_epoch) or progress.step == total
        showing_now = progress.step % SHOW_STEPS == 0
        if validating or showing_now:
            bar.set_postfix_str(beside_the_bar(run.metrics[-SHOW_STEPS:], progress))
        if validating:
            validate(run)
        # The state is saved before anything is shown: showing may fail, and must lose nothing.
        if first and (validating or (showing_now and hooks.clock() - saved > SAVE_SECONDS)):
            progress.seconds = hooks.clock() - begun
            run.save()
            saved = hooks.clock()
        if first and validating:
            show_validation(out)
        every = config.sample_every
        if first and (progress.step % every == 0 if every else validating):
            show_sample(run.best)
    end(run, bar)
    return progress


def begin(
    config: FitConfig,
    sizes: dict[str, Any],
    data: Data,
    *,
    out: Path,
    device: torch.device,
    before: Checkpoint | None,
    start_from: Checkpoint | None,
    kind: ModelClass,
    processes: Processes,
    hooks: Hooks,
) -> Fitting:
    """Build the model and its trainer, load the state of a resumed run, and write run.json.

    Raises ValueError and OSError as `fit` does.
    """
    if config.bptt is not None and processes.count > 1:
        raise ValueError(
            "--bptt carries one state from batch to batch; "
            f"it runs in one process, not in {processes.count}"
        )
    model, model_config = first_model(config, sizes, data, before, start_from, kind)
    trainer = Trainer(
        model,
        learning_rate=config.learning_rate,
        precision=config.precision,
        device=device,
        optimizer=config.optimizer,
        objective=config.objective,
        own_words=own_words(config, data.vocabulary),
        teacher=teacher_of(config, data.vocabulary),
        carries=config.bptt is not None,
        processes=processes,
    )
    best = Checkpoint(model, data.vocabulary, model_config, {"config": asdict(config)})
    run = Fitting(config, data, out, processes, trainer, best, Progress(), hooks)
    if before is not None:
        run.progress = load_state(run.state, trainer, data=data.named)
    if processes.first:
        write_first(run, before)
        manifest.begin(
            out,
            best,
            corpora=data.sha256,
            device=device,
            processes=processes.count,
            resume=before is not None,
        )
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{parameters:,} parameters on {device} ({processes.count} processes), in {out}")
    return run


def first_model(
    config: FitConfig,
    sizes: dict[str, Any],
    data: Data,
    before: Checkpoint | None,
    start_from: Checkpoint | None,
    kind: ModelClass,
) -> tuple[ModelModule[Any], ModelConfig]:
    """Return a model with its initial weights: random, a checkpoint's, or with word vectors."""
    torch.manual_seed(config.seed)
    model_config = ModelConfig(vocab_size=len(data.vocabulary), **sizes)
    model = kind.from_config(model_config, bos_id=data.vocabulary.bos_id)
    if start_from is not None:
        model.load_state_dict(start_from.model.state_dict())
    elif config.word_vectors and before is None:
        begin_with_word_vectors(model, Path(config.word_vectors), data.vocabulary)
    return model, model_config


def write_first(run: Fitting, before: Checkpoint | None) -> None:
    """Write a run's first files, or the settings it resumes with, before its first step."""
    if before is not None:
        # Only after the state has been loaded: settings that the run cannot resume with must not
        # be remembered for the next --resume.
        remember(run.out, before, run.config)
    else:
        checkpoint.save(run.out / "checkpoint", run.best)
        run.save()
    forget_rows_after(run.progress.step, run.out)


def take(step: Step, run: Fitting, total: int) -> None:
    """Take one of `total` steps and update the run's progress."""
    config, progress = run.config, run.progress
    if not progress.batch:
        run.trainer.carried = None  # the text begins anew
    run.hooks.before_step(run)
    metrics = run.trainer.step(
        step.share,
        learning_rate=learning_rate_at(config, progress, total),
        truth=teacher_forcing_at(config, progress, total),
    )
    run.metrics.append(metrics)
    progress.step += 1
    progress.batch += 1
    progress.tokens += step.tokens
    run.hooks.after_step(run)


def end(run: Fitting, bar: tqdm[Any]) -> None:
    """Validate once more if steps were taken since the last time, and record the run's end."""
    progress, since = run.progress, bool(run.metrics)
    if since:
        # The run ends between two validations. This may be the best model, but a short interval
        # must not count against patience.
        halvings, bad_validations = progress.halvings, progress.bad_validations
        validate(run)
        progress.halvings, progress.bad_validations = halvings, bad_validations
    bar.close()
    if run.processes.first:
        run.save()
        manifest.bring_up_to_date(run.out, progress, ended=True)
        if since:
            show_validation(run.out)
            show_sample(run.best)


def begin_with_word_vectors(model: ModelModule[Any], path: Path, vocabulary: Vocabulary) -> None:
    """Copy a file's word vectors into a model's embedding.

    Raises ValueError if the model has no embedding, or the file no vectors.
    """
    embedding = next(
        (weight for name, weight in model.named_parameters() if name.endswith("embedding.weight")),
        None,
    )
    if embedding is None:
        raise ValueError(
            f"--word-vectors: {type(model).__name__} has no embedding.weight to copy them into"
        )
    left_out = Complaints(skip=True)
    share = word_vectors.initialise(embedding, path, vocabulary, left_out)
    print(f"word vectors for {share:.1%} of the vocabulary's tokens, from {path}")
    if left_out.count:
        print(f"{left_out.count:,} of its lines left out, the first: {left_out.first}")


def validate(run: Fitting) -> None:
    """Validate, each process on its share; log it, and keep the model if it is the best so far.

    The state must be saved after this. A run killed in between repeats the same steps from the
    previous state, finds the same perplexity, and writes the same checkpoint and row.
    Raises ValueError if loss or perplexity is not finite.
    """
    progress, processes = run.progress, run.processes
    loss, _, _ = means(run.metrics, progress.step)
    run.metrics.clear()
    share = run.data.validation[processes.number :: processes.count]
    perplexity, accuracy = run.hooks.validate(
        run, tqdm(share, desc="validating", leave=False, disable=not processes.first)
    )
    if not math.isfinite(perplexity):
        raise ValueError(
            f"the validation perplexity is {perplexity} at step {progress.step}; "
            "lower --learning-rate and --resume"
        )
    better = perplexity < progress.best_perplexity
    if better:
        progress.best_perplexity, progress.bad_validations = perplexity, 0
    else:
        progress.bad_validations += 1
        progress.halvings += 1
    if not processes.first:
        return
    if better:
        training = {"config": asdict(run.config), "progress": asdict(progress)}
        checkpoint.save(run.out / "checkpoint", replace(run.best, training=training))
    write_down(run.out, progress=progress, loss=loss, perplexity=perplexity, accuracy=accuracy)


def own_words(config: FitConfig, vocabulary: Vocabulary) -> OwnWords | None:
    """Return how the decoder finds its own words, if --teacher-forcing lets it read any."""
    return (
        None
        if config.teacher_forcing == (1, 1)
        else OwnWords(config.teacher_forcing_by, vocabulary.bos_id)
    )


def teacher_of(config: FitConfig, vocabulary: Vocabulary) -> ModelModule[Any] | None:
    """Load the model of --teacher, if there is one.

    Raises ValueError if it cannot be a teacher, or has another vocabulary.
    """
    if config.teacher is None:
        return None
    found = checkpoint.load(config.teacher, with_ranker=False)
    if found.vocabulary.sha256 != vocabulary.sha256:
        raise ValueError(
            f"--teacher: {config.teacher} has another vocabulary; "
            f"fit both with --vocabulary {Path(config.teacher) / checkpoint.VOCABULARY}"
        )
    if not isinstance(found.model, Penalises):
        raise ValueError(
            f"--teacher: {type(found.model).__name__} has no `penalised`, "
            "so it cannot tell its probabilities"
        )
    return found.model


@command
def main(arguments: list[str] | None = None, *, hooks: Hooks = NO_HOOKS) -> int:
    """Fit a model from the command line, or one after another if a recipe has stages."""
    out, place = Path("runs"), ALONE
    try:
        runs = stages.wished_for(sys.argv[1:] if arguments is None else arguments)
        with joined() as processes, showing(shown=processes.first):  # one process speaks
            place = processes
            for asked in runs:
                out = folder_of(asked)
                progress = run_one(asked, out, processes, hooks)
                print(
                    f"best validation perplexity {progress.best_perplexity:.2f} per token "
                    f"after {progress.step:,} steps; ",
                    end="",
                )
                named = f" --model {asked['model']}" if ":" in (asked["model"] or "") else ""
                print(f"talk to it: python -m dialogue --checkpoint {out / 'checkpoint'}{named}")
            if not runs:
                print("every stage has ended; there is nothing left to do")
    except LostProcess as error:
        tell(f"process {place.number}: {error}; {how_to_go_on(out)}")
        return FAILED
    except (ValueError, OSError) as error:
        tell(f"{f'process {place.number}: ' if place.count > 1 else ''}error: {error}")
        return FAILED
    # Every process says so, because the first one may be the one that is lost.
    except KeyboardInterrupt:
        which = f"process {place.number}: " if place.count > 1 else ""
        tell(f"\n{which}stopped; {how_to_go_on(out)}")
        return INTERRUPTED
    return 0


def run_one(
    asked: dict[str, Any], out: Path, processes: Processes, hooks: Hooks = NO_HOOKS
) -> Progress:
    """Set up one run, read its corpora and fit. Raises ValueError and OSError as these steps do."""
    run, device = wanted(asked), device_of(processes, asked["device"])
    if device.type == "cuda":
        # The CPU only launches kernels. Its other threads would get in the way: with 16 of them an
        # H200 learnt 248,000 tokens/s, with one 665,000.
        torch.set_num_threads(1)
    with processes.first_goes_ahead():
        data = prepare(
            run.config,
            vocabulary_file=run.vocabulary, skip_bad_lines=asked["skip_bad_lines"],
            kept_in=None if asked["no_cache"] else cache.FOLDER, keep=processes.first,
        )  # fmt: skip
    processes.agree("the corpora", data.fingerprint)
    return fit(
        run.config, run.sizes, data, out=out, device=device,
        before=run.before, start_from=run.start_from, kind=run.kind, processes=processes,
        hooks=hooks,
    )  # fmt: skip


def how_to_go_on(out: Path) -> str:
    """Return how to continue a run that was stopped."""
    return (
        f"go on with --resume --out {out}"
        if (out / "state.safetensors").exists()
        else "nothing was fitted yet"
    )


if __name__ == "__main__":
    # torchrun and service managers stop a process with SIGTERM.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
