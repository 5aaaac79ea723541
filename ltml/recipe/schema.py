"""The typed recipe: every field with its meaning; unknown keys are forbidden.

A component (`head`, `loss`, an objective) is written as its type and, if need be, a block of options under
that type's name: ``head: {type: prompt_query, prompt_query: {depth: 2}}``. A block for a type that is not the
chosen one is checked and then left out, so a recipe can carry options for several methods.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ltml.recipe.catalog import NAME_PATTERN
from ltml.registry import FilePath

Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]

SourceChoice = Literal["all", "first"] | Annotated[tuple[str, ...], Field(min_length=1)]

MACHINE_FIELDS = ("data.root", "data.roots", "data.workers", "train.device")
"""Fields that do not change the results, such as paths and the device; left out of hashes and comparisons."""

VARIANT_PATTERN = r"^([0-9a-f]{8})?$"
"""Form of a variant, which is part of a folder's name."""


class Section(BaseModel):
    """A part of the recipe: frozen, unknown keys forbidden."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)


class Component(Section):
    """A registered component by name; its options stand in a block under that name."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    chosen_by: ClassVar[str] = "type"
    """Name of the field that holds the name of the component."""

    @property
    def chosen(self) -> str:
        """Name of the component."""
        return str(getattr(self, self.chosen_by))

    @property
    def options(self) -> dict[str, Any]:
        """Options of the chosen component."""
        return dict((self.model_extra or {}).get(self.chosen, {}))


class HeadSection(Component):
    """Head: maps a feature map to features and logits."""

    type: str = Field("linear", description="`ltml list heads`")


class LossSection(Component):
    """Loss that the supervised objective minimises."""

    type: str = Field("bce", description="`ltml list losses`")


class ObjectiveSection(Component):
    """One term of the training objective."""

    type: str = Field(description="name of the term")
    weight: Rate = Field(1.0, description="factor of the term in the sum")
    start_epoch: NonNegative = Field(0, description="first epoch, from 0, in which the term takes part")


TransformSpec = str | Annotated[dict[str, dict[str, Any]], Field(min_length=1, max_length=1)]


class ViewsSection(Section):
    """Views of an image: torchvision.transforms.v2 by name, applied in order to uint8 pixels."""

    train: tuple[TransformSpec, ...] = Field((), description="view drawn for training, the weak one of two")
    strong: tuple[TransformSpec, ...] = Field(
        (), description="second view of the same image for objectives that compare two; drawn only for those"
    )
    eval: tuple[TransformSpec, ...] = Field((), description="fixed view for features and predictions")


class SplitSection(Section):
    """How images are split; no group (patient) is ever in two splits."""

    use: Literal["given", "ratio"] = Field(
        "given", description="given: the split of the data where they have one (val by ratio if it lacks); ratio: never"
    )
    ratio: tuple[Positive, Positive, Positive] = Field((7, 1, 2), description="train : val : test, by group")
    stratify: bool = Field(False, description="spread the positives of every label over the splits, rare ones first")
    file: FilePath | None = Field(None, description="CSV of id and split instead, such as the split.csv of a run")


