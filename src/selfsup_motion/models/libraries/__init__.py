"""Image networks of other libraries as encoders: timm's, Hugging Face transformers', torchvision's.

None of them downloads anything: weights come from a local file, or are random.
"""
