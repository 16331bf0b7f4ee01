"""A flow for each frame of a clip, as video generators ask for it: CPU time against the usual way.

    python benchmarks/video_generator.py [--device cuda] [--frames 14]

The published demo network (ResNet-50, skip decoder) with random weights, one image and a map of
guidance for each frame. "one call a frame" is what MOFA-Video, DisPose and their relatives do with
their copies of it: the whole network for every frame, with PyTorch's own convolutions. All forms
are measured in turn, so that what else the machine does meets them alike; ratios are of medians.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup_motion.apps.cmp_demo import CMPDemo
from selfsup_motion.models.convolution import Conv3x3
from selfsup_motion.models.motion_decoders.layers import GuidanceEncoder, SkipDecoder
from selfsup_motion.models.resnet import ResNetEncoder
from selfsup_motion.ops.flow import FlowBins


class PrivateCopy(torch.nn.Module):
    """The network as it was published, with its call."""

    def __init__(self) -> None:
        super().__init__()
        self.image_encoder, self.flow_encoder = ResNetEncoder(50), GuidanceEncoder()
        self.flow_decoder = SkipDecoder()
        self.bins = FlowBins(99, 50.0)

    def run(self, image: Tensor, sparse: Tensor, mask: Tensor) -> Tensor:
        features = self.image_encoder.forward_features(image * 2 - 1)
        guidance = self.flow_encoder(torch.cat([sparse, mask], 1))
        joined = torch.cat([features["output"], guidance], 1)
        flow = self.bins.decode(self.flow_decoder(joined, features["layer1"], features["stem"]))
        return F.interpolate(flow, image.shape[2:], mode="bilinear", align_corners=True)


def with_pytorchs_convolutions(call: Callable[[], Tensor]) -> Callable[[], Tensor]:
    def called() -> Tensor:
        fast = Conv3x3._conv_forward
        Conv3x3._conv_forward = torch.nn.Conv2d._conv_forward  # type: ignore[method-assign]
        try:
            return call()
        finally:
            Conv3x3._conv_forward = fast  # type: ignore[method-assign]

    return called


def load(copy: PrivateCopy) -> CMPDemo:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "checkpoints").mkdir()
        torch.save(
            {"state_dict": copy.state_dict()}, folder / "checkpoints" / "ckpt_iter_1.pth.tar"
        )
        config = folder / "config.yaml"
        config.write_text("model: {module: {nbins: 99, fmax: 50}}\n")
        return CMPDemo(config, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--frames", type=int, default=14)
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    copy = PrivateCopy().eval().requires_grad_(False).to(args.device)
    demo = load(copy).to(args.device)

    frames, size = args.frames, (args.size, args.size)
    image = torch.rand(1, 3, *size, device=args.device)
    mask = (torch.rand(frames, 1, *size, device=args.device) > 0.9999).float()
    mask = mask.expand(-1, 2, -1, -1)
    sparse = 20 * torch.randn(frames, 2, *size, device=args.device) * mask

    def one_by_one(network: PrivateCopy | CMPDemo) -> Tensor:
        parts = [
            network.run(image.clone(), sparse[t : t + 1], mask[t : t + 1]) for t in range(frames)
        ]
        return torch.cat(parts)

    def fresh(call: Callable[[], Tensor]) -> Callable[[], Tensor]:
        def called() -> Tensor:
            demo.to(args.device)  # forgets the image
            return call()

        return called

    copies = image.repeat(frames, 1, 1, 1)
    cases = {
        "their copy, one call a frame": with_pytorchs_convolutions(lambda: one_by_one(copy)),
        "CMPDemo, one call a frame": fresh(lambda: one_by_one(demo)),
        "CMPDemo, one call, image repeated": fresh(lambda: demo.run(copies, sparse, mask)),
        "CMPDemo, one call, one image": fresh(lambda: demo.run(image, sparse, mask)),
    }

    def clock() -> float:
        if args.device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    times: dict[str, list[float]] = {name: [] for name in cases}
    flows: dict[str, Tensor] = {}
    with torch.no_grad():
        copy.run(image, sparse[:1], mask[:1])
        for _ in range(args.rounds):
            for name, call in cases.items():
                started = clock()
                flows[name] = call()
                times[name].append(clock() - started)
    first = next(iter(cases))
    usual = statistics.median(times[first])
    unit = "CPU s" if args.device == "cpu" else "s"
    print(f"{frames} frames of {args.size}x{args.size}, one thread, median of {args.rounds}")
    print(f"{'':36}{unit:>8}{'ratio':>8}{'largest difference, px':>25}")
    for name in cases:
        seconds = statistics.median(times[name])
        apart = float((flows[name] - flows[first]).abs().max())
        print(f"{name:36}{seconds:8.2f}{usual / seconds:8.1f}{apart:25.5f}")


if __name__ == "__main__":
    main()
