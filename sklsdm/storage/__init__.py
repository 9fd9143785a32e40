"""Files on disk: written whole, the folder of an unfinished fit, memory maps, hashes."""