class DataSection(Section):
    """Which images, at which size; further keys are the dataset's own options."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    type: str = Field(description="`ltml list datasets`")
    root: FilePath | None = Field(
        None, description="folder of the images (machine field: not part of a run's identity)"
    )
    roots: dict[str, FilePath] = Field(
        {}, description="union: folder by source, where it is not data.root/<source> (machine field)"
    )
    image_size: Positive = Field(description="side of the square network input, px")
    resize: Positive | None = Field(None, description="side images are resized to before the views; null: image_size")
    channels: Literal[1, 3] = Field(3, description="1: grey, 3: RGB")
    views: ViewsSection = Field(ViewsSection(), description="image transforms")
    ten_crop: bool = Field(
        False,
        description="final predictions: mean over corners and centre of data.resize and mirror images, no views.eval",
    )
    split: SplitSection = Field(SplitSection(), description="train, val and test")
    draw: Literal["natural", "equal", "proportional", "class_aware", "repeat_factor"] = Field(
        "natural",
        description="training images: natural, as they come; of several sources equal, as many of each in every step, "
        "or proportional to their sizes; class_aware, every class as often; repeat_factor, rare ones again",
    )
    repeat_threshold: Annotated[float, Field(gt=0, le=1)] = Field(
        0.1, description="repeat_factor: images of classes whose share of positives is below it come more than once"
    )
    train_on: SourceChoice = Field(
        "all", description="sources to train and validate on: all, first, or a list; the labels that they know"
    )
    test_on: SourceChoice = Field("all", description="sources to test on: all, first, or a list")
    novel: tuple[str, ...] = Field(
        (), description="labels held out of training: no classes, and rows that have them leave train and val"
    )
    max_pixels: Annotated[int, Field(gt=0, le=178_000_000)] = Field(
        89_000_000, description="images with more pixels are refused"
    )
    unreadable: Literal["error", "skip"] = Field(
        "error",
        description="missing or damaged images; skip looks at all of them first and lists what it leaves out",
    )
    workers: NonNegative | None = Field(
        None, description="loader processes (of each training process); null: chosen from the machine"
    )

    @property
    def options(self) -> dict[str, Any]:
        """The dataset's own options."""
        return dict(self.model_extra or {})


class BackboneSection(Section):
    """A timm model without its head."""

    name: str = Field("resnet50", description="any timm model (`ltml list backbones`)")
    pretrained: bool = Field(True, description="load timm's weights of that name (network or cache); never a fallback")
    weights: FilePath | None = Field(None, description="local weight file, .safetensors or .pth, instead")
    ibn: bool = Field(
        False, description="instance-batch normalisation (IBN) in the shallow blocks; densenet*, resnet* only"
    )
    options: dict[str, Any] = Field({}, description="further arguments for timm.create_model")

    @model_validator(mode="after")
    def _leave_ours_alone(self) -> BackboneSection:
        if ours := sorted({"in_chans", "num_classes", "features_only", "pretrained"} & self.options.keys()):
            raise ValueError(f"backbone.options cannot hold {', '.join(ours)}: that follows from other fields")
        if sources := sorted({"checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay"} & self.options.keys()):
            raise ValueError(
                f"backbone.options cannot hold {', '.join(sources)}: give the file as backbone.weights=FILE"
            )
        return self


class TextSection(Section):
    """Where the words of the class prompts come from (prompt_query and ml_gcn only)."""

    encoder: Literal["none", "open_clip", "transformers", "word_vectors"] = Field(
        "none", description="none: label queries only"
    )
    name: str | None = Field(None, description="open_clip model, transformers model or folder, or word-vector file")
    weights: str | None = Field(None, description="open_clip: pretrained tag or local checkpoint")
    pooling: Literal["cls", "mean"] = Field("cls", description="transformers: how tokens become one embedding")
    mode: Literal["per_class", "joint_tokens"] = Field(
        "per_class", description="one embedding per class, or the tokens of one prompt that lists all names"
    )
    template: str = Field("The Categories of the image are {LN}", description="prompt; {LN} is the class name")
    label_text: dict[str, str] = Field({}, description="words for a label whose name is not plain English")


class ScheduleSection(Section):
    """Learning rate over epochs."""

    type: Literal["constant", "cosine", "milestones", "plateau"] = Field("constant", description="shape")
    milestones: tuple[Positive, ...] = Field((), description="milestones: epochs after which the rate is multiplied")
    factor: Annotated[float, Field(gt=0, lt=1)] = Field(0.1, description="milestones, plateau: multiplier")
    patience: NonNegative = Field(5, description="plateau: epochs without improvement on validation that are borne")


