"""Every field of a configuration, with its default: the published recipe on Market-1501.

Other files start from here and change what differs. On the command line any field can be set:
`--config.data.root=/data --config.train.epochs=60`.
"""

from __future__ import annotations

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """All fields with their defaults."""
    config = ConfigDict()
    # Names the run in pictures and reports.
    config.name = "default"
    # Decides everything random: weights, batches, augmentation, occlusion; below 2³².
    config.seed = 0
    # 'float32', or 'bf16': heavy computations in bfloat16; parameters, statistics, losses,
    # embeddings and distances stay float32.
    config.precision = "float32"
    config.data = _data()
    config.model = _model()
    config.occlusion = _occlusion()
    config.augment = _augment()
    config.loss = _loss()
    config.optimizer = _optimizer()
    config.train = _train()
    config.evaluate = _evaluate()
    config.init = _init()
    return config


def _data() -> ConfigDict:
    data = ConfigDict()
    # What to train on: 'name', 'name:variant' or 'name:variant@folder'; several, separated by
    # commas, are trained on together.
    data.train = "market1501"
    # What to evaluate on, written alike; '' is the training sets, each on its own line.
    data.test = ""
    # Folder that holds the datasets' own folders; '~' and variables are expanded.
    data.root = ""
    # Where prepared datasets are kept; '' is the user's cache folder.
    data.prepared = ""
    # 'required' stops where part maps are missing, 'bands' uses fixed body bands instead,
    # 'none' goes without (only for networks that need none); or the folder of part labels that
    # lie elsewhere, 'folder' or 'format:folder' (see docs/datasets.md).
    data.part_labels = "required"
    # Height and width of the network's input, in pixels.
    data.image_size = (384, 192)
    # 'stream' decodes on the host all the time (tf.data); 'device' decodes a split once and
    # keeps it on the devices as uint8 (12,936 pictures of 384 × 192 take 3.8 GB; no TensorFlow).
    data.placement = "stream"
    # A batch is this many identities …
    data.identities_per_batch = 16
    # … times this many pictures of each.
    data.images_per_identity = 4
    # Threads that decode pictures; 0 is one per processor.
    data.workers = 0
    return data


def _model() -> ConfigDict:
    model = ConfigDict()
    # 'resnet18', 'resnet34', 'resnet50', 'resnet101', 'small' (for 64 × 32 pictures on a CPU) or
    # 'tiny' (for tests).
    model.backbone = "resnet50"
    # Whether a ReLU follows the stem. The published network has none.
    model.stem_relu = False
    # Part classes, background included.
    model.num_parts = 8
    # The global branch.
    model.use_global = True
    # The semantic adversarial branch (SAB).
    model.use_adversarial = True
    # The semantic fusion branch (SFB); needs the parsing head.
    model.use_fusion = True
    # The part-parsing head.
    model.use_parsing = True
    # Channels inside the part-parsing head.
    model.parsing_features = 256
    return model


def _occlusion() -> ConfigDict:
    occlusion = ConfigDict()
    # Whether the adversarial branch's features have parts hidden in training.
    occlusion.enabled = True
    # False hides the same parts in the whole batch, as published; True draws for each picture.
    occlusion.per_picture = False
    # Parts of the upper body (head, torso, upper arm, lower arm) …
    occlusion.upper_parts = (1, 2, 3, 4)
    # … of which so many are hidden.
    occlusion.upper_count = 2
    # Parts of the lower body (upper leg, lower leg, foot) …
    occlusion.lower_parts = (5, 6, 7)
    # … of which so many are hidden.
    occlusion.lower_count = 1
    return occlusion


