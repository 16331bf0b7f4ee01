import csv

from selfsup_motion.training.loggers import CSVMetrics


def read(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_rows_are_on_disk_at_once_and_columns_grow(tmp_path):
    logger = CSVMetrics(str(tmp_path))
    logger.log_metrics({"train/loss": 1.0, "epoch": 0}, step=0)
    assert read(tmp_path / "metrics.csv") == [{"step": "1", "train/loss": "1.0"}]
    logger.log_metrics({"train/loss": 0.5}, step=1)
    logger.log_metrics({"val/epe": 2.0}, step=1)
    assert read(tmp_path / "metrics.csv") == [
        {"step": "1", "train/loss": "1.0", "val/epe": ""},
        {"step": "2", "train/loss": "0.5", "val/epe": "2.0"},
    ]


def test_resumed_log_drops_rows_after_the_checkpoint_and_goes_on(tmp_path):
    first = CSVMetrics(str(tmp_path))
    for step in range(5):
        first.log_metrics({"train/loss": float(step)}, step=step)
    second = CSVMetrics(str(tmp_path), resume_step=3)
    second.log_metrics({"train/loss": 30.0}, step=3)
    rows = read(tmp_path / "metrics.csv")
    assert [(row["step"], row["train/loss"]) for row in rows] == [
        ("1", "0.0"),
        ("2", "1.0"),
        ("3", "2.0"),
        ("4", "30.0"),
    ]
