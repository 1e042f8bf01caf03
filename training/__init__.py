"""Corpora in, checkpoints out. Imports dialogue; nothing imports training."""
