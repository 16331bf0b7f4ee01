"""CMP as a module that others import: any size, any number of points, any number of frames."""

from functools import partial

import pytest
import torch

from selfsup_motion.methods.cmp import CMP
from selfsup_motion.methods.cmp.propagate import working_size
from selfsup_motion.methods.parts.schedules import cosine
from selfsup_motion.models.motion_decoders.point_attention import PointAttentionDecoder
from selfsup_motion.models.motion_decoders.sparse_image import SparsePropagation
from selfsup_motion.models.resnet import ResNetEncoder
from selfsup_motion.ops.flow import FlowBins
from selfsup_motion.ops.interpolate import nearest_interpolation
from selfsup_motion.ops.tracks import sparse_to_points, trajectory_guidance

FORMS = {
    "points": partial(PointAttentionDecoder, width=8, key_channels=8),
    "plain": partial(SparsePropagation, stride=8),
}


def method(form: str = "points") -> CMP:
    torch.manual_seed(0)
    return CMP(
        encoder=ResNetEncoder(depth=10, out_channels=16, width=8),
        propagation=FORMS[form],
        motion_code=FlowBins(41, 20.0),
        epe_weight=0.0,
        published_init=False,
        use_guidance=True,
        optimizer=torch.optim.SGD,
        schedule=cosine,
    ).eval()


class Nearest(CMP):
    """Stands in for a trained network: every pixel moves as the nearest point."""

    def spread(self, features, points, vectors, point_mask, size):
        return (nearest_interpolation(points, vectors, point_mask, size),)

    def decode(self, scores, size):
        return scores


@pytest.fixture
def nearest() -> CMP:
    made = method()
    made.__class__ = Nearest
    return made


def photo(*size: int) -> torch.Tensor:
    return torch.randint(0, 256, (3, *size), dtype=torch.uint8)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [(64, 64), (75, 133), (1, 1), (3, 200)])
def test_any_size_gives_finite_flow_of_that_size(form, size):
    point = torch.tensor([[0.0, 0.0]])
    flow = method(form).propagate(photo(*size), point, point + 2, short_side=64)
    assert flow.shape == (2, *size)
    assert flow.dtype == torch.float32
    assert flow.isfinite().all()
    assert not flow.requires_grad


@pytest.mark.parametrize("short_side", [None, 64, 96, 200])
def test_vectors_come_back_in_pixels_of_the_image(nearest, short_side):
    points = torch.tensor([[10.0, 70.0], [140.0, 12.0]])
    vectors = torch.tensor([[5.0, -3.0], [-40.0, 8.0]])
    flow = nearest.propagate(photo(90, 150), points, vectors, short_side=short_side)
    for (x, y), vector in zip(points.long().tolist(), vectors, strict=True):
        torch.testing.assert_close(flow[:, y, x], vector)


def test_points_keep_their_place_when_the_image_is_resized(nearest):
    # the border between two points half a pixel off would show at the middle column
    seen = {}

    def spread(features, points, vectors, point_mask, size):
        seen["points"], seen["size"] = points, size
        return (torch.zeros(len(points), 2, *size),)

    nearest.spread = spread
    corner, middle = [-0.5, -0.5], [127.5, 63.5]
    points = torch.tensor([corner, middle])
    nearest.propagate(photo(128, 256), points, torch.zeros(2, 2), short_side=64)
    assert seen["size"] == (64, 128)
    torch.testing.assert_close(seen["points"][0], torch.tensor([corner, [63.5, 31.5]]))


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_is_its_items(form):
    made, images = method(form), torch.stack([photo(64, 72) for _ in range(3)])
    points, vectors = torch.rand(3, 4, 2) * 60, torch.randn(3, 4, 2)
    together = made.propagate(images, points, vectors)
    for item in range(3):
        alone = made.propagate(images[item], points[item], vectors[item])
        torch.testing.assert_close(together[item], alone, atol=1e-3, rtol=1e-3)


def test_lists_of_different_length_are_padded():
    made, images = method(), torch.stack([photo(64, 64) for _ in range(2)])
    points = [torch.rand(3, 2) * 60, torch.rand(1, 2) * 60]
    vectors = [torch.randn(3, 2), torch.randn(1, 2)]
    together = made.propagate(images, points, vectors)
    for item in range(2):
        alone = made.propagate(images[item], points[item], vectors[item])
        torch.testing.assert_close(together[item], alone, atol=1e-3, rtol=1e-3)


def encodings(made):
    """A list that grows by one whenever the encoder is at work."""
    calls = []
    forward_features = made.encoder.forward_features
    made.encoder.forward_features = lambda x: calls.append(1) or forward_features(x)
    return calls


