"""The dock. Shows state and passes wishes on."""
