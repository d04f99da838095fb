"""From datasets on disk to batches of uint8 pictures and part maps on the host."""
