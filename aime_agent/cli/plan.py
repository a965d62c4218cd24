"""``aime-agent plan``: act by planning in the world model, beside the actor alone and chance."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aime_agent.cli.plan_options import PlanArgs
from aime_agent.cli.runs import load, run_home

if TYPE_CHECKING:
    from aime_agent.training.evaluate import EvalResult


def plan(args: PlanArgs) -> int:
    """Plays, prints a table and writes the planner's scores."""
    home = run_home(args.run)
    agent = load(args.run, args.device)
    from aime_agent.training import evaluate as scoring

    policy = agent.planner(seed=args.seed, **args.settings())
    env = agent.make_env()
    contests: list[tuple[str, Any]] = [(args.planner, policy.predict)]
    if not args.alone:
        contests.append(("actor alone", agent.predict))
        contests.append(("random actions", scoring.random_policy(env.action_space, args.seed)))
    rows = []
    try:
        for name, predict in contests:
            report = _reporter(name, args.episodes)
            found = scoring.evaluate(predict, env, args.episodes, args.seed, args.max_steps, report)
            rows.append((name, found))
    finally:
        env.close()
    c = agent.config
    print(_table(rows, c.task, c.render_quality))
    out = Path(args.out or home / "evaluations" / f"{args.planner}-s{args.seed}.json")
    facts = {"task": c.task, "run": args.run, "policy": args.planner, "seed": args.seed}
    facts |= {"max_steps": args.max_steps, "render_quality": c.render_quality}
    facts |= {"planner": args.settings()}
    facts |= {"beside": {name: list(found.returns) for name, found in rows[1:]}}
    scoring.save_result(rows[0][1], out, c.action_repeat, **facts)
    print(f"written to {out}")
    return 0


def _reporter(name: str, episodes: int) -> Callable[[int, float], None]:
    """Says how each episode went, as it ends."""

    def report(episode: int, score: float) -> None:
        print(f"{name}: episode {episode + 1} of {episodes}, return {score:.1f}", flush=True)

    return report


def _table(rows: "list[tuple[str, EvalResult]]", task: str, quality: str) -> str:
    """Returns mean returns with intervals, one line per policy."""
    lines = [f"\nreturns on {task}, render quality {quality!r}\n"]
    lines.append(f"{'':<16}{'mean':>8}   95 % interval")
    for name, found in rows:
        low_high = "" if found.ci95 is None else "{:.1f} to {:.1f}".format(*found.ci95)
        lines.append(f"{name:<16}{found.mean:>8.1f}   {low_high}")
    return "\n".join(lines)
