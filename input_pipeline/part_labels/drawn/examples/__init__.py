"""The images that the parser learns from: drawn people in other clothes, places and light."""
