"""What the tab Inspect asks for about videos: where a network of clips finds motion."""

from __future__ import annotations

from typing import Any

import numpy as np

from selfsup_motion.apps.activation import clip_answer, clip_spans, heat_frames
from selfsup_motion.apps.film import film
from selfsup_motion.data.reading.decoding import VideoFile
from selfsup_motion.ops.motion_pictures import captioned
from selfsup_motion.web import fields
from selfsup_motion.web.calls import Answer, Call, Events, answer, stream, upload
from selfsup_motion.web.follow_video import add_example
from selfsup_motion.web.models import computing
from selfsup_motion.web.pictures import data_url
from selfsup_motion.web.sessions import Stored
from selfsup_motion.web.videos import add_video

PART = "inspect.motion"
_USUAL_FPS = 25.0
_PICTURE_SIDE = 256
"""Shorter side of the film."""
_MOST_STRIDE = 16
_TOLD_EVERY = 8


def take_video(call: Call) -> Answer:
    """A video that is uploaded; it takes the place of the one before."""
    assert call.draft is not None
    return _only(call, add_video(call.session, call.draft, call.name, call.studio.limits, "clip"))


def example(call: Call) -> Answer:
    """A video that the package makes, likewise."""
    return _only(call, add_example(call.session, call.studio.limits, "clip"))


def motions(call: Call) -> Answer:
    """The motions that a network tells apart: `?model=…`."""
    network, _ = call.studio.models.mosi(call.query.get("model", ""), PART).value
    return {"motions": list(network.answer_names)}


def evidence(call: Call) -> Events:
    """What the network says about each clip as it comes, then a film of where it sees it."""
    stored = call.session.file(call.body.get("video"), "clip")
    stride = fields.whole(call.body, "stride", 1, _MOST_STRIDE, 1)
    model = call.studio.models.mosi(fields.text(call.body, "model"), PART)
    network, side = model.value
    motion = fields.choice(call.body, "motion", ("", *network.answer_names), "")
    wanted = network.answer_names.index(motion) if motion else None
    file = VideoFile(stored.path, stored.name)
    path = call.session.new_path(".mp4")
    try:
        count, seconds = len(file.table.pts), file.table.seconds
        spans = clip_spans(count, network.motion.length * stride)
        answers = []
        for number, span in enumerate(spans, 1):
            with computing(model):
                answers.append(clip_answer(network, file, span, stride, side, wanted))
            told: dict[str, Any] = {
                "second": round(float(seconds[span[0]]), 2),
                "motion": answers[-1].motion,
                "probability": round(answers[-1].probability, 4),
            }
            yield {"progress": [number, 2 * len(spans)], "clip": told}
        done = 0
        with film(path, file.table.fps or _USUAL_FPS) as out:
            for done, _, shown, text in heat_frames(file, answers, _PICTURE_SIDE):
                out.add(captioned(shown, [text]))
                if done % max(_TOLD_EVERY, count // 8) == 0:
                    yield {
                        "progress": [count + done, 2 * count],
                        "picture": data_url(np.ascontiguousarray(shown)),
                    }
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        file.close()
    for old in call.session.files("evidence"):
        call.session.remove(old.id)
    yield {"film": call.session.add(path, "motion.mp4", "evidence", "video/mp4").id}


ROUTES = [
    upload("/video", take_video),
    answer("POST", "/example-video", example),
    answer("GET", "/motions", motions),
    stream("/evidence", evidence),
]


def _only(call: Call, video: Stored) -> Answer:
    for old in call.session.files("clip"):
        if old.id != video.id:
            call.session.remove(old.id)
    return video.as_json()
