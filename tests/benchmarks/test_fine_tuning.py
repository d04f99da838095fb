"""The course of a training is read from what it wrote, and compared as the table says."""

import json

from benchmarks.fine_tuning import Course, read_course, table


def test_a_course_is_read_from_its_work_directory(tmp_path):
    (tmp_path / "untrained.json").write_text(json.dumps({"test_sets": [{"mAP": 0.25}]}))
    records = [
        {"step": 10, "total": 3.0},
        {"step": 20, "total": 2.0},
        {"step": 20, "drawn/mAP": 0.5, "drawn/rank1": 0.75},
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, records)))
    assert read_course(tmp_path, 8, "drawn") == Course(8, "drawn", (0, 20), (25.0, 50.0))


def test_starts_are_compared_with_the_end_of_the_random_one_of_as_many_people():
    lines = table(
        [
            Course(8, "random", (0, 20, 40), (1.0, 30.0, 40.0)),
            Course(8, "drawn", (0, 20, 40), (30.0, 41.0, 50.0)),
            Course(9, "random", (0, 20, 40), (1.0, 50.0, 60.0)),
            Course(9, "drawn", (0, 20, 40), (30.0, 41.0, 50.0)),
        ]
    ).splitlines()
    assert [line.split("|")[-2].strip() for line in lines[2:]] == ["40", "20", "40", "—"]
