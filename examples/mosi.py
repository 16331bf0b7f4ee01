# %% [markdown]
# # MoSI
# Motion from static images (Huang et al., CVPR 2021), put together by hand: windows that slide over
# a still image are clips with known motion, and an encoder of clips learns to name it.

# %%
import pytorch_lightning as pl

import selfsup_motion as ssm

# %% [markdown]
# Nine motions: two speeds left, right, up and down, and none. A rectangle moves, the rest is still.
# Forty steps are not enough to learn them; `experiment=mosi` takes 600 and names 99 % right.

# %%
motion = ssm.ops.PseudoMotion(length=8, size=48, mask_size=(0.3, 1.0))
data = ssm.datasets.ClipDataModule(
    source=ssm.datasets.ToyWorld(10_000, num_frames=1),
    val_source=ssm.datasets.ToyWorld(8, num_frames=1, split="val"),
    sampler=ssm.datasets.RandomClips(length=1),
    val_sampler=ssm.datasets.UniformClips(length=1),
    view=ssm.methods.MoSIView(motion=motion, field=96),
    val_view=ssm.methods.MoSIView(motion=motion, field=96, color="none", train=False),
    batch_size=3,
)
method = ssm.methods.MoSI(encoder=ssm.encoder("r3d8"), motion=motion, dropout=0.2)

# %%
trainer = pl.Trainer(max_steps=40, val_check_interval=40, accelerator="auto", devices=1)
trainer.fit(method, data)
print(f"{trainer.callback_metrics['val/accuracy']:.0%} named right, chance is {1 / 9:.0%}")

# %% [markdown]
# A clip of a real video goes in as frames; the answer is a probability of each motion.

# %%
frames = ssm.datasets.ToyWorld(split="test", size=48).read(0, range(8)).frames
clips = method.normalised(method.confusion.confmat.new_tensor(frames[None]))
scores = method.eval().answer_scores(method(clips))[0].exp()
for name, score in zip(method.answer_names, scores.tolist(), strict=True):
    print(f"{name:10} {score:.2f}")
