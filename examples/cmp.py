# %% [markdown]
# # CMP, put together by hand
# Conditional motion propagation (Zhan et al., CVPR 2019) from its parts, without a config: clips of
# the toy world, guidance points sampled from their flow, a ResNet, a decoder.

# %%
import pytorch_lightning as pl

import selfsup_motion as ssm
from selfsup_motion.models.motion_decoders.point_attention import PointAttentionDecoder

# %% [markdown]
# Clips of two frames. A view makes of each an image, its flow and a few points of it; the one for
# validation cuts at the centre.

# %%
guidance = {"crop_size": 96, "grid_ratio": 1 / 24**2, "nms_size": 17, "max_points": 32}
data = ssm.datasets.ClipDataModule(
    source=ssm.datasets.ToyWorld(10_000, size=96),
    val_source=ssm.datasets.ToyWorld(16, size=96, split="val"),
    sampler=ssm.datasets.RandomClips(length=2, stride=2),
    val_sampler=ssm.datasets.UniformClips(length=2, stride=2),
    view=ssm.methods.CMPView(**guidance, flip=True, few_points=0.1),
    val_view=ssm.methods.CMPView(**guidance, train=False),
    batch_size=4,
)

# %% [markdown]
# Attention over the guidance points learns in minutes; without `propagation`, it would be the
# published decoder. The optimiser is AdamW with a cosine schedule unless you give another.


# %%
def make() -> ssm.methods.CMP:
    return ssm.methods.CMP(
        encoder=ssm.encoder("resnet10", width=16),
        propagation=PointAttentionDecoder,
        motion_code=ssm.ops.FlowBins(num_bins=41, max_flow=20.0),
        epe_weight=4.0,
    )


method = make()
trainer = pl.Trainer(max_steps=40, val_check_interval=20, accelerator="auto", devices=1)
trainer.fit(method, data)
for name in ("val/epe", "val/epe_zero", "val/epe_nearest", "val/epe_edge_aware"):
    print(f"{name:20} {trainer.callback_metrics[name]:.2f} px")

# %% [markdown]
# The checkpoint of a method that was made in Python does not say how: make the same one again.

# %%
trainer.save_checkpoint("cmp_by_hand.ckpt")
loaded = ssm.load_method("cmp_by_hand.ckpt", method=make())
encoder = ssm.load_encoder("cmp_by_hand.ckpt", encoder=ssm.encoder("resnet10", width=16))
print(f"{type(loaded).__name__} with an encoder of stride {encoder.stride}")
