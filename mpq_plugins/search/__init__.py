"""What every adapter's search does with a graph: measure it, try changes on it, round it layer by layer."""
