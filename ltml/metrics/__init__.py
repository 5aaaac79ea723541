"""Masked metrics as pure functions on arrays: per class, by group, and the official ODIR-5K score."""
