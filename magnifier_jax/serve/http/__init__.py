"""The search service over HTTP: routes, failures, and who may ask."""
