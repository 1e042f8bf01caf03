"""The page that training.evaluate --report writes, and plots for pages and run comparisons."""
