"""Prepare data: `python -m selfsup_motion.prepare prepare=index prepare.root=/path/to/videos`.

The jobs are in `data/preparation`. Each can be killed at any time and started again.
"""

import hydra
from omegaconf import DictConfig

from selfsup_motion.errors import UserError
from selfsup_motion.settings.groups import config_dir, options
from selfsup_motion.settings.unused import check_used, refuse_ineffective
from selfsup_motion.terminal import command_line as cli
from selfsup_motion.terminal.output_folder import ending_on_sigterm


def prepare(cfg: DictConfig) -> None:
    """Do a job as configured, or this array job's share of it.

    Args:
        cfg: the composed config, not resolved.

    Raises:
        UserError: anything that the config's author can put right.
    """
    if not cfg.get("prepare"):
        jobs = "\n".join(f"  prepare={name}" for name in options("prepare"))
        raise UserError(f"Choose a job, one of these:\n{jobs}")

    check_used(cfg, ("prepare",), "prepare")
    refuse_ineffective(_ineffective(cfg.prepare))

    from selfsup_motion.settings.build import build
    from selfsup_motion.settings.check import check_config, check_root
    from selfsup_motion.terminal.bar import Bar
    from selfsup_motion.terminal.console import console

    check_config(cfg, {})
    check_root(cfg, "prepare.job")
    job = build(cfg.prepare.job, "prepare")
    work = build(cfg.prepare.work, "prepare")
    with ending_on_sigterm(), Bar("units") as bar:
        outcome = work.run(job, bar.show)
    reasons = ", ".join(f"{count} {reason}" for reason, count in outcome.bad.most_common())
    kept = f" ({outcome.kept} finished before)" if outcome.kept else ""
    bad = f"{outcome.bad.total()} bad" + (f" ({reasons})" if reasons else "")
    lines = []
    if outcome.spoilt:
        lines.append(
            f"Processed again, because the output was missing or truncated: {outcome.spoilt}."
        )
    lines.append(f"Processed {outcome.done}{kept}. In total: {outcome.good} good, {bad}.")
    if outcome.elsewhere:
        lines.append(
            f"Left for other shards: {outcome.elsewhere}. The last one to finish writes the result."
        )
    else:
        lines += outcome.lines
        if reasons:
            lines.append(f"{outcome.bad_files} lists the bad files.")
    console.print("\n".join(lines), markup=False)


def _ineffective(settings: DictConfig) -> list[tuple[str, bool, str]]:
    """What has no effect together with the other settings, see `refuse_ineffective`."""
    flow = str(settings.get("flow", "")).replace("None", "null")
    estimated = flow.startswith(("dis", "raft"))
    of_dis = f"it is of prepare.flow=dis, not of prepare.flow={flow}"
    of_raft = f"it is of prepare.flow=raft_small and raft_large, not of prepare.flow={flow}"
    return [
        ("prepare.flow_preset", flow != "dis", of_dis),
        ("prepare.flow_weights", not flow.startswith("raft"), of_raft),
        ("prepare.flow_batch", not flow.startswith("raft"), of_raft),
        ("prepare.flow_check", not estimated, "no flow is estimated"),
        ("prepare.quality", settings.get("picture") == "png", "it is of prepare.picture=jpg"),
    ]


@hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="prepare")
def _main(cfg: DictConfig) -> None:
    cli.job(prepare, cfg)


def main() -> None:
    """The command line entry."""
    cli.run(_main, config_name="prepare")


if __name__ == "__main__":
    main()
