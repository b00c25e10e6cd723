#!/bin/sh
# Makes a virtual environment in the directory given (default: .venv here), with the packages and with the gRPC client
# generated from proto/.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
venv=${1:-$here/.venv}
proto=$here/../../proto
python3 -m venv "$venv"
"$venv/bin/python" -m pip install --disable-pip-version-check -q -r "$here/requirements.txt"
generated=$("$venv/bin/python" -c 'import site; print(site.getsitepackages()[0])')
"$venv/bin/python" -m grpc_tools.protoc -I "$proto" --python_out "$generated" --grpc_python_out "$generated" \
    "$proto"/askance/v1/*.proto
