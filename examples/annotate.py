# %% [markdown]
# # Annotate by clicks
# Points on an object are moved and points beside it are held: what goes along in CMP's answer is
# the object. The network comes with the package; `load_weights` also takes a run folder or a
# checkpoint.

# %%
from pathlib import Path

import selfsup_motion as ssm
from selfsup_motion.apps.annotate import object_ids, object_score, overlay
from selfsup_motion.apps.clicks import clicks_of
from selfsup_motion.data.reading.pictures import save_picture
from selfsup_motion.ops.pictures import as_tensor
from selfsup_motion.weights.trained_cmp import load_weights

# %% [markdown]
# One click on the object, two beside it. For several objects, `clicks_of` takes a list of them.

# %%
clip = ssm.datasets.ToyWorld(split="test").read(2, [0])
photo, truth = as_tensor(clip.frames[0]), clip.labels["masks"][0] == 1
y, x = (int(places.mean()) for places in truth.nonzero())
clicks = clicks_of([[x, y]], [[4, 4], [123, 123]], None, truth.shape)

# %%
weights = load_weights("cmp")
score = object_score(weights, photo, clicks, 1, zoom=None, refine="grabcut")
mask = object_ids(score[None], threshold=0.5)
save_picture(Path("annotation.png"), overlay(photo, mask, clicks))
print(f"annotation.png, J {ssm.ops.region_similarity(mask == 1, truth):.2f}")
