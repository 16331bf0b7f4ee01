"""CMP behind the call of the private copies in video generators."""

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup_motion.apps.cmp_demo import CMPDemo
from selfsup_motion.errors import UserError
from selfsup_motion.models.motion_decoders.layers import GuidanceEncoder, SkipDecoder
from selfsup_motion.models.resnet import ResNetEncoder
from selfsup_motion.ops.flow import FlowBins

CONFIG = "model:\n    module:\n        nbins: 11\n        fmax: 20\n"


class TheirNetwork(torch.nn.Module):
    """The demo network, slim, with the names of the authors' code."""

    def __init__(self) -> None:
        super().__init__()
        self.image_encoder = ResNetEncoder(10, out_channels=16, width=8)
        self.flow_encoder = GuidanceEncoder()
        self.flow_decoder = SkipDecoder(32, 8, 8, 22)

    def run(self, image: Tensor, sparse: Tensor, mask: Tensor) -> Tensor:
        """What the private copies do."""
        features = self.image_encoder.forward_features(image * 2 - 1)
        guidance = self.flow_encoder(torch.cat([sparse, mask], 1))
        joined = torch.cat([features["output"], guidance], 1)
        scores = self.flow_decoder(joined, features["layer1"], features["stem"])
        flow = FlowBins(11, 20.0).decode(scores)
        return F.interpolate(flow, image.shape[2:], mode="bilinear", align_corners=True)


@pytest.fixture(scope="module")
def theirs() -> TheirNetwork:
    torch.manual_seed(0)
    made = TheirNetwork().requires_grad_(False).train()
    torch.nn.init.normal_(made.flow_decoder.head.weight, std=0.1)
    for norm in made.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.momentum = None
    made.run(*inputs(4))  # statistics that let the signal through
    return made.eval()


