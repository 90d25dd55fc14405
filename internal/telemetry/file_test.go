package telemetry

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// messages reads the lines of files and returns how often each message occurs. A partial line fails the test.
func messages(t *testing.T, files ...string) map[string]int {
	t.Helper()
	all := map[string]int{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > 0 && text[len(text)-1] != '\n' {
			t.Errorf("%s does not end with a line", file)
		}
		for line := range strings.Lines(string(text)) {
			message, _ := decode(t, line)["message"].(string)
			all[message]++
		}
	}
	return all
}

func TestConcurrentLinesSurviveRotation(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log, closer, err := NewLogger(Options{File: File{Path: filepath.Join(dir, "berth.log"), MaxSizeMB: 1}})
	if err != nil {
		t.Fatal(err)
	}
	const writers, lines = 8, 2000
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range lines { // 16,000 lines of about 400 bytes: six rotations
				log.InfoContext(t.Context(), fmt.Sprintf("%d-%d", w, i), "padding", strings.Repeat("x", 300))
			}
		})
	}
	all.Wait()
	if err := closer.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) < 5 {
		t.Fatalf("got the files %v, %v; want some rotations", files, err)
	}
	got := messages(t, files...)
	for w := range writers {
		for i := range lines {
			if n := got[fmt.Sprintf("%d-%d", w, i)]; n != 1 {
				t.Fatalf("line %d of writer %d is there %d times", i, w, n)
			}
		}
	}
}

// smallDisk is a directory with space for size bytes.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	if os.Geteuid() != 0 {
		const why = "needs root, to mount a small disk"
		if os.Getenv("BERTH_TEST_REQUIRE") == "1" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Skipf("no tmpfs can be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

func TestFullDiskLeavesNoPartialLineAndConsoleComplete(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, 64<<10)
	file, filler := filepath.Join(dir, "berth.log"), filepath.Join(dir, "filler")
	var console bytes.Buffer
	log, closer, err := NewLogger(Options{Console: &console, Format: FormatJSON, File: File{Path: file, MaxSizeMB: 1}})
	if err != nil {
		t.Fatal(err)
	}
	say := func(what string, count int) {
		for i := range count {
			log.InfoContext(t.Context(), fmt.Sprintf("%s-%d", what, i), "padding", strings.Repeat("x", 1000))
		}
	}
	say("before", 3)
	if err := os.WriteFile(filler, make([]byte, 48<<10), 0o600); err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	say("full", 40)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	say("after", 3)
	if err := closer.Close(); err != nil {
		t.Fatal(err)
	}
	got := messages(t, file)
	if got["before-2"] != 1 || got["after-0"] != 1 || got["after-2"] != 1 || got["full-39"] != 0 {
		t.Errorf("the file has %v, want the lines from before and after", got)
	}
	text := console.String()
	for i := range 40 {
		if !strings.Contains(text, fmt.Sprintf("full-%d\"", i)) {
			t.Errorf("line %d is not on the console", i)
		}
	}
	for _, once := range []string{"the log file cannot be written", "the log file is written again"} {
		if n := strings.Count(text, once); n != 1 {
			t.Errorf("%q was logged %d times, want once", once, n)
		}
	}
}

func TestRemovedOrMovedLogFileIsRecreated(t *testing.T) {
	t.Parallel()
	for name, take := range map[string]func(string) error{
		"removed": os.Remove,
		"moved":   func(file string) error { return os.Rename(file, file+".1") },
	} {
		file := filepath.Join(t.TempDir(), "berth.log")
		w, err := openFile(File{Path: file, MaxSizeMB: 1})
		if err != nil {
			t.Fatal(err)
		}
		log := slog.New(newHandler(w, slog.LevelInfo, encodeJSON))
		log.InfoContext(t.Context(), "before")
		if err := take(file); err != nil {
			t.Fatal(err)
		}
		w.looked = time.Now().Add(-lookEvery)
		log.InfoContext(t.Context(), "after")
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if got := messages(t, file); got["after"] != 1 || got["before"] != 0 {
			t.Errorf("%s: the new file has %v", name, got)
		}
	}
}

// broken is a file whose writes fail on request.
type broken struct {
	bytes.Buffer
	err error
}

func (b *broken) Write(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	return b.Buffer.Write(p)
}

func TestTrailGoesToLogWhileItsFileFails(t *testing.T) {
	t.Parallel()
	console, kept := capture(t, FormatJSON)
	out := &broken{}
	trail := Named(slog.New(newHandler(orLog(out, console), slog.LevelDebug, encodeJSON)), trailLogger)
	for i, err := range []error{nil, syscall.ENOSPC, syscall.ENOSPC, nil} {
		out.err = err
		trail.InfoContext(t.Context(), fmt.Sprint("audit ", i))
	}
	if got := out.String(); !strings.Contains(got, "audit 0") || strings.Contains(got, "audit 1") || !strings.Contains(got, "audit 3") {
		t.Errorf("the file has %s", got)
	}
	text := kept.String()
	for what, count := range map[string]int{"audit 1": 1, "audit 2": 1, "cannot be written": 1, "written to its file again": 1, "audit 3": 0} {
		if n := strings.Count(text, what); n != count {
			t.Errorf("%q is on the console %d times, want %d:\n%s", what, n, count, text)
		}
	}
}

func TestTrailIsWrittenAtEveryLevel(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	log, _, err := NewLogger(Options{Level: LevelCritical, Format: FormatJSON, Console: &b})
	if err != nil {
		t.Fatal(err)
	}
	trail, _, err := NewTrail(File{}, log)
	if err != nil {
		t.Fatal(err)
	}
	log.InfoContext(t.Context(), "left out")
	trail.With("a", 1).InfoContext(t.Context(), "kept")
	if got := b.String(); strings.Contains(got, "left out") || decode(t, got)["logger"] != trailLogger {
		t.Errorf("got %s, want the record and nothing else", got)
	}
}
