"""The models: what is there (without torch), loading them, and their one face, `Segmenter`."""
