# %% [markdown]
# # Animate a picture
# CMP predicts how everything in a picture moves if a few points do; the picture is warped along.
# The network comes with the package; `load_weights` also takes a run folder or a checkpoint, for
# example of `python -m selfsup_motion.train experiment=cmp_animate`.

# %%
from pathlib import Path

import selfsup_motion as ssm
from selfsup_motion.apps.arrows import arrow_sets
from selfsup_motion.apps.film import film
from selfsup_motion.apps.motion import predict_motion
from selfsup_motion.apps.render import render_frames, schedule
from selfsup_motion.ops.pictures import as_tensor
from selfsup_motion.weights.trained_cmp import load_weights

# %% [markdown]
# A picture of the toy world. A photo of your own: `selfsup_motion.apps.photo.read_photo("a.jpg")`.

# %%
picture = ssm.datasets.ToyWorld(size=(160, 240), split="test").read(5, [0]).frames[0]
photo = as_tensor(picture)
weights = load_weights("cmp")

# %% [markdown]
# An arrow is x, y and how far that point moves; a pin stays where it is.

# %%
(arrows,) = arrow_sets([[120, 80, 20, -8]], [[10, 10], [230, 150]], (160, 240))
flow = predict_motion(weights, photo, arrows, refine="grabcut")

# %% [markdown]
# There and back, a second long.

# %%
with film(Path("animation.mp4"), fps=24) as written:
    for frame in render_frames(photo, flow, schedule(24, "back", "smooth")):
        written.add(frame)
print(f"animation.mp4, motion up to {flow.norm(dim=0).max():.0f} px")
