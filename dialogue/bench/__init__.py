"""Time replies alongside their bare operations: python -m dialogue.bench (see __main__.py).

timing.py    times calls in interleaved rounds, so that a noisy machine affects all of them alike
floor.py     the bare operations of a reply
replies.py   the timed replies: of the reference model and of a checkpoint, by precision, method,
             batch and length
memory.py    the peak memory of a process with an agent
grid.py      batches up to 1,024 by beam and precision, within a time limit, for GPUs
fidelity.py  how a precision changes what a checkpoint says about real text
"""
