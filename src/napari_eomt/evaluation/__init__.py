"""How good a segmentation is: measured against what people have drawn."""
