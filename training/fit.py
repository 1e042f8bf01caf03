"""python -m training.fit: fit a model to conversations.

runs/NAME/checkpoint/        the best model so far, ready to talk (half precision)
runs/NAME/state.safetensors  everything that --resume needs: weights, optimiser, place in the data
runs/NAME/log.jsonl          a line a validation; loss.png draws it
"""

from __future__ import annotations

import math
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from dialogue import checkpoint
from dialogue.checkpoint import Checkpoint
from dialogue.config import ModelConfig
from dialogue.device import choose_device
from dialogue.models import Batch, ModelClass, ModelModule
from dialogue.models.hred import HRED
from dialogue.vocabulary import Vocabulary
from training import batches, build_vocabulary, corpora, word_vectors
from training.config import FitConfig, ask
from training.corpora import cleaning, pickled
from training.corpora.transcript import Complaints
from training.report import beside_the_bar, forget_rows_after, means, report
from training.state import Progress, load_state, save_state
from training.trainer import StepFigures, Trainer

WARMUP_STEPS = 200
PATIENCE = 4  # validations without gain before it stops
SAVE_SECONDS = 300
SHOW_STEPS = 20


@dataclass(frozen=True)
class Data:
    """What a run learns from."""

    vocabulary: Vocabulary
    train: batches.Encoded
    validation: list[Batch]


def fit(
    config: FitConfig,
    sizes: dict[str, Any],
    data: Data,
    *,
    out: Path,
    device: torch.device,
    resume: bool = False,
    start_from: Checkpoint | None = None,
    kind: ModelClass = HRED,
) -> Progress:
    """Fit a model of these sizes (ModelConfig without vocab_size) and return how far it came.

    start_from: a checkpoint of the same sizes and vocabulary, whose weights are the first ones.
    Raises ValueError where the state to resume from is unusable, or where the loss is no number.
    """
    torch.manual_seed(config.seed)
    model_config = ModelConfig(vocab_size=len(data.vocabulary), **sizes)
    model = kind.from_config(model_config, bos_id=data.vocabulary.bos_id)
    if start_from is not None:
        model.load_state_dict(start_from.model.state_dict())
    elif config.word_vectors and not resume:
        begin_with_word_vectors(model, Path(config.word_vectors), data.vocabulary)
    trainer = Trainer(model, learning_rate=config.learning_rate, precision=config.precision, device=device)
    state, best = out / "state.safetensors", Checkpoint(model, data.vocabulary, model_config, {"config": asdict(config)})
    if resume:
        progress = load_state(state, model, trainer.optimiser)
        trainer.refresh()
    else:
        progress = Progress()
        checkpoint.save(out / "checkpoint", best)
        save_state(state, model, trainer.optimiser, progress)
    forget_rows_after(progress.step, out)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters on {device}, in {out}")

    begun, saved = time.monotonic() - progress.seconds, time.monotonic()
    figures: list[StepFigures] = []
    bar = tqdm(desc="fitting", unit="step", initial=progress.step, smoothing=0.05)
    for epoch_steps, batch in steps_of(data, config, progress):
        bar.total = total = round(config.epochs * epoch_steps)
        progress.seconds = time.monotonic() - begun
        if is_over(config, progress, total):
            break
        figures.append(trainer.step(batch, learning_rate=learning_rate_at(config, progress, total)))
        progress.step += 1
        progress.batch += 1
        progress.tokens += int(batch.lengths.sum())
        bar.update()
        validating = validation_is_due(config, progress, epoch_steps) or progress.step == total
        if validating or progress.step % SHOW_STEPS == 0:
            bar.set_postfix_str(beside_the_bar(figures[-SHOW_STEPS:], progress))
        if validating:
            validate(trainer, data, best=best, config=config, progress=progress, loss=means(figures)[0], out=out)
            figures.clear()
        if validating or (progress.step % SHOW_STEPS == 0 and time.monotonic() - saved > SAVE_SECONDS):
            progress.seconds = time.monotonic() - begun
            save_state(state, model, trainer.optimiser, progress)
            saved = time.monotonic()
    if figures:  # it ends between two validations: the best may be now, but want of gain would not count
        halvings, bad_validations = progress.halvings, progress.bad_validations
        validate(trainer, data, best=best, config=config, progress=progress, loss=means(figures)[0], out=out)
        progress.halvings, progress.bad_validations = halvings, bad_validations
    bar.close()
    save_state(state, model, trainer.optimiser, progress)
    return progress


