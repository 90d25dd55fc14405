package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// dial tries to open a TCP connection to the query's "addr", for tests of what a container can reach.
func (s *server) dial(w http.ResponseWriter, r *http.Request) {
	conn, err := net.DialTimeout("tcp", r.URL.Query().Get("addr"), 2*time.Second)
	if err != nil {
		writeJSON(w, map[string]any{"ok": false, "error": err.Error()})
		return
	}
	_ = conn.Close()
	writeJSON(w, map[string]any{"ok": true})
}

// names asks the container's name server which names the address "addr" has.
func (s *server) names(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
	defer cancel()
	names, err := net.DefaultResolver.LookupAddr(ctx, r.URL.Query().Get("addr"))
	if err != nil {
		writeJSON(w, map[string]any{"names": []string{}, "error": err.Error()})
		return
	}
	writeJSON(w, map[string]any{"names": names})
}

// syscalls makes system calls without effect and returns the result of each, for tests of the seccomp filter.
func (s *server) syscalls(w http.ResponseWriter, _ *http.Request) {
	answers := map[string]string{}
	call := func(name string, number uintptr, args ...uintptr) {
		args = append(args, 0, 0, 0)
		_, _, errno := syscall.Syscall(number, args[0], args[1], args[2])
		answers[name] = errno.Error()
		if errno == 0 {
			answers[name] = "done"
		}
	}
	bad := ^uintptr(0) // no address, no flags, no descriptor
	// From number 424 on they are the same on every architecture.
	call("io_uring_setup", 425, 1, bad)
	call("io_uring_enter", 426, bad)
	call("io_uring_register", 427, bad)
	call("clone3", 435, bad, 1)
	call("fchmodat2", 452, bad, bad)
	for name, family := range map[string]uintptr{"inet": 2, "netlink": 16, "packet": 17, "alg": 38, "vsock": 40, "smc": 43, "xdp": 44} {
		call("socket "+name, syscall.SYS_SOCKET, family, syscall.SOCK_DGRAM)
	}
	for name, family := range map[string]uintptr{"unix": 1, "packet": 17, "alg": 38, "vsock": 40, "smc": 43} {
		call("socketpair "+name, syscall.SYS_SOCKETPAIR, family, syscall.SOCK_DGRAM, 0)
	}
	call("keyctl", syscall.SYS_KEYCTL, bad)
	call("unshare", syscall.SYS_UNSHARE, syscall.CLONE_NEWUSER)
	call("mount", syscall.SYS_MOUNT, bad, bad)
	call("ptrace", syscall.SYS_PTRACE, bad)
	call("personality", syscall.SYS_PERSONALITY, 0x0004000)
	writeJSON(w, answers)
}

// allocate allocates and keeps memory ("mb" MiB), for tests of memory limits.
func (s *server) allocate(w http.ResponseWriter, r *http.Request) {
	mb, err := strconv.Atoi(r.URL.Query().Get("mb"))
	if err != nil || mb < 0 {
		http.Error(w, "mb is not a number", http.StatusBadRequest)
		return
	}
	for range mb {
		block := make([]byte, 1<<20)
		for i := 0; i < len(block); i += 4096 {
			block[i] = 1 // a page that is never written is never charged
		}
		s.mu.Lock()
		s.ballast = append(s.ballast, block)
		s.mu.Unlock()
	}
	writeJSON(w, map[string]any{"mb": mb})
}

// write makes the file "big" in the working directory as large as "mb" MiB, for tests of workspaces.
func (s *server) write(w http.ResponseWriter, r *http.Request) {
	mb, err := strconv.Atoi(r.URL.Query().Get("mb"))
	if err != nil || mb < 0 {
		http.Error(w, "mb is not a number", http.StatusBadRequest)
		return
	}
	if err := os.WriteFile("big", make([]byte, mb<<20), 0o600); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	writeJSON(w, map[string]int{"mb": mb})
}

// burn keeps a number of threads ("threads") busy for some time ("for"), for tests of CPU limits. It responds at once.
func (s *server) burn(w http.ResponseWriter, r *http.Request) {
	threads, err1 := strconv.Atoi(r.URL.Query().Get("threads"))
	spell, err2 := time.ParseDuration(r.URL.Query().Get("for"))
	if err1 != nil || err2 != nil || threads < 1 || threads > maxBurners {
		http.Error(w, "threads or for is missing", http.StatusBadRequest)
		return
	}
	// Go derives its number of concurrent threads from a container's CPU limit: by default there would be nothing to limit.
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), threads+1))
	until := time.Now().Add(spell)
	for range threads {
		go func() {
			for time.Now().Before(until) { // reading the time uses CPU too
			}
		}()
	}
	writeJSON(w, map[string]any{"threads": threads})
}

// maxBurners bounds the threads of burn.
const maxBurners = 64

func (s *server) echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	writeJSON(w, map[string]any{
		"method": r.Method, "host": r.Host, "path": r.URL.EscapedPath(), "query": r.URL.RawQuery, "header": r.Header,
		"body": string(body), "bytes": len(body),
	})
}

// env reports the identity and permissions of the process, as the kernel reports them.
func (s *server) env(w http.ResponseWriter, _ *http.Request) {
	status := procFields("/proc/self/status")
	writable := map[string]bool{}
	for _, dir := range []string{"/", "/etc", "/usr", "/tmp", "/workspace", s.state} {
		file, err := os.CreateTemp(dir, ".stub-*")
		writable[dir] = err == nil
		if err == nil {
			_ = file.Close()
			_ = os.Remove(file.Name())
		}
	}
	mounts := map[string]string{}
	if data, err := os.ReadFile("/proc/self/mounts"); err == nil {
		for line := range strings.Lines(string(data)) {
			if f := strings.Fields(line); len(f) >= 4 {
				mounts[f[1]] = f[2] + "," + f[3]
			}
		}
	}
	names := []string{}
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		names = append(names, name) // values may be secret
	}
	writeJSON(w, map[string]any{
		"uid": os.Getuid(), "gid": os.Getgid(), "pid": os.Getpid(),
		"cap_eff": status["CapEff"], "cap_bnd": status["CapBnd"],
		"no_new_privs": status["NoNewPrivs"], "seccomp": status["Seccomp"],
		"writable": writable, "mounts": mounts, "env": names,
	})
}

func procFields(name string) map[string]string {
	fields := map[string]string{}
	data, err := os.ReadFile(name)
	if err != nil {
		return fields
	}
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(line, ":"); ok {
			fields[key] = strings.TrimSpace(value)
		}
	}
	return fields
}
