"""run.json: a run's settings, data, code, machine and progress. Only the first process writes it.

It is written when a run starts or resumes and updated at every validation and at the end, each time
atomically.
"""

from __future__ import annotations

import json
import math
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from dialogue.atomic_file import replace_file
from dialogue.checkpoint import Checkpoint
from dialogue.text_files import read_text
from training.run.state import Progress

FILE = "run.json"
LIBRARIES = ("torch", "sentencepiece", "numpy", "safetensors")
ROOT = Path(__file__).parents[2]


def begin(
    out: Path,
    model: Checkpoint,
    *,
    corpora: Mapping[str, str],
    device: torch.device,
    processes: int,
    resume: bool = False,
) -> None:
    """Write down what is fitted, on what data and by what code and machine.

    A resumed run keeps its start time, if it is known. corpora: sha256 of the conversations of each
    split (see transcript.sha256_of).
    """
    now, before = datetime.now(UTC).isoformat(timespec="seconds"), read(out) if resume else {}
    kind, config = type(model.model), model.training["config"]
    _write(
        out,
        {
            "begun": before.get("begun") if resume else now,
            "went_on": [*before.get("went_on", []), now] if resume else [],
            "ended": None,
            "model": f"{kind.__module__}:{kind.__qualname__}",
            "sizes": asdict(model.config),
            "parameters": sum(parameter.numel() for parameter in model.model.parameters()),
            "configuration": config,
            "seeds": {"torch": config["seed"], "random": config["seed"]},
            # Of conversations as read: ids and turns, before cleaning, cutting and encoding.
            "data_sha256": dict(corpora),
            "vocabulary_sha256": model.vocabulary.sha256,
            "versions": versions(),
            "code": commit(),
            "device": str(device),
            "device_name": torch.cuda.get_device_name(device)
            if device.type == "cuda"
            else platform.processor() or platform.machine(),
            "threads": torch.get_num_threads(),
            "ranks": processes,  # the key is that of earlier versions
            **{
                name: before[name]
                for name in ("progress", "seconds", "tokens_per_second")
                if name in before
            },
        },
    )


def bring_up_to_date(out: Path, progress: Progress, *, ended: bool = False) -> None:
    """Write down the progress of a run. ended: it will not continue by itself."""
    _write(
        out,
        read(out)
        | {
            "ended": datetime.now(UTC).isoformat(timespec="seconds") if ended else None,
            "seconds": round(progress.seconds, 3),
            "tokens_per_second": round(progress.tokens / max(progress.seconds, 1e-9), 1),
            "progress": {
                name: value if math.isfinite(value) else None
                for name, value in asdict(progress).items()
            },
        },
    )


def read(out: Path) -> dict[str, Any]:
    """Read a run's manifest; empty if it is missing or broken."""
    try:
        found = json.loads(read_text(out / FILE))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that compute."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def commit(root: Path = ROOT) -> dict[str, Any] | None:
    """Return the commit of the code and whether tracked files differ from it.

    None if the code is not in a git checkout.
    """
    if not (root / ".git").exists():
        return None
    try:
        head, changes = (
            subprocess.run(
                ["git", "-C", root, *words],
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=True,
                timeout=10,
            ).stdout
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": head.strip(), "changed": bool(changes.strip())}


def _write(out: Path, facts: Mapping[str, Any]) -> None:
    text = json.dumps(facts, indent=2, allow_nan=False) + "\n"
    replace_file(out / FILE, lambda path: path.write_text(text, encoding="utf-8"))
