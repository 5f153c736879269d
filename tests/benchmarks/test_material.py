"""What the benchmarks work on."""

from benchmarks.material import HEIGHT, WIDTH, lions, reference_kernel, write_corpus, write_folder
from tweetcap.data.photo import load_photo
from tweetcap.data.starter import read_starter


def test_lions_are_different_photos_of_one_size_and_the_same_each_time():
    photos = lions(5)
    assert len(set(photos)) == 5
    assert all(load_photo(photo).shape == (3, HEIGHT, WIDTH) for photo in photos)
    assert lions(5) == photos


def test_a_folder_has_as_many_different_photos(tmp_path):
    write_folder(tmp_path / "photos", 4)
    assert len({path.read_bytes() for path in (tmp_path / "photos").iterdir()}) == 4


def test_a_corpus_can_be_trained_on(tmp_path):
    texts = write_corpus(tmp_path, 16)
    train, validation = (read_starter(tmp_path, split) for split in ("train", "validation"))
    assert (len(train), len(validation)) == (14, 2)
    assert texts == sum(1 + len(photo.tweets) for photo in train) > 50


def test_the_reference_kernel_is_always_the_same_work():
    assert reference_kernel() == reference_kernel()
