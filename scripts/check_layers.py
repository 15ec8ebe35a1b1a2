#!/usr/bin/env python3
"""Fails on an include that points up the layers, or on a third-party header away from its border.

    scripts/check_layers.py [SOURCE_FOLDER]     default: src beside this script's folder
"""
import pathlib
import re
import sys

# A layer includes itself and lower numbers only (docs/architecture.md). Layers of one number do not see each other.
LAYERS = {"base": 0, "request": 1, "obs": 1, "device": 2, "storage": 2, "model": 3, "resource": 3, "placement": 4,
          "stage": 4, "admission": 4, "pipeline": 5, "cluster": 5, "batching": 6, "rpc": 6, "engine": 7, "service": 8,
          "http": 9, "cli": 9, "app": 10}
# Who may see which foreign headers.
BORDERS = {r"(llama|ggml|gguf)[\w-]*\.h": {"device", "model", "stage", "engine"},
           r"(drogon|trantor)/.*": {"http"},
           r"(grpc|grpcpp|google/protobuf)/.*": {"rpc"},
           r"spdlog/.*": {"obs"}, r"prometheus/.*": {"obs"},
           r"curl/.*": {"model"}, r"sodium\.h": {"base"}, r"openssl/.*": {"base"}, r"systemd/.*": {"resource"}, r"toml\+\+/.*": {"app"}, r"CLI/.*": {"cli"},
           r"nlohmann/.*": {"obs", "model", "resource", "engine", "http", "app"}}
# Slow headers stay out of our headers; these are seen by a few .cpp files of their own folder only.
PRIVATE_HEADERS = {"stage/llama_handles.h", "stage/llama_loader.h", "stage/layer_tap.h", "stage/product_tap.h", "stage/step_batch.h",
                   "stage/backend_memory.h", "stage/token_rows.h", "http/client_link.h", "http/completion_sinks.h", "http/connection_guard.h",
                   "http/routes.h", "http/json_fields.h", "http/exchange.h", "http/completion_routes.h", "http/library_answers.h", "http/file_stream.h", "app/resources_config.h"}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def faults_of(path, source):
    layer = path.relative_to(source).parts[0]
    relative = path.relative_to(source).as_posix()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        kind, header = match.groups()
        where = f"{relative}:{number}: "
        if kind == '"':
            target = header.split("/")[0]
            if target not in LAYERS:
                yield where + f'"{header}" is in no layer'
            elif target != layer and LAYERS[target] >= LAYERS[layer]:
                yield where + f'{layer} ({LAYERS[layer]}) must not include "{header}" of {target} ({LAYERS[target]})'
            continue
        for pattern, allowed in BORDERS.items():
            if not re.fullmatch(pattern, header):
                continue
            if layer not in allowed:
                yield where + f"<{header}> belongs to {', '.join(sorted(allowed))}, not to {layer}"
            elif path.suffix == ".h" and relative not in PRIVATE_HEADERS and header != "nlohmann/json_fwd.hpp":
                yield where + f"<{header}> is slow: include it in .cpp files only"


def main():
    here = pathlib.Path(__file__).resolve().parent.parent
    source = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else here / "src"
    files = sorted(p for p in source.rglob("*") if p.suffix in (".h", ".cpp"))
    faults = [f"{p}: no layer of that name" for p in source.iterdir() if p.is_dir() and p.name not in LAYERS]
    for path in files:
        faults += faults_of(path, source)
    print("\n".join(faults) if faults else f"layers: {len(files)} files, no upward and no foreign include")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
