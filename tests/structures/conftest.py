from __future__ import annotations

from hypothesis import settings

# A long search, on request: pytest tests/structures --hypothesis-profile=long
settings.register_profile("long", max_examples=20_000, deadline=None)
