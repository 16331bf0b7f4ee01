# %% [markdown]
# # Follow masks and points through a video
# Any encoder of images carries labels from frame to frame; here it is one without weights, which
# compares colours, so nothing has to be trained. `ssm.load_encoder` gives one that has learned.

# %%
from pathlib import Path

import numpy as np

import selfsup_motion as ssm
from selfsup_motion.apps.film import film
from selfsup_motion.ops.overlay import draw_masks
from selfsup_motion.ops.palette import palette

# %% [markdown]
# Frames are read one at a time, so they may come from a video of any length: tensors, arrays or PIL
# images.

# %%
clip = ssm.datasets.ToyWorld(split="test").read(1, range(0, 40, 2))
masks = clip.labels["masks"].astype(np.uint8)
encoder = ssm.encoder("lab_color")
propagator = ssm.propagator("color", radius=8)
followed = list(ssm.follow_masks(encoder, propagator, clip.frames, masks[0]))

# %%
with film(Path("followed.mp4"), fps=10) as written:
    for frame, mask in zip(clip.frames, followed, strict=True):
        written.add(draw_masks(frame.transpose(1, 2, 0).copy(), mask, palette()))
score = ssm.ops.region_similarity(followed[-1] > 0, masks[-1] > 0)
print(f"followed.mp4, J of all objects together in the last frame: {score:.2f}")

# %% [markdown]
# Points are followed in the same way, as small dots.

# %%
start = np.array([[float(x.mean()), float(y.mean())] for y, x in [np.nonzero(masks[0])]])
points = list(ssm.follow_points(encoder, propagator, clip.frames, start, sigma=0.5))
print(f"from {points[0][0].round()} to {points[-1][0].round()}")
