"""The stages, each a short script over the rooms below."""
