"""The README's Python example runs as it stands: as a script without a main guard, from standard input, in Jupyter."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def example(which: int = 0) -> str:
    """Of CT, of choosing τ and σ for it, and of compressed sensing."""
    found = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(found) == 3
    return found[which]


def check(output: str) -> None:
    """The example prints status, SNR and shape; 20 dB is far above its FBP of 14 dB."""
    match = re.search(r"MAX_SWEEPS ([\d.]+) dB \(128, 128\)", output)
    assert match, output
    assert float(match[1]) > 20


def test_as_a_script_without_a_guard(tmp_path):
    script = tmp_path / "example.py"
    script.write_text(example(), encoding="utf-8")
    assert "__main__" not in example()
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    check(done.stdout)


def test_the_example_of_tau_and_sigma(tmp_path):
    """One trial, and that of a few sweeps; from standard input, after what the first example defines."""
    quick = 'solver.tune(max_sweeps=1, first_sweeps=8, x0="fbp")'
    goes_on = example(1).replace("solver.tune()", quick).replace("max_sweeps=20", "max_sweeps=2")
    first = "".join(line for line in example().splitlines(keepends=True) if not line.startswith(("result", "print")))
    told = 'print(result.status.name, f"{snr(result.image, image):.1f} dB", result.image.shape)'
    goes_on = f"{first}{goes_on}from asyncred_gpu import snr\n{told}\n"
    assert goes_on.count(quick) == goes_on.count("max_sweeps=2)") == goes_on.count(".run(") == 1
    done = subprocess.run(
        [sys.executable, "-"], input=goes_on, capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert done.returncode == 0, done.stderr
    check(done.stdout)
    assert "| σ | τ | score |" in done.stdout
    assert "gcv chose σ = " in done.stdout


def test_the_compressed_sensing_example(tmp_path):
    shorter = example(2).replace("max_sweeps=30", "max_sweeps=5")
    assert shorter.count("max_sweeps=5") == 1
    done = subprocess.run(
        [sys.executable, "-"], input=shorter, capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert done.returncode == 0, done.stderr
    match = re.search(r"MAX_SWEEPS ([\d.]+) dB", done.stdout)
    assert match and float(match[1]) > 25, done.stdout  # least squares gives 6 dB


def test_in_a_jupyter_kernel(tmp_path):
    nbformat = pytest.importorskip("nbformat", reason="needs nbformat (the dev extra)")
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient (the dev extra)")
    pytest.importorskip("ipykernel", reason="needs ipykernel (the dev extra)")
    kernels = tmp_path / "kernels" / "here"
    kernels.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernels / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "here", "language": "python"}))
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from jupyter_client.utils import run_sync

    manager = AsyncKernelManager(
        kernel_name="here", kernel_spec_manager=KernelSpecManager(kernel_dirs=[str(tmp_path / "kernels")])
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(example())])
    try:
        nbclient.NotebookClient(notebook, km=manager, timeout=120).execute(cwd=str(tmp_path))
    finally:
        run_sync(manager.shutdown_kernel)(now=True)
    check("".join(output.get("text", "") for output in notebook.cells[0].outputs))
