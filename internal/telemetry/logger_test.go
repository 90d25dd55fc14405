package telemetry

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestAutoIsJSONWhereThereIsNoTerminal(t *testing.T) {
	t.Parallel()
	for _, format := range []string{FormatAuto, ""} {
		log, b := capture(t, format)
		log.InfoContext(t.Context(), "x")
		decode(t, b.String())
	}
}

func TestUnknownFormatIsRefused(t *testing.T) {
	t.Parallel()
	if _, _, err := NewLogger(Options{Format: "xml", Console: &bytes.Buffer{}}); err == nil {
		t.Error("got no error for the format xml")
	}
}

func TestLevelCanBeChangedWhileRunning(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	level := new(slog.LevelVar)
	log, _, err := NewLogger(Options{Level: level, Console: &b})
	if err != nil {
		t.Fatal(err)
	}
	derived := log.With("a", 1)
	derived.DebugContext(t.Context(), "before")
	level.Set(slog.LevelDebug)
	derived.DebugContext(t.Context(), "after")
	if got := b.String(); strings.Contains(got, "before") || !strings.Contains(got, "after") {
		t.Errorf("got %s, want only the line after the change", got)
	}
}

func TestFileGetsJSONBesideTheConsole(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	path := filepath.Join(t.TempDir(), "new", "berth.log")
	log, closer, err := NewLogger(Options{Format: FormatHuman, Console: &b, File: File{Path: path, MaxSizeMB: 1, Backups: 1}})
	if err != nil {
		t.Fatal(err)
	}
	log.InfoContext(t.Context(), "both")
	if err := closer.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := decode(t, string(text))["message"]; got != "both" || !strings.Contains(b.String(), "- both") {
		t.Errorf("file has %v, console %q; want the line in both", got, b.String())
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o007 != 0 {
		t.Errorf("log file: mode %v, %v; want nothing for others", info.Mode(), err)
	}
}

func TestUnwritableFileIsAnError(t *testing.T) {
	t.Parallel()
	if _, _, err := NewLogger(Options{File: File{Path: t.TempDir()}}); err == nil {
		t.Error("a directory was accepted as a log file")
	}
}

func TestFileIsRotatedAndOldBackupsAreRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log, closer, err := NewLogger(Options{File: File{Path: filepath.Join(dir, "berth.log"), MaxSizeMB: 1, Backups: 2}})
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 2000)
	for range 2800 { // 5.6 MB: five rotations
		log.InfoContext(t.Context(), long)
	}
	if err := closer.Close(); err != nil {
		t.Fatal(err)
	}
	var names []string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		names = nil
		for _, e := range entries {
			names = append(names, e.Name())
			if info, err := e.Info(); err == nil && info.Size() > 1<<20 {
				t.Errorf("%s has %d bytes, want at most 1 MB", e.Name(), info.Size())
			}
		}
		if len(names) == 3 {
			return
		}
	}
	t.Errorf("got files %v, want the log and two rotated ones", names)
}

func TestLinesOfManyGoroutinesDoNotMix(t *testing.T) {
	t.Parallel()
	log, b := capture(t, FormatJSON)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				log.With("a", 1).InfoContext(t.Context(), "x", "b", strings.Repeat("y", 100))
			}
		})
	}
	wg.Wait()
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(lines) != 400 {
		t.Errorf("got %d lines, want 400", len(lines))
	}
	for _, line := range lines {
		decode(t, line)
	}
}

func TestLoggerWithoutDestinationIsSilent(t *testing.T) {
	t.Parallel()
	log, closer, err := NewLogger(Options{})
	if err != nil {
		t.Fatal(err)
	}
	log.ErrorContext(t.Context(), "x")
	if err := closer.Close(); err != nil {
		t.Error(err)
	}
}

func TestRegistryHasProcessAndGoMetrics(t *testing.T) {
	t.Parallel()
	families, err := NewRegistry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, f := range families {
		found[f.GetName()] = true
	}
	for _, name := range []string{"go_goroutines", "process_open_fds"} {
		if !found[name] {
			t.Errorf("metric %s is missing", name)
		}
	}
}
