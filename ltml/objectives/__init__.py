"""Terms of the training objective, found by name and summed with their weights."""
