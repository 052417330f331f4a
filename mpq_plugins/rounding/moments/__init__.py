"""What rounding knows of a layer: moments of its input, cut, thinned, snapped and summed alike in every framework."""
