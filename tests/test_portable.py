"""The package where the modules and calls of Unix are missing, as on Windows."""

import json
import shutil
import subprocess
import sys
import textwrap

from mefusion.clips.cache import read_index

WITHOUT_UNIX = """
    import importlib, json, os, pkgutil, sys
    for name in ("fcntl", "resource", "pwd", "grp", "termios"):
        sys.modules[name] = None

    if __name__ == "__main__":  # not in the workers, which run this file too
        import torch, lightning  # they look at what there is by themselves
        for name in ("killpg", "waitid", "sched_getaffinity", "getuid"):
            delattr(os, name)
        import mefusion, hydra_plugins.mefusion_launcher, hydra_plugins.mefusion_sweeper
        for module in pkgutil.walk_packages(mefusion.__path__, "mefusion."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
        from mefusion.common.files import Path, try_lock
        with try_lock(Path("folder")) as mine:
            assert mine
        sys.argv[1:] = json.loads(sys.argv[1])
        from mefusion.commands import prepare
        prepare.main()
"""


def test_it_imports_and_prepares_without_fcntl(tiny, tmp_path):
    for number, clip in enumerate(sorted(tiny.frames.glob("frames/*/*"))[:2]):
        shutil.copytree(clip, tmp_path / "own" / f"c{number}")
    (tmp_path / "own" / "manifest.csv").write_text("clip_id,subject,path,emotion\nc0,a,c0,positive\nc1,b,c1,surprise\n")
    program = tmp_path / "program.py"  # a file, since each worker reads it, as it does on Windows
    program.write_text(textwrap.dedent(WITHOUT_UNIX))
    arguments = ["data=manifest", "data.root=own", "data.name=own", "faces=none", "workers=2"]
    done = subprocess.run(
        [sys.executable, str(program), json.dumps(arguments)], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "2 of 2 clips of 2 subjects" in done.stdout
    (index,) = tmp_path.glob("cache/own/*/index.parquet")
    assert read_index(index.parent, command="")["file"].tolist() == [
        "clips/own/a/c0.safetensors",
        "clips/own/b/c1.safetensors",
    ]
