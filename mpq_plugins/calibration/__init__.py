"""How calibration data is cut, thinned, snapped and summed: the same numbers in every framework."""
