"""Which modules a run may name: installed ones, those already here, and those of a folder."""

import site
import sys

import pytest

from jax_agents.experiments import TrainedAgent
from jax_agents.experiments.trained.modules import import_modules

CODE = "NAMED = __name__\n"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with a run folder in it; modules that a test imports go again."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "one"
    run.mkdir(parents=True)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(folder, name="stranger"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.py").write_text(CODE)


def ask(place, env, **arguments):
    import_modules(place / "runs" / "one", {"run": "DQN", "env": env}, **arguments)


def refused(place, env, **arguments):
    with pytest.raises(ValueError, match=r"params\.json: 'env' names .*--modules FOLDER"):
        ask(place, env, **arguments)
    return True


@pytest.mark.parametrize(
    "where", [".", "runs/one", "runs/one/deeper"], ids=["here", "the folder", "deeper"]
)
def test_what_lies_around_is_refused_wherever_python_looks(place, where):
    write(place / where)
    assert refused(place, "stranger:X-v0")
    for entry in ("", ".", str(place / where)):
        sys.path.insert(0, entry)
        assert refused(place, "stranger:X-v0")
    assert "stranger" not in sys.modules


@pytest.mark.parametrize("env", ["runs.one.stranger:X-v0", "runs.stranger:X-v0"])
def test_folders_above_the_run_are_no_packages(place, env, monkeypatch):
    """The working directory may be a project that is installed to be edited."""
    write(place / "runs")
    write(place / "runs" / "one")
    sys.path.insert(0, str(place))
    (place / "packages").mkdir()
    (place / "packages" / "own.pth").write_text(f"{place}\n")
    monkeypatch.setattr(site, "getsitepackages", lambda: [str(place / "packages")])
    assert refused(place, env)


def test_what_is_installed_is_imported_also_to_be_edited(place, monkeypatch):
    write(place / "packages", "installed")
    write(place, "edited")
    sys.path[:0] = [str(place / "packages"), str(place)]
    monkeypatch.setattr(site, "getsitepackages", lambda: [str(place / "packages")])
    ask(place, "installed:X-v0")
    assert refused(place, "edited:X-v0")
    (place / "packages" / "edited.pth").write_text(f"# a comment\nimport sys\n{place}\n")
    ask(place, "edited:X-v0")
    assert {"installed", "edited"} <= set(sys.modules)


def test_an_installed_module_comes_before_one_of_its_name_here(place, monkeypatch):
    write(place / "packages", "twice")
    (place / "twice.py").write_text("raise SystemExit('the wrong one')")
    sys.path[:0] = ["", str(place / "packages")]
    monkeypatch.setattr(site, "getsitepackages", lambda: [str(place / "packages")])
    before = list(sys.path)
    ask(place, "twice:X-v0")
    assert sys.modules["twice"].__file__ == str(place / "packages" / "twice.py")
    assert sys.path == before


def test_what_this_process_has_imported_stays(place):
    write(place)
    sys.path.insert(0, str(place))
    import stranger  # the user's own line

    ask(place, "stranger:X-v0")
    assert stranger.NAMED == "stranger"


def test_a_folder_that_is_named_is_trusted_with_its_packages(place):
    write(place / "own" / "package", "part")
    (place / "own" / "package" / "__init__.py").write_text("")
    assert refused(place, "package.part:X-v0")
    ask(place, "package.part:X-v0", modules=place / "own")
    assert "package.part" in sys.modules
    with pytest.raises(ValueError, match="modules: expected a folder"):
        ask(place, "x:Y-v0", modules=place / "nothing")


def test_a_module_that_cannot_be_imported_says_why(place):
    (place / "own").mkdir()
    (place / "own" / "broken.py").write_text("1 / 0")
    with pytest.raises(ValueError, match="cannot be imported: ZeroDivisionError"):
        ask(place, "broken:X-v0", modules=place / "own")


def test_names_without_a_module_import_nothing(place):
    before = set(sys.modules)
    ask(place, "CartPole-v1")
    import_modules(place, {"run": "PPO", "env": None})
    assert set(sys.modules) == before


def test_a_trained_agent_is_loaded_by_the_same_rule(place):
    write(place)
    params = '{"run": "DQN", "env": "stranger:X-v0", "seed": 0, "runner": "loop", '
    params += '"replay": "host", "config": {}, "format": 1}'
    (place / "runs" / "one" / "params.json").write_text(params)
    with pytest.raises(ValueError, match="import the module first"):
        TrainedAgent.load(place / "runs" / "one")
    assert "stranger" not in sys.modules