@pytest.fixture(scope="module")
def config(theirs: TheirNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experiment")
    (folder / "checkpoints").mkdir()
    weights = {f"module.{name}": value for name, value in theirs.state_dict().items()}
    torch.save({"state_dict": weights}, folder / "checkpoints" / "ckpt_iter_7.pth.tar")
    (folder / "config.yaml").write_text(CONFIG)
    return folder / "config.yaml"


@pytest.fixture(scope="module")
def loaded(config: Path) -> CMPDemo:
    return CMPDemo(config, 7)


@pytest.fixture
def demo(loaded: CMPDemo) -> CMPDemo:
    """Not to be changed."""
    return loaded.to("cpu")  # which forgets the image


@pytest.fixture
def own_demo(loaded: CMPDemo) -> CMPDemo:
    return copy.deepcopy(loaded)


@pytest.fixture
def encodings(monkeypatch):
    """`encodings(demo)`: a list that grows by one whenever the encoder is at work."""

    def count(demo: CMPDemo) -> list[int]:
        calls: list[int] = []
        encode = demo.method.encoder.forward_features
        counted = lambda x: calls.append(1) or encode(x)  # noqa: E731
        monkeypatch.setattr(demo.method.encoder, "forward_features", counted)
        return calls

    return count


def inputs(batch: int, size: tuple[int, int] = (64, 96)) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(batch)
    image = torch.rand(batch, 3, *size, generator=generator)
    mask = (torch.rand(batch, 1, *size, generator=generator) > 0.99).float().repeat(1, 2, 1, 1)
    return image, mask * 9 * torch.randn(batch, 2, *size, generator=generator), mask


def test_the_flow_is_theirs(demo, theirs):
    batch = inputs(3)
    wanted = theirs.run(*batch)
    assert wanted.std() > 0.5
    torch.testing.assert_close(demo.run(*batch), wanted, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(demo(*batch), wanted, atol=1e-3, rtol=1e-3)


def test_the_limit_of_the_motion_is_read_from_the_config(demo):
    assert demo.method.motion_code.max_flow == 20
    assert demo.normalisation == "symmetric"


@pytest.mark.parametrize("given", ["one", "expanded", "copies"])
def test_one_image_for_many_maps_is_encoded_once(demo, theirs, given, encodings):
    image, sparse, mask = inputs(5)
    same = image[:1] if given == "one" else image[:1].expand(5, -1, -1, -1)
    if given == "copies":
        same = same.clone()
    calls = encodings(demo)
    flow = demo.run(same, sparse, mask)
    assert len(calls) == 1
    wanted = theirs.run(image[:1].expand(5, -1, -1, -1), sparse, mask)
    torch.testing.assert_close(flow, wanted, atol=1e-3, rtol=1e-3)


def test_videos_in_one_batch_are_encoded_once_each(demo, theirs, encodings):
    image, sparse, mask = inputs(6)
    image = image[:2].repeat_interleave(3, 0)
    calls = encodings(demo)
    flow = demo.run(image, sparse, mask)
    assert len(calls) == 2
    torch.testing.assert_close(flow, theirs.run(image, sparse, mask), atol=1e-3, rtol=1e-3)


def test_a_loop_over_frames_encodes_their_image_once(demo, theirs, encodings):
    image, sparse, mask = inputs(4)
    calls = encodings(demo)
    for t in range(4):
        flow = demo.run(image[:1].clone(), sparse[t : t + 1], mask[t : t + 1])
        wanted = theirs.run(image[:1], sparse[t : t + 1], mask[t : t + 1])
        torch.testing.assert_close(flow, wanted, atol=1e-3, rtol=1e-3)
    assert len(calls) == 1


def test_what_was_encoded_is_forgotten_when_image_or_weights_change(own_demo):
    image, sparse, mask = inputs(1)
    flow = own_demo.run(image, sparse, mask)
    image[:, :, :9] = 0  # in place
    other = own_demo.run(image, sparse, mask)
    assert not torch.equal(flow, other)
    with torch.no_grad():
        own_demo.method.encoder.conv1.weight.mul_(0.5)
    changed = own_demo.run(image, sparse, mask)
    assert not torch.equal(other, changed)
    assert own_demo.double().run(image, sparse, mask).dtype == torch.float32


@pytest.mark.parametrize("size", [(67, 101), (5, 3), (64, 1)])
def test_any_size_gives_flow_of_that_size(demo, size):
    batch = inputs(2, size)
    flow = demo.run(*batch)
    assert flow.shape == (2, 2, *size)
    assert flow.isfinite().all()


def test_other_sizes_are_continued_beyond_their_border(demo, theirs):
    image, sparse, mask = inputs(1, (66, 100))
    whole = F.pad(image, (0, 4, 0, 6), mode="replicate")
    given = (F.pad(t, (0, 4, 0, 6)) for t in (sparse, mask))
    wanted = theirs.run(whole, *given)[..., :66, :100]
    torch.testing.assert_close(demo.run(image, sparse, mask), wanted, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_and_inputs_of_16_bits(own_demo, theirs, dtype):
    batch = inputs(2)
    wanted = theirs.run(*batch)
    image, sparse, mask = (t.to(dtype) for t in batch)
    flow = own_demo.run(image, sparse, mask)  # their way: images of 16 bits, weights of 32
    assert flow.dtype == dtype
    assert (flow.float() - wanted).norm(dim=1).mean() < 0.05 * wanted.norm(dim=1).mean()
    flow = own_demo.to(dtype).run(image, sparse, mask)
    assert flow.dtype == dtype
    assert (flow.float() - wanted).norm(dim=1).mean() < 0.15 * wanted.norm(dim=1).mean()


def test_a_program_may_have_another_default_type(config, theirs):
    batch = inputs(1)
    torch.set_default_dtype(torch.float16)
    try:
        flow = CMPDemo(config, 7).run(*batch)
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(flow, theirs.run(*batch), atol=1e-3, rtol=1e-3)


def test_it_stays_in_evaluation_mode_and_is_not_trained(demo):
    pipeline = torch.nn.ModuleList([demo, torch.nn.Linear(1, 1)]).train()
    assert not any(part.training for part in demo.modules())
    assert [p.requires_grad for p in pipeline.parameters()].count(True) == 2


def test_gradients_reach_the_inputs_that_ask_for_them(demo, theirs):
    image, sparse, mask = inputs(2)
    demo.run(image, sparse, mask)
    gradients = []
    for network in (demo, theirs):
        given = image.clone().requires_grad_(), sparse.clone().requires_grad_()
        network.run(*given, mask).square().mean().backward()
        gradients.append([g.grad for g in given])
    for ours, wanted in zip(*gradients, strict=True):
        assert (ours - wanted).norm() < 0.01 * wanted.norm()
    assert not demo.run(image, sparse, mask).requires_grad


def test_the_normalisation_of_training_can_be_asked_for(config, theirs):
    image, sparse, mask = inputs(1)
    demo = CMPDemo(config, 7, normalisation="encoder")
    encoder = demo.method.encoder
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (encoder.input_mean, encoder.input_std))
    wanted = theirs.run(((255 * image - mean) / std + 1) / 2, sparse, mask)
    torch.testing.assert_close(demo.run(image, sparse, mask), wanted, atol=1e-3, rtol=1e-3)


def test_a_run_of_ours_takes_the_given_pixels_as_points(cmp_checkpoint, encodings):
    demo = CMPDemo(cmp_checkpoint)
    assert demo.normalisation == "encoder"
    image = torch.rand(1, 3, 70, 110)
    sparse, mask = torch.zeros(2, 2, 70, 110), torch.zeros(2, 2, 70, 110)
    sparse[0, :, 20, 30] = torch.tensor([6.0, -2.0])
    mask[0, :, 20, 30] = 1
    sparse[1, :, 20, 30] = torch.tensor([12.0, -4.0])  # two tracks from one pixel, added up
    mask[1, :, 20, 30] = 2
    calls = encodings(demo)
    flow = demo.run(image, sparse, mask)
    assert len(calls) == 1
    point, vector = torch.tensor([[30.0, 20.0]]), torch.tensor([[6.0, -2.0]])
    wanted = demo.method.propagate(image[0], point, vector, short_side=128)
    for answer in flow:
        torch.testing.assert_close(answer, wanted, atol=1e-3, rtol=1e-3)
    config_of_run = cmp_checkpoint / "config.yaml"
    torch.testing.assert_close(CMPDemo(config_of_run).run(image, sparse, mask), flow)
    sparse.requires_grad_()
    demo.run(image, sparse, mask).square().sum().backward()
    assert sparse.grad[0, :, 20, 30].abs().sum() > 0


@pytest.mark.parametrize(
    ("name", "iteration", "told"),
    [
        ("config.yaml", 8, r"no such file, but ckpt_iter_7.pth.tar in "),
        ("config.yaml", None, "config.yaml: give the iteration of one of ckpt_iter_7.pth.tar"),
        ("other.yaml", 7, "other.yaml: there is no such config"),
        ("broken.yaml", 7, "broken.yaml: not a config of the authors' code"),
        ("bins.yaml", 7, "it scores 11 bins, .*bins.yaml says 99"),
        ("checkpoints/ckpt_iter_7.pth.tar", 7, "iteration=7 chooses one of the checkpoints beside"),
        ("nothing.ckpt", None, "there is no such checkpoint"),
    ],
)
def test_files_that_do_not_fit_are_told(config, name, iteration, told):
    folder = config.parent
    (folder / "broken.yaml").write_text("data: {}\n")
    (folder / "bins.yaml").write_text(CONFIG.replace("11", "99"))
    with pytest.raises(UserError, match=told):
        CMPDemo(folder / name, iteration)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda i, s, m: (i[0], s, m), r"image must be \(B, 3, H, W\)"),
        (lambda i, s, m: (i, s[:, :1], m), "sparse and mask must be"),
        (lambda i, s, m: (i, s[..., :9], m[..., :9]), r"must be \(B, 2, 64, 96\)"),
        (lambda i, s, m: (i[:2], s, m), "got 2 and 3"),
        (lambda i, s, m: ((255 * i).byte(), s, m), "must be float"),
        (lambda i, s, m: (255 * i, s, m), "must be in 0 … 1"),
    ],
)
def test_inputs_that_do_not_fit_are_told(demo, change, told):
    with pytest.raises(ValueError, match=told):
        demo.run(*change(*inputs(3)))
