# %% [markdown]
# # Judge an encoder by frozen features
# Features of clips, a nearest neighbour and a linear probe, on the toy world's actions; beside them
# what an encoder scores that has learned nothing. Thirty steps of training make no difference yet;
# take a run of `experiment=mosi` instead. On real data:
# `python -m selfsup_motion.evaluate task=ucf101 …`.

# %%
import pytorch_lightning as pl
import torch

import selfsup_motion as ssm
from selfsup_motion.tasks.actions.videos import ToyActions
from selfsup_motion.tasks.features.clip_encoder import ClipFeatures
from selfsup_motion.tasks.features.scores import LinearProbe, neighbours, top_k

# %%
method, data = ssm.build("experiment=mosi", "data.num_workers=0", "data.val_videos=4")
trainer = pl.Trainer(max_steps=30, accelerator="auto", devices=1)
trainer.fit(method, data)
trainer.save_checkpoint("mosi.ckpt")

# %% [markdown]
# Forty videos to learn from and forty to be judged by, a clip of eight frames of each.


# %%
def clips(split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, 8, 3, 64, 64) uint8 and (N,) which action."""
    videos = ToyActions(ssm.datasets.ToyWorld(40, size=64, split=split))
    frames = [videos.read(number, range(20, 28)).frames for number in range(len(videos))]
    return torch.stack([torch.from_numpy(f) for f in frames]), torch.from_numpy(videos.labels)


(train, train_labels), (test, labels) = clips("train"), clips("test")

# %%
classes = int(train_labels.max()) + 1
encoders = {"untrained": ssm.encoder("r3d8"), "MoSI": ssm.load_encoder("mosi.ckpt")}
for name, encoder in encoders.items():
    features = ClipFeatures(encoder)
    known, asked = features(train), features(test)
    nearest, _ = neighbours(asked, known, 1)
    right = (train_labels[nearest[:, 0]] == labels).float().mean()
    probe = LinearProbe(known, train_labels, classes, penalty=1e-2, steps=100)
    probed = top_k(probe.probabilities(asked), labels, 1)
    print(f"{name:10} nearest neighbour {right:.0%}, linear probe {probed:.0%}")
