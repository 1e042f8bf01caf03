"""How rankers and stock replies are fitted, to conversations and to readers' judgements."""
