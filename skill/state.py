"""What is remembered on this machine between commands: the login and what was deployed, outside the repository.

Files of mode 600 in a folder of mode 700: XDG_CONFIG_HOME/voice-skill, on Windows in APPDATA.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from dialogue.text_files import read_text

LOGIN, DEPLOYED, TUNNEL = "login.json", "deployed.json", "tunnel.json"


def folder() -> Path:
    """Say where the files are."""
    base = os.environ.get("APPDATA") if os.name == "nt" else os.environ.get("XDG_CONFIG_HOME")
    return Path(base or Path.home() / ".config") / "voice-skill"


def read(name: str) -> dict[str, str]:
    """Read a file; nothing where there is none.

    Raises ValueError where it is broken, or where others may read a login.
    """
    path = folder() / name
    if not path.is_file():
        return {}
    if name == LOGIN and os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise ValueError(f"others may read {path}, which holds a login: chmod 600 {path}")
    try:
        found = json.loads(read_text(path))
    except json.JSONDecodeError:  # its text would quote what stands there
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ValueError(f"{path} is broken: remove it, and log in or deploy again")
    return found


def write(name: str, values: dict[str, str]) -> Path:
    """Write a file as a whole, for its owner alone, and return its path."""
    path = folder() / name
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = path.with_suffix(f".{os.getpid()}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(
        os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
    ) as file:
        json.dump(values, file, indent=2)
    new.replace(path)
    return path
