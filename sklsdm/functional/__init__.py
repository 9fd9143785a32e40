"""Pure tensor functions, one per formula, each citing its source."""
