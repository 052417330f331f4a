"""Calibration data, and what is measured of a model with it."""