def begin_with_word_vectors(model: ModelModule[Any], path: Path, vocabulary: Vocabulary) -> None:
    """Put word vectors of a file into a model's embedding. Raises ValueError where it has none, or the file is none."""
    embedding = dict(model.named_parameters()).get("embedding.weight")
    if embedding is None:
        raise ValueError(f"--word-vectors: {type(model).__name__} has no embedding.weight that they could go into")
    share = word_vectors.initialise(embedding, path, vocabulary)
    print(f"word vectors for {share:.1%} of the vocabulary's tokens, from {path}")


def is_over(config: FitConfig, progress: Progress, total_steps: int) -> bool:
    """Tell whether a run has had its epochs, its minutes, or no gain for too long."""
    late = config.minutes is not None and progress.seconds > 60 * config.minutes
    return late or progress.step >= total_steps or progress.bad_validations >= PATIENCE


def validate(
    trainer: Trainer, data: Data, *, best: Checkpoint, config: FitConfig, progress: Progress, loss: float, out: Path
) -> None:
    """Validate, keep the model if it is the best so far, and report."""
    perplexity, accuracy = trainer.validate(tqdm(data.validation, desc="validating", leave=False))
    if perplexity < progress.best_perplexity:
        progress.best_perplexity, progress.bad_validations = perplexity, 0
        training = {"config": asdict(config), "progress": asdict(progress)}
        checkpoint.save(out / "checkpoint", replace(best, training=training))
    else:
        progress.bad_validations += 1
        progress.halvings += 1
    report(out, best, progress=progress, loss=loss, perplexity=perplexity, accuracy=accuracy)


def steps_of(data: Data, config: FitConfig, progress: Progress) -> Iterator[tuple[int, Batch]]:
    """Yield (steps in this epoch, batch) from where the run stands, without end.

    What is random in a step (the order, history dropout, dropout) comes from the seed and the step's number alone, so
    that a resumed run goes on as if nothing had happened.
    """
    while True:
        rng = random.Random(f"{config.seed} {progress.epoch}")
        plan = batches.plan(data.train.conversations, batch_tokens=config.batch_tokens, rng=rng)
        for planned in plan[progress.batch :]:
            torch.manual_seed((config.seed << 32) + progress.step)
            turns = [len(window) for window in planned]
            without_history = torch.rand(sum(turns)) < config.history_dropout
            recognised = batches.recognised_turns(turns, config.recognised) if config.recognised else None
            pad_id = data.vocabulary.pad_id
            yield len(plan), batches.collate(planned, pad_id=pad_id, without_history=without_history, recognised=recognised)
        progress.epoch, progress.batch = progress.epoch + 1, 0


def validation_is_due(config: FitConfig, progress: Progress, epoch_steps: int) -> bool:
    """Tell whether the step that was just taken passed the next share of an epoch. Epochs differ by a few steps."""
    before, now = (progress.epoch + batch / epoch_steps for batch in (progress.batch - 1, progress.batch))
    return math.floor(now * config.validations) > math.floor(before * config.validations)


def learning_rate_at(config: FitConfig, progress: Progress, total_steps: int) -> float:
    """Give the learning rate of a step: a short warm-up, then as --schedule says."""
    warm = min(1.0, (progress.step + 1) / WARMUP_STEPS)
    if config.schedule == "cosine":
        return config.learning_rate * warm * max(0.01, 0.5 * (1 + math.cos(math.pi * min(1.0, progress.step / total_steps))))
    return config.learning_rate * warm * (0.5**progress.halvings if config.schedule == "plateau" else 1.0)


def prepare(config: FitConfig, *, vocabulary_file: Path | None, skip_bad_lines: bool) -> Data:
    """Read and encode the corpora of a run, building the vocabulary from the training split where none is given.

    Raises ValueError on a corpus or vocabulary that is missing or broken.
    """
    complaints = Complaints(skip=skip_bad_lines)
    transcripts = {split: corpora.load(list(config.data), split, complaints) for split in ("train", "validation")}
    if complaints.count:
        print(f"{complaints.count} bad lines skipped, the first: {complaints.first}")
    if config.clean:
        transcripts["train"], touched = cleaning.clean(transcripts["train"])
        print("cleaned: " + (", ".join(f"{count} {kind}" for kind, count in touched.items() if count) or "nothing to clean"))
    if vocabulary_file is None:
        print("building the vocabulary")
        vocabulary = build_vocabulary.build(turn for transcript in transcripts["train"] for turn in transcript.turns)
    else:
        vocabulary = load_vocabulary(vocabulary_file, config.data)
    encoded = {
        split: batches.encode(found, vocabulary, truncate=config.truncate, heard=split == "train" and config.recognised > 0)
        for split, found in transcripts.items()
    }
    for split, part in encoded.items():
        tokens = sum(len(turn) for conversation in part.conversations for turn in conversation)
        print(f"{split}: {len(part.conversations):,} conversations, {part.utterances:,} turns, ", end="")
        print(f"{tokens:,} tokens, {part.truncated:,} turns cut at {config.truncate}")
    planned = batches.plan(encoded["validation"].conversations, batch_tokens=config.batch_tokens, rng=random.Random(0))
    validation = [batches.collate(windows, pad_id=vocabulary.pad_id) for windows in planned]
    return Data(vocabulary, encoded["train"], validation)


