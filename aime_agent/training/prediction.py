"""Open-loop prediction on held-out windows: pictures, rewards, latents, calibration, bits.

The model sees ``context`` frames, then goes on alone with the true actions. Against it stand the last
seen frame and the mean frame. At every horizon (predicted frames after the context):

    likeliest    mean of the heaviest component at every step, from the posterior mean
    sampled      mean score of N sampled futures (what one future is worth)
    mean of N    score of their mean picture;   best of N   best score among them, metric by metric

The foreground mask is the union of the target's and of the last seen frame's, the same for all
methods: what has to be drawn and what has to be erased. Latent errors are squared distances to the
posterior mean that inference finds later, over the variance of those means over the windows: 1 is
what the constant mean would score. The bound is −log p(o_t | o_<t, a_<t) ≤ −log p(o_t | z_t, ..) +
U(q ‖ p), closed loop, per pixel and channel, of frames with 256 levels.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from aime_agent.errors import ConfigError
from aime_agent.functional.calibration import coverage, histogram, ranks
from aime_agent.functional.gaussian import LOG_2PI
from aime_agent.functional.image_metrics import masked_psnr, psnr, ssim
from aime_agent.training.windows import Windows
from aime_agent.world_model.losses import SequenceData, reconstruction_error
from aime_agent.world_model.model import AimeWorldModel
from aime_agent.world_model.sequence import pass_over
from aime_agent.world_model.state import Prediction

Scores = dict[str, dict[str, float]]
"""Metric → horizon → mean over windows."""

_BYTE = 256


@dataclass(frozen=True, kw_only=True)
class PredictionConfig:
    """What is predicted, and how often.

    Raises:
        ConfigError: a value cannot work; the message names the field.
    """

    context: int = 5
    """Frames that the model sees."""
    horizons: tuple[int, ...] = (1, 5, 15, 45)
    """Predicted frames after the context at which scores are taken, ascending."""
    futures: int = 19
    """N, sampled futures per window; 0 leaves out all that needs them. 19 gives exact 50 % and 90 %
    intervals."""
    portion: int = 4
    """Windows predicted at once, which bounds the memory."""
    seed: int = 0
    """Of everything that is drawn."""

    def __post_init__(self) -> None:
        ascending = all(a < b for a, b in zip(self.horizons, self.horizons[1:], strict=False))
        if not self.horizons or self.horizons[0] < 1 or not ascending:
            raise ConfigError(
                f"PredictionConfig.horizons must ascend from at least 1, found {self.horizons}"
            )
        for name, least in (("context", 1), ("futures", 0), ("portion", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ConfigError(
                    f"PredictionConfig.{name} must be at least {least}, found {getattr(self, name)}"
                )

    @property
    def length(self) -> int:
        """Rows of a window."""
        return self.context + self.horizons[-1]


@torch.no_grad()
def evaluate_prediction(
    model: AimeWorldModel,
    windows: Windows,
    mean_frame: Float[Tensor, "C H W"],
    config: PredictionConfig | None = None,
) -> dict[str, Any]:
    """Scores a model and the two baselines; leaves its mode and torch's random state as they were.

    Args:
        model: The world model.
        windows: Held-out windows of `PredictionConfig.length` rows.
        mean_frame: Mean of the training frames, in [0, 1].
        config: What to predict.

    Returns:
        JSON values, by method, metric and horizon.
    """
    c = config or PredictionConfig()
    if windows.frames.shape[1] != c.length:
        raise ConfigError(f"windows: {c.length} rows required, found {windows.frames.shape[1]}")
    training = model.training
    model.eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(c.seed)
        report = _evaluate(model, windows, mean_frame, c)
    model.train(training)
    return report


def _evaluate(
    model: AimeWorldModel, windows: Windows, mean_frame: Tensor, c: PredictionConfig
) -> dict[str, Any]:
    """The parts of the report."""
    truth = _truth(model, windows, c)
    paths = {"likeliest": _predict(model, windows, c, None)}
    if c.futures:
        paths["sampled"] = _predict(model, windows, c, c.futures)
    shown = model.images(windows.frames)
    last = shown[:, c.context - 1 : c.context].expand(-1, len(c.horizons), -1, -1, -1)
    pictures: dict[str, Scores] = {
        "copy_last": picture_scores(last, windows, c),
        "mean_frame": picture_scores(mean_frame.to(shown).expand_as(last), windows, c),
        "likeliest": picture_scores(paths["likeliest"]["frames"], windows, c),
    }
    report: dict[str, Any] = {
        "windows": len(windows.frames),
        "context": c.context,
        "horizons": list(c.horizons),
        "futures": c.futures,
        "mask": windows.mask_name,
        "mask_share": windows.mask.double().mean().item(),
        "pictures": pictures,
        "reward": reward_scores(paths["likeliest"]["rewards"], windows, c),
        "latent": _latent_scores(paths["likeliest"]["latents"], truth["mean"], c),
        "bits_per_dim": truth["bits"],
        "nats": truth["nats"],
    }
    if c.futures:
        several = paths["sampled"]
        pictures |= several_scores(several["frames"], windows, c)
        report["calibration"] = _calibration(several, truth, windows, c)
    return report


def _predict(
    model: AimeWorldModel, windows: Windows, c: PredictionConfig, futures: int | None
) -> dict[str, Tensor]:
    """Frames, rewards and latents at the horizons, ``[W, (N,) H, ...]``; None for the likeliest."""
    at = torch.tensor(c.horizons) - 1
    kept: list[dict[str, Tensor]] = []
    for i in range(0, len(windows.frames), c.portion):
        some = windows.part(slice(i, i + c.portion))
        out: Prediction = model.predict_future(
            some.frames[:, : c.context],
            some.actions[:, : c.context - 1],
            future_actions=some.actions[:, c.context - 1 : -1],
            num_samples=futures or 1,
            deterministic=futures is None,
        )
        time = 1 if (futures or 1) == 1 else 2
        found = {"frames": out.observations, "rewards": out.rewards, "latents": out.latents}
        kept.append({k: v.index_select(time, at) for k, v in found.items() if v is not None})
    joined = {k: torch.cat([part[k] for part in kept]) for k in kept[0]}
    return {k: v.unsqueeze(1) for k, v in joined.items()} if futures == 1 else joined


def _targets(windows: Windows, c: PredictionConfig) -> tuple[Tensor, Tensor, Tensor]:
    """True frames, masks and rewards at the horizons."""
    rows = torch.tensor(c.horizons) + c.context - 1
    mask = windows.mask[:, rows] | windows.mask[:, c.context - 1 : c.context]
    return windows.frames[:, rows] / 255.0, mask, windows.rewards[:, rows]


def _each(
    predicted: Float[Tensor, "*n W H C Y X"], windows: Windows, c: PredictionConfig
) -> dict[str, Float[Tensor, "*n W H"]]:
    """Every metric of every prediction."""
    target, mask, _ = _targets(windows, c)
    target = target.to(predicted).expand_as(predicted)
    mask = mask.expand(*predicted.shape[:-3], *mask.shape[-2:])
    return {
        "psnr": psnr(predicted, target),
        f"{windows.mask_name}_psnr": masked_psnr(predicted, target, mask),
        "ssim": ssim(predicted, target),
    }


def picture_scores(
    predicted: Float[Tensor, "W H C Y X"], windows: Windows, config: PredictionConfig
) -> Scores:
    """Returns metric → horizon → mean over windows (those with an empty mask left out)."""
    return {k: _by_horizon(v, config) for k, v in _each(predicted, windows, config).items()}


def several_scores(
    predicted: Float[Tensor, "W N H C Y X"], windows: Windows, config: PredictionConfig
) -> dict[str, Scores]:
    """Returns the scores of one future, of the mean picture and of the best of N."""
    each = _each(predicted.transpose(0, 1), windows, config)
    return {
        "sampled": {k: _by_horizon(v.mean(0), config) for k, v in each.items()},
        "mean_of_n": picture_scores(predicted.mean(1), windows, config),
        "best_of_n": {k: _by_horizon(v.amax(0), config) for k, v in each.items()},
    }


def reward_scores(
    predicted: Float[Tensor, "W H"], windows: Windows, config: PredictionConfig
) -> Scores:
    """Returns mean absolute error, correlation, and the error of the windows' mean reward."""
    _, _, true = _targets(windows, config)
    error = (predicted - true).abs()
    constant = (true.mean(0) - true).abs()
    pairs = zip(config.horizons, predicted.unbind(1), true.unbind(1), strict=True)
    return {
        "error": _by_horizon(error, config),
        "error_of_the_mean": _by_horizon(constant, config),
        "correlation": {str(h): correlation(p, t) for h, p, t in pairs},
    }


