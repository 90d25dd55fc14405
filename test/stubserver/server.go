package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

type server struct {
	username, password string
	state              string        // directory of sessions.json; sessions are lost where it cannot be written
	heartbeat          time.Duration // between two events of the stream
	healthyFrom        time.Time
	exit               chan int

	mu       sync.Mutex
	sessions []stubSession
	ballast  [][]byte
	manner   string // see behave
}

type stubSession struct {
	ID string `json:"id"`
}

func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /global/health", s.health)
	mux.HandleFunc("GET /path", s.path)
	mux.HandleFunc("GET /event", s.events)
	mux.HandleFunc("GET /session", s.listSessions)
	mux.HandleFunc("POST /session", s.createSession)
	mux.HandleFunc("POST /session/{id}/message", s.message)
	mux.HandleFunc("/exit", s.end)
	mux.HandleFunc("POST /behave", s.behave)
	mux.HandleFunc("GET /env", s.env)
	mux.HandleFunc("GET /dial", s.dial)
	mux.HandleFunc("GET /names", s.names)
	mux.HandleFunc("GET /syscalls", s.syscalls)
	mux.HandleFunc("POST /allocate", s.allocate)
	mux.HandleFunc("POST /write", s.write)
	mux.HandleFunc("POST /burn", s.burn)
	mux.HandleFunc("GET /hide", s.hide)
	mux.HandleFunc("/echo", s.echo)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		// Like OpenCode, whose web page answers for every path that is no route.
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<!doctype html><title>stub</title>")
	})
	return s.authenticated(mux)
}

func (s *server) authenticated(next http.Handler) http.Handler {
	digest := func(text string) []byte { d := sha256.Sum256([]byte(text)); return d[:] }
	want := digest(s.username + ":" + s.password)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		username, password, _ := r.BasicAuth()
		shown := username + ":" + password
		if query := r.URL.Query(); query.Has("auth_token") { // wins over the header, as with OpenCode
			text, _ := base64.StdEncoding.DecodeString(query.Get("auth_token"))
			shown = string(text)
		}
		if s.password != "" && subtle.ConstantTimeCompare(digest(shown), want) != 1 {
			w.Header().Set("WWW-Authenticate", `Basic realm="Secure Area"`)
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// behave changes how the server behaves from now on: "mute" answers no health, "wedged" answers its health and hangs at
// everything that is work, "broken" answers 500, "slow" takes half a second for each; "loop" ends it now and at every later
// start.
func (s *server) behave(w http.ResponseWriter, r *http.Request) {
	manner := r.URL.Query().Get("as")
	s.mu.Lock()
	s.manner = manner
	s.mu.Unlock()
	if manner == "loop" {
		if err := os.WriteFile(loopFile(s.state), nil, 0o600); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	writeJSON(w, map[string]string{"manner": manner})
	if manner == "loop" {
		s.exit <- exitMode
	}
}

const slowness = time.Second / 2

// loopFile says that the server ends at its start.
func loopFile(state string) string { return filepath.Join(state, "loop") }

// misbehaves reports whether a request was not answered as it should be, in one of these manners.
func (s *server) misbehaves(w http.ResponseWriter, r *http.Request, silent string) bool {
	s.mu.Lock()
	manner := s.manner
	s.mu.Unlock()
	switch manner {
	case silent:
		<-r.Context().Done()
	case "broken":
		http.Error(w, "broken", http.StatusInternalServerError)
	case "slow":
		<-time.After(slowness)
		return false
	default:
		return false
	}
	return true
}

func (s *server) health(w http.ResponseWriter, r *http.Request) {
	if s.misbehaves(w, r, "mute") {
		return
	}
	select {
	case <-time.After(time.Until(s.healthyFrom)):
		writeJSON(w, map[string]any{"healthy": true, "version": "stub"})
	case <-r.Context().Done():
	}
}

func (s *server) path(w http.ResponseWriter, r *http.Request) {
	if s.misbehaves(w, r, "wedged") {
		return
	}
	directory, err := os.Getwd()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	writeJSON(w, map[string]any{"directory": directory, "worktree": "/", "state": s.state})
}

func (s *server) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache, no-transform")
	control := http.NewResponseController(w)
	send := func(kind string) error {
		if _, err := fmt.Fprintf(w, "data: {\"type\":%q,\"properties\":{}}\n\n", kind); err != nil {
			return err
		}
		return control.Flush()
	}
	if send("server.connected") != nil {
		return
	}
	tick := time.NewTicker(s.heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
			if send("server.heartbeat") != nil {
				return
			}
		}
	}
}

func (s *server) stateFile() string { return filepath.Join(s.state, "sessions.json") }

// known returns the sessions, those of an earlier run included. Call it with the lock held.
func (s *server) known() []stubSession {
	if s.sessions == nil {
		s.sessions = []stubSession{}
		if data, err := os.ReadFile(s.stateFile()); err == nil {
			_ = json.Unmarshal(data, &s.sessions)
		}
	}
	return s.sessions
}

func (s *server) listSessions(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	writeJSON(w, s.known())
}

func (s *server) createSession(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	made := stubSession{ID: "ses_" + rand.Text()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions = append(s.known(), made)
	if data, err := json.Marshal(s.sessions); err == nil {
		_ = os.WriteFile(s.stateFile(), data, 0o600)
	}
	writeJSON(w, made)
}

// message sends no byte until it is finished, which takes the time in the query's "for".
func (s *server) message(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	wait, _ := time.ParseDuration(r.URL.Query().Get("for"))
	select {
	case <-time.After(wait):
		writeJSON(w, map[string]any{"session": r.PathValue("id"), "bytes": len(body)})
	case <-r.Context().Done():
	}
}

func (s *server) end(w http.ResponseWriter, r *http.Request) {
	code, err := strconv.Atoi(r.URL.Query().Get("code"))
	if err != nil {
		code = 0
	}
	writeJSON(w, map[string]any{"code": code})
	_ = http.NewResponseController(w).Flush()
	select {
	case s.exit <- code:
	default:
	}
}

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

// syscalls makes system calls that would do nothing, and says how each was answered: for tests of what is let through.
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

// allocate takes and keeps so many MiB of memory ("mb"), for tests of memory limits.
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

// burn keeps so many threads ("threads") busy for some time ("for"), for tests of CPU limits. It answers at once.
func (s *server) burn(w http.ResponseWriter, r *http.Request) {
	threads, err1 := strconv.Atoi(r.URL.Query().Get("threads"))
	spell, err2 := time.ParseDuration(r.URL.Query().Get("for"))
	if err1 != nil || err2 != nil || threads < 1 || threads > maxBurners {
		http.Error(w, "threads or for is missing", http.StatusBadRequest)
		return
	}
	// A container's CPU limit bounds how many threads Go runs at once: with its own choice there would be nothing to limit.
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), threads+1))
	until := time.Now().Add(spell)
	for range threads {
		go func() {
			for time.Now().Before(until) { // asking for the time is work too
			}
		}()
	}
	writeJSON(w, map[string]any{"threads": threads})
}

// maxBurners bounds what burn may be asked for at once.
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

// env reports what the process is and may do, as its own kernel sees it.
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

func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value)
}
