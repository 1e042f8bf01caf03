"""How a ranker is fitted: to conversations from corpora, and to readers' judgements."""
