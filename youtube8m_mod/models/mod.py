"""The trainable model: a tree of mixtures with online knowledge distillation (section 3.4)."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import keras

from youtube8m_mod import losses
from youtube8m_mod.config import SEGMENT_FRAMES, ModelConfig, PhaseConfig, Recipe
from youtube8m_mod.distribution.placement import Placement
from youtube8m_mod.layers.feature_scaling import FeatureScaling
from youtube8m_mod.metrics import GAP, PERR, HitAt1
from youtube8m_mod.models.batch import ReplicaPart, as_batch, check_labels, labels_of, without_texts
from youtube8m_mod.models.graph_passes import few_passes
from youtube8m_mod.models.loss_means import LossMeans
from youtube8m_mod.models.mixture import Mixture, make_node
from youtube8m_mod.models.training_step import TrainingStep
from youtube8m_mod.overrides import from_dict, to_dict
from youtube8m_mod.tree import NodeOutput, Shape, Tensor


@keras.saving.register_keras_serializable("youtube8m_mod")
class MOD(keras.Model):
    """Scaled features, a tree of mixtures, and the step that trains all its nodes at once.

    The root's children (or the root itself, where it is a leaf) are the subtrees; each lives on a device of its own.
    They meet only in their logits: the step takes one gradient tape a subtree, so that the backward pass of a subtree
    runs on its device too.

        model = MOD(model_config("mod_nextvlad_tiny"), frames=5)
        model.compile(FusedAdam(1e-3), recipe=PHASES["finetune"])
        model.fit(Reader("validate*.tfrecord", model.config, segments=True).read(32).dataset)

    Args:
        config: a `ModelConfig`.
        frames: frames of an example: `config.max_frames` for whole videos (None), 5 for segments. Weights do not
            depend on it.
        placement: a `Placement` of the subtrees; None leaves it to TensorFlow. It is not saved.
        dtype: "float32", "mixed_bfloat16" or another policy.
        seed: of the dropout (the weights' is `keras.utils.set_random_seed`).
        dropout: rate on the pooled features.
        momentum: of the moving averages of the batch norms.

    Call arguments:
        batch: a dict with `features` uint8 or float `(batch, frames, features)`, and optionally `num_frames` and
            `present_frames` `(batch,)`; or the features alone.

    Returns:
        the root's probabilities, float32 `(batch, classes)`.
    """

    def __init__(
        self,
        config: ModelConfig,
        frames: int | None = None,
        placement: Placement | None = None,
        dtype: Any = None,
        seed: int = 0,
        *,
        dropout: float = 0.5,
        momentum: float = 0.999,
        name: str = "mod",
    ):
        if not isinstance(config, ModelConfig):
            raise ValueError(f"Expected a ModelConfig, as model_config(name) gives it, got {config!r}.")
        if frames is not None and frames < 1:
            raise ValueError(f"Expected frames of at least 1, got {frames}.")
        placement = placement or Placement()
        with placement.variables():
            # What is cast is up to the layers: float features keep their precision until they are scaled.
            super().__init__(name=name, dtype=dtype, autocast=False)
            self.config, self.placement, self.seed = config, placement, seed
            self.frames = frames or config.max_frames
            self.dropout, self.momentum = dropout, momentum
            self.loss_means = LossMeans(config.branching)
            self.recipe = self.loss_means.recipe
            self.scores, self.scored = [GAP(), HitAt1(), PERR()], True
            self._make_nodes()
            self.build()

    @classmethod
    def for_phase(
        cls,
        config: ModelConfig,
        phase: PhaseConfig,
        placement: Placement | None = None,
        dtype: Any = None,
        seed: int = 0,
        frames: int | None = None,
    ) -> "MOD":
        """The model that a `PhaseConfig` trains: its dropout, momentum, frames (unless given), recipe."""
        model = cls(
            config,
            frames or phase.frames(config),
            placement,
            dtype,
            seed,
            dropout=phase.dropout,
            momentum=phase.batch_norm_momentum,
        )
        model.set_recipe(phase)
        return model

    def _make_nodes(self):
        config, policy = self.config, self.dtype_policy
        leaf_options = dict(dtype=policy, dropout=self.dropout, seed=itertools.count(self.seed), momentum=self.momentum)
        with self.placement.root():
            self.scaling = FeatureScaling(config.whitened_size, config.clip_features, name="scaling")
        if config.branching:
            self.subtrees = []
            for index in range(config.branching[0]):
                with self.placement.subtree(index):
                    self.subtrees.append(make_node(config, 1, str(index), leaf_options))
            with self.placement.root():
                self.root = Mixture(self.subtrees, self.momentum, name="root", dtype=policy)
        else:
            with self.placement.root():
                self.root = make_node(config, 0, "0", leaf_options)
            self.subtrees = [self.root]

    def build(self, input_shape: Any = None) -> None:
        shape = (None, self.frames, self.config.feature_size)
        for index, subtree in enumerate(self.subtrees):
            with self.placement.subtree(index):
                subtree.build(shape)
        with self.placement.root():
            self.scaling.build(shape)
            if not self.root.built:
                self.root.build(shape)
        self.built = True

    @property
    def segments(self) -> bool:
        """Whether the examples are 5-frame segments, which attend to all their frames."""
        return self.frames == SEGMENT_FRAMES

    def call(self, batch: Any, training: bool = False) -> Tensor:
        return self.tree(batch, training).probabilities

    def compute_output_shape(self, input_shape: Any) -> Shape:
        shape = input_shape["features"] if isinstance(input_shape, dict) else input_shape
        return shape[0], self.config.num_classes

    def compute_output_spec(self, *args, **kwargs) -> keras.KerasTensor:
        # By tracing, as without `compute_output_shape`: from it alone Keras takes the compute dtype for the output's.
        return keras.Operation.compute_output_spec(self, *args, **kwargs)

    def tree(self, batch: Any, training: bool = False) -> NodeOutput:
        """The `NodeOutput` of the root for a batch."""
        batch = as_batch(batch)
        scaled = self.scaled_frames(batch)
        outputs = []
        for index, subtree in enumerate(self.subtrees):
            with self.placement.subtree(index):
                outputs.append(subtree(scaled(index), batch.get("num_frames"), training=training))
        if not self.config.branching:
            return outputs[0]
        with self.placement.root():
            return self.root.mix(scaled(0), outputs, training)

    def scaled_frames(self, batch: dict[str, Tensor]) -> Callable[[int], Tensor]:
        """A function from a subtree's number to its scaled frames; what travels to a device are the raw bytes."""
        return self.placement.once_a_device(lambda: self.scaling(batch["features"], batch.get("present_frames")))

    def subtree_path(self, index: int) -> str:
        """Path of a subtree in the tree."""
        return str(index) if self.config.branching else ""

    def freeze_trunk(self) -> None:
        """Keeps everything below the classifiers of the leaves as it is; these and the mixing nets go on training."""
        for leaf in self.root.leaves():
            for layer in leaf.trunk():
                layer.trainable = False

    def node(self, path: str) -> keras.layers.Layer:
        """The layer at a path of the tree: "" is the root, "1/2" the third child of the second child."""
        node = self.root
        for index in filter(None, path.split("/")):
            node = node.nodes[int(index)]
        return node

    def set_recipe(self, recipe: Recipe) -> None:
        """Sets what `compile` takes where it is given none, and the original's accidents in batch norms."""
        if not isinstance(recipe, Recipe):
            raise ValueError(f'Expected a Recipe, as PHASES["finetune"] is one, got {recipe!r}.')
        self.recipe = Recipe(**{field.name: getattr(recipe, field.name) for field in dataclasses.fields(Recipe)})
        self.loss_means.recipe = self.recipe
        accidents, branching = self.recipe.original_accidents, self.config.branching
        # The original's mixtures and the starter code's baseline use the fused batch norm, its single model does not.
        for leaf in self.root.leaves():
            leaf.set_unbiased_moving_variance(accidents and (bool(branching) or self.config.pooling == "dbof"))
        if branching:
            # The original's root net, above its towers, trains without updating its averages.
            self.root.mixing.norm.momentum = 1.0 if accidents and len(branching) > 1 else self.momentum

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "adam",
        recipe: Recipe | None = None,
        metrics: list | None = None,
        weighted_metrics: list | None = None,
        jit_compile: bool = False,
        **kwargs,
    ) -> None:
        """As `keras.Model.compile`, with a recipe in place of a loss.

        Args:
            optimizer: `FusedAdam`, or any of Keras'.
            recipe: a `Recipe`, or a `PhaseConfig`, which is one; None: the model's, by default `Recipe()`.
            metrics, weighted_metrics: of the root's probabilities, in training and evaluation; weighted ones take the
                label weights. None: GAP, Hit@1 and PERR of rated labels, in evaluation.
            jit_compile: XLA stays off by default: it cannot compile a model that spans devices.
            **kwargs: `run_eagerly` and others of `keras.Model.compile`.
        """
        if kwargs.get("loss") is not None or kwargs.get("loss_weights") is not None:
            raise ValueError("A MOD has the losses of its recipe: expected recipe=..., got loss or loss_weights.")
        if recipe is not None:
            self.set_recipe(recipe)
        self.scored = metrics is None and weighted_metrics is None
        with self.distribute_strategy.scope():
            super().compile(
                optimizer=optimizer,
                metrics=metrics,
                weighted_metrics=weighted_metrics,
                jit_compile=jit_compile,
                **kwargs,
            )
            self.optimizer.build(self.trainable_variables)
        if self.recipe.averaged_teacher and not self.optimizer.use_ema:
            raise ValueError("averaged_teacher needs averages: expected an optimizer with use_ema=True, got False.")

    def fit(self, x: Any = None, *args, validation_data: Any = None, **kwargs) -> keras.callbacks.History:
        """As `keras.Model.fit`; x may be a dataset of batches as the reader gives them.

        Raises:
            ValueError: also with `class_weight`, which Keras applies to one class of an example.
        """
        if kwargs.get("class_weight") is not None:
            raise ValueError("Examples have several labels: expected sample_weight (batch, classes), got class_weight.")
        with few_passes():
            return super().fit(without_texts(x), *args, validation_data=without_texts(validation_data), **kwargs)

    def evaluate(self, x: Any = None, *args, **kwargs) -> Any:
        """As `keras.Model.evaluate`; x may be a dataset of batches as the reader gives them."""
        return super().evaluate(without_texts(x), *args, **kwargs)

    def predict(self, x: Any, *args, **kwargs) -> Any:
        """As `keras.Model.predict`; x may be a dataset of batches as the reader gives them."""
        return super().predict(without_texts(x), *args, **kwargs)

    def make_test_function(self, force: bool = False) -> None:
        # XLA cannot compile GAP, which holds what it has seen outside of TensorFlow's graphs.
        jit_compile, self.jit_compile = self.jit_compile, self.jit_compile and not self.scored
        super().make_test_function(force)
        self.jit_compile = jit_compile

    def export(self, filepath: Any, *args, input_signature: Any = None, **kwargs) -> None:
        """As `keras.Model.export`, by default of stored features, uint8 `(batch, frames, features)`.

        `python -m youtube8m_mod.export` writes the folded model, which is smaller and faster (docs/serving.md).
        """
        features = keras.InputSpec(shape=(None, self.frames, self.config.feature_size), dtype="uint8")
        super().export(filepath, *args, input_signature=input_signature or [features], **kwargs)

    def train_step(self, data: Any) -> dict[str, Tensor]:
        part = self._part_of(data)
        # Scaled as Keras scales a loss: float16 needs it, and the optimizer takes it back.
        terms, gradients, output = self.losses_and_gradients(part.batch, self.optimizer.scale_loss(part.share))
        self.optimizer.apply(gradients, self.trainable_variables)
        self.loss_means.update_state(terms, part.examples, part.share)
        return self.loss_means.result() if self.scored else self.compute_metrics(data, *part.scored(output))

    def test_step(self, data: Any) -> dict[str, Tensor]:
        part = self._part_of(data)
        output = self.tree(part.batch, training=False)
        terms = losses.tree_losses(output, *labels_of(part.batch), self.recipe)
        for index in range(len(self.subtrees)):
            terms |= self.l2_term(index)
        self.loss_means.update_state(terms, part.examples, part.share)
        if not self.scored:
            return self.compute_metrics(data, *part.scored(output))
        for score in self.scores:
            score.update_state(*part.scored(output))
        return self.get_metrics_result()

    def _part_of(self, data):
        """The `ReplicaPart` of what Keras hands to a step."""
        batch = as_batch(data)
        check_labels(batch, self.config.num_classes)
        return ReplicaPart(batch)

    def losses_and_gradients(
        self, batch: dict[str, Tensor], share: Tensor | float = 1.0
    ) -> tuple[dict[str, Tensor], list[Tensor], NodeOutput]:
        """Loss terms of a batch, the gradients of their weighted sum, and the scores that they are losses of.

        Args:
            batch: a dict with labels; see `as_batch`. Where the recipe has a `teacher_weight`, with `teacher_logits`
                `(batch, classes)` too.
            share: factor of the sum: of a replica, its share of the whole batch.

        Returns:
            ({name of a term: scalar}, gradients in the order of `trainable_variables`, `NodeOutput` of the root).
        """
        return TrainingStep(self, batch, share).losses_and_gradients()

    def l2_term(self, index: int) -> dict[str, Tensor]:
        """The penalty of a subtree; by the original's accident the first counts as often as there are subtrees."""
        times = len(self.subtrees) - index if self.recipe.original_accidents else 1
        penalty = losses.l2_penalty(self.subtrees[index].regularized_weights, times * self.recipe.l2_penalty)
        return {losses.term_name("l2", self.subtree_path(index)): penalty}

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        if not self.compiled:
            return []
        if self.scored:
            return [self.loss_means, *self.scores]
        return [self.loss_means, self._compile_metrics]

    def get_config(self) -> dict[str, Any]:
        return {
            "config": to_dict(self.config),
            "frames": self.frames,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "seed": self.seed,
            "dropout": self.dropout,
            "momentum": self.momentum,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None) -> "MOD":
        return cls(**config | {"config": from_dict(ModelConfig, config["config"], "the configuration")})

    def get_compile_config(self) -> dict[str, Any]:
        return super().get_compile_config() | {"recipe": to_dict(self.recipe)} if self.compiled else {}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        config = keras.saving.deserialize_keras_object(config)
        recipe = from_dict(Recipe, config.pop("recipe"), "the compile configuration")
        self.compile(**config, recipe=recipe)
