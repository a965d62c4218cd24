"""What the verbs about stored datasets do."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from aime_agent.cli.checks import check_device, check_task, train_settings
from aime_agent.cli.options import CollectArgs, ExportArgs, ImportArgs, TrainArgs
from aime_agent.cli.words import given
from aime_agent.errors import ConfigError


def run(args: CollectArgs | ExportArgs | ImportArgs, argv: Sequence[str]) -> int:
    """Collects or copies a dataset."""
    return collect(args, argv) if isinstance(args, CollectArgs) else copy(args)


def collect(args: CollectArgs, argv: Sequence[str]) -> int:
    """Collects; only settings that were typed are passed on, so a run's environment stays its own."""
    check_task(args.task)
    check_device(args.device)
    chosen = {name: getattr(args, name) for name in given(argv) - {"minari"}}
    if "camera_id" in chosen and args.camera_id.lstrip("-").isdecimal():
        chosen["camera_id"] = int(args.camera_id)
    if args.minari is not None:
        from aime_agent.training.minari import check_id

        check_id(args.minari)
    from aime_agent.training.collect import collect as start

    folder = start(args.task, **chosen)
    _say_what_is_in(folder)
    if args.minari is not None:
        copy(ExportArgs(dataset=str(folder), minari=args.minari))
    return 0


def copy(args: ExportArgs | ImportArgs) -> int:
    """Copies a dataset to Minari or from it."""
    from aime_agent.training import minari

    if isinstance(args, ExportArgs):
        print(f"exported to Minari as {minari.export_minari(args.dataset, args.minari)}")
        return 0
    folder = minari.import_minari(
        args.id, args.out, image_size=args.image_size, download=args.download
    )
    _say_what_is_in(folder)
    return 0


def train_world_model(args: TrainArgs, argv: Sequence[str]) -> int:
    """Trains a world model on a dataset; only settings that were typed are passed on."""
    from aime_agent.training.offline import OfflineConfig
    from aime_agent.training.train_offline import train_world_model as start

    chosen = train_settings(args, argv, OfflineConfig)
    known = {f.name for f in dataclasses.fields(OfflineConfig)}
    if alien := sorted(set(chosen) - known):
        raise ConfigError(
            f"--{alien[0].replace('_', '-')} means nothing with --world-model-only: the dataset "
            "was collected already"
        )
    start(args.task, resume=args.resume, **chosen)
    run = Path(args.out or Path("runs") / OfflineConfig(dataset=args.task, **chosen).run_name)
    print(f"world model in {run}")
    return 0


def _say_what_is_in(folder: Path) -> None:
    from aime_agent.data.dataset import read_records

    records = read_records(folder)
    mean = sum(r.total_reward for r in records) / len(records)
    rows = sum(r.length for r in records)
    print(f"{len(records)} episodes, {rows} observations, mean return {mean:.1f}")
    print(f"written to {folder}")
