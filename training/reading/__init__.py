"""Blind reading: people judge which replies make sense in context and are specific to it.

    contexts.py    the contexts to reply to: everyday talk, or turns of a corpus
    sheet.py       the replies of several sources, shuffled, as text and as a page to fill in
    scores.py      what readers found, by source and set of contexts, and how far they agree
    candidates.py  one model's candidates on a sheet, for a ranker to learn from
    judgements.py  readers' judgements of candidates, as a file of the project

The mean of sensible and specific is the SSA of Adiwardana et al. 2020 (arXiv 2001.09977).
"""
