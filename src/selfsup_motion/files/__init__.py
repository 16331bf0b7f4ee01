"""Files and folders: whole writes, tensors, what must be there."""
