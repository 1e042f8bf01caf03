"""A run of training.fit: its settings, data, folder, steps, schedule, state and log."""
