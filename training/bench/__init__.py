"""python -m training.bench: the speed of training steps, compared with three baselines.

They are a plain loop, the bare operations, and several processes.
"""
