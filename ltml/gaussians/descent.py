"""Newton's method and L-BFGS with a line search that is reliable down to rounding errors."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from torch import Tensor

from ltml.gaussians.expected_objective import Objective, Point

MAX_PAIRS = 20
"""Number of difference pairs that L-BFGS keeps."""
SUFFICIENT_DECREASE, CURVATURE = 1e-4, 0.9
"""Constants c₁ and c₂ of the weak Wolfe conditions."""
MAX_LINE_ITERATIONS = 60
"""Maximum number of evaluations in a line search."""


def descend(objective: Objective, point: Point, tolerance: float, max_iterations: int) -> tuple[Point, int, bool]:
    """Minimise an objective by Newton's method if it has matrices and no other loss, else by L-BFGS.

    Returns:
        The last point, the number of iterations and whether the gradient fell below the tolerance.
    """
    newton = objective.loss is None and objective.matrices is not None
    history: deque[tuple[Tensor, Tensor]] = deque(maxlen=0 if newton else MAX_PAIRS)
    limit, bias_limit = (tolerance * size for size in objective.sizes())
    gradient = objective.evaluate(point)[1]
    iteration = 0
    while not (gradient[:-1].norm() <= limit and gradient[-1].abs() <= bias_limit):
        if iteration == max_iterations:
            return point, iteration, False
        if not history:
            solve = objective.inverse_hessian(point)
        step = -_two_loop(gradient, history, solve)
        direction = objective.point(step[:-1], step[-1])
        length = _line_search(objective.along(point, direction))
        if length is None:
            return point, iteration, False
        point, previous = point.moved(direction, length), gradient
        gradient = objective.evaluate(point)[1]
        history.append((length * step, gradient - previous))
        iteration += 1
    return point, iteration, True


def _two_loop(gradient: Tensor, history: deque[tuple[Tensor, Tensor]], solve: Callable[[Tensor], Tensor]) -> Tensor:
    """Multiply the gradient by L-BFGS's approximate inverse Hessian (Nocedal & Wright, algorithm 7.4)."""
    result, along = gradient, []
    for step, change in reversed(history):
        along.append((step @ result) / (step @ change))
        result = result - along[-1] * change
    result = solve(result)
    if history:
        step, change = history[-1]
        result = result * ((step @ change) / (change @ solve(change)))
    for step, change in history:
        result = result + (along.pop() - (change @ result) / (step @ change)) * step
    return result


def _line_search(curve: Callable[[float], tuple[float, float]]) -> float | None:
    """Find a step length that meets the weak Wolfe conditions by bisection; None if rounding errors leave none.

    Near the minimum, values differ by less than their rounding errors, so the slope decides (Hager & Zhang, SIAM J.
    Optimization, 2005, eq. 4.1).
    """
    start, slope_start = curve(0.0)
    low, high, length = 0.0, math.inf, 1.0
    for _ in range(MAX_LINE_ITERATIONS):
        value, slope = curve(length)
        lower = value <= start + SUFFICIENT_DECREASE * length * slope_start
        level = value <= start + 1e-10 * abs(start) and slope <= (2 * SUFFICIENT_DECREASE - 1) * slope_start
        if not (lower or level):
            high = length
        elif slope < CURVATURE * slope_start:
            low = length
        else:
            return length
        length = 2 * low if math.isinf(high) else (low + high) / 2
    return None
