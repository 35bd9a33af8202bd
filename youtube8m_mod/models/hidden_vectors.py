"""What the classifiers of a trained model read: vectors for retrieval and for other classifiers."""

from typing import Any

from keras import ops

from youtube8m_mod.models.batch import as_batch
from youtube8m_mod.models.mod import MOD
from youtube8m_mod.tree import Tensor


def hidden_vectors(model: MOD, batch: Any, node: str = "") -> Tensor:
    """The hidden vectors of the leaves below a node of a `MOD`, in the order of the tree.

    Args:
        batch: as a call of the model takes it.
        node: path of the node: "" is the root, "1/2" the third child of the second child.

    Returns:
        float32 `(batch, leaves, hidden_size)`.
    """
    batch = as_batch(batch)
    frames = model.scaling(batch["features"], batch.get("present_frames"))
    vectors = [leaf.embed(frames, batch.get("num_frames"), training=False) for leaf in model.node(node).leaves()]
    return ops.stack([ops.cast(vector, "float32") for vector in vectors], axis=1)
