"""python -m training.bench: how fast training steps are, beside a plain loop, the bare operations, and several processes."""
