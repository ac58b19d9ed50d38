import pytest

from trapline.core.log import Account, Log


def test_an_account_reads_as_a_sentence():
    account = Account("annotations", 12_345, "boxes", 12_000, {"without a box": 340, "of no area": 5, "other": 0})
    assert str(account) == "12,345 annotations -> 12,000 boxes; left out 340 without a box, 5 of no area"
    assert account.left_out == {"without a box": 340, "of no area": 5}
    assert str(Account("images", 3, "files", 3)) == "3 images -> 3 files"


@pytest.mark.parametrize(("rows_out", "left_out"), [(8, {}), (8, {"lost": 1}), (10, {"lost": 1}), (11, {})])
def test_no_row_goes_unaccounted(rows_out, left_out):
    with pytest.raises(AssertionError, match="unaccounted"):
        Log().account("boxes", 10, "crops", rows_out, left_out)


def test_a_log_keeps_and_shows():
    class Shown(Log):
        def __init__(self):
            super().__init__()
            self.lines = []

        def show(self, line):
            self.lines.append(line)

    log = Shown()
    log.stage("crop", "again: quality changed")
    log.stage("split", "")
    log.account("boxes", 2, "crops", 1, {"truncated": 1})
    log.note("3 groups")
    log.warn("look here")
    with log.progress("images cropped", 5) as advance:
        advance()
        advance(4, info="loss 0.1")
    assert log.lines == [
        "crop: again: quality changed",
        "split",
        "2 boxes -> 1 crops; left out 1 truncated",
        "3 groups",
        "warning: look here",
    ]
    assert (log.notes, log.warnings, len(log.accounts)) == (["3 groups"], ["look here"], 1)
