package process

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const statTail = " S 1 2 2 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 7 0 123456 1000 200"

func TestParseStatSurvivesAnyProgramName(t *testing.T) {
	t.Parallel()
	want := stat{state: 'S', ticks: 100, threads: 7, start: 123456}
	for _, name := range []string{"sh", "", ") R 9 9", "a b\nc", "((("} {
		got, err := parseStat([]byte("42 (" + name + ")" + statTail + "\n"))
		if err != nil || got != want {
			t.Errorf("program %q: got %+v (%v), want %+v", name, got, err, want)
		}
	}
}

func TestParseStatRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "42 (sh", "42 (sh) S 1", "42 (sh)" + strings.Replace(statTail, "123456", "x", 1), "42 (sh)" + strings.Replace(statTail, " S", " SS", 1)} {
		if got, err := parseStat([]byte(text)); err == nil {
			t.Errorf("%q: got %+v, want an error", text, got)
		}
	}
}

func TestReadStatKnowsThisProcess(t *testing.T) {
	t.Parallel()
	got, err := readStat(os.Getpid())
	if err != nil || got.start == 0 || got.threads == 0 || got.state == 'Z' {
		t.Errorf("got %+v (%v), want a process that lives", got, err)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("42 (sh)" + statTail))
	f.Add([]byte(")"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if s, err := parseStat(text); err == nil && s.state == 0 {
			t.Errorf("%q: got %+v without an error and without a state", text, s)
		}
	})
}

func TestSeekTailFindsTheLastLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 40<<10) // longer than what is read at once
	texts := []string{
		"", "\n", "\n\n\n", "one", "one\n", "one\ntwo", "one\ntwo\n", "one\n\nthree\n",
		long, long + "\n", "one\n" + long + "\ntwo\n", strings.Repeat("0123456789abcdef\n", 10_000),
	}
	// Line ends on both sides of the border between two blocks.
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

func TestVolumesBelowTheContainersHomeAreFoundBelowTheProcesssHome(t *testing.T) {
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
