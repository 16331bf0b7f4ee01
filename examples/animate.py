# %% [markdown]
# # Animate a picture
# CMP predicts how everything in a picture moves if a few points do; the picture is warped along.
# The network here is trained for a few seconds, so the motion is rough: `experiment=cmp_animate`
# takes minutes. A photo of your own: `selfsup_motion.apps.photo.read_photo("photo.jpg")`.

# %%
from pathlib import Path

import pytorch_lightning as pl

import selfsup_motion as ssm
from selfsup_motion.apps.arrows import arrow_sets
from selfsup_motion.apps.film import film
from selfsup_motion.apps.motion import predict_motion
from selfsup_motion.apps.render import render_frames, schedule
from selfsup_motion.ops.pictures import as_tensor
from selfsup_motion.weights.trained_cmp import load_weights

# %%
method, data = ssm.build("experiment=cmp_animate", "data.num_workers=0", "data.val_videos=2")
trainer = pl.Trainer(max_steps=15, accelerator="auto", devices=1)
trainer.fit(method, data)
trainer.save_checkpoint("animate.ckpt")

# %% [markdown]
# An arrow is x, y and how far the point moves; pins stay.

# %%
photo = as_tensor(ssm.datasets.ToyWorld(size=(160, 240), split="test").read(5, [0]).frames[0])
(arrows,) = arrow_sets([[120, 80, 20, -8]], [[10, 10], [230, 150]], (160, 240))
weights = load_weights("animate.ckpt")
flow = predict_motion(weights, photo, arrows)

# %%
with film(Path("animation.mp4"), fps=24) as written:
    for frame in render_frames(photo, flow, schedule(24, "back", "smooth")):
        written.add(frame)
print(f"animation.mp4, motion up to {flow.norm(dim=0).max():.0f} px")
