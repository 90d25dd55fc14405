#!/usr/bin/env bash
# setup-docker-tls.sh [FLAG...]: configures this machine's Docker engine to require
# the certificates in DOCKER_CERT_PATH or docker/certs. A wrapper of
# berth docker setup-tls with the same flags; builds bin/berth first if it is
# missing. Changes need root.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
[ -x "$root/bin/berth" ] || "$root/scripts/build"
exec "$root/bin/berth" docker setup-tls --cert-dir "${DOCKER_CERT_PATH:-$root/docker/certs}" "$@"
