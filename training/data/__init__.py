"""Transcripts -> batches: encoded, cut and collated, kept between runs; vocabularies, and what is carried over to a new one."""
