"""From an array of pixels to segments: preprocessing, tiles, proposals, post-processing."""
