"""One head per file: a feature map becomes features and logits.

A head is a module with

- ``features(map)``: ``(B, D0, H, W)`` to ``(B, C, D)`` class-aware or ``(B, D)`` shared features, and
- optionally ``class_dims``: by name of a tensor its dimensions that are classes, if new classes can be appended to a
  trained head without changing the answers of the old ones, and
- ``classifier``: a module from those features to logits ``(B, C)``; where it is one linear map per class it has
  ``class_weights()``, the same map as weight vectors and biases, from which stage 2 refits it.

Its constructor takes the `ltml.models.facts.HeadFacts` by position; its keyword-only parameters are the options of a
recipe. With several images per row (both eyes of a patient) `features` sees each alone, and `classifier` takes their
features side by side: ``(B, C, n D)`` or ``(B, n D)``.
"""
