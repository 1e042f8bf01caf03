"""How long a reply takes, beside the bare operations it is made of: python -m dialogue.bench (__main__.py says what it shows).

timing.py    calls, timed in turns, so that a noisy machine is noisy for all alike
floor.py     the bare operations of a reply
replies.py   what is timed: the reference model and a checkpoint, by precision, method, batch and length
memory.py    the most memory that a process with an agent takes
fidelity.py  what a precision changes in what a checkpoint says about real text
"""
