"""Tables of what is neither a run nor a comparison."""
