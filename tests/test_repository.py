"""What the repository says about itself is true: documentation, versions, commands, dependencies."""

import ast
import importlib.metadata
import importlib.util
import pathlib
import re
import sys
import tomllib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["parameters", "configuration"])
def test_generated_pages_are_what_the_tables_say(name):
    spec = importlib.util.spec_from_file_location(f"make_{name}", ROOT / "docs" / f"make_{name}.py")
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    assert read(f"docs/{name}.md") == page.render(), f"run: python docs/make_{name}.py"


def test_one_version_everywhere():
    version = PROJECT["version"]
    assert f"## [{version}]" in read("CHANGELOG.md")
    assert re.search(rf"^version: {re.escape(version)}$", read("CITATION.cff"), re.MULTILINE)
    try:
        installed = importlib.metadata.version(PROJECT["name"])
    except importlib.metadata.PackageNotFoundError:
        return  # run from the tree without an install: nothing more to compare
    assert installed == version, "reinstall: pip install -e ."


def test_the_readme_has_two_commands_and_ci_runs_the_second():
    commands = [line for line in read("README.md").splitlines() if line.startswith("python3 -m venv")]
    assert len(commands) == 2
    job, tests = commands
    assert "mdpl calibrate" in job and "pytest" in tests
    assert tests in read(".ci/run").splitlines()
    assert read(".ci/run").rstrip().endswith(tests), "the last thing printed is pytest's closing line"


def test_the_full_test_run_leaves_nothing_out():
    options = tomllib.loads(read("pyproject.toml"))["tool"]["pytest"]["ini_options"]["addopts"]
    assert not any(option.startswith(("-m", "-k", "--ignore", "--deselect")) for option in options)
    assert not re.search(r"pytest .*(-m |-k |--ignore|--deselect)", read(".ci/run").splitlines()[-1])


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/index.md", "docs/processes/index.md"])
def test_links_to_files_lead_somewhere(page):
    folder = (ROOT / page).parent
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", read(page)):
        assert (folder / target).exists(), f"{page}: {target}"


def test_every_documentation_page_is_in_the_menu():
    menu = read("mkdocs.yml")
    for page in (ROOT / "docs").rglob("*.md"):
        assert str(page.relative_to(ROOT / "docs").as_posix()) in menu


def imported_packages():
    """Top-level names of what the two packages import from elsewhere."""
    found = set()
    for package in ("jlsm", "mdpl"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    found |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.level == 0:
                    found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"jlsm", "mdpl"}


IMPORTED_AS = {"orbax_checkpoint": "orbax", "scikit_learn": "sklearn"}
"""distributions whose package has another name"""


def requirement_names(requirements):
    names = {re.match(r"[A-Za-z0-9_.-]+", text).group().lower().replace("-", "_") for text in requirements}
    return {IMPORTED_AS.get(name, name) for name in names}


FOR_WORK_ON_IT = {"docs", "test"}
"""extras that no user needs"""


def test_dependencies_are_what_is_imported():
    needed = {name.lower() for name in imported_packages()}
    declared = requirement_names(PROJECT["dependencies"])
    extras = {name: requirement_names(texts) for name, texts in PROJECT["optional-dependencies"].items()}
    optional = set().union(*(names for name, names in extras.items() if name not in FOR_WORK_ON_IT))
    assert needed <= declared | optional, "imported but not declared"
    assert optional <= needed, "an extra that nothing imports"
    needed -= optional - declared
    # jaxlib is half of jax; xarray reads and writes NetCDF through netCDF4.
    assert declared - needed <= {"jaxlib", "netcdf4"}, "declared but not imported"


def test_no_package_index_is_named():
    for name in (".ci/run", "pyproject.toml", "README.md", "CONTRIBUTING.md", ".pre-commit-config.yaml"):
        assert not re.search(r"--(extra-)?index-url|--find-links|pypi\.org", read(name)), name


def test_nothing_that_ships_or_documents_points_outside_the_repository():
    """A folder beside one clone is nobody else's: embedded data, ``mdpl data fetch``, ``$MDPL_DATA`` instead."""
    places = ["README.md", "CONTRIBUTING.md", "docs", "examples", "benchmarks", "jlsm", "mdpl"]
    files = [file for place in places for file in ([ROOT / place] if "." in place else (ROOT / place).rglob("*"))]
    texts = [file for file in files if file.suffix in (".md", ".py", ".toml", ".yml", ".js", ".css", ".html", ".j2")]
    assert len(texts) > 100
    naming = [str(file.relative_to(ROOT)) for file in texts if re.search(r"\.\./shared|shared/data", read(file))]
    assert not naming, naming


def test_the_fast_tests_are_there():
    """``.ci/run`` and ``.ci/long`` run these files with the newest and the lowest versions."""
    names = [name.split("::")[0] for name in read(".ci/fast_tests").split()]
    assert names and all((ROOT / name).is_file() for name in names)
    assert all("cat .ci/fast_tests" in read(script) for script in (".ci/run", ".ci/long"))


PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_a_page_names_exists(page):
    """Modules, functions and files of this repository, between backticks or not."""
    text = page.read_text(encoding="utf-8")
    for path in set(re.findall(r"(?:jlsm|mdpl|benchmarks|tests|docs|examples)/[\w/]+\.(?:py|md|toml)", text)):
        assert (ROOT / path).exists(), path
    for name in set(re.findall(r"`((?:jlsm|mdpl|benchmarks)(?:\.\w+)+)(?:\(\))?`", text)):
        value = importlib.import_module(name.split(".")[0])
        for depth, part in enumerate(name.split(".")[1:], 2):
            module = ".".join(name.split(".")[:depth])
            is_module = hasattr(value, "__path__") and importlib.util.find_spec(module) is not None
            value = importlib.import_module(module) if is_module else getattr(value, part)
