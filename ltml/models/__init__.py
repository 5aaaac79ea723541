"""Backbones, heads and text encoders; a model turns images into class features and logits."""
