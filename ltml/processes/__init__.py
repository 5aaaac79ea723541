"""Processes of one machine or of torchrun, and the bars they draw."""
