"""One head per file, registered by name: it turns a feature map into features and logits.

A head has

- ``features(map)``: ``(B, D0, H, W)`` to ``(B, C, D)`` class-aware or ``(B, D)`` shared features, and
- ``classifier``: a module from those features to logits ``(B, C)``; where it is one linear map per class it has
  ``class_weights()``, the same map as weight vectors and biases, from which stage 2 refits it,
- optionally the attributes ``class_dims``, ``text_modes`` and ``reads_pairs``, see `ltml.models.heads.head.Head`.

Its constructor takes the `HeadContext` by position; its keyword-only parameters are the options of a recipe. With
several images per row (both eyes of a patient) `features` gets one image at a time, and `classifier` gets their
features side by side: ``(B, C, n D)`` or ``(B, n D)``.
"""
