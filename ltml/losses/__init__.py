"""One loss per file, registered by name and created by ``ltml.create_loss``.

A loss without state is one function; `ltml.losses.function.FunctionLoss` makes it a module. A loss that depends on the
training labels is a module: its class counts stand before the ``*`` of its constructor (`ltml.losses.counts`).

Every loss is called as ``loss(logits, targets, known=None)``:

- ``logits``: floating ``(B, C)``; any shape where entries are independent and the reduction is ``none``.
- ``targets``: ``(B, C)`` in [0, 1], soft targets allowed unless the loss says otherwise.
- ``known``: boolean ``(B, C)``; unknown entries contribute exactly 0. None means that all entries are known.

Its keyword-only parameters are its options in a recipe (``loss.asl.gamma_neg=4``). ``reduction`` is ``mean`` over known
entries, ``sum``, or ``none`` for ``(B, C)`` with 0 where unknown. The result is a scalar or ``(B, C)``, in float32 at
least. `ltml.testing.check_loss` checks all of this.
"""
