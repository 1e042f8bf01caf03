"""Recipes in stages: consecutive runs of training.fit, each from the weights of the one before.

    minutes = 45                 # applies to every stage that does not override it
    [[stage]]
    name = "broad"               # runs/RECIPE/broad
    data = ["companion", "chitchat"]
    [[stage]]
    name = "companion"
    data = ["companion:4"]

A stage with `teaches = true` fits a teacher: the stages after it do not start from its weights, but
learn from it, as with --teacher.

The command line overrides all these settings. --resume skips stages that have ended; --stage NAME
starts with a later one, from the weights of --start-from.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dialogue import checkpoint
from training.run import manifest
from training.run.config import ask, read_recipe

STATE = "state.safetensors"


def wished_for(arguments: Sequence[str]) -> list[dict[str, Any]]:
    """List the runs that a command line asks for: one, or the remaining stages of a recipe.

    Raises ValueError on an invalid recipe or an unknown stage.
    """
    asked = ask(arguments)
    stages = described(asked["recipe"]) if asked["recipe"] else []
    if asked["stage"] not in (None, *stages):
        known = f"it has {', '.join(stages)}" if stages else "a recipe with stages has them"
        raise ValueError(f"--stage {asked['stage']}: there is no such stage; {known}")
    if not stages:
        return [asked]
    out = asked["out"] or Path("runs") / Path(asked["recipe"]).stem
    runs: list[dict[str, Any]] = []
    start_from, teacher = asked["start_from"], asked.get("teacher")
    written = read_recipe(asked["recipe"])["stage"]
    teaching = [stage["name"] for stage in written if stage.get("teaches")]
    for name in stages[stages.index(asked["stage"] or stages[0]) :]:
        folder = out / name
        # A stage that has saved a state is resumed; one that has not starts from the stage before.
        goes_on = asked["resume"] and (folder / STATE).exists()
        run = ask(arguments, stage=name) | {"out": folder, "resume": goes_on}
        run["start_from"] = None if goes_on else start_from
        if teacher is not None and name not in teaching:
            run["teacher"] = str(teacher)
        if goes_on or start_from != asked["start_from"]:
            run["vocabulary"] = None  # a later stage keeps the first one's
        elif teacher is not None and teacher != asked.get("teacher"):
            run["vocabulary"] = teacher / checkpoint.VOCABULARY
        if not (goes_on and manifest.read(folder).get("ended")):
            runs.append(run)
        if name in teaching:
            teacher = folder / "checkpoint"
        else:
            start_from = folder / "checkpoint"
    return runs


def described(recipe: str) -> list[str]:
    """List the stages of a recipe. Raises ValueError if their names are missing or not unique."""
    names = [stage.get("name") for stage in read_recipe(recipe).get("stage", [])]
    if len(set(names)) < len(names) or not all(isinstance(name, str) and name for name in names):
        raise ValueError(
            f"the recipe {recipe} has the stages {names}; each needs a name of its own"
        )
    return names
