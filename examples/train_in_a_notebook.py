# %% [markdown]
# # Train in a notebook
# A method and its data from a recipe, a plain `pl.Trainer`, and the result in use. It runs offline,
# on the built-in toy world, in half a minute on a CPU.

# %%
import pytorch_lightning as pl

import selfsup_motion as ssm

# %% [markdown]
# `ssm.build` takes the settings of the command line, except those of the trainer: that is yours.

# %%
method, data = ssm.build("experiment=cmp", "data.num_workers=0")
trainer = pl.Trainer(max_steps=20, accelerator="auto", devices=1)
trainer.fit(method, data)
trainer.save_checkpoint("cmp.ckpt")

# %% [markdown]
# The checkpoint holds the config, so it is enough by itself. The network is asked how everything in
# a picture moves if one point moves by (6, -2) pixels and another stays.

# %%
loaded = ssm.load_method("cmp.ckpt")
frame = ssm.datasets.ToyWorld(split="test").read(0, [0]).frames[0]
flow = loaded.propagate(frame, points=[[40, 60], [90, 50]], vectors=[[6, -2], [0, 0]])
ssm.ops.write_flow("motion.flo", flow.cpu().numpy())

# %%
encoder = ssm.load_encoder("cmp.ckpt")
print(f"flow {tuple(flow.shape)}, features of {encoder.out_channels} channels")
