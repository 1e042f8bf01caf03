"""What a ranker is fitted to: conversations from corpora, and readers' judgements of candidates."""
