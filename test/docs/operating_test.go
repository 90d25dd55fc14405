package docs_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"berth/test/harness"
)

func TestOperatingGuideWorks(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	all, err := blocks(string(page))
	if err != nil {
		t.Fatal(err)
	}
	runnable := 0
	for _, b := range all {
		if b.runnable() {
			runnable++
		}
	}
	if runnable < 8 {
		t.Errorf("got %d runnable blocks, want 8 or more: an unmarked one is not run", runnable)
	}
	w := harness.NewStub(t)
	w.StartServe()
	environ := []string{"PATH=" + filepath.Dir(harness.Binary(t)) + ":" + os.Getenv("PATH"), "HOME=" + w.Dir, "BERTH_URL=" + w.URL}
	for _, name := range slices.Sorted(maps.Keys(w.Vars)) {
		environ = append(environ, name+"="+w.Vars[name])
	}
	out := run(t, t.TempDir(), script(all), environ)
	for _, want := range []string{`"healthy":true`, "alice", "the settings are usable", "MAX_CONCURRENT_SESSIONS", "host.docker.internal"} {
		if !strings.Contains(out, want) {
			t.Errorf("the output of the guide's commands does not contain %q:\n%s", want, out)
		}
	}
}

func TestSessionsGuideProfileIsValid(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/sessions.md")
	if err != nil {
		t.Fatal(err)
	}
	all, err := blocks(string(page))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, b := range all {
		if name := b.mark("file"); name != "" {
			must(t, os.WriteFile(filepath.Join(dir, name), []byte(b.text), 0o600))
		}
	}
	out := run(t, dir, script(all), []string{"PATH=" + filepath.Dir(harness.Binary(t)) + ":" + os.Getenv("PATH"), "HOME=" + dir})
	if !strings.Contains(out, "the settings are usable") {
		t.Errorf("the profile of the guide is rejected:\n%s", out)
	}
}
