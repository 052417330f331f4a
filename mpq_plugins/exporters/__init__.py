"""Files of other formats, written from a graph on its grids once for every framework."""
