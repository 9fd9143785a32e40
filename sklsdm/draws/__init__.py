"""Draws in bounded memory, and the forecasts and intervals made from them."""
