package jsonfile

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"berth/internal/session"
)

// Environment of the child process, which changes a store until it is killed, perhaps by itself.
const (
	childStore       = "BERTH_TEST_JSONFILE"     // path of the store
	childUses        = "BERTH_TEST_JSONFILE_USE" // not empty: note activity instead of changing sessions
	childExitsAtStep = "BERTH_TEST_JSONFILE_DIE" // "<step> <n>": kill yourself when you come to the step for the nth time
	workers          = 4
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childStore); path != "" {
		work := child
		if os.Getenv(childUses) != "" {
			work = touchingChild
		}
		if err := work(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child changes sessions in a loop. It reports on standard output each attempt ("try") and each acknowledged change ("ack"), as
// "<verb> <id> <port>", where port 0 means that the session is deleted.
func child(path string) error {
	s, err := Open(path, Options{fault: killAtStep(os.Getenv(childExitsAtStep))})
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, "open")
	var all sync.WaitGroup
	errs := make([]error, workers)
	for w := range workers {
		all.Go(func() { errs[w] = work(s, w) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return s.Close()
}

// work creates sessions, changes their port and deletes them, in a loop. Each worker has separate sessions.
func work(s *Store, worker int) error {
	ctx := context.Background()
	for n := 1; n <= 3000; n++ {
		id := session.ID(fmt.Sprintf("ses-%d-%d", worker, n%7))
		now, err := s.Get(ctx, id)
		port := n
		if session.CodeOf(err) == "" && n%3 == 0 {
			port = 0
		}
		fmt.Fprintf(os.Stdout, "try %s %d\n", id, port)
		switch {
		case session.CodeOf(err) == session.CodeNotFound:
			fresh := sample(id)
			fresh.Port, fresh.LastError = port, strings.Repeat("x", n%500)
			_, err = s.Create(ctx, fresh, session.Quota{})
		case err != nil:
		case port == 0:
			err = s.Delete(ctx, id, now.Revision)
		default:
			now.Port = port
			_, err = s.Update(ctx, now, 0)
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stdout, "ack %s %d\n", id, port)
	}
	return nil
}

func killAtStep(order string) func(step) error {
	at, text, _ := strings.Cut(order, " ")
	left, err := strconv.Atoi(text)
	if err != nil {
		return nil
	}
	return func(s step) error {
		if s == step(at) {
			left--
			if left == 0 {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		}
		return nil
	}
}

// history is the reports of the children: for each session the ports that it may have after a crash.
type history struct {
	opened bool
	lines  int
	uses   bool              // children record activity
	acked  map[string]string // the last acknowledged one; absent: "0"
	tried  map[string]string // a later one that was not acknowledged
}

func newHistory() *history {
	return &history{acked: map[string]string{}, tried: map[string]string{}}
}

func (h *history) note(t *testing.T, line string) {
	t.Helper()
	if line == "open" {
		h.opened = true
		return
	}
	var verb, id, port string
	if _, err := fmt.Sscan(line, &verb, &id, &port); err != nil {
		t.Fatalf("the child said %q: %v", line, err)
	}
	h.lines++
	if verb == "try" {
		h.tried[id] = port
		return
	}
	h.acked[id] = port
	delete(h.tried, id)
}

// run starts a child and kills it after this number of lines; 0: the child kills itself.
func (h *history) run(t *testing.T, path, dies string, lines int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childStore+"="+path, childExitsAtStep+"="+dies)
	if h.uses {
		cmd.Env = append(cmd.Env, childUses+"=1")
	}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	h.opened = false
	until := h.lines + lines
	said := bufio.NewScanner(out)
	for said.Scan() { // to the end: these lines were written before the kill
		h.note(t, said.Text())
		if lines > 0 && h.lines == until {
			_ = cmd.Process.Kill()
		}
	}
	err = cmd.Wait()
	status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !status.Signaled() || status.Signal() != syscall.SIGKILL {
		t.Fatalf("the child was not killed: %v", err)
	}
}

// check opens the file as the next process does and compares it with the reports. The store stays usable.
func (h *history) check(t *testing.T, path string) {
	t.Helper()
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatalf("open after a crash: %v", err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}()
	page, err := s.List(t.Context(), session.Query{})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, v := range page.Sessions {
		found[string(v.ID)] = strconv.Itoa(v.Port)
	}
	ids := map[string]bool{}
	for _, from := range []map[string]string{found, h.acked, h.tried} {
		for id := range from {
			ids[id] = true
		}
	}
	for id := range ids {
		got, acked, tried := or0(found[id]), or0(h.acked[id]), h.tried[id]
		if got != acked && got != tried {
			t.Errorf("after the crash %s has port %s; acknowledged was %s and under way %q", id, got, acked, tried)
		}
		h.acked[id] = got // what has been seen must stay
	}
	clear(h.tried)
	var left []session.ID
	for _, v := range page.Sessions {
		left = append(left, v.ID)
	}
	wantAgreement(t, s, path, left...)
	if _, err := os.Lstat(path + previousSuffix); err == nil {
		onDisk(t, path+previousSuffix)
	}
}

func or0(port string) string {
	if port == "" {
		return "0"
	}
	return port
}

func TestKillAtEveryStepKeepsAcknowledgedChanges(t *testing.T) {
	t.Parallel()
	for _, at := range steps() {
		for _, nth := range []int{1, 2, 5, 12} {
			t.Run(fmt.Sprintf("%s %d", at, nth), func(t *testing.T) {
				t.Parallel()
				path := filepath.Join(t.TempDir(), "sessions.json")
				h := newHistory()
				h.run(t, path, fmt.Sprintf("%s %d", at, nth), 0)
				if wasOpen := nth > 1 || at == stepLinked; h.opened != wasOpen {
					t.Errorf("the child had the store open when it was killed: %v, want %v", h.opened, wasOpen)
				}
				h.check(t, path)
				h.run(t, path, "", 50) // and a second crash, over whatever the first one left
				h.check(t, path)
			})
		}
	}
}

func TestKillAtAnyMomentKeepsAcknowledgedChanges(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "sessions.json")
	h := newHistory()
	for round := range 20 {
		h.run(t, path, "", 1+round*37%211)
		h.check(t, path)
	}
	if len(h.acked) != workers*7 {
		t.Errorf("the children worked on %d sessions, want %d: this test tests nothing", len(h.acked), workers*7)
	}
}
