"""Searching for replies: from step functions to hypotheses. Knows no model, no text, no Alexa."""
