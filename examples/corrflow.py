# %% [markdown]
# # CorrFlow
# Copying colours from frame to frame (Lai & Xie, BMVC 2019): the encoder learns which pixels of two
# frames are the same. Then it carries an object's mask through a video.

# %%
import numpy as np
import pytorch_lightning as pl

import selfsup_motion as ssm

# %%
method, data = ssm.build("experiment=corrflow", "data.num_workers=0", "data.val_videos=8")
trainer = pl.Trainer(max_steps=30, accelerator="auto", devices=1)
trainer.fit(method, data)
trainer.save_checkpoint("corrflow.ckpt")

# %% [markdown]
# A video of another world, of which the first mask is given. `ssm.propagator("cosine")` suits all
# learned features; "corrflow" has the settings of the paper, for networks that are trained to the
# end.

# %%
clip = ssm.datasets.ToyWorld(size=96, split="test").read(3, range(0, 16, 2))
masks = clip.labels["masks"].astype(np.uint8)
encoder = ssm.load_encoder("corrflow.ckpt")
followed = list(ssm.follow_masks(encoder, ssm.propagator("cosine"), clip.frames, masks[0]))

# %%
objects = range(1, int(masks[0].max()) + 1)
for time in (1, len(masks) - 1):
    scores = [
        ssm.ops.region_similarity(followed[time] == number, masks[time] == number)
        for number in objects
    ]
    print(f"frame {time}: J {np.mean(scores):.2f} of {len(scores)} objects")
