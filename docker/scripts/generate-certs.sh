#!/usr/bin/env bash
# generate-certs.sh [FLAG...]: the certificates of Docker's mutual TLS, in
# DOCKER_CERT_PATH or docker/certs. A wrapper of berth certs init with the same
# flags; builds bin/berth first if it is missing.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
[ -x "$root/bin/berth" ] || "$root/scripts/build"
exec "$root/bin/berth" certs init --dir "${DOCKER_CERT_PATH:-$root/docker/certs}" "$@"
