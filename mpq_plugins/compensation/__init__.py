"""The search for integer codes under a quadratic error: one factor for all candidates, feedback, descent, guard."""
