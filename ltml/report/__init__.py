"""Tables, figures and reports from saved results."""