class TrainSection(Section):
    """Stage-1 training."""

    epochs: Positive = Field(30, description="passes over the training images")
    batch_size: Positive = Field(32, description="images per step, of all processes together")
    optimizer: Literal["adam", "adamw", "sgd"] = Field("adam", description="optimiser")
    lr: Rate = Field(1e-4, description="learning rate")
    betas: tuple[Fraction, Fraction] = Field((0.9, 0.999), description="adam, adamw")
    momentum: Fraction = Field(0.9, description="sgd")
    weight_decay: Rate = Field(1e-5, description="L2 (adam, sgd) or decoupled (adamw) weight decay")
    schedule: ScheduleSection = Field(ScheduleSection(), description="learning rate over epochs")
    clip_norm: Annotated[float, Field(gt=0)] | None = Field(None, description="clip the gradient's norm; null: off")
    early_stop: Positive | None = Field(None, description="stop after so many epochs without improvement; null: off")
    select: str = Field("auroc", description="measure whose mean on val picks the checkpoint (`ltml list measures`)")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 where a GPU has it, else float32"
    )
    feature_dtype: Literal["float32", "float16"] = Field("float32", description="of the stored features")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1 … (machine field)")


class MStepSection(Section):
    """Classifier on virtual features, encoder and backbone frozen (LDRNet).

    With ``solver: expected`` only `loss` and `l2` count: nothing is drawn and nothing is stepped.
    """

    epochs: Positive = Field(1, description="passes of the M step in a round")
    samples: Positive | None = Field(None, description="virtual features per epoch; null: as many as training images")
    batch_size: Positive | None = Field(None, description="virtual features per step; null: train.batch_size")
    lr: Rate = Field(1e-4, description="learning rate")
    weight_decay: Rate = Field(1e-5, description="weight decay")
    loss: LossSection = Field(LossSection(), description="on virtual features; bce is the paper's")
    l2: Rate = Field(1e-4, description="solver=expected: half of it times the squared weights is added to the loss")


class EStepSection(Section):
    """Encoder and backbone on real images, classifier frozen (LDRNet)."""

    epochs: Positive = Field(1, description="passes of the E step in a round")
    loss: Literal["gce", "bce", "bce_offset"] = Field(
        "gce", description="gce: the paper's; bce_offset: bce with the frozen biases moved back to the natural prior"
    )
    q: Annotated[float, Field(gt=0, le=1)] = Field(0.8, description="gce: towards 0 is BCE, 1 the absolute error")
    lr: Rate = Field(1e-4, description="learning rate")
    weight_decay: Rate = Field(1e-5, description="weight decay")


PriorName = Literal["eq12", "uniform", "natural", "reverse_max", "effective_number"]


class Stage2Section(Component):
    """Reconstruction of the label distribution: a method, and what all methods share."""

    chosen_by: ClassVar[str] = "method"
    method: str = Field("none", description="none: stage 1 alone; or a method of `ltml list rebalancing`")
    solver: Literal["sampled", "expected"] = Field(
        "sampled", description="sampled: the paper's; expected: the limit of infinitely many virtual samples, exactly"
    )
    prior: PriorName | tuple[Share, ...] = Field(
        "eq12", description="P(label 1) per class in virtual samples: eq. 12, another policy, or one number per class"
    )
    alpha: Rate = Field(0.9, description="eq12: exponent")
    epsilon: Annotated[float, Field(gt=0)] = Field(1e-9, description="eq12: added to each frequency")
    restore_prior: bool = Field(False, description="move the biases back to the natural prior after the last round")
    rounds: NonNegative = Field(1, description="EM rounds after round 0, which is the M step alone")
    m_step: MStepSection = Field(MStepSection(), description="classifier on virtual features")
    e_step: EStepSection = Field(EStepSection(), description="encoder and backbone on real images")

    @property
    def enabled(self) -> bool:
        """Whether there is a stage 2."""
        return self.method != "none"


