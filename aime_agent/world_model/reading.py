"""What a belief says: reward, continuation, frames, attention; of one belief or of stacked ones."""

from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from aime_agent.functional.correspondence import similarity_weights
from aime_agent.layers.conv import unpatchify
from aime_agent.world_model.state import AttentionView, Belief, Retrieved

if TYPE_CHECKING:
    from aime_agent.world_model.model import AimeWorldModel


def reward(model: "AimeWorldModel", belief: Belief) -> Float[Tensor, "*b"]:
    """Expected reward that arrives with the frame of this belief."""
    return model.reward_head.mean(model.reward_head(belief.features))


def continuation(model: "AimeWorldModel", belief: Belief) -> Float[Tensor, "*b"]:
    """Probability that the episode goes on after this belief's frame."""
    return model.continuation_head.mean(model.continuation_head(belief.features))


def decode(model: "AimeWorldModel", belief: Belief) -> Float[Tensor, "*b C H W"]:
    """Frames in [0, 1] of one belief or of stacked ones.

    Raises:
        ValueError: the belief was dreamt with ``attend=False``.
    """
    log_maps = belief.log_attention_hat
    if log_maps is None and model.config.use_attention:
        raise ValueError(
            "belief: its predicted attention is needed to decode, found None; "
            "imagine or roll out with attend=True"
        )
    lead = belief.z.shape[:-1]
    features = belief.features.flatten(0, -2)
    maps = None if log_maps is None else log_maps.flatten(0, -3).exp()
    side = model.config.image_size
    patches = model.decoder.patches(features, maps)
    frames = model.pixels.restore(unpatchify(patches, model.config.patch, (side, side)))
    return frames.unflatten(0, lead)


def attend(model: "AimeWorldModel", belief: Belief) -> AttentionView:
    """Maps, slots, centres and mass of one belief or of stacked ones.

    In a dream, where nothing was seen, the slots' maps are the masks that the slot decoder
    draws for them. What the configuration switches off is empty: no map is of side 0, no slots are 0.

    Raises:
        ValueError: the belief was dreamt with ``attend=False``.
    """
    c, attention, slots = model.config, belief.attention, belief.slots
    if (c.use_attention and attention is None) or (c.use_slots and slots is None):
        raise ValueError(
            "belief: attention and slots are needed, found None; "
            "imagine or roll out with attend=True"
        )
    lead, side, shares = belief.z.shape[:-1], c.attention_resolution, belief.responsibilities
    if attention is None:
        attention = belief.z.new_empty(*lead, 0, 0)
    if slots is None:
        none = belief.z.new_empty(*lead, 0, side, side)
        centers, slots = none[..., 0, :2], none[..., 0, :0]
        return AttentionView(attention, none, centers, none[..., 0, 0], slots)
    if shares is None:
        _, masks = model.slot_decoder.render(slots.flatten(0, -3), side, side)
        shares = masks.flatten(-2).unflatten(0, slots.shape[:-2])
    read = model.slots.read(shares)
    return AttentionView(attention, read.maps, read.centers, read.mass, slots)


def retrieve(
    model: "AimeWorldModel", belief: Belief, query: Float[Tensor, "*b D"], temperature: float = 0.1
) -> Retrieved:
    """Where is what looks like this slot: a soft look-up by similarity, with a gradient.

    Args:
        model: The world model.
        belief: One belief or stacked ones, seen or dreamt.
        query: A slot, e.g. of another frame, or what somebody's encoder makes of a target.
        temperature: Of the softmax over cosines; towards 0 the most similar slot alone.

    Raises:
        ValueError: the temperature is not positive, or the belief has no slots.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, found {temperature}")
    if not model.config.use_slots:
        raise ValueError("retrieve needs slots, found a model built with use_slots=False")
    view = model.attend(belief)
    weights = similarity_weights(query, view.slots, temperature)
    pick = weights.unsqueeze(-2)
    return Retrieved(
        (pick @ view.slots).squeeze(-2),
        weights,
        (pick @ view.slot_maps.flatten(-2))
        .squeeze(-2)
        .view(*weights.shape[:-1], *view.slot_maps.shape[-2:]),
        (pick @ view.centers).squeeze(-2),
    )


def slot_masks(model: "AimeWorldModel", belief: Belief) -> Float[Tensor, "*b S H W"]:
    """Which pixel belongs to which slot, at image resolution; sums to 1 over slots.

    These are the masks of the slot decoder, seen or dreamt. Their argmax is a segmentation.
    The decoder holds S · H · W · units numbers per frame (4 MB in ``small``): portion long films.

    Raises:
        ValueError: the belief was dreamt with ``attend=False``.
    """
    if belief.slots is None:
        raise ValueError("belief: slots are needed, found None; roll out with attend=True")
    side = model.config.image_size
    _, masks = model.slot_decoder.render(belief.slots.flatten(0, -3), side, side)
    return masks.unflatten(0, belief.slots.shape[:-2])
