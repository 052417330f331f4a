"""The engine of the threshold search: bins that fit every power-of-two grid, and errors read off them."""
