"""One head per file: a feature map becomes features and logits.

A head is a module with

- ``features(map)``: ``(B, D0, H, W)`` to ``(B, C, D)`` class-aware or ``(B, D)`` shared features, and
- ``classifier``: a module from those features to logits ``(B, C)``; where it is one linear map per class it has
  ``class_weights()``, the same map as weight vectors and biases, from which stage 2 refits it, and
- optionally, as attributes of the class, ``class_dims``: by name of a tensor its dimensions that are classes, if new
  classes can be appended to a trained head without changing the answers of the old ones; ``text_modes``: the values of
  ``text.mode`` whose word embeddings it reads, kept in a buffer ``words`` of the head or its classifier; ``reads_pairs
  = True`` if it reads the co-occurrence of the training labels.

Its constructor takes the `HeadContext` by position; its keyword-only parameters are the options of a recipe. With
several images per row (both eyes of a patient) `features` sees each alone, and `classifier` takes their features side
by side: ``(B, C, n D)`` or ``(B, n D)``.
"""
