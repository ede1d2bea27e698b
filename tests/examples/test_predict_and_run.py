import runpy


def test_classifies_digits(examples, capsys):
    runpy.run_path(str(examples / "predict_and_run.py"), run_name="__main__")
    assert "held-out digits classified" in capsys.readouterr().out
