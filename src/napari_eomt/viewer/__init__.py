"""Between napari's layers and the core. Knows napari, not Qt."""
