"""Reading and writing what other programs know: COCO, with nothing lost. No torch, Qt, napari."""