def correlation(x: Float[Tensor, " W"], y: Float[Tensor, " W"]) -> float:
    """Pearson's correlation; 0 where one of both is constant.

    >>> correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0, 6.0]))
    1.0
    """
    a, b = (v.double() - v.double().mean() for v in (x, y))
    scale = (a.square().sum() * b.square().sum()).sqrt()
    return round(((a * b).sum() / scale).item(), 12) if scale > 0 else 0.0


def _truth(model: AimeWorldModel, windows: Windows, c: PredictionConfig) -> dict[str, Any]:
    """Posterior of every row, one draw of it, and the bound on unseen frames, closed loop."""
    means, draws, nats = [], [], []
    rows = slice(c.context, None)
    for i in range(0, len(windows.frames), c.portion):
        some = windows.part(slice(i, i + c.portion))
        data: SequenceData = model.sequence(some.frames, some.actions, None)
        passed = pass_over(model, data, sample=True)
        beliefs = passed.beliefs
        if beliefs.mean is None or beliefs.std is None:
            raise ValueError("beliefs: a posterior is needed, found a dream")
        pixels = reconstruction_error(model, passed.patches, data.observations)
        bound = pixels + passed.prior.kl_bound(beliefs.mean, beliefs.std)
        nats.append(bound[:, rows].flatten())
        still = pass_over(model, data, sample=False).beliefs
        if still.mean is None or still.std is None:
            raise ValueError("beliefs: a posterior is needed, found a dream")
        means.append(still.mean)
        draws.append(still.mean + still.std * torch.randn_like(still.std))
    precision = float(model.pixels.precision) if model.likelihood is None else None
    mean_nats = torch.cat(nats).double().mean().item()
    return {
        "mean": torch.cat(means),
        "draw": torch.cat(draws),
        "nats": mean_nats,
        "bits": bits_per_dim(mean_nats, model.pixels.mean.numel(), precision),
    }