def load_vocabulary(file: Path, names: Sequence[str]) -> Vocabulary:
    """Read a vocabulary, or MovieTriples' list of words as one: `dict`, where the corpora of these names lie, or its file.

    Raises ValueError where there is none.
    """
    if str(file) == "dict":
        file = corpora.word_list_of(names)
    return pickled.vocabulary(file) if file.suffix == ".pkl" else Vocabulary.load(file)


def main(arguments: list[str] | None = None) -> int:
    """Fit a model from the command line."""
    out = None
    try:
        asked = ask(sys.argv[1:] if arguments is None else arguments)
        names = tuple(asked.pop("data") or ())
        out, resume, start_from = asked["out"], asked["resume"], None
        if not resume:
            names = names or tuple(corpora.default_names())
            out = out or Path("runs") / "-".join(Path(name).name.split(".")[0] for name in names)
            if (out / "state.safetensors").exists() or (out / "checkpoint").exists():
                raise ValueError(f"{out} holds a run already; go on with it by --resume, or name another folder with --out")
            settings: dict[str, Any] = {"data": names}
            sizes: dict[str, Any] = {}
            if asked["start_from"]:
                if asked["vocabulary"]:
                    raise ValueError("--start-from keeps the vocabulary of the checkpoint; leave --vocabulary out")
                if "word_vectors" in asked:
                    raise ValueError("--start-from keeps the embedding of the checkpoint; leave --word-vectors out")
                start_from = checkpoint.load(asked["start_from"], model_name=asked["model"])
                sizes = asdict(start_from.config)
                sizes.pop("vocab_size")
                for name, size in sizes.items():
                    if name != "dropout" and asked.get(name, size) != size:
                        raise ValueError(f"--start-from keeps the checkpoint's sizes; leave --{name} out ({size} there)")
        else:
            out = out or Path("runs") / "-".join(Path(name).name.split(".")[0] for name in names or corpora.default_names())
            if asked["start_from"]:
                raise ValueError("--resume goes on with the run's own weights; leave --start-from out")
            before = checkpoint.load(out / "checkpoint", model_name=asked["model"])
            if "config" not in before.training:
                raise ValueError(f"{out} holds a checkpoint, but no run of training.fit that could go on")
            if asked["vocabulary"]:
                raise ValueError("--resume keeps the vocabulary of the run; leave --vocabulary out")
            # a run that is older than these settings was without them, and goes on so
            settings, sizes = {"recognised": 0.0, "clean": False, **before.training["config"]}, asdict(before.config)
            sizes.pop("vocab_size")
            settings["data"] = names or tuple(settings["data"])
        settings |= {f.name: asked[f.name] for f in fields(FitConfig) if f.name in asked}
        sizes |= {f.name: asked[f.name] for f in fields(ModelConfig) if f.name in asked}
        config = FitConfig(**settings)
        kept = out / "checkpoint" if resume else asked["start_from"]
        vocabulary = kept / checkpoint.VOCABULARY if kept else asked["vocabulary"]
        device, kind = choose_device(asked["device"]), checkpoint.model_class(asked["model"] or checkpoint.DEFAULT_MODEL)
        ModelConfig(vocab_size=1, **sizes)  # wrong sizes are named before the corpora are read
        data = prepare(config, vocabulary_file=vocabulary, skip_bad_lines=asked["skip_bad_lines"])
        if resume:  # what was asked for anew holds for the next --resume, too
            checkpoint.save_settings(out / "checkpoint", replace(before, training={**before.training, "config": asdict(config)}))
        progress = fit(config, sizes, data, out=out, device=device, resume=resume, start_from=start_from, kind=kind)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        began = out is not None and (out / "state.safetensors").exists()
        print(f"\nstopped; {f'go on with --resume --out {out}' if began else 'nothing was fitted yet'}", file=sys.stderr)
        return 130
    print(f"best validation perplexity {progress.best_perplexity:.2f} a token after {progress.step:,} steps; talk to it: ", end="")
    print(f"python -m dialogue --checkpoint {out / 'checkpoint'}" + (f" --model {asked['model']}" if asked["model"] else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
