"""LiteRT: a graph on its grids as a .tflite file of integer ops, and the check that it gives the same numbers."""
