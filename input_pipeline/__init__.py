"""From datasets on disk to batches of uint8 images and part maps on the host."""
