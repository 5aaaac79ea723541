"""One dataset per file: a function from the recipe's options to a table of labels, registered by name."""
