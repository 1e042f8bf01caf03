"""A recipe in stages: runs of training.fit one after the other, each from the weights of the one before.

    minutes = 45                 # what stands above is for every stage, unless it says otherwise
    [[stage]]
    name = "broad"               # runs/RECIPE/broad
    data = ["companion", "chitchat"]
    [[stage]]
    name = "companion"
    data = ["companion:4"]

What the command line says goes before all of it. --resume leaves stages that have ended alone; --stage NAME begins with a
later one, from the weights of --start-from.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.run import manifest
from training.run.config import ask, read_recipe

STATE = "state.safetensors"


def wished_for(arguments: Sequence[str]) -> list[dict[str, Any]]:
    """List the runs that a command line asks for, in order: one, or those of a recipe's stages that are still to do.

    Raises ValueError on a recipe that is none, or a stage that it does not have.
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
    start_from = asked["start_from"]
    for name in stages[stages.index(asked["stage"] or stages[0]) :]:
        folder = out / name
        goes_on = asked["resume"] and (folder / STATE).exists()
        run = ask(arguments, stage=name) | {"out": folder, "resume": goes_on}
        run["start_from"] = None if goes_on else start_from
        if goes_on or runs or start_from != asked["start_from"]:
            run["vocabulary"] = None  # the first stage has settled it
        if not (goes_on and manifest.read(folder).get("ended")):
            runs.append(run)
        start_from = folder / "checkpoint"
    return runs


def described(recipe: str) -> list[str]:
    """List the stages of a recipe. Raises ValueError where one has no name of its own."""
    names = [stage.get("name") for stage in read_recipe(recipe).get("stage", [])]
    if len(set(names)) < len(names) or not all(isinstance(name, str) and name for name in names):
        raise ValueError(
            f"the recipe {recipe} has the stages {names}; each needs a name of its own"
        )
    return names
