"""Bytes become lines as a terminal would show them, however they are cut into portions."""

from hypothesis import given
from hypothesis import strategies as st

from limelight.cluster.process.log_batch import MAX_LINE, NAME_MARK, LineReader


def read(*portions: bytes) -> list[str]:
    reader = LineReader()
    groups = [group for portion in portions for group in reader.feed(portion)] + reader.take_partial()
    return [line for _, lines in groups for line in lines]


def test_complete_lines_come_at_once_and_the_rest_waits():
    reader = LineReader()
    assert reader.feed(b"a\nb\r\nc") == [("", ["a", "b"])]
    assert reader.has_partial
    assert reader.feed(b"d\n") == [("", ["cd"])]
    assert not reader.has_partial
    assert reader.take_partial() == []


def test_of_a_progress_bar_only_what_stays_visible_is_kept():
    assert read(b"\r 10%|#", b"\r 20%|##", b"\r100%|####\n", b"next\r") == ["100%|####", "next"]


def test_an_empty_line_is_a_line():
    assert read(b"a\n\nb\n") == ["a", "", "b"]


def test_binary_garbage_is_replaced():
    assert read(b"\xff\xfe ok\n") == ["\ufffd\ufffd ok"]


def test_a_character_cut_in_two_is_whole():
    assert read(*(bytes([byte]) for byte in "żółw\n".encode())) == ["żółw"]


def test_a_very_long_line_comes_in_pieces_and_whole():
    line = "x" * (3 * MAX_LINE + 5)
    pieces = read(line.encode() + b"\nend\n")
    assert max(map(len, pieces)) <= MAX_LINE
    assert "".join(pieces[:-1]) == line
    assert pieces[-1] == "end"


def test_lines_are_grouped_by_who_printed_them():
    reader = LineReader()
    text = f"before\n{NAME_MARK}f\none\ntwo\n{NAME_MARK}g\nthree\n"
    assert reader.feed(text.encode()) == [("", ["before"]), ("f", ["one", "two"]), ("g", ["three"])]
    assert reader.feed(b"four\n") == [("g", ["four"])]


@given(st.lists(st.text(st.characters(exclude_characters="\r\n\x1e", codec="utf-8"))), st.data())
def test_no_line_is_lost_wherever_the_bytes_are_cut(lines, data):
    encoded = "".join(line + "\n" for line in lines).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(encoded)), max_size=5)))
    portions = [encoded[start:end] for start, end in zip([0, *cuts], [*cuts, len(encoded)], strict=True)]
    assert read(*portions) == lines
