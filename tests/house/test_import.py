"""``import stepwell`` is cheap and does nothing."""

import subprocess
import sys

# The audit hook sees a socket, a process or a thread as it is made, and a file as it is opened for writing. An event loop
# cannot be made without a socket pair.
WATCHED_IMPORT = """
import sys

acts = []

def watch(event, args):
    if event.startswith(("socket.", "subprocess.", "os.fork", "sqlite3.", "_thread.start")):
        acts.append(event)
    elif event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        acts.append(f"open {args[0]}")

before = set(sys.modules)
sys.addaudithook(watch)
import stepwell
print(*acts, sep="\\n")
print("---")
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}), sep="\\n")
"""

OPTIONAL = {
    "aiohttp", "airportsdata", "asyncpg", "cyclopts", "httptools", "hypothesis", "litestar", "opentelemetry", "prometheus_client",
    "pydantic", "pytest", "rich", "sqlite3", "structlog", "tzdata", "uvicorn", "uvloop", "watchfiles",
}  # fmt: skip


def _import_in_a_fresh_process() -> tuple[list[str], set[str]]:
    command = [sys.executable, "-B", "-c", WATCHED_IMPORT]
    acts, _, loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.partition("---\n")
    return acts.split("\n")[:-1], set(loaded.split())


def test_importing_makes_no_loop_socket_thread_process_or_file():
    acts, loaded = _import_in_a_fresh_process()
    assert "stepwell" in loaded
    assert [act for act in acts if act] == []


def test_importing_loads_no_optional_package():
    _, loaded = _import_in_a_fresh_process()
    assert loaded & OPTIONAL == set()


def test_without_its_extra_the_command_line_says_what_to_install():
    code = "import sys; sys.modules['cyclopts'] = None; from stepwell.__main__ import main; main()"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stderr.strip() == "stepwell: the command line needs cyclopts, which is not there. Try: pip install 'stepwell[cli]'"


def test_the_command_line_loads_the_server_only_where_it_is_needed():
    code = "import sys; import stepwell.cli.app; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())
    assert loaded & {"aiohttp", "asyncpg", "prometheus_client", "structlog", "uvicorn", "watchfiles"} == set()
