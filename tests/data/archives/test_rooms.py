"""The writer of archives: all of it or nothing, and its command."""

import pytest

from keras_mtl import rooms
from keras_mtl.data.archives import pascal_context
from keras_mtl.data.archives import rooms as room_archives

pytestmark = pytest.mark.once("torch", "needs no backend")

SIZE = (24, 32)


def test_the_writer_leaves_nothing_half_done(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="train is 0, expected an integer >= 1"):
        room_archives.write_nyud_v2(tmp_path / "N", train=0, val=1)
    render = rooms.render

    def fails_at_the_second(seed, size, index):
        if index:
            raise KeyboardInterrupt
        return render(seed, size, index)

    monkeypatch.setattr(rooms, "render", fails_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        room_archives.write_nyud_v2(tmp_path / "N", train=2, val=1, image_size=SIZE)
    assert not list(tmp_path.iterdir())
    (tmp_path / "N").mkdir()
    with pytest.raises(FileExistsError, match="N exists, expected a folder to create; remove it"):
        room_archives.write_nyud_v2(tmp_path / "N", train=1, val=1)


def test_the_command_writes(tmp_path, capsys):
    size = ["--image-size", *map(str, SIZE)]
    arguments = ["pascal_context", str(tmp_path / "P"), "--train=1", "--val=2", "--seed=3", *size]
    assert room_archives.main(arguments) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'P'}\n"
    assert pascal_context.image_ids(tmp_path / "P", "val") == ["2008_000002", "2008_000003"]
    with pytest.raises(SystemExit) as caught:
        room_archives.main(arguments)
    assert caught.value.code == 2
    assert "P exists, expected a folder to create" in capsys.readouterr().err
