"""Transcripts -> batches: encode, cut, collate and cache them; build and transfer vocabularies."""
