"""One stage-2 method per file, registered by name and chosen by ``stage2.method``.

A method is a subclass of `ltml.rebalancing.method.Rebalancing` that says what it moves and either draws samples for the
classifier (`sampler`), changes the classifier by a formula (`adjust`), or trains everything on real images
(`image_loss`). Its keyword-only constructor parameters are its options in a recipe (``stage2.smote.neighbors=7``).
`ltml.testing.check_rebalancing` checks what every method must keep.
"""
