import re

import pytest

from rpaccel.workloads.log import read_log

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
ROWS = "u2\tb\t5\t20\nu1\ta\t3\t10\nu1\tb\t4\t11\n"
ITEM = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"


def write(folder, inter=INTER + ROWS, item=None, user=None):
    (folder / "own.inter").write_text(inter)
    if item is not None:
        (folder / "own.item").write_text(item)
    if user is not None:
        (folder / "own.user").write_text(user)
    return folder


def test_ratings_alone_are_enough(tmp_path):
    log = read_log(write(tmp_path))
    assert (log.name, log.user_count, log.item_count) == ("own", 2, 2)
    assert log.users["user_id"].to_list() == ["u1", "u2"]
    assert log.interactions.rows() == [(1, 1, 5.0, 20), (0, 0, 3.0, 10), (0, 1, 4.0, 11)]
    assert log.title(1) == "b"


def test_attributes_are_read(tmp_path):
    item = ITEM + 'b\tThe "B"\t1999\tDrama War\na\tA\t\t\n'
    user = "user_id:token\tage:token\tgender:token\tzip:token\nu1\t30\tF\t1\nu2\t\tM\t2\n"
    log = read_log(write(tmp_path, item=item, user=user))
    assert log.items.rows() == [("b", 'The "B"', "1999", ["Drama", "War"]), ("a", "A", None, [])]
    assert log.users.rows() == [("u1", 30, "F", None), ("u2", None, "M", None)]
    assert log.interactions["item"].to_list() == [0, 1, 0]
    assert log.title(0) == 'The "B"'


def test_digest_follows_content(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = read_log(write(tmp_path / "a")).digest
    assert read_log(write(tmp_path / "b")).digest == first
    assert read_log(write(tmp_path / "b", inter=INTER + ROWS + "u1\tc\t1\t1\n")).digest != first


@pytest.mark.parametrize(
    ("inter", "message"),
    [
        (INTER + ROWS[:-3], "must end with a line feed; is it cut off?"),
        (INTER + "u1\ta\t3\n", "must be a tab-separated table|4 readable values"),
        (INTER + "u1\ta\tgood\t10\n", "own.inter:2: a rating must have 4 readable values"),
        (INTER, "must hold at least 1 rating, not 0"),
        (INTER.replace("rating", "stars") + ROWS, "rating is missing"),
        ("", "must be a tab-separated table"),
    ],
)
def test_rejects_damaged_ratings(tmp_path, inter, message):
    with pytest.raises(ValueError, match=message):
        read_log(write(tmp_path, inter=inter))


def test_rejects_items_without_a_row(tmp_path):
    with pytest.raises(ValueError, match=r"every item of own.inter must have a row; 1 rating"):
        read_log(write(tmp_path, item=ITEM + "b\tB\t1999\tDrama\n"))


def test_rejects_repeated_items(tmp_path):
    with pytest.raises(ValueError, match="item_id must be unique"):
        read_log(write(tmp_path, item=ITEM + "b\tB\t1\tX\nb\tB\t1\tX\n"))


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "none"))):
        read_log(tmp_path / "none")
