"""Training at low precision on torch: the host of one method at one site, layers, graph, and search."""
