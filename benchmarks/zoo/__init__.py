"""The networks of public model zoos, as integers."""
