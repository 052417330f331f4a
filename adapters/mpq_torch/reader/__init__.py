"""Reading a torch model into a Graph."""
