"""Reports: one run in, one text out; one module per format."""
