"""Terms of the training objective, registered by name and summed with their weights."""
