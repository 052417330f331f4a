"""Property tests draw the same examples in every run; ``make explore`` draws new ones."""

import os

from hypothesis import settings

settings.register_profile("fixed", derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))
