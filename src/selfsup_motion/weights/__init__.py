"""Reading weights: ours, the authors', torchvision's."""
