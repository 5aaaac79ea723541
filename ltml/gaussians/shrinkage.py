"""Compute the shrinkage of a covariance towards a multiple of the identity in closed form.

``S`` is the biased covariance (divided by n) of ``n`` samples in ``D`` dimensions; the shrunk covariance is
``(1 − s) S + s (tr S / D) I``. Only traces enter, so the n × n Gram matrix can replace the D × D covariance.
"""

from __future__ import annotations


def ledoit_wolf(count: int, width: int, trace: float, square: float, fourth: float) -> float:
    """Return the shrinkage of Ledoit & Wolf (J. Multivariate Analysis, 2004, lemma 3.3).

    Args:
        count: n.
        width: D.
        trace: ``tr S``.
        square: ``‖S‖²`` (Frobenius).
        fourth: ``Σ ‖x − mean‖⁴`` over the samples.

    Returns:
        The shrinkage s in [0, 1]; 0 if nothing can be shrunk (one dimension, or all samples equal).
    """
    distance = square - trace**2 / width
    noise = (fourth / count - square) / count
    if width == 1 or distance <= 0 or noise <= 0:
        return 0.0
    return min(noise / distance, 1.0)


def oas(count: int, width: int, trace: float, square: float) -> float:
    """Return the oracle approximating shrinkage (Chen et al., IEEE Trans. Signal Processing, 2010, eq. 23).

    The paper's numerator contains ``(1 − 2/D) ‖S‖²``; like scikit-learn, this omits the small term ``2/D``.

    Args:
        count: n.
        width: D.
        trace: ``tr S``.
        square: ``‖S‖²`` (Frobenius).

    Returns:
        The shrinkage s in [0, 1]; 0 in one dimension.
    """
    distance = (count + 1) * (square - trace**2 / width)
    if width == 1:
        return 0.0
    return 1.0 if distance <= 0 else min((square + trace**2) / distance, 1.0)
