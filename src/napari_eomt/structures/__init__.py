"""Values that every part shares: categories, id maps, segments, tiles, axes. numpy only."""
