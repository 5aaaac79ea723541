"""Typed recipes: schema, loading, presets, overrides."""
