"""How well a model predicts, answers and ranks, measured on held-out conversations.

Each module lists its figures and their meanings beside the code that computes them. Shares are
fractions from 0 to 1.
"""
