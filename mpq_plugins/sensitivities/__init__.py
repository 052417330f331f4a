"""Sensitivities: how much worse the model gets when a site has few bits, by several measures under one interface."""
