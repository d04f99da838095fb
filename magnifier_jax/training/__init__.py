"""Training: from a configuration to a work directory."""
