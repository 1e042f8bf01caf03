"""Corpora in, checkpoints out. Imports dialogue; nothing imports training."""

import sys
from importlib.util import find_spec

NEEDED = ("matplotlib", "jinja2", "sacrebleu", "chitchat_dataset")  # of requirements-train.txt

if lacking := [name for name in NEEDED if find_spec(name) is None]:
    message = (
        f"training needs {', '.join(lacking)}, not installed: run make setup-train, "
        "or python -m pip install -r requirements-train.txt"
    )
    if sys.argv[:1] != ["-m"]:
        raise ModuleNotFoundError(message)
    print(f"error: {message}", file=sys.stderr)  # a command is starting: one line, no traceback
    sys.exit(2)
