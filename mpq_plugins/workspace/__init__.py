"""A user's model under study: loaded, measured, and kept on disk so that the next run goes on from there."""