def _augment() -> ConfigDict:
    augment = ConfigDict()
    # Probability of a horizontal flip.
    augment.flip = 0.5
    # Black pixels around the picture before a random crop at its former size.
    augment.pad = 10
    # Probability of random erasing, after normalisation; 0 for none.
    augment.erasing = 0.5
    # Least and largest erased share of the picture.
    augment.erasing_area = (0.02, 0.4)
    # Least height-to-width ratio of the erased rectangle; the largest is its inverse.
    augment.erasing_aspect = 0.3
    # What the normalised picture gets there, per channel; published: the raw mean colours.
    augment.erasing_fill = (0.485, 0.456, 0.406)
    return augment


def _loss() -> ConfigDict:
    loss = ConfigDict()
    # Weight of the part-parsing loss.
    loss.parsing = 2.0
    # Weight of each single part's identity loss.
    loss.parts = 0.0125
    # Weight of the diversity loss; published: 0.01, and 0.001 for CUHK03 detected.
    loss.diversity = 0.01
    # Epochs before the diversity loss counts. The published models were trained without it
    # first and with it late.
    loss.diversity_start_epoch = 0
    return loss


def _optimizer() -> ConfigDict:
    optimizer = ConfigDict()
    # 'adam' or 'sgd'.
    optimizer.name = "adam"
    # The learning rate after warm-up.
    optimizer.learning_rate = 3.5e-4
    # L2 penalty, added to the gradient of every trained tensor (not decoupled as in AdamW).
    optimizer.l2 = 5e-4
    # Momentum of 'sgd'.
    optimizer.momentum = 0.9
    # Epochs of linear warm-up …
    optimizer.warmup_epochs = 10
    # … from this share of the learning rate.
    optimizer.warmup_factor = 0.01
    # Epochs after which the learning rate is multiplied by decay_factor.
    optimizer.decay_epochs = (40, 70)
    optimizer.decay_factor = 0.1
    return optimizer


def _train() -> ConfigDict:
    train = ConfigDict()
    # Passes over the training identities.
    train.epochs = 120
    # Stops after so many steps, before the epochs are over; 0 is no such limit.
    train.max_steps = 0
    # Steps between lines of metrics.jsonl.
    train.log_every_steps = 10
    # Epochs between evaluations; 0 evaluates at the end only.
    train.evaluate_every_epochs = 20
    # Steps between checkpoints; there is always one at an evaluation and at the end.
    train.checkpoint_every_steps = 500
    # How many of the latest checkpoints are kept, 2 or more, beside the best by mAP.
    train.keep_checkpoints = 2
    return train


def _evaluate() -> ConfigDict:
    evaluate = ConfigDict()
    # Pictures described at a time.
    evaluate.batch_size = 128
    # Length of the CMC curve.
    evaluate.max_rank = 50
    # 'euclidean' or 'cosine'; the same order for descriptors of unit length.
    evaluate.distance = "euclidean"
    # Whether gallery pictures of the query's identity and camera are ignored. Switch it off for
    # data without camera numbers.
    evaluate.camera_filter = True
    # 'rectangular' (most toolboxes) or 'trapezoid' (the original MATLAB code of Market-1501).
    evaluate.average_precision = "rectangular"
    # Whether a picture's descriptor is the mean of its own and its mirror image's; a second line
    # of results, and what query expansion and re-ranking start from.
    evaluate.flip = False
    # Neighbours that query expansion averages, which gives a line of its own; 0 for none.
    evaluate.query_expansion = 0
    # Power of the similarity that weights them.
    evaluate.query_expansion_alpha = 3.0
    # Whether k-reciprocal re-ranking gives a line of its own.
    evaluate.rerank = False
    evaluate.rerank_k1 = 20
    evaluate.rerank_k2 = 6
    evaluate.rerank_lambda = 0.3
    return evaluate


def _init() -> ConfigDict:
    init = ConfigDict()
    # Weights of a ResNet to start from (.pth, .pt or .safetensors with torchvision's or timm's
    # names); '' starts from random ones.
    init.backbone = ""
    # Weights of a whole MagnifierNet to start from: a file with the original's PyTorch names, or
    # a work directory of ours. Classifiers of another number of identities start afresh.
    init.checkpoint = ""
    return init