def bits_per_dim(nats: float, dims: int, precision: float | None) -> float:
    """Turns a frame's bound into bits per pixel and channel.

    Args:
        nats: The bound; with a Gaussian likelihood, less its constant.
        dims: Pixels times channels.
        precision: Of the Gaussian; None where the nats are those of 8-bit pixels already.

    >>> round(bits_per_dim(0.0, 12, 4.0), 3)
    8.326
    """
    if precision is None:
        return nats / dims / math.log(2)
    constant = 0.5 * (LOG_2PI - math.log(precision))
    return (nats / dims + constant) / math.log(2) + math.log2(_BYTE)


def _latent_scores(
    predicted: Float[Tensor, "W H z"], mean: Float[Tensor, "W L z"], c: PredictionConfig
) -> Scores:
    """Squared distance over variance: of the prediction, and of the last seen latent."""
    variance = mean.flatten(0, 1).var(0).clamp(min=1e-6)
    rows = torch.tensor(c.horizons) + c.context - 1
    target, last = mean[:, rows], mean[:, c.context - 1 : c.context]
    return {
        "error": _by_horizon(((predicted - target).square() / variance).mean(-1), c),
        "copy_last": _by_horizon(((last - target).square() / variance).mean(-1), c),
    }


def _calibration(
    several: dict[str, Tensor], truth: dict[str, Any], windows: Windows, c: PredictionConfig
) -> dict[str, Any]:
    """Coverage by horizon and the rank histogram over all horizons, of rewards and latents."""
    rows = torch.tensor(c.horizons) + c.context - 1
    targets = {"reward": windows.rewards[:, rows], "latent": truth["draw"][:, rows]}
    samples = {"reward": several["rewards"], "latent": several["latents"]}
    report: dict[str, Any] = {}
    for name, target in targets.items():
        drawn = samples[name].transpose(0, 1)
        rank = ranks(drawn, target.to(drawn), torch.rand(target.shape))
        report[name] = {
            f"coverage_{round(100 * level)}": {
                str(h): coverage(rank[:, i], c.futures, level) for i, h in enumerate(c.horizons)
            }
            for level in (0.5, 0.9)
        } | {"ranks": histogram(rank, c.futures)}
    return report


def _by_horizon(values: Float[Tensor, "W H"], c: PredictionConfig) -> dict[str, float]:
    means = values.double().nanmean(0).tolist()
    return {str(h): v for h, v in zip(c.horizons, means, strict=True)}
