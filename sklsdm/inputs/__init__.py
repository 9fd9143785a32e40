"""What users hand in, as numbers: conditions and responses, their formats and units."""
