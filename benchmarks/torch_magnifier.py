"""MagnifierNet in PyTorch, to compare our speed and our numbers with.

Written from the description of the published system, under the original's tensor names; it needs
PyTorch, which nothing else here does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

NUM_PARTS = 8
MARGIN = 0.3
LABEL_SMOOTHING = 0.1
DISTANCE_FLOOR = 1e-12
RESNET50 = (3, 4, 6, 3)


@dataclasses.dataclass(frozen=True)
class Outputs:
    """What the network makes of a batch."""

    descriptor: Tensor
    global_embedding: Tensor
    global_logits: Tensor
    adversarial_embedding: Tensor
    adversarial_logits: Tensor
    fusion_embedding: Tensor
    fusion_logits: Tensor
    part_embeddings: Tensor
    part_logits: Sequence[Tensor]
    parsing_logits: Tensor
    visible: Tensor
    part_shares: Tensor


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 convolutions with a residual."""

    def __init__(self, channels: int, width: int, *, stride: int = 1) -> None:
        super().__init__()
        out = 4 * width
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels != out:
            projection = nn.Conv2d(channels, out, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        residual = x if self.downsample is None else self.downsample(x)
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        return functional.relu(self.bn3(self.conv3(y)) + residual)


class Trunk(nn.Module):
    """ResNet without a ReLU in the stem, and with a last stage that keeps its size."""

    def __init__(self, blocks: Sequence[int], width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        channels = width
        for stage, (count, stride) in enumerate(zip(blocks, (1, 2, 2, 1), strict=True)):
            layers = []
            for index in range(count):
                step = stride if index == 0 else 1
                layers.append(Bottleneck(channels, width * 2**stage, stride=step))
                channels = 4 * width * 2**stage
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = functional.max_pool2d(self.bn1(self.conv1(x)), 3, 2, 1)
        trunk = self.layer3(self.layer2(self.layer1(x)))
        return trunk, self.layer4(trunk)


class MaskBranch(nn.Module):
    """The semantic adversarial branch."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bottle = Bottleneck(channels, channels // 4)
        self.dim_reducer = nn.Conv2d(channels, channels, 1, bias=False)
        self.mask_bn = _neck(channels)

    def forward(self, trunk: Tensor, visible: Tensor | None) -> tuple[Tensor, Tensor]:
        x = self.bottle(trunk)
        if visible is not None:
            x = x * visible[:, None]
        embedding = self.dim_reducer(functional.adaptive_max_pool2d(x, 1)).flatten(1)
        return embedding, self.mask_bn(embedding)


class PartBranch(nn.Module):
    """The semantic fusion branch."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bottle = Bottleneck(channels, channels // 4)
        self.part_bns = nn.ModuleList(_neck(channels) for _ in range(NUM_PARTS))
        self.lstm = nn.LSTM(channels, channels, batch_first=True)
        self.combine_bn = _neck(channels)

    def forward(self, trunk: Tensor, masks: Tensor) -> tuple[Tensor, Tensor, list[Tensor], Tensor]:
        x = self.bottle(trunk)
        parts = [
            functional.adaptive_max_pool2d(x * masks[:, part, None], 1).flatten(1)
            for part in range(NUM_PARTS)
        ]
        necks = [norm(part) for norm, part in zip(self.part_bns, parts, strict=True)]
        stacked = torch.stack(parts, 1)
        embedding = self.lstm(stacked)[0][:, -1]
        return embedding, self.combine_bn(embedding), necks, stacked


class ParsingHead(nn.Module):
    """Predicts the part of every cell at twice the trunk's resolution."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose2d(channels, width, 3, 2, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.conv = nn.Conv2d(width, NUM_PARTS, 1)

    def forward(self, features: Tensor) -> Tensor:
        return self.conv(functional.relu(self.bn(self.deconv(features))))


class Base(nn.Module):
    """Everything but the classifiers."""

    def __init__(self, blocks: Sequence[int], width: int, parsing_width: int) -> None:
        super().__init__()
        channels = 16 * width
        self.model = Trunk(blocks, width)
        self.feat_bn = _neck(2 * channels)
        self.mask = MaskBranch(channels)
        self.part = PartBranch(channels)
        self.seg_module = ParsingHead(2 * channels, parsing_width)


class MagnifierNet(nn.Module):
    """The whole network."""

    def __init__(
        self,
        num_identities: int,
        *,
        blocks: Sequence[int] = RESNET50,
        width: int = 64,
        parsing_width: int = 256,
    ) -> None:
        super().__init__()
        channels = 16 * width
        self.base = Base(blocks, width, parsing_width)
        self.classifier = nn.Linear(2 * channels, num_identities)
        self.classifier_mask = nn.Linear(channels, num_identities)
        self.classifier_part = nn.ModuleList(
            nn.Linear(channels, num_identities) for _ in range(NUM_PARTS)
        )
        self.classifier_anchor = nn.Linear(channels, num_identities)

    def forward(
        self, images: Tensor, part_labels: Tensor | None = None, hidden: Tensor | None = None
    ) -> Outputs:
        """Runs the network.

        Args:
            images: Normalized `[N, 3, H, W]`.
            part_labels: Part classes `[N, H/8, W/8]`; None takes the parsing head's best guess.
            hidden: Booleans `[8]`, True for the parts that the adversarial branch cannot see.
        """
        base = self.base
        trunk, features = base.model(images)
        embedding = functional.adaptive_avg_pool2d(features, 1).flatten(1)
        neck = base.feat_bn(embedding)
        parsing_logits = base.seg_module(features)
        if part_labels is None:
            part_labels = parsing_logits.argmax(1)
        one_hot = functional.one_hot(part_labels[:, ::2, ::2], NUM_PARTS)
        masks = one_hot.permute(0, 3, 1, 2).to(trunk.dtype)
        visible = None
        if hidden is not None:
            visible = 1 - (masks * hidden[None, :, None, None]).sum(1)
        mask_embedding, mask_neck = base.mask(trunk, visible)
        part_embedding, part_neck, part_necks, parts = base.part(trunk, masks)
        return Outputs(
            descriptor=torch.cat([neck, mask_neck, part_neck], 1),
            global_embedding=embedding,
            global_logits=self.classifier(neck),
            adversarial_embedding=mask_embedding,
            adversarial_logits=self.classifier_mask(mask_neck),
            fusion_embedding=part_embedding,
            fusion_logits=self.classifier_anchor(part_neck),
            part_embeddings=parts,
            part_logits=[
                layer(part) for layer, part in zip(self.classifier_part, part_necks, strict=True)
            ],
            parsing_logits=parsing_logits,
            visible=trunk.new_ones(()) if visible is None else visible.mean(),
            part_shares=masks.mean((0, 2, 3)),
        )


def _neck(channels: int) -> nn.BatchNorm1d:
    norm = nn.BatchNorm1d(channels)
    norm.bias.requires_grad_(False)
    return norm


def identity_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy with smoothed labels."""
    return functional.cross_entropy(logits, labels, label_smoothing=LABEL_SMOOTHING)


def triplet_loss(embeddings: Tensor, labels: Tensor) -> Tensor:
    """Batch-hard triplets of Euclidean distances."""
    squares = embeddings.square().sum(1)
    distances = squares[:, None] + squares[None] - 2 * embeddings @ embeddings.T
    distances = distances.clamp_min(DISTANCE_FLOOR).sqrt()
    same = labels[:, None] == labels[None]
    positive = distances.masked_fill(~same, -torch.inf).amax(1)
    negative = distances.masked_fill(same, torch.inf).amin(1)
    return functional.relu(MARGIN + positive - negative).mean()


def parsing_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy averaged per class, then over the classes that are there."""
    entropy = functional.cross_entropy(logits, labels, reduction="none")
    one_hot = functional.one_hot(labels, NUM_PARTS).to(entropy.dtype)
    cells = one_hot.sum((0, 1, 2))
    per_class = (entropy[..., None] * one_hot).sum((0, 1, 2)) / cells.clamp_min(1)
    return per_class.sum() / (cells > 0).sum()


def diversity_loss(parts: Tensor) -> Tensor:
    """Mean similarity of different parts' embeddings `[N, 8, C]`, each pair clamped at 0."""
    directions = functional.normalize(parts, dim=2)
    cosines = (directions @ directions.transpose(1, 2)).mean(0)
    first, second = torch.triu_indices(NUM_PARTS, NUM_PARTS, 1, device=parts.device)
    return cosines[first, second].clamp_min(0).mean()


def losses(
    outputs: Outputs, labels: Tensor, part_labels: Tensor, *, diversity: float = 0.01
) -> dict[str, Tensor]:
    """Every term before its weight, and the weighted sum as `total`.

    To be called outside of `torch.autocast`; what it left in bfloat16 is widened first.
    """
    outputs = Outputs(**{name: _wide(value) for name, value in vars(outputs).items()})
    terms = {
        "global_id": identity_loss(outputs.global_logits, labels),
        "global_triplet": triplet_loss(outputs.global_embedding, labels),
        "parsing": parsing_loss(outputs.parsing_logits, part_labels),
        "adversarial_weight": outputs.visible.sigmoid(),
        "adversarial_id": identity_loss(outputs.adversarial_logits, labels),
        "fusion_id": identity_loss(outputs.fusion_logits, labels),
        "fusion_triplet": triplet_loss(outputs.fusion_embedding, labels),
        "diversity": diversity_loss(outputs.part_embeddings),
    }
    total = terms["global_id"] + terms["global_triplet"] + 2 * terms["parsing"]
    total = total + terms["adversarial_weight"] * terms["adversarial_id"]
    total = total + terms["fusion_id"] + terms["fusion_triplet"] + diversity * terms["diversity"]
    for part, logits in enumerate(outputs.part_logits):
        terms[f"part{part}_weight"] = outputs.part_shares[part].sigmoid()
        terms[f"part{part}_id"] = identity_loss(logits, labels)
        total = total + 0.0125 * terms[f"part{part}_weight"] * terms[f"part{part}_id"]
    return {**terms, "total": total}


def _wide(value: Tensor | Sequence[Tensor]) -> Tensor | list[Tensor]:
    if isinstance(value, Tensor):
        return value.float() if value.dtype == torch.bfloat16 else value
    return [tensor.float() if tensor.dtype == torch.bfloat16 else tensor for tensor in value]


def make_optimizer(model: nn.Module, **options: bool) -> torch.optim.Optimizer:
    """The published Adam, with the L2 penalty in the gradient; `options` as `fused=True`."""
    trained = [tensor for tensor in model.parameters() if tensor.requires_grad]
    return torch.optim.Adam(trained, lr=3.5e-4, weight_decay=5e-4, **options)
