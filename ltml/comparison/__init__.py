"""Methods and seeds side by side: the plan of a comparison, the grid of its runs, and the differences tested."""
