"""Text in, text out: an HRED dialogue agent. Knows no Alexa, no Flask, no corpus.

Shape letters, the same in every docstring of this package:
    N conversations   K beam size   R = N * K rows   T tokens of an utterance   M utterances of a batch
    V vocabulary      E embedding   U utterance vector   C context (history vector)   H hidden (decoder)
    P packed tokens: the real tokens of M utterances, time-major, longest utterance first
Rows of a beam (N * K, ...) are the K hypotheses of conversation 0, then those of conversation 1, and so on.
"""
