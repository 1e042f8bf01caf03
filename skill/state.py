"""State kept on this machine between commands, outside the repository: the login, the deployment.

The files have mode 600 and their folder has mode 700. It is XDG_CONFIG_HOME/voice-skill, or on
Windows APPDATA/voice-skill.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from dialogue.text_files import read_text

LOGIN, DEPLOYED, TUNNEL = "login.json", "deployed.json", "tunnel.json"


def folder() -> Path:
    """Return the folder of the files."""
    base = os.environ.get("APPDATA") if os.name == "nt" else os.environ.get("XDG_CONFIG_HOME")
    return Path(base or Path.home() / ".config") / "voice-skill"


def read(name: str) -> dict[str, str]:
    """Return a file's values, or {} if there is no such file.

    Raises ValueError if the file is broken, or if other users may read a login.
    """
    path = folder() / name
    if not path.is_file():
        return {}
    if name == LOGIN and os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise ValueError(f"others may read {path}, which holds a login; run chmod 600 {path}")
    try:
        found = json.loads(read_text(path))
    except json.JSONDecodeError:  # not passed on: its message would quote the file
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ValueError(f"{path} is broken: remove it, and log in or deploy again")
    return found


def write(name: str, values: dict[str, str]) -> Path:
    """Write a file atomically, readable by its owner only, and return its path."""
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
