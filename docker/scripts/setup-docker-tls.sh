#!/usr/bin/env bash
# setup-docker-tls.sh [FLAG...]: lets this machine's Docker engine demand the
# certificates in DOCKER_CERT_PATH or docker/certs. The same as
# berth docker setup-tls, which takes the flags; builds bin/berth first if it
# is missing. Changing anything needs root.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
[ -x "$root/bin/berth" ] || "$root/scripts/build"
exec "$root/bin/berth" docker setup-tls --cert-dir "${DOCKER_CERT_PATH:-$root/docker/certs}" "$@"
