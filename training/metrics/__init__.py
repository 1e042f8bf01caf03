"""What is measured of a model on held-out conversations: how well it predicts, answers and ranks.

Each module lists its figures with their meanings beside the code that computes them; shares are fractions from 0 to 1.
"""
