"""What a ranker is fitted to: exchanges of corpora, and readers' judgements of candidates."""
