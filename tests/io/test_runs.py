from trapline.io.runs import find_or_begin_run, find_run, made_from


def test_runs_are_numbered_and_found_again(tmp_path):
    first = find_or_begin_run(tmp_path, "tf_efficientnet_lite0", "print-1", {"splits": "s1"})
    second = find_or_begin_run(tmp_path, "hf-hub:some/model", "print-2", {})
    assert [first.name, second.name] == ["001-tf_efficientnet_lite0", "002-hf-hub_some_model"]
    assert find_or_begin_run(tmp_path, "tf_efficientnet_lite0", "print-1", {}) == first
    assert find_run(tmp_path, "print-2") == second
    assert find_run(tmp_path, "print-3") is None


def test_foreign_and_torn_folders_do_not_disturb(tmp_path):
    for name, text in (("007-torn", "{"), ("notes", "[]"), ("012-x", '"text"')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "made_from.json").write_text(text)
    assert find_run(tmp_path, "print-1") is None
    assert find_or_begin_run(tmp_path, "m", "print-1", {}).name == "013-m"


def test_a_run_remembers_what_it_was_trained_on(tmp_path):
    run = find_or_begin_run(tmp_path, "m", "print-1", {"splits": "s1"})
    assert made_from(run) == {"splits": "s1"}
    assert made_from(tmp_path / "nothing") == {}
