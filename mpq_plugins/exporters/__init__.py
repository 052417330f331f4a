"""Files for runtimes, written from a graph on its grids, once for all frameworks."""
