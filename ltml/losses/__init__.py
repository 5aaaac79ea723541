"""One loss per file: a pure function and a small module over it, found by name.

Every loss takes ``logits (B, C)``, ``targets (B, C)`` and an optional boolean ``known (B, C)``, honours the mask,
computes in float32 at least, and refuses NaN targets (`ltml.testing.check_loss`). What it needs of the training labels
stands before the ``*`` of its constructor (`ltml.losses.counts`).
"""
