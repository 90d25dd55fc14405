package process

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExitStatusWithUnusualProgramNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"sh", ") R 9 9", "a b\nc", "((("} {
		cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", `printf %s "$0" >/proc/$$/comm && echo named && read -r end`, name)
		end, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		said, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(said, make([]byte, len("named"))); err != nil {
			t.Fatalf("program %q: %v, want a process of that name", name, err)
		}
		process, err := identify(cmd.Process.Pid, "boot")
		if got, failed := statOf(cmd.Process.Pid); err != nil || failed != nil || got.Comm != name || got.NumThreads != 1 {
			t.Errorf("program %q: got %+v (%v, %v), want it named so, with one thread", name, got, err, failed)
		}
		if _, ended := process.exitStatus("boot"); ended {
			t.Errorf("program %q: reported as ended", name)
		}
		_ = end.Close()
		if err := cmd.Wait(); err == nil {
			t.Errorf("program %q: got no failure, want that of a read without input", name)
		}
		if _, ended := process.exitStatus("boot"); !ended {
			t.Errorf("program %q: reported as running", name)
		}
	}
}

func TestStatOfThisProcess(t *testing.T) {
	t.Parallel()
	got, err := statOf(os.Getpid())
	if err != nil || got.Starttime == 0 || got.NumThreads == 0 || got.State == "Z" {
		t.Errorf("got %+v (%v), want a running process", got, err)
	}
}

func TestSeekTail(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 40<<10) // longer than a block
	texts := []string{
		"", "\n", "\n\n\n", "one", "one\n", "one\ntwo", "one\ntwo\n", "one\n\nthree\n",
		long, long + "\n", "one\n" + long + "\ntwo\n", strings.Repeat("0123456789abcdef\n", 10_000),
	}
	// Line ends on both sides of the boundary between two blocks.
	for shift := range 3 {
		texts = append(texts, "first\nsecond\n"+strings.Repeat("y", 32<<10-2+shift)+"\n")
	}
	for _, text := range texts {
		lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
		for _, n := range []int{1, 2, 3, len(lines), len(lines) + 1} {
			want := strings.Join(lines[max(0, len(lines)-n):], "")
			if strings.HasSuffix(text, "\n") {
				want += "\n"
			}
			file := bytes.NewReader([]byte(text))
			if err := seekTail(file, n); err != nil {
				t.Fatal(err)
			}
			got, _ := io.ReadAll(file)
			if string(got) != want {
				t.Errorf("last %d lines of %s (-want +got):\n%s", n, abbreviated(text), cmp.Diff(abbreviated(want), abbreviated(string(got))))
			}
		}
	}
}

func abbreviated(text string) string {
	if len(text) > 100 {
		return fmt.Sprintf("%q… (%d bytes)", text[:100], len(text))
	}
	return fmt.Sprintf("%q", text)
}

func TestBelowHome(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/home/opencode/.local/share/opencode": ".local/share/opencode", "/home/a/b/": "b",
		"/workspace": "", "/home/opencode": "", "/home": "", "/var/home/a/b": "",
	} {
		got, ok := belowHome(path)
		if got != want || ok != (want != "") {
			t.Errorf("%s: got %q, %t, want %q", path, got, ok, want)
		}
	}
}
