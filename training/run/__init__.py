"""A run of training.fit: its settings, data and folder, its steps and schedule, its state, and what it shows."""
