# shellcheck shell=bash disable=SC2034
# lib.sh: common functions of the scripts: paths, printing to the terminal,
# processes, and single commands as root. Sourced, never run.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
STATE=$ROOT/.berth
LOGS=$STATE/log
# Debian's daemons are in directories that are not in a plain user's PATH.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH

OPENCODE_VERSION=$(cat "$ROOT/docker/opencode/VERSION")
SESSION_IMAGE=berth/opencode:$OPENCODE_VERSION

# NO_ENGINE is the exit code for: no container engine can run here.
NO_ENGINE=3

say() { printf '==> %s\n' "$*" >&2; }
hint() { printf '    %s\n' "$*" >&2; }
die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# usage prints the header comment of the calling script.
usage() {
	awk 'NR > 1 && /^#/ { sub(/^# ?/, ""); print; next } NR > 1 { exit }' "$0"
}

# -P ignores functions of the same name.
have() { type -P "$1" >/dev/null; }

can_be_root() { [ "$(id -u)" = 0 ] || have sudo; }

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif have sudo; then
		sudo "$@"
	else
		die "'$1' needs root: run as root or install sudo"
	fi
}

# with_socket SOCKET CMD...: runs CMD with the right to open SOCKET. A user who
# is not in the socket's group borrows that group, and nothing more, for CMD.
with_socket() {
	local socket=$1
	shift
	if [ -w "$socket" ] || ! have sudo; then
		"$@"
	else
		sudo -E -u "$(id -un)" -g "$(stat -L -c %G "$socket")" env "PATH=$PATH" "$@"
	fi
}

# kill_tree PID: kills a process with its descendants.
kill_tree() {
	local child
	# shellcheck disable=SC2013
	for child in $(cat "/proc/$1/task/$1/children" 2>/dev/null); do kill_tree "$child"; done
	terminate "$1"
}

# terminate PID [SIGNAL]: signals a process. One that has ended meanwhile is no failure.
terminate() { kill ${2:+"$2"} "$1" 2>/dev/null || [ ! -d "/proc/$1" ] || as_root kill ${2:+"$2"} "$1" || [ ! -d "/proc/$1" ]; }

# step NAME CMD...: runs CMD with its output in a log, shows the elapsed time, and
# prints the end of the log if it fails (STEP_TAIL lines, 20 if unset).
step() {
	local name=$1 log pid begin=$SECONDS status=0 shown=0 traps last=${!:-}
	shift
	mkdir -p "$LOGS"
	log=$LOGS/$(printf '%s' "$name" | tr -cs 'A-Za-z0-9' '-').log
	traps=$(trap -p INT TERM)
	# A background job ignores Ctrl-C, so the signal is forwarded.
	trap '[ "${!:-}" = "$last" ] || kill_tree "$!"; exit 130' INT TERM
	"$@" >"$log" 2>&1 &
	pid=$!
	while kill -0 "$pid" 2>/dev/null; do
		sleep 0.2
		if [ -t 2 ]; then
			printf '\r==> %s … %d s ' "$name" $((SECONDS - begin)) >&2
		elif [ $((SECONDS - begin - shown)) -ge 15 ]; then
			shown=$((SECONDS - begin))
			say "$name … $shown s"
		fi
	done
	wait "$pid" || status=$?
	trap - INT TERM
	eval "$traps"
	[ -t 2 ] && printf '\r\033[K' >&2
	if [ "$status" = 0 ]; then
		say "$name: done in $((SECONDS - begin)) s"
	else
		say "$name: failed after $((SECONDS - begin)) s; see $log"
		tail -n "${STEP_TAIL:-20}" "$log" | sed 's/^/    /' >&2
	fi
	return "$status"
}

# running PIDFILE: is the process in the file still alive, and still the program
# that was started (its ID may have been reused)?
running() {
	local pid name
	[ -s "$1" ] || return 1
	read -r pid name <"$1"
	[ -n "$name" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$name" ]
}

# note PIDFILE PID NAME: records a process for running and halt.
note() { printf '%s %s\n' "$2" "$3" >"$1"; }

# halt PIDFILE SECONDS: terminates the process in the file, and kills it after SECONDS.
halt() {
	local pid _ deadline=$((SECONDS + $2))
	if running "$1"; then
		read -r pid _ <"$1"
		terminate "$pid"
		while running "$1" && [ $SECONDS -lt $deadline ]; do sleep 0.1; done
		if running "$1"; then
			terminate "$pid" -9
		fi
	fi
	rm -f "$1"
}

# detach PIDFILE LOG CMD...: starts CMD independently of this script and the
# terminal, and records it. CMD must be a program, not a function. With
# DETACH_SOCKET set, CMD gets the right to open that socket.
detach() {
	local pidfile=$1 log=$2 name via=(env) deadline=$((SECONDS + 5))
	[ -z "${DETACH_SOCKET:-}" ] || via=(with_socket "$DETACH_SOCKET" env)
	shift 2
	name=$(basename "$1")
	rm -f "$pidfile"
	# The process writes its own ID: ours could be that of sudo.
	# shellcheck disable=SC2016
	"${via[@]}" sh -c 'echo "$$ $1" >"$0" && shift && exec setsid nohup "$@"' \
		"$pidfile" "$name" "$@" >>"$log" 2>&1 </dev/null &
	until running "$pidfile"; do
		[ $SECONDS -lt $deadline ] || return 1
		sleep 0.1
	done
}

# listens HOST PORT: does anything accept connections there?
listens() { (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null; }

# json FIELD: the value of the first string field of that name on standard input.
json() { tr -d '\n' | sed 's/,/\n/g' | sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p" | sed -n 1p; }