def test_guidance_over_time_encodes_the_image_once():
    made, image = method(), photo(64, 64)
    calls = encodings(made)
    points, vectors = torch.rand(4, 2) * 60, torch.randn(11, 4, 2)
    flows = made.propagate(image, points, vectors)
    assert flows.shape == (11, 2, 64, 64)
    assert len(calls) == 1
    torch.testing.assert_close(
        flows[7], made.propagate(image, points, vectors[7]), atol=1e-3, rtol=1e-3
    )


def test_an_image_that_was_encoded_answers_as_propagate_does():
    made, image = method(), photo(64, 80)
    asked = [(torch.rand(k, 2) * 60, torch.randn(k, 2)) for k in (1, 5)]
    expected = [made.propagate(image, *guidance, short_side=96) for guidance in asked]
    calls = encodings(made)
    encoded = made.encode(image, short_side=96)
    for guidance, flow in zip(asked, expected, strict=True):
        assert torch.equal(encoded.propagate(*guidance), flow)
    assert len(calls) == 1
    with pytest.raises(ValueError, match="lie in the image"):
        encoded.propagate(torch.tensor([[90.0, 1.0]]), torch.zeros(1, 2))


def test_flows_one_by_one_are_those_of_propagate():
    image, points = photo(70, 90), [[10.0, 20.0], [50.0, 40.0]]
    vectors = torch.randn(11, 2, 2)  # more than pass the decoder at once
    encoded = method().encode(image, short_side=64)
    flows = encoded.one_by_one(points, vectors)
    first = next(flows)
    assert torch.is_grad_enabled()
    together = encoded.propagate(points, vectors)
    torch.testing.assert_close(torch.stack([first, *flows]), together, rtol=0, atol=0)


def test_guidance_that_does_not_fit_is_told_before_the_network_is_at_work():
    made = method()
    calls = encodings(made)
    with pytest.raises(ValueError, match="lie in the image"):
        made.propagate(photo(64, 64), torch.tensor([[90.0, 1.0]]), torch.zeros(1, 2))
    assert not calls


def test_a_list_per_frame_may_differ_in_its_points():
    made, image = method(), photo(64, 64)
    points = [torch.rand(k, 2) * 60 for k in (1, 3, 2)]
    vectors = [torch.randn(k, 2) for k in (1, 3, 2)]
    flows = made.propagate(image, points, vectors)
    for frame in range(3):
        alone = made.propagate(image, points[frame], vectors[frame])
        torch.testing.assert_close(flows[frame], alone, atol=1e-3, rtol=1e-3)


def test_batches_over_time_with_points_that_come_and_go():
    made, images = method(), torch.stack([photo(64, 64) for _ in range(2)])
    points, vectors = torch.rand(2, 3, 2) * 60, torch.randn(2, 5, 3, 2)
    used = torch.rand(2, 5, 3) > 0.3
    flows = made.propagate(images, points, vectors, used)
    assert flows.shape == (2, 5, 2, 64, 64)
    kept = used[1, 2]
    alone = made.propagate(images[1], points[1, kept], vectors[1, 2, kept])
    torch.testing.assert_close(flows[1, 2], alone, atol=1e-3, rtol=1e-3)


def test_sparse_images_of_tracks_are_the_points_they_were_made_of():
    made, image = method(), photo(64, 64)
    tracks = torch.cat([torch.tensor([[[5.0, 9.0], [40.0, 30.0]]]), torch.rand(3, 2, 2) * 60])
    sparse, mask = trajectory_guidance(tracks, (64, 64))
    points, vectors, used = sparse_to_points(sparse, mask)
    flows = made.propagate(image, points, vectors, used)
    direct = made.propagate(image, tracks[0], tracks[1:] - tracks[:1])
    torch.testing.assert_close(flows, direct, atol=1e-3, rtol=1e-3)


def test_unused_rows_may_hold_anything():
    made, image = method(), photo(64, 64)
    points = torch.tensor([[5.0, 5.0], [float("nan"), -900.0]])
    vectors = torch.tensor([[3.0, 0.0], [float("inf"), 0.0]])
    flow = made.propagate(image, points, vectors, torch.tensor([True, False]))
    torch.testing.assert_close(flow, made.propagate(image, points[:1], vectors[:1]))


@pytest.mark.parametrize("form", FORMS)
def test_no_points_give_the_guess_of_the_network(form):
    nothing = torch.zeros(0, 2)
    flow = method(form).propagate(photo(64, 64), nothing, nothing)
    assert flow.shape == (2, 64, 64)
    assert flow.isfinite().all()


def test_gradients_reach_vectors_image_and_weights_if_asked_for():
    made = method()
    image = torch.rand(3, 64, 64, requires_grad=True)
    vectors = torch.tensor([[3.0, 1.0]], requires_grad=True)
    # the head starts at zero and passes no gradient to what it reads
    torch.nn.init.normal_(made.propagation.head[-1].weight, std=0.1)
    flow = made.propagate(image, torch.tensor([[9.0, 9.0]]), vectors, differentiable=True)
    flow.sum().backward()
    assert vectors.grad.abs().sum() > 0
    assert image.grad.abs().sum() > 0
    assert made.encoder.conv1.weight.grad.abs().sum() > 0


