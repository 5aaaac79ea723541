"""Tables from saved results."""
