"""Settings for every test: eight CPU devices, strict shapes, and warnings as errors."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import pathlib

# XLA's older emitters compile in two thirds of the time, which is most of what tests take. An
# option that XLA does not know has no effect. `test_main.py` also runs the newer ones.
QUICK_EMITTERS = "--xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters"
os.environ.setdefault("XLA_FLAGS", QUICK_EMITTERS)

import jax  # noqa: E402

ROOT = pathlib.Path(__file__).parents[1]

# Workers share what they compile, and so do consecutive runs.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".pytest_cache" / "xla"))
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
