"""python -m dialogue.generate: continue a prompt token by token, to see what a model has learnt.

There is no search, re-ranking or filtering here; those are the agent's job.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from dialogue import checkpoint
from dialogue.atomic_file import replace_file
from dialogue.checkpoint import Checkpoint
from dialogue.command_line import add_device, add_model, check_writable_file, command
from dialogue.device import choose_device
from dialogue.models import History
from dialogue.models.history import empty_history
from dialogue.vocabulary import CONTINUED, without_marks

BAR_TOKENS = 500  # tokens from which a progress bar is shown


@torch.no_grad()
def generate(
    source: Checkpoint, prompt: str, *, length: int, temperature: float = 1.0, seed: int = 0
) -> str:
    """Return a prompt followed by `length` tokens, each drawn from the model's distribution.

    Lines are turns: a finished line goes into the history, and the next one begins. temperature:
    divides the logits; 0 takes the likeliest token. The same seed gives the same text on every
    device that computes the same probabilities. Raises ValueError if the length is below 1 or the
    temperature is negative or infinite.
    """
    if length < 1:
        raise ValueError(f"--length is {length}; it must be at least 1")
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"--temperature is {temperature}; it must be 0 or above")
    model, vocabulary = source.model, source.vocabulary
    device = next(model.parameters()).device
    random = torch.Generator().manual_seed(seed)
    silent = torch.tensor(vocabulary.never_generated, device=device)

    def taken_in(turn: list[int], history: History) -> History:
        closed = [*turn, vocabulary.eos_id]
        further: History = model.encode_turn(
            torch.tensor([closed], device=device), torch.tensor([len(closed)]), history
        )
        return further

    def read(tokens: list[int], state: Any) -> tuple[Tensor, Any]:
        for token in tokens:
            log_probs, state = model.step(torch.tensor([token], device=device), state)
        return log_probs[0], state

    *before, line = prompt.split("\n")
    lines, turn = before, vocabulary.encode_beginning(line)
    # Decoding may spell the prompt differently; it is shown as written.
    read_as, stays = vocabulary.decode(turn).rstrip(), line.rstrip()
    history = empty_history(model)
    for said in before:
        history = taken_in(vocabulary.encode(said), history)
    log_probs, state = read([vocabulary.bos_id, *turn], model.start(history))
    hidden = None if length >= BAR_TOKENS else True  # a short text needs no bar
    for _ in tqdm(range(length), desc="writing", unit="token", leave=False, disable=hidden):
        log_probs[silent] = -torch.inf
        if not turn:
            log_probs[vocabulary.eos_id] = -torch.inf  # no line is empty
        token = int(_drawn(log_probs, temperature, random))
        if token != vocabulary.eos_id:
            turn.append(token)
            log_probs, state = read([token], state)
            continue
        history = taken_in(turn, history)
        lines.append(stays + vocabulary.decode(turn).removeprefix(read_as))
        turn, read_as, stays = [], "", ""
        log_probs, state = read([vocabulary.bos_id], model.start(history))
    lines.append(stays + vocabulary.decode(turn).removeprefix(read_as))
    return "\n".join(without_marks(line) if CONTINUED in line else line for line in lines)


def _drawn(log_probs: Tensor, temperature: float, random: torch.Generator) -> Tensor:
    """Draw a token from log-probabilities (V,) -> ().

    With Gumbel noise added, the argmax is distributed as the softmax (Maddison et al. 2014).
    """
    if temperature == 0:
        return log_probs.argmax()
    noise = -torch.empty(log_probs.shape).exponential_(generator=random).log()
    return (log_probs / temperature + noise.to(log_probs.device)).argmax()


@command
def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m dialogue.generate", description="Continue a prompt with a model."
    )
    add = parser.add_argument
    add_model(parser)
    add("--prompt", default="", help="the beginning of the text")
    add(
        "--length",
        type=int,
        default=200,
        metavar="N",
        help="tokens to write (default: %(default)s)",
    )
    add(
        "--temperature",
        type=float,
        default=1.0,
        help="below 1: more certain; above 1: more varied; 0: the likeliest (default: %(default)s)",
    )
    add("--seed", type=int, default=0, help="same seed, same text (default: %(default)s)")
    add("--out", type=Path, metavar="FILE", help="write the text to this file (default: print it)")
    add_device(parser)
    options = parser.parse_args(arguments)
    if not 0 <= options.seed < 2**63:
        raise ValueError(f"--seed is {options.seed}; it must be from 0 to {2**63 - 1}")
    if options.out:
        check_writable_file(options.out)
    source = checkpoint.load(
        options.checkpoint, device=choose_device(options.device), model_name=options.model
    )
    text = generate(
        source,
        options.prompt,
        length=options.length,
        temperature=options.temperature,
        seed=options.seed,
    )
    if options.out:
        # A prompt given in another encoding may hold lone surrogates, which UTF-8 cannot encode.
        written = text.encode(errors="replace") + b"\n"
        replace_file(options.out, lambda path: path.write_bytes(written))
    print(f"{options.length:,} tokens written to {options.out}" if options.out else text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
