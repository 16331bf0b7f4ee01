"""The engine and the read-out against numbers of DINO's, TimeCycle's and dense-ulearn's code."""

import numpy as np
import torch
import torch.nn.functional as F

from selfsup_motion.tasks.propagation.choice import preset
from selfsup_motion.tasks.propagation.label_cells import pixel_labels, reduce_labels
from selfsup_motion.tasks.propagation.propagator import LabelPropagator
from selfsup_motion.tasks.propagation.tracks import with_new


def test_dinos_protocol(golden):
    stored = golden("correspondence/dino_propagation.npz")
    radius, top_k, patch, recent = stored["params"].tolist()
    settings = {"radius": radius, "long_term_radius": radius, "top_k": top_k, "recent": recent}
    propagator = LabelPropagator(**preset("dino") | settings)
    features = torch.from_numpy(stored["feats"]).permute(0, 3, 1, 2)
    cells = tuple(stored["seg0"].shape)
    labels = F.one_hot(torch.from_numpy(stored["seg0"])).permute(2, 0, 1).float()
    propagator.start(features[0], labels)
    size = (cells[0] * patch, cells[1] * patch)
    for time in range(1, len(features)):
        soft = propagator.step(features[time])
        propagator.store(soft)
        np.testing.assert_allclose(soft, stored["soft"][time - 1], rtol=0, atol=1e-5)
        hard = pixel_labels(soft, patch, size, size, pixels=propagator.pixels, stretch=True)
        np.testing.assert_array_equal(hard, stored["hard"][time - 1])
    assert propagator.min_max == "output"


def test_dinos_sizes(golden):
    size = LabelPropagator(**preset("dino")).size
    for height, width, *seen, rows, columns in golden(
        "correspondence/dino_propagation.npz"
    )["sizes_h_w_H_W_segH_segW_p16"].tolist():  # fmt: skip
        assert size.of((height, width)) == tuple(seen)
        assert (seen[0] // 16, seen[1] // 16) == (rows, columns)


def test_timecycles_protocol(golden):
    stored = golden("correspondence/timecycle_propagation.npz")
    context, side, top_k = stored["params"].tolist()  # the first frame is one of the context
    features = F.relu(torch.from_numpy(stored["feats"]))
    colours = [(0, 0, 0), (128, 0, 0), (0, 128, 0)]
    index = torch.zeros(side, side, dtype=torch.int64)
    for label, colour in enumerate(colours):
        index[torch.from_numpy((stored["label0_rgb"] == colour).all(-1))] = label
    propagator = LabelPropagator(
        **preset("timecycle") | {"recent": context - 1, "top_k": top_k, "frame_size": [side] * 2}
    )
    stride = side // features.shape[-1]
    propagator.start(features[0], reduce_labels(index, 3, stride, propagator.label_resize))
    size = (side, side)
    found = [propagator.first_found]
    for frame in features[1:]:
        found.append(propagator.step(frame))
        propagator.store(found[-1])
    for soft, expected in zip(found, stored["hard"], strict=True):
        hard = pixel_labels(soft, stride, size, size, pixels=propagator.pixels)
        np.testing.assert_array_equal(hard, expected)


def test_dense_ulearns_objects_that_appear_later(golden):
    stored = golden("correspondence/dense_ulearn_late_objects.npz")
    recent, radius, temperature, top_k = stored["params"].tolist()
    settings = {"recent": int(recent), "radius": int(radius), "top_k": int(top_k)}
    propagator = LabelPropagator(**preset("dense_ulearn") | settings | {"temperature": temperature})
    features = torch.from_numpy(stored["feats"])
    masks, starts = torch.from_numpy(stored["masks_first_seen"]), stored["tracks_first_frame"]
    size, cells = tuple(masks.shape[1:]), features.shape[2:]

    def new(time):
        index = sum(masks[k].long() * k * int(starts[k] == time) for k in range(1, 4))
        return reduce_labels(index, 4, size[0] // cells[0], propagator.label_resize)

    for time, frame in enumerate(features):
        if time == 0:
            soft = new(0)
            propagator.start(frame, soft)
        else:
            soft = propagator.step(frame)
            starting = [k for k in range(1, 4) if starts[k] == time]
            soft = with_new(soft, new(time)) if starting else soft
            propagator.store(soft, starting)
        large = F.interpolate(soft[None], size, mode="bilinear", align_corners=True)[0]
        np.testing.assert_allclose(large.amax(0), stored["conf"][time], rtol=0, atol=1e-5)
        hard = pixel_labels(soft, size[0] // cells[0], size, size, pixels=propagator.pixels)
        np.testing.assert_array_equal(hard, stored["ids"][time])


def test_dense_ulearns_copies(golden):
    stored = golden("further/labelprop_crw.npz")
    settings = {"recent": int(stored["cxt"]), "radius": int(stored["radius"])}
    settings |= {"temperature": float(stored["temp"]), "top_k": int(stored["topk"])}
    propagator = LabelPropagator(**preset("dense_ulearn") | settings)
    features = torch.from_numpy(stored["feats"])
    propagator.start(features[0], torch.from_numpy(stored["mask0"])[0])
    for time in range(1, len(features)):
        soft = propagator.step(features[time])
        propagator.store(soft)
        np.testing.assert_allclose(soft, stored["pred"][time], rtol=0, atol=2e-5)
