"""One writer per format of a table."""
