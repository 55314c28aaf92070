"""The files whose coverage is told of each target."""

FILES = {
    "entry": ("ftrl_core/entry.py", "ftrl_core/entry_kernels.py", "app/ingest/packed.py"),
    "json": (
        "app/ingest/bodies.py", "app/ingest/rows.py", "app/ingest/slow_json.py",
        "ftrl_core/json_scan.py", "ftrl_core/json_string.py", "ftrl_core/json_number.py",
    ),
    "msgpack": (
        "app/ingest/msgpack.py", "app/ingest/msgpack_text.py", "ftrl_core/msgpack_scan.py",
        "ftrl_core/json_names.py",
    ),
    "snapshot": ("ftrl_core/snapshot_file.py", "ftrl_core/loader.py"),
    "vw": ("app/ingest/vw.py", "ftrl_core/vw_scan.py", "ftrl_core/vw_header.py"),
}  # fmt: skip
