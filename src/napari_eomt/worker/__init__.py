"""The process that runs the models, and its client."""
