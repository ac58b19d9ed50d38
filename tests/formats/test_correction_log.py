from concurrent.futures import ThreadPoolExecutor

import pytest

from reviews import written
from trapline.core.errors import InputError
from trapline.formats import corrections
from trapline.formats.correction_log import CorrectionLog, Decision


def decision(box, action="relabel", to="fox", before="skunk"):
    return Decision("i", box, action, before, to, "Ada", "2024-06-01T10:00:00+00:00")


def test_an_undo_lets_the_decision_before_stand_again(tmp_path):
    path = tmp_path / "corrections.csv"
    log = CorrectionLog(path)
    log.append([decision("b1", to="fox"), decision("b1", "exclude", ""), decision("b2", "accept", "")])
    log.append([decision("b1", "undo", ""), decision("b2", "undo", ""), decision("b3", "undo", "")])
    assert corrections.read(path).rows() == [("b1", "relabel", "fox", "Ada")]


def test_many_logs_lose_nothing_and_see_everything(tmp_path):
    path = tmp_path / "corrections.csv"
    logs = [CorrectionLog(path) for _ in range(4)]

    def work(k):
        seen = []
        for n in range(25):
            seen += logs[k].append([decision(f"{k}-{n}")])
        return seen

    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(work, range(4)))
    boxes = [row["box_id"] for row in written(path)]
    assert len(set(boxes)) == len(boxes) == 100
    for k, found in enumerate(seen):
        assert [d.box_id for d in [*found, *logs[k].news()]] == boxes


def test_a_persons_own_file_goes_on_in_its_own_columns(tmp_path):
    path = tmp_path / "corrections.csv"
    path.write_bytes(b"box_id,action,to,note\nb1,exclude,,blurred")
    CorrectionLog(path).append([decision("b,2", to='a "fox"')])
    assert path.read_text() == 'box_id,action,to,note\nb1,exclude,,blurred\n"b,2",relabel,"a ""fox""",\n'
    assert corrections.read(path)["box_id"].to_list() == ["b1", "b,2"]


@pytest.mark.parametrize("text", ["box,action\n", 'box_id,action,to\n"b1,accept'])
def test_a_file_that_is_no_such_table(tmp_path, text):
    (tmp_path / "corrections.csv").write_text(text)
    with pytest.raises(InputError, match=r"corrections\.csv"):
        CorrectionLog(tmp_path / "corrections.csv").append([decision("b")])
    assert (tmp_path / "corrections.csv").read_text() == text