def test_bytes_and_floats_are_the_same_image():
    made, image = method(), photo(64, 64)
    point = torch.tensor([[9.0, 9.0]])
    torch.testing.assert_close(
        made.propagate(image, point, point), made.propagate(image / 255, point, point)
    )


@pytest.mark.parametrize("form", FORMS)
def test_half_precision_stays_close(form):
    made, image = method(form), photo(64, 64)
    points, vectors = torch.rand(6, 2) * 60, torch.randn(6, 2) * 4
    full = made.propagate(image, points, vectors)
    half = made.propagate(image, points, vectors, dtype=torch.bfloat16)
    assert half.dtype == torch.float32
    assert (half - full).norm(dim=0).mean() < 0.05 * vectors.norm(dim=1).mean()


@pytest.mark.parametrize(
    ("image", "points", "vectors", "told"),
    [
        (torch.zeros(3, 8, 8), torch.tensor([[8.0, 1.0]]), torch.zeros(1, 2), "lie in the image"),
        (torch.zeros(3, 8, 8), torch.full((1, 2), float("nan")), torch.zeros(1, 2), "be finite"),
        (torch.zeros(3, 8, 8), torch.zeros(2, 2), torch.zeros(1, 2), r"got \(2, 2\), \(1, 2\)"),
        (torch.zeros(3, 8, 8), torch.zeros(2), torch.zeros(2), r"must be \(K, 2\) or \(T, K, 2\)"),
        (torch.zeros(2, 3, 8, 8), torch.zeros(3, 1, 2), torch.zeros(3, 1, 2), "for 2"),
        (torch.zeros(1, 8, 8), torch.zeros(1, 2), torch.zeros(1, 2), r"image must be \(3, H, W\)"),
        (torch.full((3, 8, 8), 9.0), torch.zeros(1, 2), torch.zeros(1, 2), r"in \[0, 1\], got"),
        (torch.zeros(3, 8, 8).int(), torch.zeros(1, 2), torch.zeros(1, 2), "must be uint8, or"),
    ],
)
def test_what_does_not_fit_is_told(image, points, vectors, told):
    with pytest.raises(ValueError, match=told):
        method().propagate(image, points, vectors)


def test_a_network_in_training_mode_is_not_asked_unless_gradients_are_wanted():
    made, point = method().train(), torch.ones(1, 2)
    with pytest.raises(ValueError, match=r"training mode.*call method\.eval\(\)"):
        made.propagate(photo(64, 64), point, point)
    assert made.propagate(photo(64, 64), point, point, differentiable=True).requires_grad


def test_working_sizes_fit_the_network():
    assert working_size((480, 640), 128, 8) == (128, 168)
    assert working_size((480, 640), None, 8) == (480, 640)
    assert working_size((1, 1), 128, 8) == (128, 128)
    assert working_size((10, 4000), 64, 8) == (64, 256)
    assert working_size((5, 5), None, 32) == (256, 256)


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("dtype", [None, torch.float16, torch.bfloat16])
def test_cuda_agrees_with_the_cpu(dtype):
    made, image = method(), photo(96, 128)
    points, vectors = torch.rand(6, 2) * 90, torch.randn(6, 2) * 4
    here = made.propagate(image, points, vectors)
    there = made.cuda().propagate(image.cuda(), points, vectors, dtype=dtype).cpu()
    assert (here - there).norm(dim=0).mean() < 0.1


@pytest.mark.parametrize("kind", ["array", "pil", "float"])
def test_any_kind_of_picture_and_of_points_gives_the_same_flow(kind):
    from PIL import Image

    made, tensor = method(), photo(64, 96)
    points, vectors = torch.tensor([[10.0, 20.0]]), torch.tensor([[3.0, -1.0]])
    wanted = made.propagate(tensor, points, vectors)
    array = tensor.permute(1, 2, 0).numpy()
    image = {"array": array, "pil": Image.fromarray(array), "float": tensor.float() / 255}[kind]
    torch.testing.assert_close(made.propagate(image, points.numpy(), vectors.tolist()), wanted)
    several = made.propagate([image, image], [[[10, 20]], [[10, 20], [5, 5]]],
                             [vectors, torch.tensor([[3.0, -1.0], [0.0, 0.0]])])  # fmt: skip
    torch.testing.assert_close(several[0], wanted, atol=1e-4, rtol=1e-4)
    empty = made.propagate(image, [], [])
    torch.testing.assert_close(empty, made.propagate(tensor, points[:0], vectors[:0]))
