"""A user's model under study: what was measured of it, kept on disk so that the next run goes on from there."""
