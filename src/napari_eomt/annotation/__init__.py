"""From proposals to annotation: what a person has decided is kept. No torch, no napari."""