class GroupsSection(Section):
    """Head, medium and tail labels, by positives in train or by name."""

    rule: Literal["thirds", "counts", "quantiles", "named"] = Field("thirds", description="how labels are cut")
    head_above: Positive = Field(100, description="counts: more positives than this are head")
    tail_below: Positive = Field(20, description="counts: fewer positives than this are tail")
    quantiles: tuple[Fraction, Fraction] = Field((1 / 3, 2 / 3), description="quantiles: tail ends, head begins")
    head: tuple[str, ...] = Field((), description="named: head labels")
    medium: tuple[str, ...] = Field((), description="named: medium labels; every other label is tail")
    named_by: str = Field("the recipe", description="named: who names them, for reports")

    @model_validator(mode="after")
    def _ordered(self) -> GroupsSection:
        low, high = self.quantiles
        if low >= high or self.tail_below > self.head_above:
            raise ValueError("metrics.groups: tail must end below the place where head begins")
        if both := set(self.head) & set(self.medium):
            raise ValueError(f"metrics.groups: {', '.join(sorted(both))} cannot be both head and medium")
        return self


class MetricsSection(Section):
    """How predictions are scored."""

    threshold: Annotated[float, Field(gt=0, lt=1)] = Field(0.5, description="of macc, kappa, f1, balanced accuracy")
    groups: GroupsSection = Field(GroupsSection(), description="head, medium, tail")


class SeedsSection(Section):
    """The three seeds."""

    split: NonNegative = Field(0, description="split and composition of the data; the same for every method")
    train: NonNegative = Field(0, description="initial weights, order, views, dropout (--seed)")
    sample: NonNegative = Field(0, description="virtual features (--seed)")


class Recipe(Section):
    """Everything a run depends on."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)] = Field(description="folder of its runs")
    description: str = Field("", description="what it is for")
    method: str | None = Field(None, description="preset: head type, loss, objectives, stage-2 method")
    plugins: tuple[str, ...] = Field((), description="modules to import that register components")
    data: DataSection = Field(description="images and labels")
    backbone: BackboneSection = Field(BackboneSection(), description="image encoder")
    text: TextSection = Field(TextSection(), description="class prompts")
    head: HeadSection = Field(HeadSection(), description="class features and classifier")
    loss: LossSection = Field(LossSection(), description="supervised loss")
    objectives: tuple[ObjectiveSection, ...] = Field(
        (ObjectiveSection(type="supervised"),), description="terms of the training objective", min_length=1
    )
    init_from: FilePath | None = Field(
        None, description="folder of a run whose stage 1 this one starts from; new classes may be appended"
    )
    train: TrainSection = Field(TrainSection(), description="stage 1")
    stage2: Stage2Section = Field(Stage2Section(), description="stage 2")
    metrics: MetricsSection = Field(MetricsSection(), description="scoring")
    seeds: SeedsSection = Field(SeedsSection(), description="one seed per source of chance")
    variant: Annotated[str, Field(pattern=VARIANT_PATTERN)] = Field(
        "", description="hash of what was overridden; set on loading"
    )

    @model_validator(mode="after")
    def _fields_agree(self) -> Recipe:
        if self.data.resize is not None and self.data.resize < self.data.image_size:
            raise ValueError(f"data.resize ({self.data.resize}) must be at least data.image_size")
        if self.data.ten_crop and (self.data.resize or 0) <= self.data.image_size:
            raise ValueError("data.ten_crop needs data.resize above data.image_size, out of which it crops")
        if held := set(self.data.novel) & {*self.metrics.groups.head, *self.metrics.groups.medium}:
            names = ", ".join(sorted(held))
            raise ValueError(f"data.novel holds out {names}, which metrics.groups names; e.g. metrics.groups={{}}")
        if all(term.start_epoch >= self.train.epochs for term in self.objectives):
            raise ValueError(f"no objective starts before train.epochs ({self.train.epochs}); lower a start_epoch")
        return self

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-like values, every default filled in."""
        return self.model_dump(mode="json")
