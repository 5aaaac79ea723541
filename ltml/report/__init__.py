"""Tables, pictures and reports from saved results."""
