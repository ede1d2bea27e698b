import pytest

from pyg_ghn.training import TrainConfig
from pyg_ghn.training.log import Display


def session(config, seconds_per_step, steps=0, seconds=0.0, first=0.0):
    display = Display(config, steps, seconds, 0.0)
    for i in range(1, 21):
        display.step(steps + i, seconds + first + i * seconds_per_step, i / 100)
    display.show("loss 1.0")
    display.bar.close()
    return display


def test_what_the_run_will_reach_is_said_once_and_early(capsys):
    display = session(TrainConfig(minutes=60), 0.5)
    printed = capsys.readouterr().err
    assert printed.count("2 steps/s: this run will reach about 7,200 steps in its 60 minutes") == 1
    assert "runs/ghn/log.jsonl" in printed and "step 20 of about 7,200 loss 1.0" in printed
    assert display.total_steps() == 7200
    session(TrainConfig(minutes=60, steps=1210), 0.5)
    assert "take about 10 more minutes to its 1,210 steps" in capsys.readouterr().err


def test_slow_first_step_and_earlier_sessions_do_not_count(capsys):
    display = Display(TrainConfig(minutes=60), 0, 0.0, 0.0)
    display.step(1, 9.0, 0.01)
    display.step(2, 9.5, 0.01)
    display.show("loss 1.0")
    printed = capsys.readouterr().err
    assert "step 2 loss 1.0" in printed and "steps/s" not in printed
    assert "remaining" not in display.bar.bar_format
    display.step(12, 14.5, 0.01)
    assert "2 steps/s: this run will reach" in capsys.readouterr().err
    assert "remaining" in display.bar.bar_format
    display = session(TrainConfig(minutes=60), 1.0, steps=500, seconds=1800.0, first=100.0)
    assert display.total_steps() == 520 + 3600 - 1800 - 100 - 20
    alone = Display(TrainConfig(minutes=1), 0, 0.0, 0.0)
    with pytest.warns(UserWarning):
        alone.step(1, 70.0, 1.0)  # longer than the run was to be
    assert alone.total_steps() == 1


def test_hopeless_budgets_and_runs_that_have_ended(capsys):
    with pytest.warns(UserWarning, match="About 120 steps fit in 1 min.*less than 300.*channels"):
        session(TrainConfig(minutes=1), 0.5)
    with pytest.warns(UserWarning, match="About 60 steps fit in 1 min.*less than 100.*channels"):
        session(TrainConfig(minutes=1, init="ghn3-digits"), 1.0)
    Display(TrainConfig(minutes=1), 60, 60.0, 1.0).bar.close()
    assert "had reached its end: give it more minutes or steps" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, enabled",
    [({"minutes": 2, "init": "ghn3-digits"}, True), ({"steps": 20}, True), ({"minutes": 1}, False)],
)
@pytest.mark.filterwarnings("error")
def test_no_warning(options, enabled, capsys):
    """Of a GHN that is trained already, of steps that were asked for, of a second process."""
    display = Display(TrainConfig(**options), 0, 0.0, 0.0, enabled)
    display.step(1, 1.0, 0.05)
    display.step(10, 10.0, 0.5)
    assert ("this run will" in capsys.readouterr().err) == enabled
