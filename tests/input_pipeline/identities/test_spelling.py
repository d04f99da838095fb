from input_pipeline.identities.spelling import near_spellings, number_names


def test_numbers_stay_and_words_count_from_0():
    assert number_names(["10", "9", "9"]) == {"9": 9, "10": 10}
    assert number_names(["1", "01"]) == {"01": 0, "1": 1}
    assert number_names(["b", "7", "a"]) == {"7": 0, "a": 1, "b": 2}
    assert number_names(["9", str(2**31)]) == {str(2**31): 0, "9": 1}
    assert number_names(["²", "1"]) == {"1": 0, "²": 1}
    assert number_names(["9" * 5000, "1"]) == {"1": 0, "9" * 5000: 1}


def test_junk_decides_nothing_about_the_other_names():
    assert number_names(["10", "-1", "9", "-0001"]) == {"9": 9, "10": 10, "-1": -1, "-0001": -1}
    assert number_names(["b", "-1", "a"]) == {"a": 0, "b": 1, "-1": -1}


def test_names_that_may_be_meant_as_one():
    names = [
        "0004",
        "4",
        "4.0",
        "5",
        "Ada",
        "ada",
        "A da",
        "Ann  B",
        "Ann B",
        "nan",
        "１２",
        "12",
        "1_2",
    ]
    assert near_spellings(names) == [
        ("0004", "4", "4.0"),
        ("12", "１２"),
        ("Ada", "ada"),
        ("Ann  B", "Ann B"),
    ]
