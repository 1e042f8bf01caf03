"""Text in, text out: an HRED dialogue agent. It knows nothing of Alexa, Flask or corpora.

Shape letters, the same in every docstring of this package:
    N conversations   K beam size   R = N * K rows   M utterances in a batch
    T tokens in an utterance   P packed tokens: the real tokens of M utterances, time-major,
    longest utterance first
    V vocabulary   E embedding   U utterance vector   C context (history vector)
    H hidden (decoder)
The rows of a beam (N * K, ...) are the K hypotheses of conversation 0, then those of 1, and so on.
"""
