"""The page that training.evaluate --report writes, and the plots of pages and comparisons."""
